#![doc = include_str!("README.md")]

mod asyncapi;
mod client_frame;
mod error;
mod handler;
mod local_id;
mod paths;
mod people;
mod receipts;
mod wire;

use std::sync::Arc;

use poem::{Request, Response, Route};
use storage::ConversationId;
use url::form_urlencoded;
use uuid::Uuid;

use crate::{
    auth::{self, Caller},
    web::{
        AppContext, bearer,
        websocket::{self, Close, SocketSession},
    },
};
pub use asyncapi::asyncapi;
use handler::{ConversationsHandler, Subscription};
pub use paths::{FIXED_PATHS as SOCKET_PATHS, redirect};
use people::PeopleLookup;

/// Close code of an unknown conversation, and of one without the caller: the same, so that ids cannot be probed.
const NO_SUCH_CONVERSATION: Close = Close::new(4004, "no such conversation");

/// Adds the dialect's WebSocket routes: for one conversation, `:id`, and for all.
pub fn sockets(app: &AppContext, route: Route) -> Route {
    let room = ConversationsDialect { people: Arc::new(PeopleLookup::new(&app.chat)), app: app.clone() };
    paths::FIXED_PATHS.iter().fold(route, |route, path| {
        let endpoint = |which| {
            let room = room.clone();
            poem::endpoint::make(move |request: Request| {
                let room = room.clone();
                async move { room.open(&request, which).await }
            })
        };
        route.at(path, endpoint(SocketScope::All)).at(format!("{path}/:id"), endpoint(SocketScope::Named))
    })
}

/// Conversations that a route subscribes to.
#[derive(Clone, Copy)]
enum SocketScope {
    All,
    /// The conversation named by `:id`.
    Named,
}

/// Dependencies shared by all sockets of the dialect.
#[derive(Clone)]
struct ConversationsDialect {
    app: AppContext,
    people: Arc<PeopleLookup>,
}

impl ConversationsDialect {
    async fn open(self, request: &Request, which: SocketScope) -> Response {
        let token = token(request);
        let (caller, subprotocol) = bearer::socket_caller(request, token.as_deref(), &self.app).await;
        // A segment that is not UTF-8 matches no conversation.
        let address = request.raw_path_param("id").and_then(ConversationAddress::read);
        let sockets = self.app.sockets.clone();
        // Subscribes before the response, because the client counts on every event after it.
        let begun = self.subscribe(caller, which, address).await;
        websocket::open(request, subprotocol, &sockets, std::future::ready(begun))
    }

    async fn subscribe(
        self,
        caller: Result<Caller, auth::Error>,
        which: SocketScope,
        address: Option<ConversationAddress>,
    ) -> Result<SocketSession<ConversationsHandler>, Close> {
        let caller = caller.map_err(|error| error::auth_close(&error))?;
        let chat = &self.app.chat;
        let (feed, of) = match which {
            SocketScope::All => (chat.subscribe_delivering(&caller), Subscription::All),
            SocketScope::Named => {
                let found = match address.ok_or(NO_SUCH_CONVERSATION)? {
                    ConversationAddress::Id(id) => Ok(id),
                    ConversationAddress::Uuid(uuid) => {
                        chat.conversation_by_uuid(&caller, uuid).await.map(|(conversation, _)| conversation.id)
                    }
                };
                let id = found.map_err(|error| error::subscribe_close(&error))?;
                let heard = chat.subscribe_conversation(&caller, id).await;
                let (feed, conversation) = heard.map_err(|error| error::subscribe_close(&error))?;
                (feed, Subscription::One { id, uuid: conversation.uuid })
            }
        };
        Ok(SocketSession { handler: ConversationsHandler::new(self, caller.clone(), of), feed, caller })
    }
}

/// A conversation's address: its id or its uuid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConversationAddress {
    Id(ConversationId),
    Uuid(Uuid),
}

impl ConversationAddress {
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
