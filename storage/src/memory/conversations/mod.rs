//! In-memory conversations: each row holds its messages, participants and read positions.

pub(crate) mod memberships;
pub(crate) mod read_positions;
mod row;
pub(crate) mod support;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

pub(crate) use row::{Participation, Row, last_message};

use super::{Memory, MemoryTx, Sequence, State, taken};
use crate::{
    AttachmentId, Conversation, ConversationId, ConversationKind, Conversations, Error, Folder, GroupId, InboxEntry, InboxFilter,
    ListSize, Locked, Message, NewConversation, Participant, ParticipantRole, ParticipantStatus, PartnerId, Person, Result,
    ThreadType, Timestamp, UnreadTotals, WindowState, WriteConversations,
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) ids: Sequence,
    pub(crate) rows: OrdMap<ConversationId, Arc<Row>>,
    pub(crate) of_partner: OrdMap<PartnerId, OrdSet<ConversationId>>,
    pub(crate) uuids: imbl::HashMap<Uuid, ConversationId>,
    pub(crate) keys: imbl::HashMap<String, ConversationId>,
    pub(crate) external_ids: imbl::HashSet<String>,
    pub(crate) of_group: OrdMap<GroupId, OrdSet<ConversationId>>,
}

impl Table {
    /// Numbers of conversations and of messages.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.rows.len(), self.rows.values().map(|row| row.messages.len()).sum())
    }

    pub(crate) fn get(&self, id: ConversationId) -> Option<&Row> {
        self.rows.get(&id).map(AsRef::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: ConversationId) -> Option<&mut Row> {
        self.rows.get_mut(&id).map(Arc::make_mut)
    }

    /// True if the partner is a participant.
    pub(crate) fn has(&self, id: ConversationId, partner: PartnerId) -> bool {
        self.get(id).is_some_and(|row| row.participations.contains_key(&partner))
    }

    /// Role, visibility and mute of the participant; `None` if the partner is none.
    pub(crate) fn standing(&self, id: ConversationId, partner: PartnerId) -> Option<ParticipantStatus> {
        self.get(id).and_then(|row| row.standing(partner))
    }

    /// Conversations of the partner, by rising id.
    pub(crate) fn of(&self, partner: PartnerId) -> impl Iterator<Item = ConversationId> {
        self.of_partner.get(&partner).into_iter().flatten().copied()
    }

    /// Rows of the conversations that [`Table::of`] lists.
    pub(crate) fn rows_of(&self, partner: PartnerId) -> impl Iterator<Item = &Row> {
        self.of(partner).map(|id| self.get(id).expect("conversations are never deleted"))
    }

    /// Removes an attachment from messages. Returns the changed messages.
    pub(crate) fn detach(&mut self, id: ConversationId, seqs: &OrdSet<i64>, attachment: AttachmentId) -> Vec<Message> {
        let row = self.get_mut(id).expect("conversations are never deleted");
        let detach = |seq: &i64| {
            let message = row.message_mut(*seq).expect("messages are never deleted");
            message.attachments.retain(|held| held.id != attachment);
            message.clone()
        };
        seqs.iter().map(detach).collect()
    }

    /// Adds partners to an existing conversation, with all earlier messages read. Returns those that were no participants.
    fn join(
        &mut self,
        id: ConversationId,
        partners: &[PartnerId],
        standing: ParticipantStatus,
        joined_at: Timestamp,
    ) -> Vec<PartnerId> {
        let row = self.rows.get_mut(&id).map(Arc::make_mut).expect("what is joined exists");
        let read_seq = row.conversation.last_seq;
        let mut joined = Vec::new();
        for partner in partners {
            if row.participations.contains_key(partner) {
                continue;
            }
            let (window, shelf) = (WindowState::default(), Folder::default());
            let place = Participation { window, shelf, read_seq, seen_seq: 0, own_after: 0, last_own: None, joined_at, standing };
            row.participations.insert(*partner, place);
            row.by_joining.insert((joined_at, *partner));
            self.of_partner.entry(*partner).or_default().insert(id);
            joined.push(*partner);
        }
        joined
    }
}

impl State {
    fn participant(&self, row: &Row, partner: PartnerId, place: &Participation) -> Participant {
        Participant {
            conversation: row.conversation.id,
            person: self.users.person(partner).expect("partners are never deleted").clone(),
            window: place.window,
            folder: place.shelf,
            read_seq: place.read_seq,
            unread: row.unread(place),
            joined_at: place.joined_at,
            status: place.standing,
        }
    }
}

#[async_trait]
impl Conversations for Memory {
    async fn conversation(&self, id: ConversationId) -> Result<Option<Conversation>> {
        Ok(self.snapshot()?.conversations.get(id).map(|row| row.conversation.clone()))
    }

    async fn conversation_seen_by(
        &self,
        id: ConversationId,
        partner: PartnerId,
    ) -> Result<Option<(Conversation, Option<Participant>)>> {
        let state = self.snapshot()?;
        let Some(row) = state.conversations.get(id) else { return Ok(None) };
        let participant = row.participations.get(&partner).map(|place| state.participant(row, partner, place));
        Ok(Some((row.conversation.clone(), participant)))
    }

    async fn participants(&self, id: ConversationId) -> Result<Vec<Participant>> {
        let state = self.snapshot()?;
        let Some(row) = state.conversations.get(id) else { return Ok(Vec::new()) };
        let participant = |(_, partner): &(_, PartnerId)| state.participant(row, *partner, &row.participations[partner]);
        Ok(row.by_joining.iter().map(participant).collect())
    }

    async fn people_in(
        &self,
        conversations: &[ConversationId],
        first: PartnerId,
        others: usize,
    ) -> Result<Vec<(ConversationId, Arc<Person>)>> {
        let state = self.snapshot()?;
        let ids: BTreeSet<_> = conversations.iter().copied().collect();
        let (mut people, mut found) = (HashMap::new(), Vec::new());
        for row in ids.into_iter().filter_map(|id| state.conversations.get(id)) {
            let own = row.participations.get(&first).map(|place| (place.joined_at, first));
            let mut listed: Vec<_> = row.by_joining.iter().filter(|(_, other)| *other != first).take(others).copied().collect();
            listed.extend(own);
            listed.sort_unstable();
            found.extend(listed.into_iter().map(|(_, partner)| {
                let read = || Arc::new(state.users.person(partner).expect("partners are never deleted").clone());
                (row.conversation.id, Arc::clone(people.entry(partner).or_insert_with(read)))
            }));
        }
        Ok(found)
    }

    async fn participant_ids(&self, id: ConversationId) -> Result<Vec<PartnerId>> {
        let state = self.snapshot()?;
        Ok(state.conversations.get(id).map(|row| row.participations.keys().copied().collect()).unwrap_or_default())
    }

    async fn contacts(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>> {
        let state = self.snapshot()?;
        let contacts = |partner: PartnerId| {
            let others = state.conversations.rows_of(partner).flat_map(|row| row.participations.keys().copied());
            let others: BTreeSet<_> = others.filter(|other| *other != partner).collect();
            (!others.is_empty()).then(|| (partner, others.into_iter().collect()))
        };
        let partners: BTreeSet<_> = partners.iter().copied().collect();
        Ok(partners.into_iter().filter_map(contacts).collect())
    }

    async fn inbox(&self, partner: PartnerId, filter: InboxFilter<'_>) -> Result<Vec<InboxEntry>> {
        let state = self.snapshot()?;
        let table = &state.conversations;
        let candidates: Vec<&Row> = match filter.only {
            Some(only) => {
                let only: BTreeSet<_> = only.iter().copied().filter(|id| table.has(*id, partner)).collect();
                only.into_iter().filter_map(|id| table.get(id)).collect()
            }
            None => table.rows_of(partner).collect(),
        };
        let mut listed: Vec<_> = candidates
            .into_iter()
            .filter(|row| filter.thread_type.is_none_or(|wanted| row.conversation.thread_type == wanted))
            .filter(|row| filter.kinds.is_empty() || filter.kinds.contains(&row.conversation.kind))
            .filter_map(|row| Some((row, row.participations.get(&partner)?)))
            .filter(|(row, place)| !filter.unread || row.unread(place) > 0)
            .collect();
        listed.sort_unstable_by_key(|(Row { conversation, .. }, _)| {
            Reverse((conversation.last_message_at.unwrap_or(conversation.created_at), conversation.id))
        });
        listed.truncate(filter.limit.unwrap_or(usize::MAX));
        let entry = |(row, place): (&Row, &Participation)| InboxEntry {
            conversation: row.conversation.clone(),
            window: place.window,
            shelf: place.shelf,
            unread: row.unread(place),
            last_message: row.last_visible(place),
        };
        Ok(listed.into_iter().map(entry).collect())
    }

    async fn list_size(&self, partner: PartnerId, of_each: usize, most: ListSize) -> Result<ListSize> {
        let state = self.snapshot()?;
        let table = &state.conversations;
        let people = table.rows_of(partner).flat_map(|row| 0..row.participant_count().min(of_each)).take(most.people);
        Ok(ListSize { conversations: table.of(partner).take(most.conversations).count(), people: people.count() })
    }

    async fn unread_totals(&self, partner: PartnerId) -> Result<UnreadTotals> {
        let state = self.snapshot()?;
        let mut totals = UnreadTotals::default();
        for row in state.conversations.rows_of(partner) {
            let total = match row.conversation.thread_type {
                ThreadType::Chat => &mut totals.chat,
                ThreadType::Group => &mut totals.group,
                ThreadType::Sms => &mut totals.sms,
            };
            *total += row.unread_of(partner);
        }
        Ok(totals)
    }
}

#[async_trait]
impl WriteConversations for MemoryTx {
    async fn insert_conversation(&mut self, new: NewConversation) -> Result<Conversation> {
        let NewConversation { id, uuid, kind, thread_type, name, created_at, group, documents, external_id, participants, owner } =
            new;
        let mut documents = documents;
        for partner in &participants {
            self.draft.users.person(*partner)?;
        }
        if let Some(group) = group {
            self.draft.groups.expect_group(group)?;
        }
        let table = &mut self.draft.conversations;
        if let Some(id) = id.filter(|id| table.rows.contains_key(id)) {
            return Err(taken("conversation", id));
        }
        if table.uuids.contains_key(&uuid) {
            return Err(Error::Conflict("conversations_uuid"));
        }
        if external_id.as_ref().is_some_and(|id| table.external_ids.contains(id)) {
            return Err(Error::Conflict("conversations_external_id"));
        }
        table.external_ids.extend(external_id.clone());
        documents.sort_unstable();
        documents.dedup();
        let conversation = Conversation {
            id: ConversationId(table.ids.draw(id.map(|id| id.0))),
            uuid,
            kind,
            thread_type,
            name,
            created_at,
            group,
            documents,
            last_seq: 0,
            last_message: None,
            last_message_at: None,
            closed_at: None,
            external_id,
            began_direct: kind == ConversationKind::Direct,
        };
        table.rows.insert(conversation.id, Arc::new(Row::new(conversation.clone())));
        table.uuids.insert(uuid, conversation.id);
        if let Some(group) = group {
            table.of_group.entry(group).or_default().insert(conversation.id);
        }
        let joined = table.join(conversation.id, &participants, ParticipantStatus::default(), created_at);
        let row = table.get_mut(conversation.id).expect("inserted above");
        if let Some(place) = owner.and_then(|owner| row.participations.get_mut(&owner)) {
            place.standing.role = ParticipantRole::Owner;
        }
        self.founders.insert(conversation.id, joined);
        Ok(conversation)
    }

    async fn lock_conversations(&mut self, ids: &[ConversationId]) -> Result<Vec<Locked<Conversation>>> {
        // The transaction is the only writer, so all rows are locked.
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        let rows = ids.into_iter().filter_map(|id| self.draft.conversations.get(id));
        Ok(rows.map(|row| Locked(row.conversation.clone())).collect())
    }

    async fn lock_free_conversations(
        &mut self,
        ids: &[ConversationId],
    ) -> Result<(Vec<Locked<Conversation>>, Vec<ConversationId>)> {
        // No other writer can hold a lock.
        Ok((self.lock_conversations(ids).await?, Vec::new()))
    }

    async fn participant_statuses(
        &mut self,
        pairs: &[(ConversationId, PartnerId)],
    ) -> Result<HashMap<(ConversationId, PartnerId), ParticipantStatus>> {
        let standing = |(id, partner)| Some(((id, partner), self.draft.conversations.standing(id, partner)?));
        Ok(pairs.iter().copied().filter_map(standing).collect())
    }

    async fn insert_participants(
        &mut self,
        to: &Locked<Conversation>,
        partners: &[PartnerId],
        visible_from_seq: i64,
        joined_at: Timestamp,
    ) -> Result<Vec<PartnerId>> {
        for partner in partners {
            self.draft.users.person(*partner)?;
        }
        let standing = ParticipantStatus { visible_from_seq, ..ParticipantStatus::default() };
        Ok(self.draft.conversations.join(to.id, partners, standing, joined_at))
    }

    async fn participant_count(&mut self, of: &Locked<Conversation>) -> Result<i64> {
        let row = self.draft.conversations.get(of.id).expect("what is locked exists");
        Ok(i64::try_from(row.participations.len()).expect("a count fits"))
    }

    async fn set_closed(&mut self, of: &Locked<Conversation>, at: Timestamp) -> Result<()> {
        self.draft.conversations.get_mut(of.id).expect("what is locked exists").conversation.closed_at = Some(at);
        Ok(())
    }

    async fn set_kind(&mut self, of: &Locked<Conversation>, kind: ConversationKind) -> Result<()> {
        let conversation = &mut self.draft.conversations.get_mut(of.id).expect("what is locked exists").conversation;
        conversation.kind = kind;
        conversation.began_direct |= kind == ConversationKind::Direct;
        Ok(())
    }

    async fn set_conversation_settings(
        &mut self,
        of: ConversationId,
        partner: PartnerId,
        window: Option<WindowState>,
        shelf: Option<Folder>,
    ) -> Result<bool> {
        let Some(place) = self.draft.conversations.get_mut(of).and_then(|row| row.participations.get_mut(&partner)) else {
            return Ok(false);
        };
        let before = (place.window, place.shelf);
        place.window = window.unwrap_or(place.window);
        place.shelf = shelf.unwrap_or(place.shelf);
        Ok(before != (place.window, place.shelf))
    }

    async fn delete_participant(&mut self, of: &Locked<Conversation>, partner: PartnerId) -> Result<bool> {
        let table = &mut self.draft.conversations;
        let row = table.get_mut(of.id).expect("what is locked exists");
        let place = row.participations.remove(&partner);
        if let Some(place) = &place {
            row.by_joining.remove(&(place.joined_at, partner));
        }
        if let Some(conversations) = table.of_partner.get_mut(&partner) {
            conversations.remove(&of.id);
        }
        Ok(place.is_some())
    }
}
