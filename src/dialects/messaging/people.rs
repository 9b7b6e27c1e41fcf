//! Search for people, and resolution of ids that may be those of users or of partners.

use poem_openapi::{Object, OpenApi, types::Example};
use serde::Serialize;
use storage::Person;

use super::{Reply, Tag, failure, page_size, wire::Contact};
use crate::{
    chat::PreferredId,
    config::PartnerOrUser,
    dialects::{
        House,
        jsonrpc::{Call, Failure},
        loose::{Int, Text},
        session::Session,
    },
};

pub(super) struct People(pub(super) House);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl People {
    /// Searches people
    ///
    /// Finds people whose name, email or phone contains `query` (case-insensitive), sorted by name.
    #[oai(path = "/partners/search", method = "post", operation_id = "messaging_partners_search")]
    async fn search(&self, call: Call<SearchParams>, session: Session) -> Reply<Found> {
        call.logged_in(session, |login, params| async move {
            let query = params.query.required("query", "query parameter is required")?;
            let limit = page_size(params.limit, 20)?;
            let people = self.0.chat.search_people(&login, &query, limit).await.map_err(failure)?;
            Ok(Found { partners: people.into_iter().map(Contact::from).collect() })
        })
        .await
    }
}

/// Resolves ids of users or partners to people. A setting says which of the two an ambiguous id means.
pub(super) async fn resolve(house: &House, ids: &[i64]) -> Result<Vec<Person>, Failure> {
    let preferred = match house.config.messaging.preferred_id {
        PartnerOrUser::User => PreferredId::User,
        PartnerOrUser::Partner => PreferredId::Partner,
    };
    house.chat.people_by_id(ids, preferred).await.map_err(failure)
}

/// A search for people.
#[derive(Debug, Object)]
#[oai(rename = "MessagingSearchParams", example)]
struct SearchParams {
    query: Text,
    /// 20 by default, at most 200.
    limit: Int,
}

impl Example for SearchParams {
    fn example() -> Self {
        Self { query: Text::Given("peer".into()), limit: Int::Given(20) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingFound")]
struct Found {
    partners: Vec<Contact>,
}
