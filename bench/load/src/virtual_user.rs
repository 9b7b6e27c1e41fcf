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

use crate::{
    LoadProfile,
    accounts::Account,
    client::{ConnectContext, ConnectedClient, Membership, ReceivedEvent, Receiver, Sender},
    concierge, conversations,
    dialect::Dialect,
    im_chat, messaging,
    recorder::{DeliveryKind, Marker, Recorder, UserNumber, elapsed_micros},
    room,
    schedule::{Schedule, exponential},
    target::{Credentials, Http, RequestError, Target},
};

/// Time for which a virtual user types before it sends a message.
const TYPING_LEAD: Duration = Duration::from_secs(2);
/// Minimum pause between two late sends on a socket: servers close sockets that exceed their rate limit.
const SEND_PAUSE: Duration = Duration::from_millis(60);
/// Interval of heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
/// Upper bound of the retry back-off after an unplanned disconnect.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// A virtual user that is logged in and has its memberships.
pub(crate) struct VirtualUser {
    pub(crate) number: UserNumber,
    pub(crate) dialect: Dialect,
    pub(crate) account: Account,
    pub(crate) context: ConnectContext,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) profile: Arc<LoadProfile>,
    /// The last received message: index of its membership, and its id.
    pub(crate) unread: watch::Sender<Option<(usize, i64)>>,
}

/// The schedules of a virtual user.
struct Schedules {
    rng: StdRng,
    sends: Schedule,
    disconnects: Schedule,
    has_finished: bool,
}

/// Reason for a disconnect.
#[derive(Clone, Copy)]
enum Disconnect {
    /// Planned, with the intended time of the reconnect.
    Planned(Instant),
    Unplanned,
}

/// Logs in with the credentials that the dialect needs. `begins`: the virtual user also creates the conversation.
pub(crate) async fn log_in(http: &Http, dialect: Dialect, account: &Account, begins: bool) -> Result<Credentials, RequestError> {
    match dialect {
        Dialect::Messaging | Dialect::ImChat => Credentials::by_cookie(http, account).await,
        // Creating a thread needs the session cookie.
        Dialect::Conversations if begins => Credentials::by_cookie(http, account).await?.with_token(http).await,
        Dialect::Conversations | Dialect::Room | Dialect::Concierge => Credentials::by_token(http, account).await,
    }
}

/// Connects or reconnects.
pub(crate) async fn connect(dialect: Dialect, visit: &ConnectContext) -> Result<ConnectedClient, RequestError> {
    match dialect {
        Dialect::Messaging => messaging::connect(visit).await,
        Dialect::ImChat => im_chat::connect(visit).await,
        Dialect::Room => room::connect(visit).await,
        Dialect::Conversations => conversations::connect(visit).await,
        Dialect::Concierge => concierge::connect(visit).await,
    }
}

impl ConnectContext {
    pub(crate) fn new(
        target: &Arc<Target>,
        http: Http,
        credentials: Credentials,
        name: UserNumber,
        is_agent: bool,
        seats: Vec<Membership>,
    ) -> Self {
        Self {
            target: Arc::clone(target),
            http,
            credentials,
            is_agent,
            device_id: uuid::Uuid::new_v4().to_string(),
            memberships: seats.into(),
            bus_position: Arc::new(AtomicI64::new(0)),
            polls_all_threads: name.is_multiple_of(2),
        }
    }
}

impl VirtualUser {
    /// Runs a connected virtual user until the end of the run.
    pub(crate) async fn run(mut self, mut entered: ConnectedClient, mut over: watch::Receiver<bool>) {
        let seed = self.profile.seed.wrapping_add(self.number as u64);
        let now = Instant::now();
        let mut plans = Schedules {
            rng: StdRng::seed_from_u64(seed ^ 0x0bad_5eed),
            sends: Schedule::new(seed, self.profile.messages_per_second, now),
            disconnects: Schedule::new(!seed, self.profile.departures_per_second, now),
            has_finished: false,
        };
        self.recorder.set_sending(true);
        // Intended time of the last planned reconnect: messages due before it are no measure of the delivery latency.
        let mut since = None;
        self.record_events(entered.missed.drain(..), since);
        loop {
            let left = tokio::select! {
                left = self.run_connected(&mut plans, entered, since) => left,
                _ = over.wait_for(|over| *over) => break,
            };
            if let Disconnect::Planned(moment) = left {
                since = Some(moment);
            }
            self.recorder.set_away(self.number, true);
            entered = tokio::select! {
                entered = self.reconnect(&mut plans, left, since) => entered,
                _ = over.wait_for(|over| *over) => break,
            };
            self.recorder.set_away(self.number, false);
        }
        if !plans.has_finished {
            let now = Instant::now();
            let unsaid = plans.sends.skip_to(self.recorder.end().map_or(now, |end| end.min(now)));
            self.recorder.count(self.dialect, |tally| tally.unsaid += unsaid);
            self.recorder.set_sending(false);
        }
    }

    /// Receives, sends and marks as read until a planned or unplanned disconnect.
    async fn run_connected(&self, plans: &mut Schedules, entered: ConnectedClient, since: Option<Instant>) -> Disconnect {
        let ConnectedClient { receiver: mut ears, sender: mouth, .. } = entered;
        let called_away = Notify::new();
        let speaking = self.send_scheduled(plans, mouth.as_ref(), &called_away);
        let mut speaking = std::pin::pin!(speaking);
        tokio::select! {
            trouble = self.listen(ears.as_mut(), since) => {
                self.recorder.error(self.dialect, trouble.kind());
                // A send in progress is completed first.
                called_away.notify_one();
                speaking.await;
                Disconnect::Unplanned
            }
            left = &mut speaking => {
                mouth.disconnect().await;
                left
            }
            () = self.mark_received_read(mouth.as_ref()) => Disconnect::Unplanned,
            () = self.send_heartbeats(mouth.as_ref()) => Disconnect::Unplanned,
        }
    }

    async fn listen(&self, ears: &mut dyn Receiver, since: Option<Instant>) -> RequestError {
        loop {
            match ears.receive().await {
                Ok(told) => self.record_events(told.into_iter(), since),
                Err(trouble) => return trouble,
            }
        }
    }

    /// Records received events.
    fn record_events(&self, told: impl Iterator<Item = ReceivedEvent>, since: Option<Instant>) {
        for told in told {
            match told {
                ReceivedEvent::Message { text, id } => {
                    let Some((marker, at, seat)) = self.membership_of(&text) else { continue };
                    match self.recorder.record_delivery(&seat.conversation, marker, self.number, since) {
                        DeliveryKind::Own if self.dialect.has_socket() => {
                            self.recorder.record_acknowledgement(&seat.conversation, marker.number)
                        }
                        DeliveryKind::Own => {}
                        DeliveryKind::Duplicate => self.recorder.count(self.dialect, |tally| tally.doubled += 1),
                        DeliveryKind::First => {
                            if seat.last_id.fetch_max(id, Ordering::Relaxed) > id {
                                self.recorder.count(self.dialect, |tally| tally.out_of_order += 1);
                            }
                            self.unread.send_replace(Some((at, id)));
                        }
                    }
                }
                ReceivedEvent::Acknowledged { text } => {
                    if let Some((marker, _, seat)) = self.membership_of(&text) {
                        self.recorder.record_acknowledgement(&seat.conversation, marker.number);
                    }
                }
                ReceivedEvent::Refused { key, why } => {
                    let named = key.and_then(|key| self.membership_of(&key));
                    let seat = named.map(|(_, _, seat)| seat).or_else(|| self.oldest_unanswered());
                    if let Some(seat) = seat {
                        let number = named.map(|(marker, ..)| marker.number);
                        self.recorder.record_refusal(&seat.conversation, number, self.number, &why);
                    }
                }
                ReceivedEvent::Failure(kind) => self.recorder.error(self.dialect, &kind),
            }
        }
    }

    /// Finds the membership that a text belongs to: its marker, the index, and the membership.
    fn membership_of(&self, text: &str) -> Option<(Marker, usize, &Membership)> {
        let marker = self.recorder.marker(text)?;
        let at = self.context.memberships.iter().position(|seat| seat.conversation.contains(marker))?;
        Some((marker, at, &self.context.memberships[at]))
    }

    fn oldest_unanswered(&self) -> Option<&Membership> {
        self.context.memberships.iter().find(|seat| !self.recorder.unanswered(&seat.conversation, self.number).is_empty())
    }

    /// Sends a message at each scheduled time, one after the other. A slow send makes the next one late, and the
    /// lateness is measured.
    async fn send_scheduled(&self, plans: &mut Schedules, mouth: &dyn Sender, called_away: &Notify) -> Disconnect {
        loop {
            let (due, renewal) = (plans.sends.next(), self.context.credentials.renew_at);
            let departure = plans.disconnects.next().min(renewal);
            let types = plans.rng.random_bool(self.profile.typing);
            let seat = &self.context.memberships[plans.rng.random_range(0..self.context.memberships.len())];
            tokio::select! {
                biased;
                () = called_away.notified() => return Disconnect::Unplanned,
                () = self.recorder.wait_until_end_before(due) => {
                    if !std::mem::replace(&mut plans.has_finished, true) {
                        self.recorder.set_sending(false);
                    }
                    called_away.notified().await;
                    return Disconnect::Unplanned;
                }
                () = sleep_until(departure), if departure <= due => {
                    let back = departure + Duration::from_secs_f64(plans.rng.random_range(1.0..5.0));
                    plans.disconnects.skip_to(back);
                    plans.sends.skip_to(back);
                    return Disconnect::Planned(back);
                }
                () = sleep_until(due) => {}
                // A failing or slow typing indicator does not delay the message.
                () = self.send_typing(due, seat, mouth), if types => {}
            }
            plans.sends.take();
            let marker = self.recorder.record_send(&seat.conversation, self.number, due);
            if self.send(seat, marker, mouth).await {
                return Disconnect::Unplanned;
            }
            if self.dialect.has_socket() && plans.sends.next() < Instant::now() {
                sleep(SEND_PAUSE).await;
            }
        }
    }

    /// Sends a typing indicator ahead of the message, then never completes.
    async fn send_typing(&self, due: Instant, seat: &Membership, mouth: &dyn Sender) {
        sleep_until(due - TYPING_LEAD).await;
        if let Err(trouble) = mouth.send_typing(seat).await {
            self.recorder.error(self.dialect, trouble.kind());
        }
        std::future::pending().await
    }

    /// Sends a message, or retries it. True if the socket turns out to be broken.
    async fn send(&self, seat: &Membership, marker: Marker, mouth: &dyn Sender) -> bool {
        let (text, key) = (self.recorder.text(marker, self.profile.text_bytes), self.recorder.key(marker));
        match mouth.send(seat, &text, &key).await {
            Ok(true) => self.recorder.record_acknowledgement(&seat.conversation, marker.number),
            Ok(false) => {}
            Err(RequestError::Refused(why) | RequestError::Unauthorized(why)) => {
                self.recorder.record_refusal(&seat.conversation, Some(marker.number), self.number, &why);
            }
            Err(RequestError::Broken(why)) => {
                self.recorder.error(self.dialect, &why);
                if self.dialect.has_socket() {
                    return true;
                }
                self.recorder.record_unconfirmed(&seat.conversation, marker.number);
            }
        }
        false
    }

    /// Marks received messages as read, after a think time.
    async fn mark_received_read(&self, mouth: &dyn Sender) {
        let mut rng = StdRng::seed_from_u64(self.number as u64);
        let mut unread = self.unread.subscribe();
        // The loop does not end here: `self` holds the sender.
        while unread.changed().await.is_ok() {
            sleep(exponential(&mut rng, self.profile.think.as_secs_f64())).await;
            let Some((at, id)) = *unread.borrow_and_update() else { continue };
            if let Err(trouble) = mouth.mark_read(&self.context.memberships[at], id).await {
                self.recorder.error(self.dialect, trouble.kind());
            }
        }
    }

    async fn send_heartbeats(&self, mouth: &dyn Sender) {
        loop {
            sleep(HEARTBEAT_INTERVAL).await;
            if let Err(trouble) = mouth.send_heartbeat().await {
                self.recorder.error(self.dialect, trouble.kind());
            }
        }
    }

    /// Reconnects, with retries and back-off, and retries unanswered messages.
    async fn reconnect(&mut self, plans: &mut Schedules, left: Disconnect, since: Option<Instant>) -> ConnectedClient {
        let began = match left {
            Disconnect::Planned(moment) => {
                self.recorder.count(self.dialect, |tally| tally.left += 1);
                sleep_until(moment).await;
                moment
            }
            Disconnect::Unplanned => {
                self.recorder.count(self.dialect, |tally| tally.cut_off += 1);
                Instant::now()
            }
        };
        let mut pause = Duration::from_millis(500);
        let mut is_known = self.context.credentials.renew_at > Instant::now();
        loop {
            match self.try_connect(is_known, matches!(left, Disconnect::Unplanned), since).await {
                Ok(entered) => {
                    self.recorder.stats(self.dialect).comeback.saturating_record(elapsed_micros(began));
                    return entered;
                }
                Err(trouble) => {
                    self.recorder.error(self.dialect, trouble.kind());
                    is_known = is_known && !matches!(trouble, RequestError::Unauthorized(_));
                }
            }
            // Jitter, so that virtual users do not reconnect all at once.
            sleep(pause.mul_f64(plans.rng.random_range(0.5..1.5))).await;
            pause = (pause * 2).min(MAX_BACKOFF);
        }
    }

    async fn try_connect(
        &mut self,
        is_known: bool,
        was_cut_off: bool,
        since: Option<Instant>,
    ) -> Result<ConnectedClient, RequestError> {
        // A reconnect uses new connections.
        self.context.http = Http::new(&self.context.target)?;
        if !is_known {
            self.context.credentials = log_in(&self.context.http, self.dialect, &self.account, false).await?;
        }
        let mut entered = connect(self.dialect, &self.context).await?;
        // Missed messages may contain own ones, which acknowledges them.
        self.record_events(entered.missed.drain(..), since);
        for seat in self.context.memberships.iter() {
            for marker in self.recorder.unanswered(&seat.conversation, self.number) {
                if entered.sender.is_idempotent() {
                    self.send(seat, marker, entered.sender.as_ref()).await;
                    sleep(SEND_PAUSE).await;
                } else if was_cut_off {
                    // After a planned disconnect the acknowledgement can still come.
                    self.recorder.record_unconfirmed(&seat.conversation, marker.number);
                }
            }
        }
        Ok(entered)
    }
}
