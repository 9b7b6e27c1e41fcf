//! HTTP routes for the message history and the threads of the caller, with keyset pagination by message id.

use std::{collections::HashMap, sync::Arc};

use poem::Request;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    types::ParseFromJSON,
};
use serde::Serialize;
use storage::{ConversationId, ConversationKind, InboxFilter, MessageId, PartnerId, Person, User as UserAccount, UserId};
use uuid::Uuid;

use super::{
    Tag,
    error::{NO_SUCH_USER, RoomFailure},
    wire::{COPIES, Message, RoomSuccess, User},
};
use crate::{
    chat::{self, ListContent},
    shares::Account,
    web::{
        AppContext,
        bearer::Bearer,
        body,
        lenient::{Int, Lenient},
        page::truncated_to_page,
    },
};

/// Default page size, followed by the maximum.
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 200;

pub(super) struct RoomHistoryApi(pub(super) AppContext);

type RoomReply<T> = Result<RoomSuccess<T>, RoomFailure>;

#[OpenApi(prefix_path = "/chat", tag = "Tag::Room")]
impl RoomHistoryApi {
    /// Messages between the caller and a user
    ///
    /// Newest first. A page ends at 1 MiB, so it may be shorter than `limit`. To continue, pass the last id as `before`, until a
    /// page is empty.
    #[oai(path = "/messages/:uid", method = "get", operation_id = "room_messages")]
    async fn messages(
        &self,
        bearer: Bearer,
        /// The uuid of the user.
        Path(uid): Path<String>,
        /// Only messages with an id smaller than this.
        Query(before): Query<Option<String>>,
        /// Page size: 50 by default, at most 200.
        Query(limit): Query<Option<String>>,
    ) -> RoomReply<RoomMessages> {
        let caller = bearer.0?;
        let uuid = uid.parse::<Uuid>().map_err(|_| RoomFailure::not_found(NO_SUCH_USER))?;
        let (before, limit) = page(before, limit, DEFAULT_PAGE)?;
        let other = self.0.chat.user_by_uuid(uuid).await?;
        let messages = self.0.chat.history_between(&caller, other.partner.id, before, limit).await?;
        let users = self.users([caller.user, other.id]).await?;
        let known = |partner| users.values().find(|user| user.partner.id == partner);
        let messages = messages.iter().map(|message| {
            let author = message.author.partner;
            let receiver = if author == caller.partner { other.partner.id } else { caller.partner };
            Message::of(message, caller.partner, &self.0, known(author), known(receiver))
        });
        let messages = RoomMessages { messages: truncated_to_page(messages.collect(), COPIES) };
        Ok(RoomSuccess::new(messages, Some("Messages retrieved successfully")))
    }

    /// Threads of the caller
    ///
    /// Each thread is with one other user, the most recent first; at most 10,000. The text of its last message is cut at 1 KiB.
    #[oai(path = "/user/threads", method = "get", operation_id = "room_threads")]
    async fn threads(&self, request: &Request, bearer: Bearer) -> RoomReply<Vec<RoomThread>> {
        self.threads_of(body::account(request), bearer).await
    }

    /// Threads of the caller, at the path of the older revision
    ///
    /// The same as `/chat/user/threads/`.
    #[oai(path = "/get-user-threads", method = "get", operation_id = "room_older_threads")]
    async fn older_threads(&self, request: &Request, bearer: Bearer) -> RoomReply<Vec<RoomThread>> {
        self.threads_of(body::account(request), bearer).await
    }

    /// Files in a thread of the caller
    ///
    /// Returned as messages, newest first. A page ends at 1 MiB, as in `/chat/messages/{uid}`.
    #[oai(path = "/thread/files/:thread_id", method = "get", operation_id = "room_thread_files")]
    async fn files(
        &self,
        bearer: Bearer,
        /// The id of the thread.
        Path(thread_id): Path<String>,
        /// Only messages with an id smaller than this.
        Query(before): Query<Option<String>>,
        /// Page size: 200 by default, which is also the maximum.
        Query(limit): Query<Option<String>>,
    ) -> RoomReply<Vec<Message>> {
        let caller = bearer.0?;
        let id = thread_id.parse().map(ConversationId).map_err(|_| chat::Error::NotFound(chat::ResourceKind::Conversation))?;
        let (before, limit) = page(before, limit, MAX_PAGE)?;
        let messages = self.0.chat.files(&caller, id, before, limit).await?;
        let (thread, _) = self.0.chat.conversation(&caller, id).await?;
        let participants = match thread.kind {
            ConversationKind::Direct => self.0.chat.participants(&caller, id).await?.1,
            ConversationKind::Group | ConversationKind::Support => Vec::new(),
        };
        let people: Vec<_> = participants.into_iter().map(|participant| Arc::new(participant.person)).collect();
        let authors = messages.iter().filter_map(|message| message.author.user);
        let users = self.users(authors.chain(people.iter().filter_map(|person| person.user))).await?;
        let files = messages.iter().map(|message| {
            let author = message.author.user.and_then(|user| users.get(&user));
            Message::of(message, caller.partner, &self.0, author, other_user(&people, message.author.partner, &users))
        });
        Ok(RoomSuccess::new(truncated_to_page(files.collect(), COPIES), None))
    }
}

impl RoomHistoryApi {
    async fn threads_of(&self, account: &Account, bearer: Bearer) -> RoomReply<Vec<RoomThread>> {
        let caller = bearer.0?;
        let bytes = self.0.chat.list_bytes(&caller, ListContent::People).await?;
        account.reserve(bytes).await.map_err(RoomFailure::refused)?;
        let filter = InboxFilter { kinds: &[ConversationKind::Direct], ..InboxFilter::default() };
        let lines = self.0.chat.inbox(&caller, filter).await?;
        let people = lines.iter().flat_map(|line| &line.people);
        let users = self.users(people.filter_map(|person| person.user)).await?;
        let threads = lines.iter().filter_map(|line| {
            // Without another participant, the caller is alone in the thread.
            let other = other_user(&line.people, caller.partner, &users)?;
            let last_message = line.entry.last_message.as_ref().map(|message| {
                let author = message.author.user.and_then(|user| users.get(&user));
                Message::of(message, caller.partner, &self.0, author, other_user(&line.people, message.author.partner, &users))
            });
            Some(RoomThread { id: line.entry.conversation.id.0, other_user: other.into(), last_message })
        });
        Ok(RoomSuccess::new(threads.collect(), None))
    }

    async fn users(&self, ids: impl IntoIterator<Item = UserId>) -> chat::Result<HashMap<UserId, UserAccount>> {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let contacts = self.0.chat.users_by_id(&ids).await?;
        Ok(contacts.into_iter().filter_map(|contact| contact.user).map(|user| (user.id, user)).collect())
    }
}

/// Account of the participant other than `partner`, or of the only one.
fn other_user<'a>(
    people: &[Arc<Person>],
    partner: PartnerId,
    users: &'a HashMap<UserId, UserAccount>,
) -> Option<&'a UserAccount> {
    let other = people.iter().find(|person| person.partner.id != partner).or(people.first())?;
    users.get(&other.user?)
}

fn page(before: Option<String>, limit: Option<String>, default: usize) -> Result<(Option<MessageId>, usize), RoomFailure> {
    let before = number(before, "before")?.map(MessageId);
    let limit = match number(limit, "limit")? {
        None | Some(0) => default,
        Some(limit) => usize::try_from(limit).map_err(|_| RoomFailure::bad_request("limit must not be negative"))?.min(MAX_PAGE),
    };
    Ok((before, limit))
}

/// An optional integer. A number beyond 64 bits saturates.
fn number(text: Option<String>, name: &str) -> Result<Option<i64>, RoomFailure> {
    match Int::parse_from_json(text.map(Into::into)) {
        Ok(Lenient::Present(number)) => Ok(Some(number)),
        Ok(Lenient::Missing) => Ok(None),
        Ok(Lenient::WrongType(_)) | Err(_) => Err(RoomFailure::bad_request(format!("{name} must be a whole number"))),
    }
}

/// A page of messages.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "RoomMessages")]
struct RoomMessages {
    messages: Vec<Message>,
}

/// A thread: the direct conversation of the caller with another user.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "RoomThread")]
struct RoomThread {
    id: i64,
    other_user: User,
    /// Null if there are no messages.
    #[oai(nullable)]
    last_message: Option<Message>,
}
