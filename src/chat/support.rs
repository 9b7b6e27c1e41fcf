//! Support sessions: somebody asks, and one of those who answer joins. The conversation is like any other; the rules here
//! say who may begin, join and end it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::TimeDelta;
use storage::{
    Conversation, ConversationKind, Fact, Locked, Message, MessageId, NewConversation, Page, Role, SupportSession, SupportStatus,
    ThreadType, Timestamp, Topic, Tx,
};
use uuid::Uuid;

use super::{Chat, Error, Result, Thing, conversations};
use crate::{auth::Caller, clock, lifecycle::Lifecycle, telemetry};

/// Who answers.
const ANSWERING: [Role; 2] = [Role::Agent, Role::Admin];
/// How often, at the least, silent sessions are looked for.
const LOOK: Duration = Duration::from_secs(60);
/// How many sessions one step closes.
const STEP: usize = 100;

const CLOSED: Error = Error::Conflict("the session is closed");

/// As whom somebody asks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// As the one who began it.
    Initiator,
    /// As one of those who answer.
    Agent,
}

/// A message of a support session.
#[derive(Clone, Debug)]
pub struct SupportMessage {
    pub message: Message,
    /// When the side that did not write it first saw it.
    pub seen_at: Option<Timestamp>,
}

impl Side {
    /// Only those who answer may ask as such, whatever they ask for.
    fn admit(self, caller: &Caller) -> Result<()> {
        match self {
            Self::Agent if !ANSWERING.contains(&caller.role) => Err(Error::Forbidden),
            Self::Initiator | Self::Agent => Ok(()),
        }
    }

    /// Others' sessions are not there for those who began none; those who answer may look at all.
    fn sees(self, caller: &Caller, session: &SupportSession) -> Result<()> {
        match self {
            Self::Initiator if session.initiator.partner != caller.partner => Err(Error::NotFound(Thing::Conversation)),
            Self::Initiator | Self::Agent => Ok(()),
        }
    }

    /// To do something in it, those who answer must have joined.
    fn takes_part(self, caller: &Caller, session: &SupportSession) -> Result<()> {
        self.sees(caller, session)?;
        match self {
            Self::Agent if session.joiner.is_none_or(|joiner| joiner.partner != caller.partner) => Err(Error::Forbidden),
            Self::Initiator | Self::Agent => Ok(()),
        }
    }
}

impl Chat {
    /// Begins a session of the caller, of which everybody is told who answers.
    pub async fn begin_support(&self, caller: &Caller) -> Result<SupportSession> {
        let now = clock::now();
        let mut tx = self.0.storage.begin().await?;
        let conversation = tx
            .insert_conversation(NewConversation {
                id: None,
                uuid: Uuid::new_v4(),
                kind: ConversationKind::Support,
                thread_type: ThreadType::Chat,
                name: caller.name.clone(),
                created_at: now,
                group: None,
                documents: Vec::new(),
                external_id: None,
                participants: vec![caller.partner],
                owner: None,
            })
            .await?;
        let session = tx.insert_support_session(conversation.id, caller.partner, now).await?;
        let answering = tx.partners_with_role(&ANSWERING).await?;
        tx.record(Topic::Conversation(conversation.id), Fact::ConversationCreated(conversation), now);
        for partner in answering.into_iter().filter(|partner| *partner != caller.partner) {
            tx.record(Topic::Partner(partner), Fact::SupportWaits(session), now);
        }
        self.0.announce.committed(tx.commit().await?).await;
        Ok(session)
    }

    /// A session that the caller may look at. If it is open, and the caller one of its two sides, this is a ping.
    pub async fn support(&self, caller: &Caller, side: Side, uuid: Uuid) -> Result<SupportSession> {
        side.admit(caller)?;
        let id = self.conversation_id(uuid).await?;
        let storage = &self.0.storage;
        let touched =
            self.visit("touch_support_session", storage.touch_support_session(id, caller.partner, clock::now())).await?;
        let session = match touched {
            Some(session) => session,
            None => {
                self.visit("support_session", storage.support_session(id)).await?.ok_or(Error::NotFound(Thing::Conversation))?
            }
        };
        side.sees(caller, &session)?;
        Ok(session)
    }

    /// A session that the caller is one of the two sides of.
    pub async fn own_support(&self, caller: &Caller, side: Side, uuid: Uuid) -> Result<SupportSession> {
        let session = self.support(caller, side, uuid).await?;
        side.takes_part(caller, &session)?;
        Ok(session)
    }

    /// The same if it is open.
    pub async fn open_support(&self, caller: &Caller, side: Side, uuid: Uuid) -> Result<SupportSession> {
        let session = self.own_support(caller, side, uuid).await?;
        if session.closed_at.is_some() { Err(CLOSED) } else { Ok(session) }
    }

    /// All sessions of one status, or of any, newest first, for those who answer.
    pub async fn support_sessions(
        &self,
        caller: &Caller,
        status: Option<SupportStatus>,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<SupportSession>> {
        Side::Agent.admit(caller)?;
        self.visit("support_sessions", self.0.storage.support_sessions(status, offset, limit)).await
    }

    /// Makes the caller the one who answers; in place of another only if it takes over. Gives the session, and whether the
    /// caller had not joined before.
    pub async fn join_support(&self, caller: &Caller, uuid: Uuid, take_over: bool) -> Result<(SupportSession, bool)> {
        Side::Agent.admit(caller)?;
        let id = self.conversation_id(uuid).await?;
        let now = clock::now();
        let mut tx = self.0.storage.begin().await?;
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
        if let Some(former) = former
            && tx.delete_participant(&of, former.partner).await?
        {
            let left = Fact::ParticipantLeft { conversation: id, partner: former.partner };
            tx.record(Topic::Conversation(id), left.clone(), now);
            tx.record(Topic::Partner(former.partner), left, now);
        }
        let joined = conversations::bring_in(tx.as_mut(), &of, &[caller.partner], now).await?;
        tx.set_support_joiner(&of, Some(caller.partner), now).await?;
        let session = tx.support_session_of(&of).await?.ok_or(Error::NotFound(Thing::Conversation))?;
        let is_new = joined || before.joiner.is_none_or(|joiner| joiner.partner != caller.partner);
        if is_new {
            let changed = Fact::SupportChanged { session, by: Some(caller.user) };
            tx.record(Topic::Conversation(id), changed.clone(), now);
            if let Some(former) = former {
                tx.record(Topic::Partner(former.partner), changed, now);
            }
        }
        self.0.announce.committed(tx.commit().await?).await;
        Ok((session, is_new))
    }

    /// Closes a session of the caller. Gives it, and whether it was open until now.
    pub async fn end_support(&self, caller: &Caller, side: Side, uuid: Uuid) -> Result<(SupportSession, bool)> {
        let session = self.own_support(caller, side, uuid).await?;
        if session.closed_at.is_some() {
            return Ok((session, false));
        }
        let now = clock::now();
        let mut tx = self.0.storage.begin().await?;
        let (of, session) = locked(tx.as_mut(), session.conversation).await?;
        side.takes_part(caller, &session)?;
        if session.closed_at.is_some() {
            return Ok((session, false));
        }
        let closed = close(tx.as_mut(), &of, session, Some(caller), now).await?;
        self.0.announce.committed(tx.commit().await?).await;
        Ok((closed, true))
    }

    /// A page of a session that the caller may look at, in the page's own order.
    pub async fn support_history(
        &self,
        caller: &Caller,
        side: Side,
        uuid: Uuid,
        page: Page,
    ) -> Result<(SupportSession, Vec<SupportMessage>)> {
        let session = self.support(caller, side, uuid).await?;
        let id = session.conversation;
        let messages = self.visit("messages", self.0.storage.messages(id, caller.partner, page)).await?;
        let messages: Vec<_> = messages.into_iter().map(|seen| seen.message).collect();
        let places: Vec<_> = messages.iter().map(|message| (message.seq, message.author.partner)).collect();
        let seen: HashMap<_, _> = self.visit("seen_at", self.0.storage.seen_at(id, &places)).await?;
        let message = |message: Message| SupportMessage { seen_at: seen.get(&message.seq).copied(), message };
        Ok((session, messages.into_iter().map(message).collect()))
    }

    /// Marks a message of the other side, and all before it, as seen.
    pub async fn see_support(
        &self,
        caller: &Caller,
        side: Side,
        uuid: Uuid,
        message: MessageId,
    ) -> Result<(SupportSession, SupportMessage)> {
        let session = self.own_support(caller, side, uuid).await?;
        let id = session.conversation;
        let found = self.visit("messages_by_id", self.0.storage.messages_by_id(&[message])).await?;
        let message = found.into_iter().find(|found| found.conversation == id).ok_or(Error::NotFound(Thing::Message))?;
        let of_initiator = |partner| partner == session.initiator.partner;
        if of_initiator(message.author.partner) == of_initiator(caller.partner) {
            return Err(Error::Invalid { field: "message", reason: "must be one of the other side".into() });
        }
        let (seq, now) = (message.seq, clock::now());
        let mut tx = self.0.storage.begin().await?;
        let advanced = tx.advance_read(id, caller.partner, seq).await?;
        let marked = tx.mark_seen(&[(id, caller.partner, seq)], now).await?;
        if advanced.has_seen || !marked.is_empty() {
            let fact = Fact::ReadUpTo { partner: caller.partner, seq, messages: vec![message.id] };
            tx.record(Topic::Conversation(id), fact, now);
            self.0.announce.committed(tx.commit().await?).await;
        }
        Ok((session, SupportMessage { seen_at: self.support_seen(&session, &message).await?, message }))
    }

    /// When the side that did not write a message of the session first saw it.
    pub async fn support_seen(&self, session: &SupportSession, message: &Message) -> Result<Option<Timestamp>> {
        let place = (message.seq, message.author.partner);
        let seen = self.visit("seen_at", self.0.storage.seen_at(session.conversation, &[place])).await?;
        Ok(seen.get(&message.seq).copied())
    }

    /// How many messages the caller has not read in sessions that it began.
    pub async fn support_unread(&self, caller: &Caller) -> Result<i64> {
        self.visit("support_unread", self.0.storage.support_unread(caller.partner)).await
    }

    /// Starts the task that closes sessions whose initiator is silent.
    pub(super) fn watch_support(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        let pause = LOOK.min(self.0.rules.support.silence);
        lifecycle.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.stopping() => return,
                }
                loop {
                    match chat.close_silent_support().await {
                        Ok(STEP) => {}
                        Ok(_) => break,
                        Err(error) => {
                            let what = "silent support sessions could not be closed";
                            telemetry::put_off(what, &error, error.is_unavailable());
                            break;
                        }
                    }
                }
            }
        });
    }

    /// Closes at most [`STEP`] sessions, and says how many.
    async fn close_silent_support(&self) -> Result<usize> {
        let now = self.visit("now", self.0.storage.now(clock::now())).await?;
        let silence = TimeDelta::from_std(self.0.rules.support.silence).unwrap_or(TimeDelta::MAX);
        let before = now.checked_sub_signed(silence).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut tx = self.0.storage.begin().await?;
        let silent = tx.lock_silent_support(before, STEP).await?;
        for of in &silent {
            let session = tx.support_session_of(of).await?.ok_or(Error::NotFound(Thing::Conversation))?;
            close(tx.as_mut(), of, session, None, now).await?;
        }
        if !silent.is_empty() {
            self.0.announce.committed(tx.commit().await?).await;
        }
        Ok(silent.len())
    }

    /// The session of a conversation of which the caller has heard, if it is one. Its pings may be older than they are.
    pub async fn support_of(&self, id: storage::ConversationId) -> Result<Option<Arc<SupportSession>>> {
        let read = async {
            let session = self.visit("support_session", self.0.storage.support_session(id)).await?;
            Ok(Some(session.map(Arc::new)))
        };
        Ok(self.0.desk.sessions.get(id, read).await?.flatten())
    }
}

async fn locked(tx: &mut dyn Tx, id: storage::ConversationId) -> Result<(Locked<Conversation>, SupportSession)> {
    let of = tx.lock_conversations(&[id]).await?.pop().ok_or(Error::NotFound(Thing::Conversation))?;
    let session = tx.support_session_of(&of).await?.ok_or(Error::NotFound(Thing::Conversation))?;
    Ok((of, session))
}

/// Closes an open session. Nobody says anything more in it.
async fn close(
    tx: &mut dyn Tx,
    of: &Locked<Conversation>,
    session: SupportSession,
    by: Option<&Caller>,
    now: Timestamp,
) -> Result<SupportSession> {
    tx.set_closed(of, now).await?;
    let session = SupportSession { closed_at: Some(now), ..session };
    let conversation = Conversation { closed_at: Some(now), ..Conversation::clone(of) };
    tx.record(Topic::Conversation(of.id), Fact::ConversationChanged(conversation), now);
    tx.record(Topic::Conversation(of.id), Fact::SupportChanged { session, by: by.map(|caller| caller.user) }, now);
    Ok(session)
}
