//! Groups of virtual users, and how each dialect creates their conversations.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Habits, concierge,
    dialect::{Dialect, Entered, Seat, Visit, enter},
    im_chat,
    ledger::{Ledger, Name, micros},
    messaging,
    people::Account,
    site::{Http, Pass, Site, Trouble},
    visitor::{Visitor, log_in},
};

/// Pause before the next attempt to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// Virtual users in one conversation. In the concierge the first member is the agent, with one session for each of the
/// others.
pub(crate) struct Party {
    pub(crate) dialect: Dialect,
    pub(crate) members: Vec<(Name, Account)>,
}

/// Context of a run, shared by all groups.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) site: Arc<Site>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) habits: Arc<Habits>,
    /// One permit for each connected virtual user.
    pub(crate) arrived: Arc<Semaphore>,
}

impl Party {
    /// Upper bound of the files its members have open: polling clients send other requests beside the poll.
    pub(crate) fn open_files(&self) -> usize {
        self.members.len() * if self.dialect.has_socket() { 2 } else { 4 }
    }

    /// Connects at `comes`, with retries, and runs the members until the end of the run.
    pub(crate) async fn attend(self, comes: Instant, stage: Stage, mut over: watch::Receiver<bool>) {
        tokio::select! {
            () = sleep_until(comes) => {}
            _ = over.wait_for(|over| *over) => return,
        }
        let mut inside = JoinSet::new();
        loop {
            let came = tokio::select! {
                came = self.come(&stage) => came,
                _ = over.wait_for(|over| *over) => return,
            };
            match came {
                Ok(visitors) => {
                    let mut counts = stage.ledger.counts(self.dialect);
                    for (visitor, entered) in visitors {
                        counts.tally.visitors += 1;
                        counts.arrival.saturating_record(micros(comes));
                        inside.spawn(visitor.stay(entered, over.clone()));
                    }
                    drop(counts);
                    stage.arrived.add_permits(self.members.len());
                    break;
                }
                Err(trouble) => stage.ledger.error(self.dialect, trouble.kind()),
            }
            sleep(PAUSE).await;
        }
        inside.join_all().await;
    }

    /// Logs all members in, creates the conversation, and connects all members before any of them sends.
    async fn come(&self, stage: &Stage) -> Result<Vec<(Visitor, Entered)>, Trouble> {
        let known = try_join_all(self.members.iter().enumerate().map(async |(at, (_, account))| {
            let http = Http::new(&stage.site)?;
            let pass = log_in(&http, self.dialect, account, at == 0).await?;
            Ok::<_, Trouble>((http, pass))
        }))
        .await?;
        let seats = self.seats(stage, &known).await?;
        let mut inside = Vec::new();
        for (((name, account), (http, pass)), seats) in self.members.iter().zip(known).zip(seats) {
            let is_agent = self.dialect == Dialect::Concierge && inside.is_empty();
            let visit = Visit::new(&stage.site, http, pass, *name, is_agent, seats);
            let entered = enter(self.dialect, &visit).await?;
            let (ledger, habits) = (Arc::clone(&stage.ledger), Arc::clone(&stage.habits));
            let visitor = Visitor {
                name: *name,
                dialect: self.dialect,
                account: account.clone(),
                visit,
                ledger,
                habits,
                unread: watch::Sender::new(None),
            };
            inside.push((visitor, entered));
        }
        Ok(inside)
    }

    /// Creates the conversations, and returns the memberships of each member.
    async fn seats(&self, stage: &Stage, known: &[(Http, Pass)]) -> Result<Vec<Vec<Seat>>, Trouble> {
        let names: Vec<Name> = self.members.iter().map(|(name, _)| *name).collect();
        let ((http, pass), others) = known.split_first().ok_or_else(Trouble::strange)?;
        let uids: Vec<i64> = others.iter().map(|(_, other)| other.uid).collect();
        if self.dialect == Dialect::Concierge {
            let mut seats = vec![Vec::new()];
            for (name, (_, tenant)) in names[1..].iter().zip(others) {
                let session = concierge::begin(&stage.site, tenant, &uuid::Uuid::new_v4().to_string()).await?;
                let conversation = stage.ledger.converse(self.dialect, vec![names[0], *name]);
                seats[0].push(Seat::new(&conversation, &session));
                seats.push(vec![Seat::new(&conversation, &session)]);
            }
            return Ok(seats);
        }
        let conversation = stage.ledger.converse(self.dialect, names);
        let addresses = match self.dialect {
            Dialect::Messaging | Dialect::Conversations => vec![messaging::begin(http, pass, &uids).await?; known.len()],
            Dialect::ImChat => vec![im_chat::begin(http, pass, uids[0]).await?; known.len()],
            // The address is the uuid of the other member. The first message creates the thread.
            Dialect::Room | Dialect::Concierge => known.iter().rev().map(|(_, pass)| pass.uuid.clone()).collect(),
        };
        Ok(addresses.iter().map(|address| vec![Seat::new(&conversation, address)]).collect())
    }
}
