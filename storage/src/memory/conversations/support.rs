//! In-memory support sessions.

use std::{cmp::Reverse, collections::HashMap};

use async_trait::async_trait;
use imbl::OrdMap;

use crate::{
    Conversation, ConversationId, Error, Locked, MessageSide, OpenSupportSession, PartnerId, Result, Role, Support,
    SupportSession, SupportSide, SupportStatus, Timestamp, WriteConversations, WriteSupport,
    memory::{Memory, MemoryTx, State, missing},
};

pub(crate) type Table = OrdMap<ConversationId, Row>;

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) initiator: (PartnerId, Timestamp),
    pub(crate) joiner: Option<(PartnerId, Timestamp)>,
    /// Read receipts: the time since which a side has seen everything up to a `seq`; the initiator's side is `true`.
    pub(crate) seen: OrdMap<(bool, i64), Timestamp>,
}

impl Row {
    fn has_seen(&self, by_initiator: bool, seq: i64) -> Option<Timestamp> {
        self.seen.range((by_initiator, seq)..=(by_initiator, i64::MAX)).next().map(|(_, at)| *at)
    }
}

impl State {
    fn support(&self, id: ConversationId) -> Option<SupportSession> {
        let row = self.support.get(&id)?;
        let conversation = &self.conversations.get(id).expect("conversations are never deleted").conversation;
        let side = |(partner, pinged_at)| {
            let person = self.users.person(partner).expect("partners are never deleted");
            SupportSide { partner, user: person.user.expect("it had an account when it came"), pinged_at }
        };
        Some(SupportSession {
            conversation: id,
            uuid: conversation.uuid,
            initiator: side(row.initiator),
            joiner: row.joiner.map(side),
            closed_at: conversation.closed_at,
        })
    }

    /// True if a side's newest message was written at `since` or later.
    fn has_written(&self, session: &SupportSession, side: SupportSide, since: Timestamp) -> bool {
        let row = self.conversations.get(session.conversation).expect("conversations are never deleted");
        row.last_of_each().any(|message| message.author.partner == side.partner && message.created_at >= since)
    }

    /// Fails if a write refers to a partner without an account.
    pub(crate) fn expect_account(&self, partner: PartnerId) -> Result<()> {
        self.users.person(partner)?.user.map(drop).ok_or_else(|| missing("user of partner", partner))
    }
}

#[async_trait]
impl Support for Memory {
    async fn support_session(&self, id: ConversationId) -> Result<Option<SupportSession>> {
        Ok(self.snapshot()?.support(id))
    }

    async fn support_sessions(&self, status: Option<SupportStatus>, offset: u64, limit: usize) -> Result<Vec<SupportSession>> {
        let state = self.snapshot()?;
        let sessions = state.support.keys().rev().filter_map(|id| state.support(*id));
        let wanted = sessions.filter(|session| status.is_none_or(|status| session.status() == status));
        Ok(wanted.skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(limit).collect())
    }

    async fn touch_support_session(
        &self,
        id: ConversationId,
        partner: PartnerId,
        at: Timestamp,
    ) -> Result<Option<SupportSession>> {
        let mut tx = self.draft().await?;
        if tx.draft.support(id).is_none_or(|session| session.closed_at.is_some()) {
            return Ok(None);
        }
        let Some(row) = tx.draft.support.get_mut(&id) else { return Ok(None) };
        let mut touched = false;
        for (side, pinged_at) in std::iter::once(&mut row.initiator).chain(&mut row.joiner) {
            if *side == partner {
                *pinged_at = at.max(*pinged_at);
                touched = true;
            }
        }
        if !touched {
            return Ok(None);
        }
        let session = tx.draft.support(id);
        tx.publish();
        Ok(session)
    }

    async fn support_unread(&self, initiator: PartnerId) -> Result<i64> {
        let state = self.snapshot()?;
        let own = |id: ConversationId| state.support.get(&id).is_some_and(|row| row.initiator.0 == initiator);
        let rows = state.conversations.rows_of(initiator).filter(|row| own(row.conversation.id));
        Ok(rows.map(|row| row.unread_of(initiator)).sum())
    }

    async fn seen_at(&self, of: ConversationId, messages: &[(i64, MessageSide)]) -> Result<HashMap<i64, Timestamp>> {
        let state = self.snapshot()?;
        let Some(row) = state.support.get(&of) else { return Ok(HashMap::new()) };
        let seen = |(seq, by): &(i64, MessageSide)| Some((*seq, row.has_seen(*by == MessageSide::Agent, *seq)?));
        Ok(messages.iter().filter_map(seen).collect())
    }
}

#[async_trait]
impl WriteSupport for MemoryTx {
    async fn insert_support_session(
        &mut self,
        of: ConversationId,
        initiator: PartnerId,
        at: Timestamp,
    ) -> Result<SupportSession> {
        self.draft.expect_account(initiator)?;
        if self.draft.conversations.get(of).is_none() {
            return Err(missing("conversation", of));
        }
        if self.draft.support.contains_key(&of) {
            return Err(Error::Conflict("support_sessions_pkey"));
        }
        self.draft.support.insert(of, Row { initiator: (initiator, at), joiner: None, seen: OrdMap::new() });
        Ok(self.draft.support(of).expect("inserted above"))
    }

    async fn support_session_of(&mut self, of: &Locked<Conversation>) -> Result<Option<SupportSession>> {
        Ok(self.draft.support(of.id))
    }

    async fn support_sessions_of(&mut self, of: &[&Locked<Conversation>]) -> Result<Vec<SupportSession>> {
        Ok(of.iter().filter_map(|of| self.draft.support(of.id)).collect())
    }

    async fn open_support_sessions(&mut self, initiator: PartnerId, limit: usize) -> Result<Vec<OpenSupportSession>> {
        let open = self.draft.conversations.rows_of(initiator).filter_map(|row| {
            let Conversation { id, created_at: begun_at, last_seq: messages, .. } = row.conversation;
            let session = self.draft.support(id).filter(|session| session.closed_at.is_none())?;
            (session.initiator.partner == initiator).then_some(OpenSupportSession { session, begun_at, messages })
        });
        let mut open: Vec<_> = open.collect();
        open.sort_unstable_by_key(|open| Reverse(open.session.conversation));
        open.truncate(limit);
        Ok(open)
    }

    async fn set_support_joiner(&mut self, of: &Locked<Conversation>, joiner: Option<PartnerId>, at: Timestamp) -> Result<()> {
        if let Some(joiner) = joiner {
            self.draft.expect_account(joiner)?;
        }
        if let Some(row) = self.draft.support.get_mut(&of.id) {
            row.joiner = joiner.map(|joiner| (joiner, at));
        }
        Ok(())
    }

    async fn lock_joined_support(&mut self, joiner: PartnerId) -> Result<Vec<Locked<Conversation>>> {
        let joined = |session: &SupportSession| session.joiner.is_some_and(|side| side.partner == joiner);
        let sessions = self.draft.support.keys().filter_map(|id| self.draft.support(*id));
        let joined: Vec<_> = sessions.filter(|session| session.closed_at.is_none() && joined(session)).collect();
        let joined: Vec<_> = joined.into_iter().map(|session| session.conversation).collect();
        self.lock_conversations(&joined).await
    }

    async fn lock_absent_support(
        &mut self,
        before: Timestamp,
        answering: &[Role],
        limit: usize,
    ) -> Result<Vec<Locked<Conversation>>> {
        let sessions = self.draft.support.keys().filter_map(|id| self.draft.support(*id));
        let answers = |joiner: SupportSide| {
            self.draft.users.user(joiner.user).is_some_and(|user| user.active && answering.contains(&user.role))
        };
        let was_seen =
            |joiner: SupportSide| self.draft.presences.get(&joiner.partner).is_some_and(|presence| presence.last_seen >= before);
        let is_absent = |session: &SupportSession| {
            session.joiner.is_some_and(|joiner| {
                let is_here = joiner.pinged_at >= before || was_seen(joiner) || self.draft.has_written(session, joiner, before);
                !answers(joiner) || !is_here
            })
        };
        let absent = sessions.filter(|session| session.closed_at.is_none() && is_absent(session));
        let absent: Vec<_> = absent.take(limit).map(|session| session.conversation).collect();
        self.lock_conversations(&absent).await
    }

    async fn lock_silent_support(&mut self, before: Timestamp, limit: usize) -> Result<Vec<Locked<Conversation>>> {
        let sessions = self.draft.support.keys().filter_map(|id| self.draft.support(*id));
        let is_silent = |session: &SupportSession| {
            session.initiator.pinged_at < before && !self.draft.has_written(session, session.initiator, before)
        };
        let silent = sessions.filter(|session| session.closed_at.is_none() && is_silent(session));
        let silent: Vec<_> = silent.take(limit).map(|session| session.conversation).collect();
        self.lock_conversations(&silent).await
    }

    async fn mark_seen(&mut self, upto: &[(ConversationId, PartnerId, i64)], at: Timestamp) -> Result<Vec<ConversationId>> {
        let mut marked = Vec::new();
        for (id, by, seq) in upto {
            let Some(row) = self.draft.support.get_mut(id) else { continue };
            let by_initiator = row.initiator.0 == *by;
            if !by_initiator && row.joiner.is_none_or(|(joiner, _)| joiner != *by) {
                continue;
            }
            if row.has_seen(by_initiator, *seq).is_none() {
                row.seen.insert((by_initiator, *seq), at);
                marked.push(*id);
            }
        }
        Ok(marked)
    }

    async fn partners_with_role(&mut self, roles: &[Role]) -> Result<Vec<PartnerId>> {
        let mut partners: Vec<_> =
            self.draft.users.all().filter(|user| user.active && roles.contains(&user.role)).map(|user| user.partner.id).collect();
        partners.sort_unstable();
        Ok(partners)
    }
}
