//! Changes of sent messages: edit, delete, and reactions.

use poem_openapi::{Enum, Object, OpenApi, types::Example};
use serde::Serialize;
use storage::MessageId;

use super::{MessagingReply, Tag, failure, wire::Reaction};
use crate::{
    chat::{EditPermission, Error, ReactionChange},
    web::{
        AppContext,
        jsonrpc::{Call, CallFailure},
        lenient::{Int, Text},
        session::Session,
    },
};

pub(super) struct MessageChangesApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl MessageChangesApi {
    /// Edits a message
    ///
    /// A message of the caller in a thread of the caller. Moderators may edit any message in any thread.
    #[oai(path = "/message/edit", method = "post", operation_id = "messaging_message_edit")]
    async fn edit(&self, call: Call<EditParams>, session: Session) -> MessagingReply<ChangedMessage> {
        call.logged_in(session, |login, params| async move {
            const MISSING: &str = "message_id and body are required";
            let id = MessageId(params.message_id.required("message_id", MISSING)?);
            let body = params.body.required("body", MISSING)?;
            let is_blank = body.trim().is_empty();
            let of = self.0.chat.conversation_of(id).await.map_err(failure)?;
            let edited = self.0.chat.edit_message(&login, EditPermission::Moderator, of, id, &body).await;
            edited.map_err(|error| match error {
                Error::Invalid { field: "body", .. } if is_blank => CallFailure::refusal(MISSING),
                error => failure(error),
            })?;
            Ok(ChangedMessage { success: true, message_id: id.0 })
        })
        .await
    }

    /// Deletes a message
    ///
    /// A message of the caller in a thread of the caller. Moderators may delete any message in any thread. Its text, files and
    /// reactions are removed; a message with an empty body stays in its place. Idempotent: deleting it again succeeds.
    #[oai(path = "/message/delete", method = "post", operation_id = "messaging_message_delete")]
    async fn delete(&self, call: Call<DeleteParams>, session: Session) -> MessagingReply<ChangedMessage> {
        call.logged_in(session, |login, params| async move {
            let id = MessageId(params.message_id.required("message_id", "message_id is required")?);
            let of = self.0.chat.conversation_of(id).await.map_err(failure)?;
            self.0.chat.delete_message(&login, EditPermission::Moderator, of, id).await.map_err(failure)?;
            Ok(ChangedMessage { success: true, message_id: id.0 })
        })
        .await
    }

    /// Reacts to a message
    ///
    /// Adds or removes a reaction of the caller to a message in a thread of the caller. `toggle` adds a missing reaction and
    /// removes an existing one. `action` in the answer is `add` if the caller's reaction exists now, and `remove` otherwise, as
    /// in Odoo's `_message_reaction`. Idempotent: adding an existing reaction or removing a missing one succeeds and changes
    /// nothing. A message takes at most 20 different reactions. Reactions do not end a poll; they are returned with the messages.
    #[oai(path = "/message/reaction", method = "post", operation_id = "messaging_message_reaction")]
    async fn react(&self, call: Call<ReactionParams>, session: Session) -> MessagingReply<ReactionResult> {
        call.logged_in(session, |login, params| async move {
            const MISSING: &str = "message_id and content are required";
            let id = MessageId(params.message_id.required("message_id", MISSING)?);
            let content = params.content.required("content", MISSING)?;
            let reacting = match params.action.optional("action").map(|action| action.unwrap_or("toggle".into())).as_deref() {
                Ok("toggle") => ReactionChange::Toggle,
                Ok("add") => ReactionChange::Add,
                Ok("remove") => ReactionChange::Remove,
                _ => return Err(CallFailure::refusal("Invalid action")),
            };
            let of = self.0.chat.conversation_of(id).await.map_err(failure)?;
            let reacted = self.0.chat.react(&login, of, id, &content, reacting).await.map_err(failure)?;
            let action = if reacted.exists { ReactionAction::Add } else { ReactionAction::Remove };
            let reactions = reacted.reactions.into_iter().map(Reaction::from).collect();
            Ok(ReactionResult { success: true, message_id: id.0, content, action, reactions })
        })
        .await
    }
}

/// A message and its new text.
#[derive(Debug, Object)]
#[oai(rename = "MessagingEditParams", example)]
struct EditParams {
    message_id: Int,
    /// Kept exactly as sent.
    body: Text,
}

impl Example for EditParams {
    fn example() -> Self {
        Self { message_id: Int::Present(14), body: Text::Present("Hello!".into()) }
    }
}

/// The message to delete.
#[derive(Debug, Object)]
#[oai(rename = "MessagingDeleteParams", example)]
struct DeleteParams {
    message_id: Int,
}

impl Example for DeleteParams {
    fn example() -> Self {
        Self { message_id: Int::Present(14) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingChanged")]
struct ChangedMessage {
    success: bool,
    message_id: i64,
}

/// A reaction of the caller to a message.
#[derive(Debug, Object)]
#[oai(rename = "MessagingReactionParams", example)]
struct ReactionParams {
    message_id: Int,
    /// Usually an emoji; at most 64 bytes.
    content: Text,
    /// `toggle` (the default), `add` or `remove`.
    action: Text,
}

impl Example for ReactionParams {
    fn example() -> Self {
        Self { message_id: Int::Present(14), content: Text::Present("👍".into()), action: Text::Present("toggle".into()) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingReacted")]
struct ReactionResult {
    success: bool,
    message_id: i64,
    content: String,
    action: ReactionAction,
    /// All reactions to the message.
    reactions: Vec<Reaction>,
}

/// The state of the caller's reaction: `add` if it exists, `remove` if not.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(rename = "MessagingReactionAction", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum ReactionAction {
    Add,
    Remove,
}
