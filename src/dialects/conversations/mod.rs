//! The room of a chat with one socket per conversation (spec `50-conversations.md`): `/conversations/<id>/?token=`.
//!
//! A conversation goes by its integer id, written as a string, or by its uuid.

mod asking;
mod asyncapi;
mod error;
mod people;
mod receipts;
mod voice;
mod wire;

use std::sync::Arc;

use poem::{Endpoint, Request, Response};
use storage::ConversationId;
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    House, bearer,
    socket::{self, Close, Speaking},
};
use crate::auth::{self, Caller};
pub use asyncapi::asyncapi;
use people::People;
use voice::Conversing;

/// There is no such conversation, or it is not the caller's: the same, so that ids cannot be probed.
const NOT_IN_IT: Close = Close::new(4004, "no such conversation");

/// What answers a request for the socket of the conversation that `:id` in its path names.
pub fn sockets(house: &House) -> impl Endpoint<Output = Response> + use<> {
    let room = Room { people: Arc::new(People::new(&house.chat)), house: house.clone() };
    poem::endpoint::make(move |request: Request| {
        let room = room.clone();
        async move { room.open(&request).await }
    })
}

/// What all sockets of the room share.
#[derive(Clone)]
struct Room {
    house: House,
    people: Arc<People>,
}

impl Room {
    async fn open(self, request: &Request) -> Response {
        let token = token(request);
        let (caller, subprotocol) = bearer::socket_caller(request, token.as_deref(), &self.house).await;
        let address = request.raw_path_param("id").and_then(Address::read);
        let sockets = self.house.sockets.clone();
        // Begun before the client is answered: it takes the answer for the beginning, and whatever happens then is its to hear.
        let begun = self.speaking(caller, address).await;
        socket::open(request, subprotocol, &sockets, std::future::ready(begun))
    }

    async fn speaking(
        self,
        caller: Result<Caller, auth::Error>,
        address: Option<Address>,
    ) -> Result<Speaking<Conversing>, Close> {
        let caller = caller.map_err(|error| error::not_let_in(&error))?;
        let chat = &self.house.chat;
        let found = match address.ok_or(NOT_IN_IT)? {
            Address::Id(id) => Ok(id),
            Address::Uuid(uuid) => chat.conversation_by_uuid(&caller, uuid).await.map(|(conversation, _)| conversation.id),
        };
        let id = found.map_err(|error| error::not_opened(&error))?;
        let (feed, conversation) = chat.hear_conversation(&caller, id).await.map_err(|error| error::not_opened(&error))?;
        Ok(Speaking { voice: Conversing::new(self, caller.clone(), &conversation), feed, caller })
    }
}

/// How a conversation is named in a path.
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
