//! Groups of virtual users, and how each dialect creates their conversations.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    LoadProfile,
    accounts::Account,
    client::{ConnectContext, ConnectedClient, Membership},
    concierge,
    dialect::Dialect,
    im_chat, messaging,
    recorder::{Recorder, UserNumber, elapsed_micros},
    target::{Credentials, Http, RequestError, Target},
    virtual_user::{VirtualUser, connect, log_in},
};

/// Pause before the next attempt to connect.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Virtual users in one conversation. In the concierge the first member is the agent, with one session for each of the
/// others.
pub(crate) struct Group {
    pub(crate) dialect: Dialect,
    pub(crate) members: Vec<(UserNumber, Account)>,
}

/// Context of a run, shared by all groups.
#[derive(Clone)]
pub(crate) struct RunContext {
    pub(crate) target: Arc<Target>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) profile: Arc<LoadProfile>,
    /// One permit for each connected virtual user.
    pub(crate) connected: Arc<Semaphore>,
}

impl Group {
    /// Upper bound of the files its members have open: polling clients send other requests beside the poll.
    pub(crate) fn open_files(&self) -> usize {
        self.members.len() * if self.dialect.has_socket() { 2 } else { 4 }
    }

    /// Connects at `comes`, with retries, and runs the members until the end of the run.
    pub(crate) async fn run(self, comes: Instant, stage: RunContext, mut over: watch::Receiver<bool>) {
        tokio::select! {
            () = sleep_until(comes) => {}
            _ = over.wait_for(|over| *over) => return,
        }
        let mut inside = JoinSet::new();
        loop {
            let came = tokio::select! {
                came = self.connect_members(&stage) => came,
                _ = over.wait_for(|over| *over) => return,
            };
            match came {
                Ok(visitors) => {
                    let mut counts = stage.recorder.stats(self.dialect);
                    for (visitor, entered) in visitors {
                        counts.counters.visitors += 1;
                        counts.arrival.saturating_record(elapsed_micros(comes));
                        inside.spawn(visitor.run(entered, over.clone()));
                    }
                    drop(counts);
                    stage.connected.add_permits(self.members.len());
                    break;
                }
                Err(trouble) => stage.recorder.error(self.dialect, trouble.kind()),
            }
            sleep(RETRY_PAUSE).await;
        }
        inside.join_all().await;
    }

    /// Logs all members in, creates the conversation, and connects all members before any of them sends.
    async fn connect_members(&self, stage: &RunContext) -> Result<Vec<(VirtualUser, ConnectedClient)>, RequestError> {
        let known = try_join_all(self.members.iter().enumerate().map(async |(at, (_, account))| {
            let http = Http::new(&stage.target)?;
            let pass = log_in(&http, self.dialect, account, at == 0).await?;
            Ok::<_, RequestError>((http, pass))
        }))
        .await?;
        let seats = self.create_memberships(stage, &known).await?;
        let mut inside = Vec::new();
        for (((name, account), (http, pass)), seats) in self.members.iter().zip(known).zip(seats) {
            let is_agent = self.dialect == Dialect::Concierge && inside.is_empty();
            let visit = ConnectContext::new(&stage.target, http, pass, *name, is_agent, seats);
            let entered = connect(self.dialect, &visit).await?;
            let (recorder, profile) = (Arc::clone(&stage.recorder), Arc::clone(&stage.profile));
            let visitor = VirtualUser {
                number: *name,
                dialect: self.dialect,
                account: account.clone(),
                context: visit,
                recorder,
                profile,
                unread: watch::Sender::new(None),
            };
            inside.push((visitor, entered));
        }
        Ok(inside)
    }

    /// Creates the conversations, and returns the memberships of each member.
    async fn create_memberships(
        &self,
        stage: &RunContext,
        known: &[(Http, Credentials)],
    ) -> Result<Vec<Vec<Membership>>, RequestError> {
        let names: Vec<UserNumber> = self.members.iter().map(|(name, _)| *name).collect();
        let ((http, pass), others) = known.split_first().ok_or_else(RequestError::malformed)?;
        let uids: Vec<i64> = others.iter().map(|(_, other)| other.uid).collect();
        if self.dialect == Dialect::Concierge {
            let mut seats = vec![Vec::new()];
            for (name, (_, tenant)) in names[1..].iter().zip(others) {
                let session = concierge::create_session(&stage.target, tenant, &uuid::Uuid::new_v4().to_string()).await?;
                let conversation = stage.recorder.add_conversation(self.dialect, vec![names[0], *name]);
                seats[0].push(Membership::new(&conversation, &session));
                seats.push(vec![Membership::new(&conversation, &session)]);
            }
            return Ok(seats);
        }
        let conversation = stage.recorder.add_conversation(self.dialect, names);
        let addresses = match self.dialect {
            Dialect::Messaging | Dialect::Conversations => vec![messaging::create_thread(http, pass, &uids).await?; known.len()],
            Dialect::ImChat => vec![im_chat::get_or_create_session(http, pass, uids[0]).await?; known.len()],
            // The address is the uuid of the other member. The first message creates the thread.
            Dialect::Room | Dialect::Concierge => known.iter().rev().map(|(_, pass)| pass.uuid.clone()).collect(),
        };
        Ok(addresses.iter().map(|address| vec![Membership::new(&conversation, address)]).collect())
    }
}
