//! Request handlers of the `concierge` dialect: one per route. The answer to a new message is delayed until the message's event,
//! so that messages keep one order.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use storage::{MessageType, Page, SupportSession, SupportStatus, User};
use uuid::Uuid;

use super::{
    error::ConciergeError,
    handler::ConciergeHandler,
    request::ConciergeRequest,
    wire::{ChatMessage, ChatSession, Connection, MissingSession, Number, Paginate, Profile, Tenant, answer},
};
use crate::{
    chat::{CallerSide, Draft, EditPermission, Error, ResourceKind},
    shares::{Account, Party},
    web::websocket::Frame,
};

/// Answer to a request; `None` if it is sent later, in the order of events.
type ActionResult = Result<Option<Frame>, ConciergeError>;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionDetails<'a> {
    chat_session_id: Uuid,
    chat_session: ChatSession,
    connection: Connection<'a>,
    tenant: Tenant<'a>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionBody {
    chat_session_id: Uuid,
    chat_session: ChatSession,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionMessage<'a> {
    chat_session_id: Uuid,
    chat_message: ChatMessage<'a>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct SessionMessages<'a> {
    messages: Vec<ChatMessage<'a>>,
    paginate: Paginate,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionList {
    chat_sessions: Vec<ChatSession>,
    paginate: Paginate,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeletedMessage<'a> {
    #[schemars(with = "serde_json::Value")]
    message_id: &'a RawValue,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UnreadCount {
    unread_msg_count: Number,
}

impl ConciergeHandler {
    pub(super) async fn answer(&mut self, request: &ConciergeRequest<'_>) -> ActionResult {
        match request.target() {
            Some((CallerSide::Initiator, "init-chat-with-concierge")) => self.init(request).await,
            Some((side, "get-chat-session")) => self.get(request, side).await,
            Some((side, "ping-on-chat-session")) => {
                let session = self.app.chat.open_support_session(&self.caller, side, request.session()?).await?;
                self.session_details(request, &session, Profile::Short).await
            }
            Some((side, "get-chat-messages")) => self.history(request, side).await,
            Some((side, "send-message")) => self.send(request, side).await,
            Some((side, "delete-message")) => self.delete(request, side).await,
            Some((side, "update-message-seen-at")) => self.mark_seen(request, side).await,
            Some((CallerSide::Initiator, "get-unread-msg-count")) => {
                let count = self.app.chat.support_unread(&self.caller).await?;
                ok(request, &UnreadCount { unread_msg_count: self.encoder().number(count) })
            }
            Some((side @ CallerSide::Initiator, "end-chat-with-concierge") | (side @ CallerSide::Agent, "end-chat-session")) => {
                self.end(request, side).await
            }
            Some((CallerSide::Agent, "list-chat-sessions")) => self.list(request).await,
            Some((CallerSide::Agent, "join-chat-session")) => self.join(request).await,
            Some((CallerSide::Agent, "leave-chat-session")) => self.leave(request).await,
            Some(_) | None => Err(ConciergeError { status: 404, message: "There is no such route".into() }),
        }
    }

    async fn init(&self, request: &ConciergeRequest<'_>) -> ActionResult {
        let chat = &self.app.chat;
        let continues = match request.flag("newSession")? {
            Some(new) => !new,
            None => request.value("chatSessionId").is_some(),
        };
        let (session, profile) = match continues {
            true => (chat.open_support_session(&self.caller, CallerSide::Initiator, request.session()?).await?, Profile::Short),
            false => (chat.begin_support(&self.caller).await?, Profile::Whole),
        };
        self.session_details(request, &session, profile).await
    }

    async fn get(&self, request: &ConciergeRequest<'_>, side: CallerSide) -> ActionResult {
        let got = match request.session() {
            Ok(uuid) => self.app.chat.support_session(&self.caller, side, uuid).await.map_err(ConciergeError::from),
            Err(failure) => Err(failure),
        };
        match got {
            Ok(session) => self.session_details(request, &session, Profile::Short).await,
            // The published client treats an unknown session as closed, and reads that from a session object.
            Err(ConciergeError { status: status @ 404, message }) if side == CallerSide::Initiator => {
                let missing = MissingSession::new(&message, request.text("chatSessionId")?.unwrap_or_default());
                Ok(Some(answer(&request.route, status, &missing)))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn session_details(&self, request: &ConciergeRequest<'_>, session: &SupportSession, profile: Profile) -> ActionResult {
        let tenant = self.tenant(session).await?;
        let pen = self.encoder();
        let whole = SessionDetails {
            chat_session_id: session.uuid,
            chat_session: pen.session(session),
            connection: self.connection(),
            tenant: pen.tenant(&tenant, profile),
        };
        ok(request, &whole)
    }

    async fn tenant(&self, session: &SupportSession) -> Result<User, ConciergeError> {
        let found = self.app.chat.users_by_id(&[session.initiator.user]).await?.pop();
        Ok(found.and_then(|contact| contact.user).ok_or(Error::NotFound(ResourceKind::Partner))?)
    }

    async fn history(&self, request: &ConciergeRequest<'_>, side: CallerSide) -> ActionResult {
        let paging = request.paging()?;
        let page = Page::Newest { offset: paging.offset(), limit: paging.limit() };
        let (account, uuid) = (Account::new(self.app.shares.clone(), Party::User(self.caller.user)), request.session()?);
        let read = |reserved| self.app.chat.support_history(&self.caller, side, uuid, page, reserved);
        let (session, mut messages) = self.app.reserved_page(&account, paging.limit(), read).await??;
        messages.reverse();
        let messages = messages.iter().map(|message| self.encoder().seen(&session, message)).collect();
        let frame = answer(&request.route, 200, &SessionMessages { messages, paginate: paging.into() });
        let frame = account.charged(frame.into())?;
        Ok(Some(Frame::try_from(frame).expect("it was a text before")))
    }

    async fn send(&mut self, request: &ConciergeRequest<'_>, side: CallerSide) -> ActionResult {
        let uuid = request.session()?;
        let misspelt = request.metadata("metdata")?;
        let is_misspelt = misspelt.is_some();
        let metadata = request.metadata("metadata")?.or(misspelt);
        let body = request.text("messageContent")?.ok_or(ConciergeError::bad("messageContent is missing"))?;
        let draft = Draft {
            client_key: ConciergeRequest::message_uid(metadata.as_ref())?,
            metadata,
            ..Draft::new(message_type(request.text("contentType")?.as_deref())?, body)
        };
        let session = self.app.chat.own_support_session(&self.caller, side, uuid).await?;
        let sent = self.app.chat.send(&self.caller, session.conversation, draft).await?;
        let message = &sent.message;
        // A new message is unseen.
        let seen = if sent.is_retry { self.app.chat.support_seen_at(&session, message).await? } else { None };
        let file = self.app.chat.sent_file(message).await?;
        let mut chat_message = self.encoder().message(&session, message, seen, file.as_ref());
        chat_message.metdata = message.metadata.as_ref().filter(|_| is_misspelt);
        let answer = ok(request, &SessionMessage { chat_session_id: session.uuid, chat_message })?;
        match answer {
            Some(answer) if !sent.is_retry => {
                self.own_changes.sent(message.id, session.conversation, answer);
                Ok(None)
            }
            at_once => {
                self.own_changes.repeated(message.id);
                Ok(at_once)
            }
        }
    }

    async fn delete(&mut self, request: &ConciergeRequest<'_>, side: CallerSide) -> ActionResult {
        let (id, given) = request.message()?;
        let session = self.app.chat.own_support_session(&self.caller, side, request.session()?).await?;
        self.app.chat.delete_message(&self.caller, EditPermission::Author, session.conversation, id).await?;
        self.own_changes.deleted(id);
        ok(request, &DeletedMessage { message_id: given })
    }

    async fn mark_seen(&mut self, request: &ConciergeRequest<'_>, side: CallerSide) -> ActionResult {
        let (id, _) = request.message()?;
        let (session, message) = self.app.chat.mark_support_seen(&self.caller, side, request.session()?, id).await?;
        self.own_changes.seen(session.conversation, message.message.seq);
        let chat_message = self.encoder().seen(&session, &message);
        ok(request, &SessionMessage { chat_session_id: session.uuid, chat_message })
    }

    async fn end(&mut self, request: &ConciergeRequest<'_>, side: CallerSide) -> ActionResult {
        let (session, changed) = self.app.chat.end_support(&self.caller, side, request.session()?).await?;
        if changed {
            self.own_changes.changed(session);
        }
        ok(request, &SessionBody { chat_session_id: session.uuid, chat_session: self.encoder().session(&session) })
    }

    async fn list(&self, request: &ConciergeRequest<'_>) -> ActionResult {
        let status = match request.text("status")?.as_deref() {
            None => None,
            Some("waiting") => Some(SupportStatus::Waiting),
            Some("joined") => Some(SupportStatus::Joined),
            Some("closed") => Some(SupportStatus::Closed),
            Some(_) => return Err(ConciergeError::bad("status must be waiting, joined or closed")),
        };
        let paging = request.paging()?;
        let found = self.app.chat.support_sessions(&self.caller, status, paging.offset(), paging.limit()).await?;
        let chat_sessions = found.iter().map(|session| self.encoder().session(session)).collect();
        ok(request, &SessionList { chat_sessions, paginate: paging.into() })
    }

    async fn join(&mut self, request: &ConciergeRequest<'_>) -> ActionResult {
        let take_over = request.flag("takeOver")?.unwrap_or(false);
        let (session, changed) = self.app.chat.join_support(&self.caller, request.session()?, take_over).await?;
        if changed {
            self.own_changes.changed(session);
        }
        self.session_details(request, &session, Profile::Short).await
    }

    async fn leave(&mut self, request: &ConciergeRequest<'_>) -> ActionResult {
        let session = self.app.chat.leave_support(&self.caller, request.session()?).await?;
        // Once for the change, and once for the event that the session waits again.
        self.own_changes.changed(session);
        self.own_changes.changed(session);
        ok(request, &SessionBody { chat_session_id: session.uuid, chat_session: self.encoder().session(&session) })
    }
}

fn ok(request: &ConciergeRequest<'_>, body: &impl Serialize) -> ActionResult {
    Ok(Some(answer(&request.route, 200, body)))
}

fn message_type(content_type: Option<&str>) -> Result<MessageType, ConciergeError> {
    match content_type {
        None | Some("TEXT") => Ok(MessageType::Text),
        Some("FILE") => Ok(MessageType::File),
        Some("IMAGE") => Ok(MessageType::Image),
        Some("VIDEO") => Ok(MessageType::Video),
        Some(_) => Err(ConciergeError::bad("contentType must be TEXT, FILE, IMAGE or VIDEO")),
    }
}
