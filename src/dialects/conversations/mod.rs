//! The room of a chat with one socket per conversation (spec `50-conversations.md`): `/conversations/<id>/?token=`, and with
//! one socket for all of a user's conversations: `/conversations/?token=`.
//!
//! A conversation goes by its integer id, written as a string, or by its uuid. `/ws/conversations/` and the paths of the
//! setting `conversations.paths` lead to the same sockets.

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

/// There is no such conversation, or it is not the caller's: the same, so that ids cannot be probed.
const NOT_IN_IT: Close = Close::new(4004, "no such conversation");

/// Puts the room's sockets at its own paths: that of the conversation that `:id` names, and that of all conversations.
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

/// Which conversations a path is about.
#[derive(Clone, Copy)]
enum Which {
    All,
    /// The one that `:id` names.
    Named,
}

/// What all sockets of the room share.
#[derive(Clone)]
struct Room {
    house: House,
    people: Arc<People>,
}

impl Room {
    async fn open(self, request: &Request, which: Which) -> Response {
        let token = token(request);
        let (caller, subprotocol) = bearer::socket_caller(request, token.as_deref(), &self.house).await;
        // What is no text names nothing.
        let address = request.raw_path_param("id").and_then(Address::read);
        let sockets = self.house.sockets.clone();
        // Begun before the client is answered: it takes the answer for the beginning, and whatever happens then is its to hear.
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

/// How a conversation is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    Id(ConversationId),
    Uuid(Uuid),
}

impl Address {
    /// `None` for what names nothing.
    fn read(text: &str) -> Option<Self> {
        let id = text.parse().ok().map(ConversationId).map(Self::Id);
        id.or_else(|| Uuid::try_parse(text).ok().map(Self::Uuid))
    }
}

/// The token in the query, if there is one.
fn token(request: &Request) -> Option<String> {
    let query = request.uri().query()?;
    let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token");
    token.map(|(_, token)| token.into_owned())
}
