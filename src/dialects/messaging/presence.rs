//! Presence of people: the caller's own status, and look-ups of others.

use poem::Request;
use poem_openapi::{Enum, Object, OpenApi, types::Example};
use serde::Serialize;

use super::{
    MessagingReply, Tag, failure,
    people::resolve,
    wire::{id_of, user_of},
};
use crate::{
    chat::PersonPresence,
    events::PresenceState,
    web::{
        AppContext, body,
        jsonrpc::{Call, CallFailure},
        lenient::{IntList, Ints, Text},
        odoo_time,
        session::Session,
    },
};

pub(super) struct PresenceApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl PresenceApi {
    /// Sets the caller's presence
    ///
    /// `away` and `offline` last until the next update or login. `online` restores the status that follows from the caller's
    /// activity.
    #[oai(path = "/presence/update", method = "post", operation_id = "messaging_presence_update")]
    async fn update(&self, call: Call<UpdateParams>, session: Session) -> MessagingReply<UpdatedPresence> {
        call.logged_in(session, |login, params| async move {
            let status = match params.status.optional("status")?.as_deref() {
                None | Some("online") => PresenceState::Online,
                Some("away") => PresenceState::Away,
                Some("offline") => PresenceState::Offline,
                Some(_) => return Err(CallFailure::refusal("status must be online, away or offline")),
            };
            self.0.chat.set_status(&login, status).await.map_err(failure)?;
            Ok(UpdatedPresence { success: true, partner_id: login.partner.0, user_id: login.user.0, status: status.into() })
        })
        .await
    }

    /// Returns the presence of people
    ///
    /// In the order asked; unknown ids are left out. At most 10,000 people at a time; more than 100 count as a search for each started
    /// 1,000.
    #[oai(path = "/presence/status", method = "post", operation_id = "messaging_presence_status")]
    async fn status(&self, request: &Request, call: Call<StatusParams>, session: Session) -> MessagingReply<PresenceList> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let ids = params.partner_ids.required("partner_ids", "partner_ids required")?.all("partner_ids")?;
            if ids.is_empty() {
                return Err(CallFailure::refusal("partner_ids required"));
            }
            let people = resolve(&self.0, &login, account, "partner_ids", &ids).await?;
            if people.is_empty() {
                return Err(CallFailure::refusal("No valid partners found"));
            }
            let presence = self.0.chat.presence(people).await.map_err(failure)?;
            Ok(PresenceList { presence: presence.into_iter().map(PartnerPresence::from).collect() })
        })
        .await
    }
}

/// The presence status of a partner.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(rename = "MessagingStatus", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum PresenceStatus {
    Online,
    Away,
    Offline,
}

impl From<PresenceState> for PresenceStatus {
    fn from(status: PresenceState) -> Self {
        match status {
            PresenceState::Online => Self::Online,
            PresenceState::Away => Self::Away,
            PresenceState::Offline => Self::Offline,
        }
    }
}

/// The caller's new presence status.
#[derive(Debug, Object)]
#[oai(rename = "MessagingPresenceParams", example)]
struct UpdateParams {
    /// `online` (the default), `away` or `offline`.
    status: Text,
}

impl Example for UpdateParams {
    fn example() -> Self {
        Self { status: Text::Present("away".into()) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingPresenceUpdated")]
struct UpdatedPresence {
    success: bool,
    partner_id: i64,
    user_id: i64,
    status: PresenceStatus,
}

/// The people to look up.
#[derive(Debug, Object)]
#[oai(rename = "MessagingPresenceStatusParams", example)]
struct StatusParams {
    /// Ids of users or partners.
    partner_ids: Ints,
}

impl Example for StatusParams {
    fn example() -> Self {
        Self { partner_ids: Ints::Present(IntList { numbers: vec![6, 7], has_others: false }) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingPresent")]
struct PresenceList {
    presence: Vec<PartnerPresence>,
}

/// A person's presence.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingPartnerPresence")]
struct PartnerPresence {
    /// The user's id, or the partner's id if there is no user.
    id: i64,
    name: String,
    partner_id: i64,
    #[oai(nullable)]
    user_id: Option<i64>,
    status: PresenceStatus,
    /// `YYYY-MM-DD HH:MM:SS`, UTC; null if the person was never online.
    #[oai(nullable)]
    last_seen: Option<String>,
}

impl From<PersonPresence> for PartnerPresence {
    fn from(PersonPresence { person, status, last_seen }: PersonPresence) -> Self {
        Self {
            id: id_of(&person),
            partner_id: person.partner.id.0,
            user_id: user_of(&person),
            name: person.partner.name,
            status: status.into(),
            last_seen: last_seen.map(odoo_time),
        }
    }
}
