//! Messages: sending, history, polling, and read positions.
//! Sends and read marks go through group commits. A client key makes a send idempotent.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! A dropped read leaves nothing behind. A write dropped before its commit changes nothing; dropped during it, all or nothing.

pub(super) mod draft;
pub(super) mod edits;
mod pages;
pub(super) mod reactions;
pub(super) mod search;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use storage::{
    Author, Conversation, ConversationId, Fact, MessageForReader, MessageId, MessageLocation, NewClientKey, Page, ReadAdvance,
    Scope, Topic,
};
use tokio::time::Instant;

pub use draft::{Draft, SendOutcome};
pub use pages::PageRead;

use super::{
    Chat, Error, Result,
    group_commit::{MarkRead, ReadMark, SendJob},
    rates::Act,
    subscriptions::next_until,
    uploads::mentioned_uploads,
};
use crate::{auth::Caller, clock, events::DeliveredEvent};

/// Limit of message ids in one read event, and in all read events of one mark in a conversation.
const IDS_PER_READ_EVENT: usize = 100;
pub(super) const IDS_PER_READ_MARK: usize = 1_000;
/// Batch size of lookups of message locations.
const LOCATE_BATCH: usize = 1_000;
/// Limit of attachments per message.
pub const ATTACHMENTS: usize = 50;
/// Page size of a poll.
const POLL_PAGE: usize = 100;

/// Location of a message: its conversation, its `seq` there, and its id.
pub(super) type Location = (ConversationId, i64, MessageId);

impl Chat {
    /// Checks that a draft can be stored in any conversation, for a caller that creates the conversation first.
    ///
    /// # Errors
    /// `TooLong` or `Invalid`.
    pub fn check_draft(&self, draft: &Draft) -> Result<()> {
        self.check_body(&draft.body)?;
        draft.check_metadata_and_key()
    }

    /// Sends a message, and returns it once it is stored durably. White space alone counts as no text; a message without text
    /// needs an attachment.
    ///
    /// # Errors
    /// `TooLong` or `Invalid` for the draft; `NotFound` for the conversation or the message replied to; `Forbidden` unless the
    /// caller is a participant and owns the attachments; `Conflict` in a closed conversation; `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// The message may be stored or not. With a client key, a retry is idempotent.
    ///
    /// # Ordering
    /// Messages of one conversation become visible in rising order of `seq` and id.
    pub async fn send(&self, caller: &Caller, to: ConversationId, mut draft: Draft) -> Result<SendOutcome> {
        self.check_draft(&draft)?;
        let mut named = HashSet::new();
        draft.attachments.retain(|id| named.insert(*id));
        if draft.attachments.len() > ATTACHMENTS {
            return Err(Error::Invalid {
                field: "attachment_ids",
                reason: format!("must not be more than {ATTACHMENTS}").into(),
            });
        }
        if draft.body.trim().is_empty() && draft.attachments.is_empty() {
            return Err(Error::Invalid { field: "body", reason: "must not be empty".into() });
        }
        self.charge(caller, Act::Write)?;
        let author = Author { partner: caller.partner, user: Some(caller.user), name: caller.name.clone() };
        let uploads = mentioned_uploads(&draft.body, draft.metadata.as_ref(), &self.0.rules.uploads.kinds);
        draft.held = draft.held && self.may_hold(caller).await?;
        let client_key = draft.client_key.take().map(|key| NewClientKey { key, hash: draft.content_hash() });
        let retry = self.0.rules.idempotency_window;
        let mut sent = self.0.sends.store(SendJob { author, to, draft, client_key, retry, uploads }).await?;
        if sent.message.held && !sent.is_retry {
            sent.message = self.held_or_shown(sent.message).await;
        }
        self.record_activity(caller);
        self.end_typing(to, caller.partner).await;
        Ok(sent)
    }

    /// Reads a page of a conversation of the caller, up to [`storage::PAGE_BYTES`].
    ///
    /// # Errors
    /// `NotFound` for the conversation, `Forbidden` unless the caller is a participant.
    pub async fn history(
        &self,
        caller: &Caller,
        of: ConversationId,
        page: Page,
    ) -> Result<(Conversation, Vec<MessageForReader>)> {
        let (conversation, _) = self.conversation(caller, of).await?;
        let messages = self.0.storage.messages(of, caller.partner, page).await?;
        Ok((conversation, messages))
    }

    /// Reads a page as [`Chat::history`], but by offset as a whole, unless it holds more than `reserved` bytes.
    ///
    /// # Errors
    /// As [`Chat::history`].
    pub async fn history_within(
        &self,
        caller: &Caller,
        of: ConversationId,
        page: Page,
        reserved: usize,
    ) -> Result<PageRead<(Conversation, Vec<MessageForReader>)>> {
        let (conversation, _) = self.conversation(caller, of).await?;
        let read = self.page(of, caller.partner, page, reserved).await?;
        Ok(read.map(|messages| (conversation, messages)))
    }

    /// Polls for messages with a larger id than `after`, oldest first. Returns at once if there are any, else as soon as one
    /// arrives, else none at the deadline or when the server stops. Without `after`, polls for new messages. An `after` beyond
    /// the newest message counts as the newest. `waits` is called when the poll begins to wait. From then on, the poll makes no
    /// query until a message arrives.
    ///
    /// # Errors
    /// `NotFound` for the conversation; `Forbidden` unless the caller is, and stays, a participant; `Ended` once its session has
    /// ended; `TooFast` beyond the limit of waiting polls.
    ///
    /// # Cancel safety
    /// No message is lost: a repeat with the same `after` returns it.
    pub async fn wait_for_messages(
        &self,
        caller: &Caller,
        of: ConversationId,
        after: Option<MessageId>,
        deadline: Instant,
        waits: impl FnOnce(),
    ) -> Result<Vec<MessageForReader>> {
        let feed = self.subscribe(Scope::Conversation(of), None).read_by(caller.partner);
        let (conversation, participant) = self.conversation(caller, of).await?;
        let mut feed = feed.visible_from(&participant);
        let newest = conversation.last_message.unwrap_or(MessageId(0));
        let after = after.map_or(newest, |after| after.min(newest));
        if after < newest {
            let page = Page::After { id: after, limit: POLL_PAGE };
            let messages = self.0.storage.messages(of, caller.partner, page).await?;
            messages.iter().for_each(|seen| self.0.hub.record_delivery(&seen.message, caller.partner));
            // Empty if all of them are hidden from the caller.
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
        let _place = self.take_poll_slot_until(caller, deadline, waits)?;
        loop {
            let Some(batch) = next_until(&mut feed, caller, &self.0.requests, deadline).await? else { return Ok(Vec::new()) };
            let events = batch.events;
            let left = |told: &Arc<DeliveredEvent>| matches!(&told.event.fact, Fact::ParticipantLeft { partner, .. } if *partner == caller.partner);
            if events.iter().any(left) {
                return Err(Error::Forbidden);
            }
            let mut news: Vec<_> = events
                .iter()
                .filter_map(|told| match &told.event.fact {
                    Fact::MessagePosted(message) if message.id > after => Some(message),
                    _ => None,
                })
                .take(POLL_PAGE)
                .map(|message| MessageForReader { message: message.clone(), is_read: false, reactions: Vec::new() })
                .collect();
            // A message may have reactions before it is delivered.
            let has_reactions = |id| {
                let reacts =
                    |told: &Arc<DeliveredEvent>| matches!(told.event.fact, Fact::MessageReacted { message, .. } if message == id);
                events.iter().any(reacts)
            };
            for seen in news.iter_mut().filter(|seen| has_reactions(seen.message.id)) {
                seen.reactions = self.0.storage.reactions(seen.message.id, caller.partner).await?;
            }
            if !news.is_empty() {
                return Ok(news);
            }
        }
    }

    /// Locates messages by conversation and `seq`, without their texts. Does not check access: the caller must know each
    /// conversation.
    pub async fn messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<MessageLocation>> {
        Ok(self.0.storage.messages_at(places).await?)
    }

    /// Marks messages, and all earlier ones of their conversations, as read by the caller. Returns how many messages of others
    /// became read. Ignores conversations that the caller is not in.
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// The mark may be stored or not; a repeat is idempotent.
    pub async fn mark_read(&self, caller: &Caller, messages: &[MessageId]) -> Result<i64> {
        self.charge(caller, Act::Write)?;
        let located = self.locate(messages).await?;
        Ok(self.mark_located(caller, &located).await?.newly_read)
    }

    /// Locates messages, sorted by conversation and `seq`; unknown ones are absent.
    pub(super) async fn locate(&self, messages: &[MessageId]) -> Result<Vec<Location>> {
        let mut located = BTreeSet::new();
        for messages in messages.chunks(LOCATE_BATCH) {
            let found = self.0.storage.locate_messages(messages).await?;
            located.extend(found.iter().map(|message| (message.conversation, message.seq, message.id)));
        }
        Ok(located.into_iter().collect())
    }

    /// Marks messages as read, as [`Chat::mark_read`], and also returns whether others receive an event of it.
    pub(super) async fn mark_located(&self, caller: &Caller, located: &[Location]) -> Result<ReadAdvance> {
        if located.is_empty() {
            return Ok(ReadAdvance::default());
        }
        let last = |named: &[Location]| named[named.len() - 1].1;
        let upto = |named: &[Location]| ReadMark {
            conversation: named[0].0,
            seq: last(named),
            facts: named[named.len().saturating_sub(IDS_PER_READ_MARK)..]
                .chunks(IDS_PER_READ_EVENT)
                .map(|named| (last(named), named.iter().map(|(.., id)| *id).collect()))
                .collect(),
        };
        let upto = located.chunk_by(|(of, ..), (next, ..)| of == next).map(upto).collect();
        self.0.read_marks.store(MarkRead { reader: caller.partner, marks: upto }).await
    }

    /// Marks a conversation of the caller as read up to `seq`; returns how many messages of others became read.
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// As [`Chat::mark_read`].
    pub async fn mark_read_up_to(&self, caller: &Caller, of: ConversationId, seq: i64) -> Result<i64> {
        self.charge(caller, Act::Write)?;
        let upto = vec![ReadMark { conversation: of, seq, facts: vec![(seq, Vec::new())] }];
        Ok(self.0.read_marks.store(MarkRead { reader: caller.partner, marks: upto }).await?.newly_read)
    }

    /// Marks one conversation of the caller, or all of them, as read; returns how many messages of others became read.
    ///
    /// # Errors
    /// `NotFound` or `Forbidden` for the conversation, `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// As [`Chat::mark_read`].
    pub async fn mark_all_read(&self, caller: &Caller, of: Option<ConversationId>) -> Result<i64> {
        if let Some(id) = of {
            let (conversation, _) = self.conversation(caller, id).await?;
            return self.mark_read_up_to(caller, id, conversation.last_seq).await;
        }
        self.charge(caller, Act::Write)?;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let moved = tx.advance_read_everywhere(caller.partner).await?;
            if moved.is_empty() {
                return Ok(0);
            }
            let read: Vec<_> = moved.into_iter().filter(|(_, unread, _)| *unread > 0).collect();
            for (conversation, _, seq) in &read {
                let fact = Fact::ReadUpTo { partner: caller.partner, seq: *seq, messages: Vec::new() };
                tx.record(Topic::Conversation(*conversation), fact, now);
            }
            let seen: Vec<_> = read.iter().map(|(conversation, _, seq)| (*conversation, caller.partner, *seq)).collect();
            tx.mark_seen(&seen, now).await?;
            self.0.publisher.commit(tx).await?;
            Ok(read.iter().map(|(_, unread, _)| unread).sum())
        })
        .await
    }
}
