#![doc = include_str!("README.md")]

mod asking;
mod asyncapi;
mod error;
mod local_id;
mod paths;
mod people;
mod receipts;
mod voice;
mod wire;

use std::sync::Arc;

use poem::{Request, Response, Route};
use storage::ConversationId;
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    House, bearer,
    socket::{self, Close, Speaking},
};
use crate::auth::{self, Caller};
pub use asyncapi::asyncapi;
pub use paths::{OWN as SOCKET_PATHS, redirect};
use people::People;
use voice::{Conversing, Of};

/// Close code of an unknown conversation, and of one without the caller: the same, so that ids cannot be probed.
const NOT_IN_IT: Close = Close::new(4004, "no such conversation");

/// Adds the dialect's WebSocket routes: for one conversation, `:id`, and for all.
pub fn sockets(house: &House, route: Route) -> Route {
    let room = Room { people: Arc::new(People::new(&house.chat)), house: house.clone() };
    paths::OWN.iter().fold(route, |route, path| {
        let endpoint = |which| {
            let room = room.clone();
            poem::endpoint::make(move |request: Request| {
                let room = room.clone();
                async move { room.open(&request, which).await }
            })
        };
        route.at(path, endpoint(Which::All)).at(format!("{path}/:id"), endpoint(Which::Named))
    })
}

/// Conversations that a route subscribes to.
#[derive(Clone, Copy)]
enum Which {
    All,
    /// The conversation named by `:id`.
    Named,
}

/// Dependencies shared by all sockets of the dialect.
#[derive(Clone)]
struct Room {
    house: House,
    people: Arc<People>,
}

impl Room {
    async fn open(self, request: &Request, which: Which) -> Response {
        let token = token(request);
        let (caller, subprotocol) = bearer::socket_caller(request, token.as_deref(), &self.house).await;
        // A segment that is not UTF-8 matches no conversation.
        let address = request.raw_path_param("id").and_then(Address::read);
        let sockets = self.house.sockets.clone();
        // Subscribes before the response, because the client counts on every event after it.
        let begun = self.speaking(caller, which, address).await;
        socket::open(request, subprotocol, &sockets, std::future::ready(begun))
    }

    async fn speaking(
        self,
        caller: Result<Caller, auth::Error>,
        which: Which,
        address: Option<Address>,
    ) -> Result<Speaking<Conversing>, Close> {
        let caller = caller.map_err(|error| error::not_let_in(&error))?;
        let chat = &self.house.chat;
        let (feed, of) = match which {
            Which::All => (chat.hear_conversations(&caller), Of::All),
            Which::Named => {
                let found = match address.ok_or(NOT_IN_IT)? {
                    Address::Id(id) => Ok(id),
                    Address::Uuid(uuid) => {
                        chat.conversation_by_uuid(&caller, uuid).await.map(|(conversation, _)| conversation.id)
                    }
                };
                let id = found.map_err(|error| error::not_opened(&error))?;
                let heard = chat.hear_conversation(&caller, id).await;
                let (feed, conversation) = heard.map_err(|error| error::not_opened(&error))?;
                (feed, Of::One { id, uuid: conversation.uuid })
            }
        };
        Ok(Speaking { voice: Conversing::new(self, caller.clone(), of), feed, caller })
    }
}

/// A conversation's address: its id or its uuid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    Id(ConversationId),
    Uuid(Uuid),
}

impl Address {
    /// `None` if the text is neither.
    fn read(text: &str) -> Option<Self> {
        let id = text.parse().ok().map(ConversationId).map(Self::Id);
        id.or_else(|| Uuid::try_parse(text).ok().map(Self::Uuid))
    }
}

/// Access token in the query, if any.
fn token(request: &Request) -> Option<String> {
    let query = request.uri().query()?;
    let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token");
    token.map(|(_, token)| token.into_owned())
}
