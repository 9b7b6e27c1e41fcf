//! In-memory indexes of messages. The messages themselves are in the rows of their conversations.

pub(crate) mod attachments;
pub(crate) mod changes;
pub(crate) mod held_messages;
pub(crate) mod reactions;
pub(crate) mod reads;
pub(crate) mod search;
pub(crate) mod uploads;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use imbl::{HashMap, HashSet, OrdMap};

use super::{
    Memory, MemoryTx, Sequence, State,
    conversations::{Row, last_message},
    messages::reads::read_by_others,
};
use crate::{
    Attachment, AttachmentId, ClientKey, ContentHash, Conversation, ConversationId, DeletedMessage, Error, KeyedMessage, Locked,
    Message, MessageForReader, MessageId, MessageLocation, Messages, NewClientKey, NewMessage, Page, PartnerId, Result,
    Timestamp, WriteMessages, page_length,
};

/// Locations of messages by id and by client key, external ids in use, and the id sequence.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) ids: Sequence,
    pub(crate) locations: OrdMap<MessageId, Location>,
    client_keys: HashMap<ClientKey, Location>,
    keyed: OrdMap<MessageId, ClientKey>,
    pub(crate) external_ids: HashSet<String>,
}

/// Location of a message: its conversation and `seq`.
type Location = (ConversationId, i64);

impl State {
    pub(crate) fn message_at(&self, (conversation, seq): Location) -> Message {
        self.conversations.get(conversation).and_then(|row| row.message(seq)).expect("messages are never deleted").clone()
    }

    /// Resolves the locations that exist.
    fn located(&self, mut places: Vec<Location>) -> Vec<MessageLocation> {
        places.sort_unstable();
        places.dedup();
        let located = |(conversation, seq)| {
            let message = self.conversations.get(conversation)?.message(seq)?;
            Some(MessageLocation { conversation, seq, id: message.id, author: message.author.partner })
        };
        places.into_iter().filter_map(located).collect()
    }

    pub(crate) fn seen(&self, row: &Row, message: &Message, reader: PartnerId) -> MessageForReader {
        let is_read = match message.author.partner == reader {
            true => read_by_others(row, reader).iter().any(|range| range.contains(message.seq)),
            false => message.seq <= row.read_seq(reader).unwrap_or(0),
        };
        MessageForReader { message: message.clone(), is_read, reactions: self.reactions.counts(message.id, reader) }
    }

    /// Changes a message of a conversation. Returns the changed message; `None` if there is none.
    pub(crate) fn change_message(
        &mut self,
        of: ConversationId,
        id: MessageId,
        change: impl FnOnce(&mut Message),
    ) -> Option<Message> {
        let (conversation, seq) = self.messages.locations.get(&id).copied()?;
        if conversation != of {
            return None;
        }
        let row = self.conversations.get_mut(conversation)?;
        let message = row.message_mut(seq)?;
        let before = message.clone();
        change(message);
        let changed = message.clone();
        row.note_change(&before, &changed);
        self.attendances.update(&changed);
        self.log.rewrite(&changed);
        Some(changed)
    }

    fn insert_message(&mut self, new: NewMessage) -> Result<Message> {
        let row = self.conversations.get(new.conversation).expect("what is locked exists");
        let client_key = new.client_key.clone().map(|NewClientKey { key, hash }| ClientKey {
            conversation: new.conversation,
            author: new.author.partner,
            key,
            hash,
        });
        let message = new.stored(MessageId(self.messages.ids.draw(None)), row.conversation.last_seq + 1);
        self.store_message(message.clone())?;
        if let Some(key) = client_key {
            self.messages.keyed.insert(message.id, key.clone());
            if self.messages.client_keys.insert(key, (message.conversation, message.seq)).is_some() {
                return Err(Error::Conflict("messages_client_key"));
            }
        }
        Ok(message)
    }

    /// Stores a message, whose `seq` must be the next of its conversation.
    pub(crate) fn store_message(&mut self, message: Message) -> Result<()> {
        if message.external_id.as_ref().is_some_and(|id| self.messages.external_ids.contains(id)) {
            return Err(Error::Conflict("messages_external_id"));
        }
        self.messages.external_ids.extend(message.external_id.clone());
        self.users.person(message.author.partner)?;
        self.attachments.attach(&message)?;
        self.messages.locations.insert(message.id, (message.conversation, message.seq));
        self.attendances.update(&message);
        self.conversations.get_mut(message.conversation).expect("what is locked exists").push(message);
        Ok(())
    }
}

/// Greatest `seq` that is hidden from a reader; 0 if none is.
fn visible_from(row: &Row, reader: PartnerId) -> i64 {
    row.standing(reader).map_or(0, |standing| standing.visible_from_seq)
}

/// Index range of the `limit` newest messages after the first `offset`, from the oldest on; the first `hidden` messages are hidden
/// from the reader.
fn newest(row: &Row, hidden: usize, offset: u64, limit: usize) -> Range<usize> {
    let end = row.messages.len().saturating_sub(usize::try_from(offset).unwrap_or(usize::MAX));
    end.saturating_sub(limit).max(hidden)..end
}

/// Index range of a page, from the oldest message on; the first `hidden` messages are hidden from the reader.
fn range(row: &Row, hidden: usize, page: Page) -> Range<usize> {
    let up_to = |range: Range<usize>| {
        let sizes = range.clone().rev().map(|index| row.messages[index].bytes());
        range.end.max(range.start) - page_length(sizes)..range.end
    };
    match page {
        Page::Newest { offset, limit } => up_to(newest(row, hidden, offset, limit)),
        Page::Before { id, limit } => {
            let (Ok(end) | Err(end)) = row.messages.binary_search_by_key(&id, |message| message.id);
            up_to(end.saturating_sub(limit).max(hidden)..end)
        }
        Page::After { id, limit } => {
            let start = match row.messages.binary_search_by_key(&id, |message| message.id) {
                Ok(index) => index + 1,
                Err(index) => index,
            };
            let start = start.max(hidden);
            let range = start..start.saturating_add(limit).min(row.messages.len());
            let sizes = range.clone().map(|index| row.messages[index].bytes());
            start..start + page_length(sizes)
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

    async fn locate_messages(&self, ids: &[MessageId]) -> Result<Vec<MessageLocation>> {
        let state = self.snapshot()?;
        let places: Vec<_> = ids.iter().filter_map(|id| state.messages.locations.get(id).copied()).collect();
        Ok(state.located(places))
    }

    async fn messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<MessageLocation>> {
        Ok(self.snapshot()?.located(places.iter().filter(|(_, seq)| *seq > 0).copied().collect()))
    }

    async fn last_messages(&self, of: &[(ConversationId, PartnerId)], reader: PartnerId) -> Result<Vec<Message>> {
        let state = self.snapshot()?;
        let visible = of.iter().filter_map(|(id, partner)| {
            let row = state.conversations.get(*id)?;
            row.last_own(*partner).filter(|message| message.seq > visible_from(row, reader))
        });
        Ok(visible.map(last_message).collect())
    }

    async fn draw_message_id(&self) -> Result<MessageId> {
        let mut tx = self.draft().await?;
        let id = MessageId(tx.draft.messages.ids.draw(None));
        tx.publish();
        Ok(id)
    }

    async fn messages(&self, of: ConversationId, reader: PartnerId, page: Page) -> Result<Vec<MessageForReader>> {
        let state = self.snapshot()?;
        let Some(row) = state.conversations.get(of) else { return Ok(Vec::new()) };
        let see = |index| state.seen(row, &row.messages[index], reader);
        let hidden = usize::try_from(visible_from(row, reader)).unwrap_or_default();
        let range = range(row, hidden, page);
        Ok(match page {
            Page::Newest { .. } | Page::Before { .. } => range.rev().map(see).collect(),
            Page::After { .. } => range.map(see).collect(),
        })
    }

    async fn newest_bytes(&self, of: ConversationId, reader: PartnerId, offset: u64, limit: usize) -> Result<usize> {
        let state = self.snapshot()?;
        let Some(row) = state.conversations.get(of) else { return Ok(0) };
        let hidden = usize::try_from(visible_from(row, reader)).unwrap_or_default();
        Ok(newest(row, hidden, offset, limit).map(|index| row.messages[index].bytes()).sum())
    }

    async fn messages_with_files(
        &self,
        of: ConversationId,
        reader: PartnerId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        let state = self.snapshot()?;
        let Some(row) = state.conversations.get(of) else { return Ok(Vec::new()) };
        let visible_from = visible_from(row, reader);
        let messages = row.messages.iter().rev().take_while(|message| message.seq > visible_from);
        let wanted = |message: &&Arc<Message>| !message.attachments.is_empty() && before.is_none_or(|before| message.id < before);
        let page: Vec<_> = messages.filter(wanted).take(limit).collect();
        let fitting = page_length(page.iter().map(|message| message.bytes()));
        Ok(page[..fitting].iter().map(|message| Message::clone(message)).collect())
    }

    async fn conversations_with_new_messages(&self, partner: PartnerId, since: Timestamp) -> Result<Vec<ConversationId>> {
        let state = self.snapshot()?;
        let has_news = |row: &Row| match visible_from(row, partner) {
            0 => row.posts.greatest_but(partner).is_some_and(|latest| latest > since),
            hidden => {
                let mut visible = row.messages.iter().rev().take_while(|message| message.seq > hidden);
                visible.any(|message| message.author.partner != partner && message.created_at > since)
            }
        };
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

    async fn messages_by_client_key(&mut self, keys: &[ClientKey]) -> Result<Vec<KeyedMessage>> {
        let table = &self.draft.messages.client_keys;
        let mut found: Vec<_> = keys.iter().filter_map(|key| Some((*table.get(key)?, key.hash))).collect();
        found.sort_unstable();
        found.dedup();
        let keyed = |(location, hash)| KeyedMessage { message: self.draft.message_at(location), hash: Some(hash) };
        Ok(found.into_iter().map(keyed).collect())
    }

    async fn set_content_hash(&mut self, _: MessageId, _: &ContentHash) -> Result<()> {
        // No message lacks a hash: this backend has no rows of the first release.
        Ok(())
    }

    async fn release_client_keys(&mut self, of: &[MessageId]) -> Result<()> {
        for id in of {
            let Some(key) = self.draft.messages.keyed.remove(id) else { continue };
            self.draft.messages.client_keys.remove(&key);
            self.draft.change_message(key.conversation, *id, |message| message.client_key = None);
        }
        Ok(())
    }

    async fn seqs_of(
        &mut self,
        messages: &[(ConversationId, MessageId)],
    ) -> Result<std::collections::HashMap<(ConversationId, MessageId), i64>> {
        let locations = &self.draft.messages.locations;
        let seq = |(of, id): &(ConversationId, MessageId)| {
            let (conversation, seq) = locations.get(id)?;
            (conversation == of).then_some(((*of, *id), *seq))
        };
        Ok(messages.iter().filter_map(seq).collect())
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
        by: PartnerId,
        at: Timestamp,
    ) -> Result<Option<Message>> {
        self.draft.log.supersede_edits(id);
        Ok(self.draft.change_message(of.id, id, |message| {
            message.body = body.to_owned();
            message.edited_at = Some(at);
            message.edited_by = Some(by);
        }))
    }

    async fn delete_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        by: PartnerId,
        at: Timestamp,
    ) -> Result<Option<DeletedMessage>> {
        let Some(message) = self.message_of(of, id).await? else { return Ok(None) };
        let files = self.draft.attachments.detach(&message);
        self.draft.reactions.forget(id);
        if message.deleted_at.is_none() {
            let row = self.draft.conversations.get_mut(of.id).expect("what is locked exists");
            row.uncount(message.seq, message.author.partner);
        }
        let deleted = self.draft.change_message(of.id, id, |message| {
            message.body.clear();
            message.metadata = None;
            message.attachments.clear();
            message.deleted_at = Some(at);
            message.deleted_by = Some(by);
        });
        Ok(deleted.map(|message| DeletedMessage { message, files }))
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
