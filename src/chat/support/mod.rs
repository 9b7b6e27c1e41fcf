//! Support sessions: an initiator begins one, and an agent joins. The conversation itself is an ordinary one; these rules
//! decide who may begin, join, leave and end a session, and for which side a participant writes. Agents are users with the role
//! agent or admin.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached. Those with a uuid: `NotFound` for an unknown session or, as
//! initiator, another user's; `Forbidden` for the agent's side without the role, and for an action of an agent that has not
//! joined. Those that change something: `TooFast` beyond the caller's rate limit.
//!
//! # Cancel safety
//! A future dropped before its commit changes nothing but the rate limit. One dropped during its commit changes all or nothing,
//! and the tail publishes the change.

pub(super) mod cache;
mod watch;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use chrono::TimeDelta;
use storage::{
    Conversation, ConversationKind, Fact, Locked, Message, MessageId, MessageSide, NewConversation, Page, PartnerId, Role,
    SUPPORT_AGENTS, SupportSession, SupportStatus, Timestamp, Topic, Tx, UserId,
};
use uuid::Uuid;

use super::{Chat, Error, PageRead, ResourceKind, Result, SentFile, conversations, find_or_create::new_conversation, rates::Act};
use crate::{auth::Caller, clock};

/// Roles of agents.
const AGENT_ROLES: [Role; 2] = [Role::Agent, Role::Admin];
/// Deduplication window of [`Chat::begin_support`]: a retry gets the same empty session.
const RETRY: TimeDelta = TimeDelta::seconds(10);

/// Limit of messages that one read mark reports as newly seen.
const NEWLY_SEEN: i64 = 50;

const CLOSED: Error = Error::Conflict("the session is closed");

/// The caller's side in a support session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerSide {
    /// The user that began the session.
    Initiator,
    /// A user that answers sessions.
    Agent,
}

/// A message of a support session.
#[derive(Clone, Debug)]
pub struct SupportMessage {
    pub message: Message,
    /// Time at which the other side first saw the message.
    pub seen_at: Option<Timestamp>,
    /// The file of the message, if its metadata does not describe it.
    pub file: Option<SentFile>,
}

/// True for the roles of agents, which may read all support sessions.
pub(super) fn is_agent_role(role: Role) -> bool {
    AGENT_ROLES.contains(&role)
}

/// The side for which a partner writes in a session.
///
/// # Errors
/// `Forbidden` for a partner of neither side, even for a participant.
pub(super) fn side_of(session: &SupportSession, partner: PartnerId) -> Result<MessageSide> {
    match session.joiner {
        _ if session.initiator.partner == partner => Ok(MessageSide::Initiator),
        Some(joiner) if joiner.partner == partner => Ok(MessageSide::Agent),
        Some(_) | None => Err(Error::Forbidden),
    }
}

/// The side that wrote a message of a session. Rows of the first release have none: there the author decides, the initiator or
/// else an agent.
pub fn side_of_message(session: &SupportSession, message: &Message) -> MessageSide {
    message.support_side.unwrap_or(match message.author.partner == session.initiator.partner {
        true => MessageSide::Initiator,
        false => MessageSide::Agent,
    })
}

impl CallerSide {
    /// The side whose messages a caller of this side writes.
    fn message_side(self) -> MessageSide {
        match self {
            Self::Initiator => MessageSide::Initiator,
            Self::Agent => MessageSide::Agent,
        }
    }

    /// Checks the role: only agents may act as `Agent`.
    fn check_role(self, caller: &Caller) -> Result<()> {
        match self {
            Self::Agent if !is_agent_role(caller.role) => Err(Error::Forbidden),
            Self::Initiator | Self::Agent => Ok(()),
        }
    }

    /// Checks read access: an initiator sees its own sessions, an agent all.
    fn check_read(self, caller: &Caller, session: &SupportSession) -> Result<()> {
        match self {
            Self::Initiator if session.initiator.partner != caller.partner => Err(Error::NotFound(ResourceKind::Conversation)),
            Self::Initiator | Self::Agent => Ok(()),
        }
    }

    /// Checks write access: an agent must have joined the session.
    fn check_write(self, caller: &Caller, session: &SupportSession) -> Result<()> {
        self.check_read(caller, session)?;
        match self {
            Self::Agent if session.joiner.is_none_or(|joiner| joiner.partner != caller.partner) => Err(Error::Forbidden),
            Self::Initiator | Self::Agent => Ok(()),
        }
    }
}

impl Chat {
    /// Begins a session of the caller and notifies all agents. Idempotent within `RETRY`: the newest session, if it is that
    /// young and empty, is returned again, also to concurrent requests.
    ///
    /// # Errors
    /// `TooMany` beyond the limit of open sessions, `Ended` for a deactivated account.
    pub async fn begin_support(&self, caller: &Caller) -> Result<SupportSession> {
        let most = self.0.rules.support.open_sessions;
        let is_charged = AtomicBool::new(false);
        self.transaction(|mut tx| async {
            // The row lock serializes concurrent requests on all nodes.
            tx.lock_user(caller.user).await?.filter(|user| user.active).ok_or(Error::Ended)?;
            let now = clock::now();
            let open = tx.open_support_sessions(caller.partner, most.max(1)).await?;
            if let Some(newest) = open.first().filter(|newest| newest.messages == 0 && now - newest.begun_at < RETRY) {
                return Ok(newest.session);
            }
            if most > 0 && open.len() >= most {
                return Err(Error::TooMany("open sessions"));
            }
            // A retry of the transaction is not charged again.
            if !is_charged.swap(true, Ordering::Relaxed) {
                self.charge(caller, Act::Conversation)?;
            }
            let conversation = tx
                .insert_conversation(NewConversation {
                    created_at: now,
                    ..new_conversation(ConversationKind::Support, caller.name.clone(), vec![caller.partner])
                })
                .await?;
            let session = tx.insert_support_session(conversation.id, caller.partner, now).await?;
            tx.record(Topic::Conversation(conversation.id), Fact::ConversationCreated(conversation), now);
            record_waiting(tx.as_mut(), session, now).await?;
            self.0.publisher.commit(tx).await?;
            Ok(session)
        })
        .await
    }

    /// Reads a session that the caller may see. As a heartbeat, it updates the time of the caller's last request, if the
    /// session is open and the caller on one of its sides.
    pub async fn support_session(&self, caller: &Caller, side: CallerSide, uuid: Uuid) -> Result<SupportSession> {
        side.check_role(caller)?;
        let id = self.conversation_id(uuid).await?;
        let storage = &self.0.storage;
        let touched = storage.touch_support_session(id, caller.partner, clock::now()).await?;
        let session = match touched {
            Some(session) => session,
            None => storage.support_session(id).await?.ok_or(Error::NotFound(ResourceKind::Conversation))?,
        };
        side.check_read(caller, &session)?;
        Ok(session)
    }

    /// Reads a session in which the caller takes part; see [`Chat::support_session`].
    pub async fn own_support_session(&self, caller: &Caller, side: CallerSide, uuid: Uuid) -> Result<SupportSession> {
        let session = self.support_session(caller, side, uuid).await?;
        side.check_write(caller, &session)?;
        Ok(session)
    }

    /// Reads an open session in which the caller takes part.
    ///
    /// # Errors
    /// `Conflict` if the session is closed.
    pub async fn open_support_session(&self, caller: &Caller, side: CallerSide, uuid: Uuid) -> Result<SupportSession> {
        let session = self.own_support_session(caller, side, uuid).await?;
        if session.closed_at.is_some() { Err(CLOSED) } else { Ok(session) }
    }

    /// Lists the sessions of one status, or all, newest first, for agents.
    pub async fn support_sessions(
        &self,
        caller: &Caller,
        status: Option<SupportStatus>,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<SupportSession>> {
        CallerSide::Agent.check_role(caller)?;
        Ok(self.0.storage.support_sessions(status, offset, limit).await?)
    }

    /// Joins the caller as the agent of a session, in place of another only with `take_over`. The result is true if the caller
    /// had not joined before.
    ///
    /// # Errors
    /// `Conflict` if the session is closed, is the caller's own, or has another agent.
    pub async fn join_support(&self, caller: &Caller, uuid: Uuid, take_over: bool) -> Result<(SupportSession, bool)> {
        CallerSide::Agent.check_role(caller)?;
        self.charge(caller, Act::Write)?;
        let id = self.conversation_id(uuid).await?;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let (of, before) = locked(tx.as_mut(), id).await?;
            if before.closed_at.is_some() {
                return Err(CLOSED);
            }
            if before.initiator.partner == caller.partner {
                return Err(Error::Conflict("the session is your own"));
            }
            let former = before.joiner.filter(|joiner| joiner.partner != caller.partner);
            if former.is_some() && !take_over {
                return Err(Error::Conflict("another agent has joined the session"));
            }
            if let Some(former) = former {
                conversations::remove_participant(tx.as_mut(), &of, former.partner, now).await?;
            }
            let joined = self.add_participants(tx.as_mut(), &of, &[caller.partner], now).await?;
            tx.set_support_joiner(&of, Some(caller.partner), now).await?;
            let session = tx.support_session_of(&of).await?.ok_or(Error::NotFound(ResourceKind::Conversation))?;
            let is_new = joined || before.joiner.is_none_or(|joiner| joiner.partner != caller.partner);
            if is_new {
                record_change(tx.as_mut(), session, Some(caller.user), former.map(|former| former.partner), now);
            }
            self.0.publisher.commit(tx).await?;
            Ok((session, is_new))
        })
        .await
    }

    /// Returns a session that the caller has joined to the queue of waiting sessions.
    ///
    /// # Errors
    /// `Conflict` if the session is closed.
    ///
    /// # Cancel safety
    /// As for all; the end of the caller's typing may be missing.
    pub async fn leave_support(&self, caller: &Caller, uuid: Uuid) -> Result<SupportSession> {
        CallerSide::Agent.check_role(caller)?;
        self.charge(caller, Act::Write)?;
        let id = self.conversation_id(uuid).await?;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let (of, session) = locked(tx.as_mut(), id).await?;
            CallerSide::Agent.check_write(caller, &session)?;
            if session.closed_at.is_some() {
                return Err(CLOSED);
            }
            let waiting = requeue(tx.as_mut(), &of, session, Some(caller.user), now).await?;
            self.0.publisher.commit(tx).await?;
            self.end_typing(id, caller.partner).await;
            Ok(waiting)
        })
        .await
    }

    /// Closes a session of the caller. Idempotent: the result is true if the session was open.
    pub async fn end_support(&self, caller: &Caller, side: CallerSide, uuid: Uuid) -> Result<(SupportSession, bool)> {
        self.charge(caller, Act::Write)?;
        let session = self.own_support_session(caller, side, uuid).await?;
        if session.closed_at.is_some() {
            return Ok((session, false));
        }
        let now = clock::now();
        self.transaction(|mut tx| async {
            let (of, session) = locked(tx.as_mut(), session.conversation).await?;
            side.check_write(caller, &session)?;
            if session.closed_at.is_some() {
                return Ok((session, false));
            }
            let closed = close(tx.as_mut(), &of, session, Some(caller.user), now).await?;
            self.0.publisher.commit(tx).await?;
            Ok((closed, true))
        })
        .await
    }

    /// A page of the messages of a session that the caller may see, in the order of the page: by offset as a whole, unless it holds
    /// more than `reserved` bytes.
    pub async fn support_history(
        &self,
        caller: &Caller,
        side: CallerSide,
        uuid: Uuid,
        page: Page,
        reserved: usize,
    ) -> Result<PageRead<(SupportSession, Vec<SupportMessage>)>> {
        let session = self.support_session(caller, side, uuid).await?;
        let id = session.conversation;
        let messages = match self.page(id, caller.partner, page, reserved).await? {
            PageRead::Read(messages) => messages,
            PageRead::Larger(bytes) => return Ok(PageRead::Larger(bytes)),
        };
        let messages: Vec<_> = messages.into_iter().map(|seen| seen.message).collect();
        let places: Vec<_> = messages.iter().map(|message| (message.seq, side_of_message(&session, message))).collect();
        let seen: HashMap<_, _> = self.0.storage.seen_at(id, &places).await?;
        let mut files = self.sent_files(&messages).await?;
        let message = |message: Message| SupportMessage {
            seen_at: seen.get(&message.seq).copied(),
            file: files.remove(&message.id),
            message,
        };
        let messages = messages.into_iter().map(message).collect();
        Ok(PageRead::Read((session, messages)))
    }

    /// Marks a message of the other side, and all before it, as seen. Idempotent: only a change publishes an event.
    ///
    /// # Errors
    /// `NotFound` for a message of another conversation, `Invalid` for one of the caller's own side.
    pub async fn mark_support_seen(
        &self,
        caller: &Caller,
        side: CallerSide,
        uuid: Uuid,
        message: MessageId,
    ) -> Result<(SupportSession, SupportMessage)> {
        self.charge(caller, Act::Write)?;
        let session = self.own_support_session(caller, side, uuid).await?;
        let id = session.conversation;
        let found = self.0.storage.messages_by_id(&[message]).await?;
        let message = found.into_iter().find(|found| found.conversation == id).ok_or(Error::NotFound(ResourceKind::Message))?;
        if side_of_message(&session, &message) == side.message_side() {
            return Err(Error::Invalid { field: "message", reason: "must be one of the other side".into() });
        }
        let (seq, now) = (message.seq, clock::now());
        self.transaction(|mut tx| async {
            let advanced = tx.advance_read(id, caller.partner, seq).await?;
            let marked = tx.mark_seen(&[(id, caller.partner, seq)], now).await?;
            if advanced.has_seen || !marked.is_empty() {
                let fact = Fact::ReadUpTo { partner: caller.partner, seq, messages: vec![message.id] };
                tx.record(Topic::Conversation(id), fact, now);
                self.0.publisher.commit(tx).await?;
            }
            Ok(())
        })
        .await?;
        let (seen_at, file) = (self.support_seen_at(&session, &message).await?, self.sent_file(&message).await?);
        Ok((session, SupportMessage { message, seen_at, file }))
    }

    /// The messages of the other side that became seen when the reader's read mark moved to `seq` at the time `at`: oldest
    /// first, the newest 50 at most. Empty if the reader is on neither side.
    pub async fn newly_seen(
        &self,
        session: &SupportSession,
        reader: PartnerId,
        seq: i64,
        at: Timestamp,
    ) -> Result<Vec<SupportMessage>> {
        let Ok(side) = side_of(session, reader) else { return Ok(Vec::new()) };
        let (storage, of) = (&self.0.storage, session.conversation);
        let places: Vec<_> = ((seq - NEWLY_SEEN).max(0) + 1..=seq).map(|seq| (of, seq)).collect();
        let ids: Vec<_> = storage.messages_at(&places).await?.into_iter().map(|message| message.id).collect();
        let mut messages = storage.messages_by_id(&ids).await?;
        messages.retain(|message| message.deleted_at.is_none() && side_of_message(session, message) != side);
        let places: Vec<_> = messages.iter().map(|message| (message.seq, side_of_message(session, message))).collect();
        let seen: HashMap<_, _> = storage.seen_at(of, &places).await?;
        messages.retain(|message| seen.get(&message.seq) == Some(&at));
        messages.sort_unstable_by_key(|message| message.id);
        let mut files = self.sent_files(&messages).await?;
        let seen = |message: Message| SupportMessage { seen_at: Some(at), file: files.remove(&message.id), message };
        Ok(messages.into_iter().map(seen).collect())
    }

    /// The time at which the other side first saw a message of the session.
    pub async fn support_seen_at(&self, session: &SupportSession, message: &Message) -> Result<Option<Timestamp>> {
        let place = (message.seq, side_of_message(session, message));
        let seen = self.0.storage.seen_at(session.conversation, &[place]).await?;
        Ok(seen.get(&message.seq).copied())
    }

    /// The number of messages that the caller has not read in sessions that it began.
    pub async fn support_unread(&self, caller: &Caller) -> Result<i64> {
        Ok(self.0.storage.support_unread(caller.partner).await?)
    }

    /// The support session of a conversation, if it is one, from the cache. Access is not checked. The times of last requests
    /// may be stale.
    pub async fn support_of(&self, id: storage::ConversationId) -> Result<Option<Arc<SupportSession>>> {
        let read = async {
            let session = self.0.storage.support_session(id).await?;
            Ok(Some(session.map(Arc::new)))
        };
        Ok(self.0.support.sessions.get(id, read).await?.flatten())
    }
}

async fn locked(tx: &mut dyn Tx, id: storage::ConversationId) -> Result<(Locked<Conversation>, SupportSession)> {
    let of = tx.lock_conversations(&[id]).await?.pop().ok_or(Error::NotFound(ResourceKind::Conversation))?;
    let session = tx.support_session_of(&of).await?.ok_or(Error::NotFound(ResourceKind::Conversation))?;
    Ok((of, session))
}

/// Closes an open session: no message follows.
async fn close(
    tx: &mut dyn Tx,
    of: &Locked<Conversation>,
    session: SupportSession,
    by: Option<UserId>,
    now: Timestamp,
) -> Result<SupportSession> {
    tx.set_closed(of, now).await?;
    let session = SupportSession { closed_at: Some(now), ..session };
    let conversation = Conversation { closed_at: Some(now), ..Conversation::clone(of) };
    tx.record(Topic::Conversation(of.id), Fact::ConversationChanged(conversation), now);
    record_change(tx, session, by, None, now);
    Ok(session)
}

/// Returns an open session to the queue of waiting sessions, without an agent.
async fn requeue(
    tx: &mut dyn Tx,
    of: &Locked<Conversation>,
    session: SupportSession,
    by: Option<UserId>,
    now: Timestamp,
) -> Result<SupportSession> {
    let former = session.joiner.map(|joiner| joiner.partner);
    if let Some(former) = former {
        conversations::remove_participant(tx, of, former, now).await?;
    }
    tx.set_support_joiner(of, None, now).await?;
    let session = SupportSession { joiner: None, ..session };
    record_change(tx, session, by, former, now);
    record_waiting(tx, session, now).await?;
    Ok(session)
}

/// Records a change of a session for its participants and for all agents.
fn record_change(tx: &mut dyn Tx, session: SupportSession, by: Option<UserId>, former: Option<PartnerId>, now: Timestamp) {
    let changed = Fact::SupportChanged { session, by };
    tx.record(Topic::Conversation(session.conversation), changed.clone(), now);
    tx.record(Topic::Partner(SUPPORT_AGENTS), changed.clone(), now);
    // The former agent is no longer a participant; a node of the first release delivers only its own topic, as in
    // `record_waiting`.
    if let Some(former) = former {
        tx.record(Topic::Partner(former), changed, now);
    }
}

/// Records for all agents that a session waits.
async fn record_waiting(tx: &mut dyn Tx, session: SupportSession, now: Timestamp) -> Result<()> {
    tx.record(Topic::Partner(SUPPORT_AGENTS), Fact::SupportWaits(session), now);
    // Compatibility: nodes of the first release, which may still run during an upgrade, deliver to an agent only its own topic.
    // The copies go with the next release. Readers of this release skip them.
    for partner in tx.partners_with_role(&AGENT_ROLES).await? {
        if partner != session.initiator.partner {
            tx.record(Topic::Partner(partner), Fact::SupportWaits(session), now);
        }
    }
    Ok(())
}
