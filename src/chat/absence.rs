//! Who comes and goes is told by the node at which it does. Of whoever vanishes with its node the others know until when
//! its signs of life last: each of them looks for whose have ended, and tells those who listen at it.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use chrono::TimeDelta;
use parking_lot::Mutex;
use storage::{PartnerId, Timestamp};

use super::{
    Chat, Result, Signal, Status,
    presence::TICK,
    signals::{Acquainted, Audience},
};
use crate::{clock, lifecycle::Lifecycle, telemetry};

/// How long after somebody's signs of life have ended it counts as vanished. Until then the node at which it is, if it is
/// at any, has told the store of another one, or the others that it has gone.
pub(super) const GRACE: Duration = Duration::from_secs(7);
/// Of how many partners one look, and one question about their acquaintances, is.
pub(super) const PAGE: usize = 100;
/// Between two pages, so that thousands who vanish together take no more than some of the store's time.
const PAUSE: Duration = Duration::from_millis(100);
/// For how long it is remembered who came or went: until it must have been looked for.
const REMEMBERED: TimeDelta = TimeDelta::seconds(60);

/// Of whom those who listen at this node were last told that it has come or gone, and when.
#[derive(Default)]
pub(super) struct News(Mutex<HashMap<PartnerId, Timestamp>>);

impl News {
    /// Whether there was any of the partner since its signs of life ended.
    fn has(&self, partner: PartnerId, end: Timestamp) -> bool {
        self.0.lock().get(&partner).is_some_and(|told| *told >= end)
    }

    fn forget(&self, now: Timestamp) {
        self.0.lock().retain(|_, told| now - *told <= REMEMBERED);
    }
}

/// Up to where a node has looked.
struct Look {
    after: (Timestamp, PartnerId),
    /// From when on what the store says counts: while it was away nobody could tell it anything, the living neither.
    trusted: Option<Timestamp>,
}

impl Chat {
    /// Starts the task that looks for who has vanished.
    pub(super) fn watch_absence(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut look = Look { after: (clock::now(), PartnerId(0)), trusted: None };
            let mut pause = TICK;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.stopping() => return,
                }
                pause = match chat.look_for_absent(&mut look).await {
                    Ok(true) => PAUSE,
                    Ok(false) => TICK,
                    Err(error) => {
                        tracing::debug!(error = %telemetry::chain(&error), "who has vanished could not be looked for");
                        look.trusted = None;
                        TICK
                    }
                };
            }
        });
    }

    /// Tells of a page of those who have vanished; gives whether there may be more.
    async fn look_for_absent(&self, look: &mut Look) -> Result<bool> {
        let now = clock::now();
        let until = now - GRACE;
        let ended = self.0.storage.ended_presences(look.after, until, PAGE).await?;
        if now < *look.trusted.get_or_insert(now + GRACE) {
            return Ok(false);
        }
        // Of those who are at this node, and of those of whom another node has said more since, it is told already.
        let is_absent = |partner, end| !self.0.news.has(partner, end) && !self.doubt_presence(partner, Status::Online);
        let absent: HashMap<_, _> = ended.iter().filter(|(partner, end)| is_absent(*partner, *end)).copied().collect();
        let partners: Vec<_> = absent.keys().copied().collect();
        let mut gone = self.acquainted_with(&partners).await?;
        gone.retain(|(partner, _)| is_absent(*partner, absent[partner]));
        self.show_presences(gone.into_iter().map(|(partner, acquainted)| (partner, Status::Offline, acquainted)).collect());
        self.0.news.forget(now);
        let is_whole = ended.len() == PAGE;
        look.after = match ended.last() {
            Some((partner, end)) if is_whole => (*end, *partner),
            _ => look.after.max((until, PartnerId(i64::MAX))),
        };
        Ok(is_whole)
    }

    /// Shows those who listen at this node how partners are: all in one go, so that whoever polls is answered once for them.
    pub(super) fn show_presences(&self, of: Vec<(PartnerId, Status, Acquainted)>) {
        let now = clock::now();
        self.0.news.0.lock().extend(of.iter().map(|(partner, ..)| (*partner, now)));
        let signal = |(partner, status, acquainted)| (Signal::Presence { partner, status }, Audience::of_acquainted(acquainted));
        self.0.hub.signal_together(of.into_iter().map(signal));
    }

    /// Who is told whether these partners are there, in rising order: each itself, everybody who shares a conversation with
    /// it, and everybody in whose address book it is.
    pub(super) async fn acquainted_with(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Acquainted)>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        let storage = &self.0.storage;
        let contacts = storage.contacts(partners).await?;
        let owners = storage.known_by(partners).await?;
        let mut company: HashMap<_, _> = partners.iter().map(|partner| (*partner, BTreeSet::from([*partner]))).collect();
        for (partner, others) in contacts {
            company.entry(partner).or_default().extend(others);
        }
        let mut owners: HashMap<_, _> = owners.into_iter().collect();
        let acquainted = |(partner, mut company): (_, BTreeSet<_>)| {
            let mut strangers: Vec<_> = owners.remove(&partner).unwrap_or_default();
            strangers.retain(|owner| company.insert(*owner));
            strangers.sort_unstable();
            (partner, Acquainted { partners: company.into_iter().collect(), strangers: strangers.into() })
        };
        Ok(company.into_iter().map(acquainted).collect())
    }
}
