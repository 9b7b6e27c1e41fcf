//! Search for people, and resolution of ids that may be those of users or of partners.

use poem_openapi::{Object, OpenApi, types::Example};
use serde::Serialize;
use storage::Person;

use super::{MessagingReply, Tag, failure, page_size, wire::Contact};
use crate::{
    auth::Caller,
    chat::{PreferredId, people_bytes},
    config::PartnerOrUser,
    shares::Account,
    web::{
        AppContext,
        jsonrpc::{Call, CallFailure, Fault},
        lenient::{Int, Text},
        session::Session,
    },
};

pub(super) struct PeopleApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl PeopleApi {
    /// Searches people
    ///
    /// Finds people whose name, email or phone contains `query` (case-insensitive), sorted by name.
    #[oai(path = "/partners/search", method = "post", operation_id = "messaging_partners_search")]
    async fn search(&self, call: Call<PeopleSearchParams>, session: Session) -> MessagingReply<PeopleSearchResult> {
        call.logged_in(session, |login, params| async move {
            let query = params.query.required("query", "query parameter is required")?;
            let limit = page_size(params.limit, 20)?;
            let people = self.0.chat.search_people(&login, &query, limit).await.map_err(failure)?;
            Ok(PeopleSearchResult { partners: people.into_iter().map(Contact::from).collect() })
        })
        .await
    }
}

/// Resolves ids of users or partners, the parameter `field`, to people, and reserves the memory of a list of them. A setting says
/// which of the two an ambiguous id means.
pub(super) async fn resolve(
    app: &AppContext,
    caller: &Caller,
    account: &Account,
    field: &'static str,
    ids: &[i64],
) -> Result<Vec<Person>, CallFailure> {
    let ids = app.chat.admit_look_up(caller, field, ids).map_err(failure)?;
    account.reserve(people_bytes(ids.len())).await.map_err(Fault::refused)?;
    let preferred = match app.config.messaging.preferred_id {
        PartnerOrUser::User => PreferredId::User,
        PartnerOrUser::Partner => PreferredId::Partner,
    };
    app.chat.people_by_id(&ids, preferred).await.map_err(failure)
}

/// A search for people.
#[derive(Debug, Object)]
#[oai(rename = "MessagingSearchParams", example)]
struct PeopleSearchParams {
    query: Text,
    /// 20 by default, at most 200.
    limit: Int,
}

impl Example for PeopleSearchParams {
    fn example() -> Self {
        Self { query: Text::Present("peer".into()), limit: Int::Present(20) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingFound")]
struct PeopleSearchResult {
    partners: Vec<Contact>,
}
