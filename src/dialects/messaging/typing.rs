//! Typing indicators of a thread.

use poem_openapi::{Object, OpenApi, param::Path};
use serde::Serialize;
use storage::{ConversationId, Person};

use super::{
    MessagingReply, Tag, failure,
    wire::{ThreadParams, user_of},
};
use crate::{
    auth::Caller,
    web::{
        AppContext,
        jsonrpc::{Call, NoJsonRpcParams},
        lenient::PathInt,
        session::Session,
    },
};

pub(super) struct TypingApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl TypingApi {
    /// Shows the caller as typing
    ///
    /// In a thread of the caller, until the caller stops or sends a message, or for 10 seconds.
    #[oai(path = "/typing/start", method = "post", operation_id = "messaging_typing_start")]
    async fn start(&self, call: Call<ThreadParams>, session: Session) -> MessagingReply<TypingResult> {
        call.logged_in(session, |login, params| async move {
            let thread = ConversationId(params.thread_id.required("thread_id", "thread_id is required")?);
            self.0.chat.start_typing(&login, thread).await.map_err(failure)?;
            Ok(TypingResult::by(&login))
        })
        .await
    }

    /// Shows the caller as not typing
    #[oai(path = "/typing/stop", method = "post", operation_id = "messaging_typing_stop")]
    async fn stop(&self, call: Call<ThreadParams>, session: Session) -> MessagingReply<TypingResult> {
        call.logged_in(session, |login, params| async move {
            let thread = ConversationId(params.thread_id.required("thread_id", "thread_id is required")?);
            self.0.chat.stop_typing(&login, thread).await.map_err(failure)?;
            Ok(TypingResult::by(&login))
        })
        .await
    }

    /// Lists the typing users
    ///
    /// In a thread of the caller; without the caller.
    #[oai(path = "/typing/status/:id", method = "post", operation_id = "messaging_typing_status")]
    async fn status(
        &self,
        Path(id): Path<PathInt>,
        call: Call<NoJsonRpcParams>,
        session: Session,
    ) -> MessagingReply<TypingStatus> {
        call.logged_in(session, |login, _| async move {
            let people = self.0.chat.typing(&login, ConversationId(id.0)).await.map_err(failure)?;
            Ok(TypingStatus { thread_id: id.0, typing_users: people.into_iter().map(TypingUser::from).collect() })
        })
        .await
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingTyped")]
struct TypingResult {
    success: bool,
    partner_id: i64,
    user_id: i64,
}

impl TypingResult {
    fn by(caller: &Caller) -> Self {
        Self { success: true, partner_id: caller.partner.0, user_id: caller.user.0 }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingTypingStatus")]
struct TypingStatus {
    thread_id: i64,
    /// In the order in which they began.
    typing_users: Vec<TypingUser>,
}

/// A typing user.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingTypist")]
struct TypingUser {
    partner_id: i64,
    #[oai(nullable)]
    user_id: Option<i64>,
    name: String,
}

impl From<Person> for TypingUser {
    fn from(person: Person) -> Self {
        Self { partner_id: person.partner.id.0, user_id: user_of(&person), name: person.partner.name }
    }
}
