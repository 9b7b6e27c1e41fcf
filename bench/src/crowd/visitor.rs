//! A virtual user: receives, sends at its scheduled times, marks messages as read, disconnects and reconnects.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Habits,
    dialect::{Dialect, Ears, Entered, Mouth, Seat, Told, Visit, enter},
    ledger::{Ledger, Marker, Name, News, micros},
    people::Account,
    schedule::{Schedule, exponential},
    site::{Http, Pass, Site, Trouble},
};

/// Time for which a virtual user types before it sends a message.
const TYPING: Duration = Duration::from_secs(2);
/// Minimum pause between two late sends on a socket: servers close sockets that exceed their rate limit.
const PACE: Duration = Duration::from_millis(60);
/// Interval of heartbeats.
const LIFE: Duration = Duration::from_secs(30);
/// Upper bound of the retry back-off after an unplanned disconnect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A virtual user that is logged in and has its memberships.
pub(crate) struct Visitor {
    pub(crate) name: Name,
    pub(crate) dialect: Dialect,
    pub(crate) account: Account,
    pub(crate) visit: Visit,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) habits: Arc<Habits>,
    /// The last received message: index of its membership, and its id.
    pub(crate) unread: watch::Sender<Option<(usize, i64)>>,
}

/// The schedules of a virtual user.
struct Plans {
    rng: StdRng,
    moments: Schedule,
    departures: Schedule,
    has_finished: bool,
}

/// Reason for a disconnect.
#[derive(Clone, Copy)]
enum Left {
    /// Planned, with the intended time of the reconnect.
    Until(Instant),
    CutOff,
}

/// Logs in with the credentials that the dialect needs. `begins`: the virtual user also creates the conversation.
pub(crate) async fn log_in(http: &Http, dialect: Dialect, account: &Account, begins: bool) -> Result<Pass, Trouble> {
    match dialect {
        Dialect::Messaging | Dialect::ImChat => Pass::by_cookie(http, account).await,
        // Creating a thread needs the session cookie.
        Dialect::Conversations if begins => Pass::by_cookie(http, account).await?.with_token(http).await,
        Dialect::Conversations | Dialect::Room | Dialect::Concierge => Pass::by_token(http, account).await,
    }
}

impl Visit {
    pub(crate) fn new(site: &Arc<Site>, http: Http, pass: Pass, name: Name, is_agent: bool, seats: Vec<Seat>) -> Self {
        Self {
            site: Arc::clone(site),
            http,
            pass,
            is_agent,
            device: uuid::Uuid::new_v4().to_string(),
            seats: seats.into(),
            position: Arc::new(AtomicI64::new(0)),
            waits_for_all: name.is_multiple_of(2),
        }
    }
}

impl Visitor {
    /// Runs a connected virtual user until the end of the run.
    pub(crate) async fn stay(mut self, mut entered: Entered, mut over: watch::Receiver<bool>) {
        let seed = self.habits.seed.wrapping_add(self.name as u64);
        let now = Instant::now();
        let mut plans = Plans {
            rng: StdRng::seed_from_u64(seed ^ 0x0bad_5eed),
            moments: Schedule::new(seed, self.habits.messages_per_second, now),
            departures: Schedule::new(!seed, self.habits.departures_per_second, now),
            has_finished: false,
        };
        self.ledger.speaks(true);
        // Intended time of the last planned reconnect: messages due before it are no measure of the delivery latency.
        let mut since = None;
        self.take(entered.missed.drain(..), since);
        loop {
            let left = tokio::select! {
                left = self.be_there(&mut plans, entered, since) => left,
                _ = over.wait_for(|over| *over) => break,
            };
            if let Left::Until(moment) = left {
                since = Some(moment);
            }
            self.ledger.is_away(self.name, true);
            entered = tokio::select! {
                entered = self.come_back(&mut plans, left, since) => entered,
                _ = over.wait_for(|over| *over) => break,
            };
            self.ledger.is_away(self.name, false);
        }
        if !plans.has_finished {
            let now = Instant::now();
            let unsaid = plans.moments.skip_to(self.ledger.end().map_or(now, |end| end.min(now)));
            self.ledger.tally(self.dialect, |tally| tally.unsaid += unsaid);
            self.ledger.speaks(false);
        }
    }

    /// Receives, sends and marks as read until a planned or unplanned disconnect.
    async fn be_there(&self, plans: &mut Plans, entered: Entered, since: Option<Instant>) -> Left {
        let Entered { mut ears, mouth, .. } = entered;
        let called_away = Notify::new();
        let speaking = self.speak(plans, mouth.as_ref(), &called_away);
        let mut speaking = std::pin::pin!(speaking);
        tokio::select! {
            trouble = self.listen(ears.as_mut(), since) => {
                self.ledger.error(self.dialect, trouble.kind());
                // A send in progress is completed first.
                called_away.notify_one();
                speaking.await;
                Left::CutOff
            }
            left = &mut speaking => {
                mouth.leaves().await;
                left
            }
            () = self.read(mouth.as_ref()) => Left::CutOff,
            () = self.live(mouth.as_ref()) => Left::CutOff,
        }
    }

    async fn listen(&self, ears: &mut dyn Ears, since: Option<Instant>) -> Trouble {
        loop {
            match ears.listen().await {
                Ok(told) => self.take(told.into_iter(), since),
                Err(trouble) => return trouble,
            }
        }
    }

    /// Records received events.
    fn take(&self, told: impl Iterator<Item = Told>, since: Option<Instant>) {
        for told in told {
            match told {
                Told::Message { text, id } => {
                    let Some((marker, at, seat)) = self.place_of(&text) else { continue };
                    match self.ledger.hear(&seat.conversation, marker, self.name, since) {
                        News::Own if self.dialect.has_socket() => self.ledger.acknowledge(&seat.conversation, marker.number),
                        News::Own => {}
                        News::Again => self.ledger.tally(self.dialect, |tally| tally.doubled += 1),
                        News::First => {
                            if seat.last.fetch_max(id, Ordering::Relaxed) > id {
                                self.ledger.tally(self.dialect, |tally| tally.out_of_order += 1);
                            }
                            self.unread.send_replace(Some((at, id)));
                        }
                    }
                }
                Told::Confirmed { text } => {
                    if let Some((marker, _, seat)) = self.place_of(&text) {
                        self.ledger.acknowledge(&seat.conversation, marker.number);
                    }
                }
                Told::Refused { key, why } => {
                    let named = key.and_then(|key| self.place_of(&key));
                    let seat = named.map(|(_, _, seat)| seat).or_else(|| self.oldest_unanswered());
                    if let Some(seat) = seat {
                        let number = named.map(|(marker, ..)| marker.number);
                        self.ledger.refuse(&seat.conversation, number, self.name, &why);
                    }
                }
                Told::Trouble(kind) => self.ledger.error(self.dialect, &kind),
            }
        }
    }

    /// Finds the membership that a text belongs to: its marker, the index, and the membership.
    fn place_of(&self, text: &str) -> Option<(Marker, usize, &Seat)> {
        let marker = self.ledger.marker(text)?;
        let at = self.visit.seats.iter().position(|seat| seat.conversation.is(marker))?;
        Some((marker, at, &self.visit.seats[at]))
    }

    fn oldest_unanswered(&self) -> Option<&Seat> {
        self.visit.seats.iter().find(|seat| !self.ledger.unanswered(&seat.conversation, self.name).is_empty())
    }

    /// Sends a message at each scheduled time, one after the other. A slow send makes the next one late, and the
    /// lateness is measured.
    async fn speak(&self, plans: &mut Plans, mouth: &dyn Mouth, called_away: &Notify) -> Left {
        loop {
            let (due, renewal) = (plans.moments.next(), self.visit.pass.good_until);
            let departure = plans.departures.next().min(renewal);
            let types = plans.rng.random_bool(self.habits.typing);
            let seat = &self.visit.seats[plans.rng.random_range(0..self.visit.seats.len())];
            tokio::select! {
                biased;
                () = called_away.notified() => return Left::CutOff,
                () = self.ledger.ends_before(due) => {
                    if !std::mem::replace(&mut plans.has_finished, true) {
                        self.ledger.speaks(false);
                    }
                    called_away.notified().await;
                    return Left::CutOff;
                }
                () = sleep_until(departure), if departure <= due => {
                    let back = departure + Duration::from_secs_f64(plans.rng.random_range(1.0..5.0));
                    plans.departures.skip_to(back);
                    plans.moments.skip_to(back);
                    return Left::Until(back);
                }
                () = sleep_until(due) => {}
                // A failing or slow typing indicator does not delay the message.
                () = self.type_before(due, seat, mouth), if types => {}
            }
            plans.moments.take();
            let marker = self.ledger.say(&seat.conversation, self.name, due);
            if self.utter(seat, marker, mouth).await {
                return Left::CutOff;
            }
            if self.dialect.has_socket() && plans.moments.next() < Instant::now() {
                sleep(PACE).await;
            }
        }
    }

    /// Sends a typing indicator ahead of the message, then never completes.
    async fn type_before(&self, due: Instant, seat: &Seat, mouth: &dyn Mouth) {
        sleep_until(due - TYPING).await;
        if let Err(trouble) = mouth.types(seat).await {
            self.ledger.error(self.dialect, trouble.kind());
        }
        std::future::pending().await
    }

    /// Sends a message, or retries it. True if the socket turns out to be broken.
    async fn utter(&self, seat: &Seat, marker: Marker, mouth: &dyn Mouth) -> bool {
        let (text, key) = (self.ledger.text(marker, self.habits.text_bytes), self.ledger.key(marker));
        match mouth.say(seat, &text, &key).await {
            Ok(true) => self.ledger.acknowledge(&seat.conversation, marker.number),
            Ok(false) => {}
            Err(Trouble::Refused(why) | Trouble::Unauthorized(why)) => {
                self.ledger.refuse(&seat.conversation, Some(marker.number), self.name, &why);
            }
            Err(Trouble::Broken(why)) => {
                self.ledger.error(self.dialect, &why);
                if self.dialect.has_socket() {
                    return true;
                }
                self.ledger.give_up(&seat.conversation, marker.number);
            }
        }
        false
    }

    /// Marks received messages as read, after a think time.
    async fn read(&self, mouth: &dyn Mouth) {
        let mut rng = StdRng::seed_from_u64(self.name as u64);
        let mut unread = self.unread.subscribe();
        // The loop does not end here: `self` holds the sender.
        while unread.changed().await.is_ok() {
            sleep(exponential(&mut rng, self.habits.think.as_secs_f64())).await;
            let Some((at, id)) = *unread.borrow_and_update() else { continue };
            if let Err(trouble) = mouth.has_read(&self.visit.seats[at], id).await {
                self.ledger.error(self.dialect, trouble.kind());
            }
        }
    }

    async fn live(&self, mouth: &dyn Mouth) {
        loop {
            sleep(LIFE).await;
            if let Err(trouble) = mouth.lives().await {
                self.ledger.error(self.dialect, trouble.kind());
            }
        }
    }

    /// Reconnects, with retries and back-off, and retries unanswered messages.
    async fn come_back(&mut self, plans: &mut Plans, left: Left, since: Option<Instant>) -> Entered {
        let began = match left {
            Left::Until(moment) => {
                self.ledger.tally(self.dialect, |tally| tally.left += 1);
                sleep_until(moment).await;
                moment
            }
            Left::CutOff => {
                self.ledger.tally(self.dialect, |tally| tally.cut_off += 1);
                Instant::now()
            }
        };
        let mut pause = Duration::from_millis(500);
        let mut is_known = self.visit.pass.good_until > Instant::now();
        loop {
            match self.try_to_enter(is_known, matches!(left, Left::CutOff), since).await {
                Ok(entered) => {
                    self.ledger.counts(self.dialect).comeback.saturating_record(micros(began));
                    return entered;
                }
                Err(trouble) => {
                    self.ledger.error(self.dialect, trouble.kind());
                    is_known = is_known && !matches!(trouble, Trouble::Unauthorized(_));
                }
            }
            // Jitter, so that virtual users do not reconnect all at once.
            sleep(pause.mul_f64(plans.rng.random_range(0.5..1.5))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_to_enter(&mut self, is_known: bool, was_cut_off: bool, since: Option<Instant>) -> Result<Entered, Trouble> {
        // A reconnect uses new connections.
        self.visit.http = Http::new(&self.visit.site)?;
        if !is_known {
            self.visit.pass = log_in(&self.visit.http, self.dialect, &self.account, false).await?;
        }
        let mut entered = enter(self.dialect, &self.visit).await?;
        // Missed messages may contain own ones, which acknowledges them.
        self.take(entered.missed.drain(..), since);
        for seat in self.visit.seats.iter() {
            for marker in self.ledger.unanswered(&seat.conversation, self.name) {
                if entered.mouth.may_repeat() {
                    self.utter(seat, marker, entered.mouth.as_ref()).await;
                    sleep(PACE).await;
                } else if was_cut_off {
                    // After a planned disconnect the acknowledgement can still come.
                    self.ledger.give_up(&seat.conversation, marker.number);
                }
            }
        }
        Ok(entered)
    }
}
