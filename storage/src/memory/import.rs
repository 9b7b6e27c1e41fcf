//! In-memory import of rows of other systems.

use std::{iter, sync::Arc};

use async_trait::async_trait;
use imbl::OrdMap;

use super::{
    MemoryTx, Sequence, State,
    accounts::groups,
    conversations::{self, Participation, support},
    messages::attachments,
};
use crate::{
    Attachment, AttachmentId, Author, Conversation, ConversationId, ConversationKind, Error, Group, GroupId, Import,
    ImportedAttachment, ImportedConversation, ImportedGroup, ImportedMessage, ImportedParticipant, ImportedSupport, ImportedUser,
    Locked, Member, Message, MessageLocation, NewAttachment, NewPartner, ParticipantStatus, PartnerId, Person, Result, Revision,
    Timestamp, User, UserId, WriteImport, WriteMessages,
    fold::fold_person,
    import::{MessagePlan, ReadMarks, locked_last_seq, record_import},
};

/// Moves a sequence above the given ids.
fn pass_over(sequence: &mut Sequence, given: impl Iterator<Item = Option<i64>>) {
    for id in given.flatten() {
        sequence.draw(Some(id));
    }
}

/// Fails if a unique value has another owner.
fn expect_own<T: PartialEq>(owner: Option<&T>, own: &T, rule: &'static str) -> Result<()> {
    if owner.is_none_or(|owner| owner == own) { Ok(()) } else { Err(Error::Conflict(rule)) }
}

impl State {
    /// Stores a partner, in place of the one with its id, with its account.
    fn put_partner(&mut self, new: &NewPartner, account: Option<UserId>) -> PartnerId {
        let id = PartnerId(self.users.ids.draw(new.id.map(|id| id.0)));
        let partner = new.clone().stored(id);
        let before = self.users.people.get(&id).cloned();
        let user = account.or(before.as_ref().and_then(|before| before.user));
        if let Some(user) = user.and_then(|user| self.users.users.get_mut(&user)) {
            Arc::make_mut(user).partner = partner.clone();
        }
        let folded = fold_person(&partner.name, partner.email.as_deref(), partner.phone.as_deref());
        let person = Person { partner, user };
        if before.is_some_and(|before| *before != person) {
            self.put_author(&person);
        }
        self.users.folded.insert(id, folded.into());
        self.users.people.insert(id, Arc::new(person));
        id
    }

    /// Shows a person as it is now in all its messages.
    fn put_author(&mut self, person: &Person) {
        let author = author(person);
        let is_stale = |message: &Message| message.author.partner == author.partner && message.author != author;
        let rows = self.conversations.rows.values();
        let stale = rows.filter(|row| row.messages.iter().any(|message| is_stale(message))).map(|row| row.conversation.id);
        for id in stale.collect::<Vec<_>>() {
            let row = self.conversations.get_mut(id).expect("it was just there");
            for message in row.messages.iter_mut().filter(|message| is_stale(message)) {
                Arc::make_mut(message).author = author.clone();
            }
        }
    }

    fn put_user(&mut self, row: &ImportedUser) -> Result<(UserId, PartnerId)> {
        let ImportedUser { user: new, active } = row;
        let known = new.id.and_then(|id| self.users.user(id));
        expect_own(known.as_ref().map(|known| &known.uuid), &new.uuid, "users_pkey")?;
        let id = UserId(self.users.ids.draw(new.id.map(|id| id.0)));
        let taken_by = |text: &Option<String>, owners: &imbl::HashMap<String, UserId>| owners.get(text.as_ref()?).copied();
        expect_own(taken_by(&new.login, &self.users.logins).as_ref(), &id, "users_login")?;
        expect_own(taken_by(&new.external_id, &self.users.external_ids).as_ref(), &id, "users_external_id")?;
        expect_own(self.users.uuids.get(&new.uuid), &id, "users_uuid")?;
        let partner = new.partner.id.or(known.as_ref().map(|known| known.partner.id));
        let owner = partner.and_then(|partner| self.users.people.get(&partner)?.user);
        expect_own(owner.as_ref(), &id, "users_partner")?;
        expect_own(known.as_ref().map(|known| &known.partner.id), &partner.unwrap_or(PartnerId(0)), "users_partner")?;
        let partner = self.put_partner(&NewPartner { id: partner, ..new.partner.clone() }, Some(id));
        let mut user = new.clone().stored(id, partner);
        user.active = *active;
        if let Some(known) = known {
            let User { partner, role, language, time_zone, profile, created_at, .. } = user;
            let login = user.login.or_else(|| known.login.clone());
            let external_id = user.external_id.or_else(|| known.external_id.clone());
            let password = user.password.or_else(|| known.password.clone());
            known.login.as_ref().and_then(|login| self.users.logins.remove(login));
            known.external_id.as_ref().and_then(|external_id| self.users.external_ids.remove(external_id));
            user = User {
                login,
                password,
                partner,
                role,
                active: *active,
                language,
                time_zone,
                profile,
                created_at,
                external_id,
                ..known
            };
        }
        let partner = user.partner.id;
        self.users.uuids.insert(user.uuid, id);
        self.users.logins.extend(user.login.clone().map(|login| (login, id)));
        self.users.external_ids.extend(user.external_id.clone().map(|external_id| (external_id, id)));
        self.users.users.insert(id, Arc::new(user));
        Ok((id, partner))
    }

    fn put_group(&mut self, row: &ImportedGroup) -> Result<GroupId> {
        row.members.iter().try_for_each(|member| self.users.expect_user(*member))?;
        let table = &mut self.groups;
        let id = GroupId(table.ids.draw(row.id.map(|id| id.0)));
        if let Some(known) = table.rows.get(&id) {
            table.names.remove(&known.group.name);
        }
        if table.names.insert(row.name.clone()).is_some() {
            return Err(Error::Conflict("groups_name"));
        }
        let group = Group { id, name: row.name.clone() };
        table.rows.insert(id, groups::Row { group, members: row.members.iter().copied().collect() });
        Ok(id)
    }

    fn put_conversation(&mut self, new: &ImportedConversation) -> Result<ConversationId> {
        if let Some(group) = new.group {
            self.groups.expect_group(group)?;
        }
        let table = &mut self.conversations;
        let id = ConversationId(table.ids.draw(new.id.map(|id| id.0)));
        let known = table.get(id).map(|row| row.conversation.clone());
        expect_own(known.as_ref().map(|known| &known.uuid), &new.uuid, "conversations_pkey")?;
        expect_own(table.uuids.get(&new.uuid), &id, "conversations_uuid")?;
        let before = known.as_ref().and_then(|known| known.external_id.clone());
        let external_id = new.external_id.clone().or_else(|| before.clone());
        before.and_then(|before| table.external_ids.remove(&before));
        if external_id.as_ref().is_some_and(|external_id| table.external_ids.contains(external_id)) {
            return Err(Error::Conflict("conversations_external_id"));
        }
        table.external_ids.extend(external_id.clone());
        let mut documents = new.documents.clone();
        documents.sort_unstable();
        documents.dedup();
        if let Some(group) = known.as_ref().and_then(|known| known.group) {
            table.of_group.entry(group).or_default().remove(&id);
        }
        if let Some(group) = new.group {
            table.of_group.entry(group).or_default().insert(id);
        }
        let conversation = Conversation {
            id,
            uuid: new.uuid,
            kind: new.kind,
            thread_type: new.thread_type,
            name: new.name.clone(),
            created_at: new.created_at,
            group: new.group,
            documents,
            last_seq: known.as_ref().map_or(0, |known| known.last_seq),
            last_message: known.as_ref().and_then(|known| known.last_message),
            last_message_at: known.as_ref().and_then(|known| known.last_message_at),
            closed_at: new.closed_at.or(known.as_ref().and_then(|known| known.closed_at)),
            external_id,
            began_direct: new.began_direct
                || new.kind == ConversationKind::Direct
                || known.as_ref().is_some_and(|known| known.began_direct),
        };
        table.uuids.insert(new.uuid, id);
        match table.get_mut(id) {
            Some(row) => row.conversation = conversation,
            None => drop(table.rows.insert(id, Arc::new(conversations::Row::new(conversation)))),
        }
        if let Some(ImportedSupport { initiator, joiner }) = new.support {
            iter::once(initiator).chain(joiner).try_for_each(|(partner, _)| self.expect_account(partner))?;
            let seen = self.support.get(&id).map_or_else(OrdMap::new, |row| row.seen.clone());
            self.support.insert(id, support::Row { initiator, joiner, seen });
        }
        Ok(id)
    }

    fn put_attachment(&mut self, row: &ImportedAttachment) -> Result<Attachment> {
        let NewAttachment { object, name, mimetype, size_bytes, access_token, owner, created_at, media } = row.file.clone();
        self.users.person(owner)?;
        let table = &mut self.attachments;
        let id = AttachmentId(table.ids.draw(row.id.map(|id| id.0)));
        if let Some(known) = table.get(id) {
            return if known.object == object { Ok(known) } else { Err(Error::Conflict("attachments_pkey")) };
        }
        if table.rows.values().any(|row| row.attachment.object == object) {
            return Err(Error::Conflict("attachments_object"));
        }
        let attachment = Attachment { id, object, name, mimetype, size_bytes, access_token, owner, created_at, media };
        let row = attachments::Row { attachment: Arc::new(attachment.clone()), messages: OrdMap::new(), sent: false };
        table.rows.insert(id, row);
        Ok(attachment)
    }

    fn put_new_message(&mut self, message: Message) -> Result<()> {
        let author = author(self.users.person(message.author.partner)?);
        let Message { conversation, seq, deleted_at, .. } = message;
        let by = author.partner;
        self.store_message(Message { author, ..message })?;
        if deleted_at.is_some() {
            self.conversations.get_mut(conversation).expect("what is locked exists").uncount(seq, by);
        }
        Ok(())
    }

    fn put_changed_message(&mut self, before: &Message, now: Message) -> Result<()> {
        if before.external_id != now.external_id {
            before.external_id.as_ref().and_then(|old| self.messages.external_ids.remove(old));
            if let Some(new) = &now.external_id
                && self.messages.external_ids.insert(new.clone()).is_some()
            {
                return Err(Error::Conflict("messages_external_id"));
            }
        }
        self.attachments.attach(&now)?;
        let is_kept = |file: &Attachment| now.attachments.iter().any(|kept| kept.id == file.id);
        let dropped = before.attachments.iter().filter(|file| !is_kept(file)).cloned().collect();
        self.attachments.detach(&Message { attachments: dropped, ..before.clone() });
        self.change_message(now.conversation, now.id, |message| *message = now.clone());
        Ok(())
    }

    /// Sets a participant. Returns true if it is new.
    fn put_participant(&mut self, new: &ImportedParticipant, last_seq: i64) -> Result<(bool, Member)> {
        let ImportedParticipant { conversation, partner, window, folder: shelf, status, .. } = *new;
        self.users.person(partner)?;
        let row = self.conversations.get_mut(conversation).expect("what is locked exists");
        let known = row.participations.get(&partner).cloned();
        let stored = known.as_ref().map(|known| ReadMarks {
            read_seq: known.read_seq,
            seen_seq: known.seen_seq,
            visible_from_seq: known.standing.visible_from_seq,
        });
        let ReadMarks { read_seq, seen_seq, visible_from_seq } = new.marks(last_seq, stored);
        let is_own = |message: &&Arc<Message>| message.author.partner == partner;
        let newest_first = || row.messages.iter().rev();
        let unread = newest_first().take_while(|message| message.seq > read_seq);
        let own_after = unread.filter(|message| is_own(message) || message.deleted_at.is_some()).count() as i64;
        let mut visible = newest_first().take_while(|message| message.seq > visible_from_seq);
        let last_own = match &known {
            Some(known) => known.last_own,
            None => visible.find(is_own).map(|message| message.seq),
        };
        let joined_at = known.as_ref().map_or(new.joined_at, |known| known.joined_at);
        let standing = ParticipantStatus { visible_from_seq, ..status };
        let place = Participation { window, shelf, read_seq, seen_seq, own_after, last_own, joined_at, standing };
        row.participations.insert(partner, place);
        row.by_joining.insert((joined_at, partner));
        if seen_seq > 0 {
            row.note_read(partner, visible_from_seq, seen_seq);
        }
        self.conversations.of_partner.entry(partner).or_default().insert(conversation);
        Ok((known.is_none(), Member { partner, visible_from_seq }))
    }
}

fn author(person: &Person) -> Author {
    Author { partner: person.partner.id, user: person.user, name: person.partner.name.clone() }
}

impl WriteImport for MemoryTx {
    fn import(&mut self, at: Timestamp) -> &mut dyn Import {
        record_import(&mut self.recorded, at);
        self
    }
}

#[async_trait]
impl Import for MemoryTx {
    async fn import_partners(&mut self, partners: &[NewPartner]) -> Result<Vec<PartnerId>> {
        pass_over(&mut self.draft.users.ids, partners.iter().map(|new| new.id.map(|id| id.0)));
        Ok(partners.iter().map(|new| self.draft.put_partner(new, None)).collect())
    }

    async fn import_users(&mut self, users: &[ImportedUser]) -> Result<Vec<(UserId, PartnerId)>> {
        let ids = |row: &ImportedUser| [row.user.id.map(|id| id.0), row.user.partner.id.map(|id| id.0)];
        pass_over(&mut self.draft.users.ids, users.iter().flat_map(ids));
        users.iter().map(|row| self.draft.put_user(row)).collect()
    }

    async fn import_groups(&mut self, groups: &[ImportedGroup]) -> Result<Vec<GroupId>> {
        pass_over(&mut self.draft.groups.ids, groups.iter().map(|row| row.id.map(|id| id.0)));
        groups.iter().map(|row| self.draft.put_group(row)).collect()
    }

    async fn import_conversations(&mut self, conversations: &[ImportedConversation]) -> Result<Vec<ConversationId>> {
        pass_over(&mut self.draft.conversations.ids, conversations.iter().map(|row| row.id.map(|id| id.0)));
        conversations.iter().map(|row| self.draft.put_conversation(row)).collect()
    }

    async fn import_attachments(&mut self, files: &[ImportedAttachment]) -> Result<Vec<Attachment>> {
        pass_over(&mut self.draft.attachments.ids, files.iter().map(|row| row.id.map(|id| id.0)));
        files.iter().map(|row| self.draft.put_attachment(row)).collect()
    }

    async fn import_messages(
        &mut self,
        to: Vec<Locked<Conversation>>,
        messages: &[ImportedMessage],
    ) -> Result<Vec<MessageLocation>> {
        let draft = &mut self.draft;
        pass_over(&mut draft.messages.ids, messages.iter().map(|row| row.id.map(|id| id.0)));
        let known = messages.iter().filter_map(|row| draft.messages.locations.get(&row.id?));
        let stored = known.map(|location| draft.message_at(*location)).collect();
        let unnamed = messages.iter().filter(|row| row.id.is_none());
        let plan = MessagePlan::new(&to, messages, stored, unnamed.map(|_| draft.messages.ids.draw(None)))?;
        let reactions: Vec<_> = plan.reactions(messages).collect();
        plan.new.into_iter().try_for_each(|message| draft.put_new_message(message))?;
        plan.changed.into_iter().try_for_each(|(before, now)| draft.put_changed_message(&before, now))?;
        plan.reacted.iter().for_each(|(id, _)| draft.reactions.forget(*id));
        for (id, reaction) in reactions {
            draft.users.person(reaction.partner)?;
            let contents = draft.reactions.rows.entry(id).or_default();
            contents.entry(reaction.content.clone()).or_default().insert(reaction.partner, reaction.at);
        }
        for (of, id, Revision { by, at }) in plan.deleted {
            let of = to.iter().find(|locked| locked.id == of).expect("the plan has only locked ones");
            self.delete_message(of, id, by, at).await?;
        }
        Ok(plan.locations)
    }

    async fn import_participants(&mut self, of: &[Locked<Conversation>], participants: &[ImportedParticipant]) -> Result<()> {
        for row in participants {
            let last_seq = locked_last_seq(of, row.conversation)?;
            let (is_new, member) = self.draft.put_participant(row, last_seq)?;
            if is_new {
                self.imported.push((row.conversation, member));
            }
        }
        Ok(())
    }
}
