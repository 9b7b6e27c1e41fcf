use std::{collections::BTreeSet, ops::Range, sync::Arc};

use async_trait::async_trait;
use imbl::{HashMap, OrdMap};

use super::{Memory, MemoryTx, Sequence, State, conversations::Row};
use crate::{
    Attachment, AttachmentId, ClientKey, Conversation, ConversationId, Error, Locked, Message, MessageId, Messages, NewMessage,
    Page, PartnerId, Result, Seen, Timestamp, WriteMessages,
};

/// Where messages are; they themselves are with their conversation.
#[derive(Clone, Default)]
pub(super) struct Table {
    ids: Sequence,
    locations: OrdMap<MessageId, Location>,
    client_keys: HashMap<ClientKey, Location>,
}

/// A conversation, and the `seq` within it.
type Location = (ConversationId, i64);

impl State {
    fn message_at(&self, (conversation, seq): Location) -> Message {
        self.conversations.get(conversation).and_then(|row| row.message(seq)).expect("messages are never deleted").clone()
    }

    /// Changes a message of a conversation, and gives it as it is then; `None` if it is not there.
    fn change_message(&mut self, of: ConversationId, id: MessageId, change: impl FnOnce(&mut Message)) -> Option<Message> {
        let (conversation, seq) = self.messages.locations.get(&id).copied()?;
        if conversation != of {
            return None;
        }
        let message = self.conversations.get_mut(conversation)?.message_mut(seq)?;
        change(message);
        let changed = message.clone();
        self.attendances.follow(&changed);
        Some(changed)
    }

    fn insert_message(&mut self, new: NewMessage) -> Result<Message> {
        let NewMessage { conversation, author, message_type, body, metadata, attachments, client_key, held, created_at } = new;
        let row = self.conversations.get_mut(conversation).expect("what is locked exists");
        let message = Message {
            id: MessageId(self.messages.ids.draw(None)),
            seq: row.conversation.last_seq + 1,
            conversation,
            author,
            message_type,
            body,
            metadata,
            attachments,
            client_key,
            held,
            created_at,
            edited_at: None,
            deleted_at: None,
        };
        self.users.person(message.author.partner)?;
        self.attachments.attach(&message)?;
        let location = (conversation, message.seq);
        if let Some(key) = message.client_key.clone()
            && self.messages.client_keys.insert((conversation, message.author.partner, key), location).is_some()
        {
            return Err(Error::Conflict("messages_client_key"));
        }
        self.messages.locations.insert(message.id, location);
        self.attendances.follow(&message);
        row.push(message.clone());
        Ok(message)
    }
}

/// The messages of a page, as indices from the oldest.
fn range(row: &Row, page: Page) -> Range<usize> {
    let up_to = |end: usize, limit| end.saturating_sub(limit)..end;
    match page {
        Page::Newest { offset, limit } => {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            up_to(row.messages.len().saturating_sub(offset), limit)
        }
        Page::Before { id, limit } => {
            let (Ok(end) | Err(end)) = row.messages.binary_search_by_key(&id, |message| message.id);
            up_to(end, limit)
        }
        Page::After { id, limit } => {
            let start = match row.messages.binary_search_by_key(&id, |message| message.id) {
                Ok(index) => index + 1,
                Err(index) => index,
            };
            start..start.saturating_add(limit).min(row.messages.len())
        }
    }
}

#[async_trait]
impl Messages for Memory {
    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Message>> {
        let state = self.snapshot()?;
        let mut locations: Vec<_> = ids.iter().filter_map(|id| state.messages.locations.get(id).copied()).collect();
        locations.sort_unstable();
        locations.dedup();
        Ok(locations.into_iter().map(|location| state.message_at(location)).collect())
    }

    async fn messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<Message>> {
        let state = self.snapshot()?;
        let mut places: Vec<_> = places.iter().filter(|(_, seq)| *seq > 0).copied().collect();
        places.sort_unstable();
        places.dedup();
        let message = |(conversation, seq)| state.conversations.get(conversation)?.message(seq).cloned();
        Ok(places.into_iter().filter_map(message).collect())
    }

    async fn last_messages(&self, of: &[ConversationId]) -> Result<Vec<Message>> {
        let state = self.snapshot()?;
        let of: BTreeSet<_> = of.iter().copied().collect();
        let rows = of.into_iter().filter_map(|id| state.conversations.get(id));
        Ok(rows.flat_map(|row| row.last_of_each()).cloned().collect())
    }

    async fn draw_message_id(&self) -> Result<MessageId> {
        let mut tx = self.draft().await?;
        let id = MessageId(tx.draft.messages.ids.draw(None));
        tx.publish();
        Ok(id)
    }

    async fn messages(&self, of: ConversationId, reader: PartnerId, page: Page) -> Result<Vec<Seen>> {
        let state = self.snapshot()?;
        let Some(row) = state.conversations.get(of) else { return Ok(Vec::new()) };
        let read = row.read_seq(reader).unwrap_or(0);
        let read_by_others = row.reads.greatest_but(reader).unwrap_or(0);
        let see = |index| {
            let message = Message::clone(&row.messages[index]);
            let is_read = message.seq <= if message.author.partner == reader { read_by_others } else { read };
            Seen { message, is_read }
        };
        let range = range(row, page);
        Ok(match page {
            Page::Newest { .. } | Page::Before { .. } => range.rev().map(see).collect(),
            Page::After { .. } => range.map(see).collect(),
        })
    }

    async fn read_by_others(&self, of: ConversationId, reader: PartnerId) -> Result<i64> {
        let state = self.snapshot()?;
        Ok(state.conversations.get(of).and_then(|row| row.reads.greatest_but(reader)).unwrap_or(0))
    }

    async fn messages_with_files(&self, of: ConversationId, before: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
        let state = self.snapshot()?;
        let messages = state.conversations.get(of).into_iter().flat_map(|row| row.messages.iter().rev());
        let wanted = |message: &&Arc<Message>| !message.attachments.is_empty() && before.is_none_or(|before| message.id < before);
        Ok(messages.filter(wanted).take(limit).map(|message| Message::clone(message)).collect())
    }

    async fn conversations_with_news(&self, partner: PartnerId, since: Timestamp) -> Result<Vec<ConversationId>> {
        let state = self.snapshot()?;
        let has_news = |row: &Row| row.posts.greatest_but(partner).is_some_and(|latest| latest > since);
        Ok(state.conversations.rows_of(partner).filter(|row| has_news(row)).map(|row| row.conversation.id).collect())
    }
}

#[async_trait]
impl WriteMessages for MemoryTx {
    async fn insert_messages(&mut self, to: Vec<Locked<Conversation>>, new: Vec<NewMessage>) -> Result<Vec<Message>> {
        if let Some(stray) = new.iter().find(|new| to.iter().all(|locked| locked.id != new.conversation)) {
            return Err(Error::Internal(format!("conversation {} is not locked", stray.conversation).into()));
        }
        new.into_iter().map(|new| self.draft.insert_message(new)).collect()
    }

    async fn messages_by_client_key(&mut self, keys: &[ClientKey]) -> Result<Vec<Message>> {
        let mut locations: Vec<_> = keys.iter().filter_map(|key| self.draft.messages.client_keys.get(key).copied()).collect();
        locations.sort_unstable();
        locations.dedup();
        Ok(locations.into_iter().map(|location| self.draft.message_at(location)).collect())
    }

    async fn message_of(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>> {
        let location = self.draft.messages.locations.get(&id).copied().filter(|(conversation, _)| *conversation == of.id);
        Ok(location.map(|location| self.draft.message_at(location)))
    }

    async fn edit_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        body: &str,
        at: Timestamp,
    ) -> Result<Option<Message>> {
        Ok(self.draft.change_message(of.id, id, |message| {
            message.body = body.to_owned();
            message.edited_at = Some(at);
        }))
    }

    async fn delete_message(&mut self, of: &Locked<Conversation>, id: MessageId, at: Timestamp) -> Result<Option<Message>> {
        let Some(message) = self.message_of(of, id).await? else { return Ok(None) };
        self.draft.attachments.detach(&message);
        if message.deleted_at.is_none() {
            let row = self.draft.conversations.get_mut(of.id).expect("what is locked exists");
            row.uncount(message.seq, message.author.partner);
        }
        Ok(self.draft.change_message(of.id, id, |message| {
            message.body.clear();
            message.metadata = None;
            message.attachments.clear();
            message.deleted_at = Some(at);
        }))
    }

    async fn show_message(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>> {
        Ok(self.draft.change_message(of.id, id, |message| message.held = false))
    }

    async fn attachments_to_send(&mut self, ids: &[AttachmentId]) -> Result<Vec<Attachment>> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids.into_iter().filter_map(|id| self.draft.attachments.get(id)).collect())
    }
}
