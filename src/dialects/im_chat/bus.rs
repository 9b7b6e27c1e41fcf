//! Long polling of Odoo 8's bus (`/longpolling/poll`), and presence of partners. A poll that waits gives its turn in the store
//! back.

use std::time::Duration;

use poem::Request;
use poem_openapi::{Object, OpenApi, types::Example};
use serde::Serialize;
use serde_json::{Value, json};
use storage::PartnerId;
use tokio::time::Instant;

use super::{
    Tag,
    error::fault,
    notifications::{self, BusListener, Notification},
    params::{self, optional},
    wire::im_status,
};
use crate::{
    auth::Caller,
    chat::{SubscribeSince, people_bytes},
    clock,
    shares::Account,
    web::{
        AppContext, body,
        jsonrpc::{Call, CallFailure, Fault, Reply},
        lenient::{Int, IntList, Ints, Lenient},
        session::{PollingSession, Session},
    },
};

pub(super) struct BusApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/longpolling", tag = "Tag::ImChat")]
impl BusApi {
    /// Waits for notifications
    ///
    /// Long polling: returns all notifications after `last`, in order and without duplicates, whatever their age. Returns at once
    /// if there are any, otherwise as soon as one arrives, otherwise an empty list after 50 seconds. `last` is the largest id
    /// seen so far; 0 selects the last 50 seconds, and an id larger than the newest counts as the newest. The caller's own
    /// channel is always included. `channels` may add uuids of the caller's sessions, and `[database, "im_chat.presence"]` for
    /// the presence of users who share a session with the caller or are in its address book. Typing and presence between two
    /// polls are delivered by the second poll if the polls are at most a minute apart. An error response is delayed by one
    /// second.
    #[oai(path = "/poll", method = "post", operation_id = "longpolling_poll")]
    async fn poll(&self, request: &Request, call: Call<Poll>, session: PollingSession) -> Reply<Vec<Notification>> {
        let account = body::account(request);
        call.logged_in(
            session.0,
            |login, params| async move { self.wait(&login, params, account).await.map_err(CallFailure::from) },
        )
        .await
    }

    /// Returns the presence status of partners
    ///
    /// In the order asked; unknown ids are left out. At most 10,000 partners at a time; more than 100 count as a search for each
    /// started 1,000.
    #[oai(path = "/im_status", method = "post", operation_id = "longpolling_im_status")]
    async fn im_status(&self, request: &Request, call: Call<PartnerIds>, session: Session) -> Reply<Vec<ImStatus>> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let asked = optional(params.partner_ids, "partner_ids")?.unwrap_or_default().numbers;
            let asked = self.0.chat.admit_look_up(&login, "partner_ids", &asked).map_err(fault)?;
            account.reserve(people_bytes(asked.len())).await.map_err(Fault::refused)?;
            let partners: Vec<_> = asked.into_iter().map(PartnerId).collect();
            let people = self.0.chat.people(&partners).await.map_err(fault)?;
            let presence = self.0.chat.presence(people).await.map_err(fault)?;
            let status = |presence: crate::chat::PersonPresence| ImStatus {
                id: presence.person.partner.id.0,
                im_status: im_status(presence.status).into(),
            };
            Ok::<_, CallFailure>(presence.into_iter().map(status).collect())
        })
        .await
    }
}

impl BusApi {
    async fn wait(&self, caller: &Caller, poll: Poll, account: &Account) -> Result<Vec<Notification>, Fault> {
        let patience = Duration::from_secs(self.0.config.im_chat.poll_seconds);
        let last = optional(poll.last, "last")?.unwrap_or(0).max(0);
        self.0.chat.record_poll(caller, idle(poll.options.as_ref()));
        let since = match last {
            0 => SubscribeSince::Time(clock::now() - patience),
            last => SubscribeSince::Seen(notifications::cursor_mark(last)),
        };
        let presence = json!([self.0.config.database, "im_chat.presence"]);
        let channels = match poll.channels {
            Some(Value::Array(channels)) => channels,
            _ => Vec::new(),
        };
        let listener = BusListener {
            app: &self.0,
            caller,
            uuids: channels.iter().filter_map(|channel| params::uuid(channel.as_str()?)).collect(),
            presence: channels.contains(&presence),
        };
        let deadline = Instant::now() + patience;
        let mut bus = self.0.chat.subscribe_user(caller, since).await.map_err(fault)?;
        account.give_turn_back();
        while let Some(batch) = bus.next(deadline).await.map_err(fault)? {
            let told = listener.notifications(&batch).await?;
            if !told.is_empty() {
                return Ok(told);
            }
        }
        Ok(Vec::new())
    }
}

/// Idle time of the person at the client, if the client sends it: Odoo 8 sends only that there was activity (`im_presence`),
/// later versions the milliseconds without activity (`bus_inactivity`).
fn idle(options: Option<&Value>) -> Option<Duration> {
    let options = options?;
    let inactive = options.get("bus_inactivity").and_then(Value::as_u64).map(Duration::from_millis);
    inactive.or_else(|| (options.get("im_presence") == Some(&Value::Bool(true))).then_some(Duration::ZERO))
}

/// Channels and cursor of a poll.
#[derive(Object)]
#[oai(rename = "BusPoll", example)]
struct Poll {
    /// Uuids of sessions, and `[database, "im_chat.presence"]`; other channels are ignored.
    channels: Option<Value>,
    /// The largest id seen so far.
    last: Int,
    /// `im_presence`, or `bus_inactivity` in milliseconds.
    options: Option<Value>,
}

impl Example for Poll {
    fn example() -> Self {
        Self { channels: Some(json!([])), last: Lenient::Present(0), options: Some(json!({"im_presence": true})) }
    }
}

/// The partners to look up; unknown ids are left out.
#[derive(Object)]
#[oai(rename = "BusPartnerIds", example)]
struct PartnerIds {
    partner_ids: Ints,
}

impl Example for PartnerIds {
    fn example() -> Self {
        Self { partner_ids: Lenient::Present(IntList { numbers: vec![5, 7], has_others: false }) }
    }
}

/// A partner's presence status.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "BusImStatus")]
struct ImStatus {
    id: i64,
    /// `online`, `away` or `offline`.
    im_status: String,
}
