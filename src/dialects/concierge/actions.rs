//! Request handlers of the `concierge` dialect: one per route. The answer to a new message is delayed until the message's event,
//! so that messages keep one order.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use storage::{MessageType, Page, SupportSession, SupportStatus, User};
use uuid::Uuid;

use super::{
    error::Failure,
    request::Request,
    voice::Talk,
    wire::{ChatMessage, ChatSession, Connection, Missing, Number, Paginate, Profile, Tenant, answer},
};
use crate::{
    chat::{Draft, Error, Right, Side, Thing},
    dialects::socket::Frame,
    shares::Party,
};

/// Answer to a request; `None` if it is sent later, in the order of events.
type Answered = Result<Option<Frame>, Failure>;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whole<'a> {
    chat_session_id: Uuid,
    chat_session: ChatSession,
    connection: Connection<'a>,
    tenant: Tenant<'a>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ended {
    chat_session_id: Uuid,
    chat_session: ChatSession,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent<'a> {
    chat_session_id: Uuid,
    chat_message: ChatMessage<'a>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct History<'a> {
    messages: Vec<ChatMessage<'a>>,
    paginate: Paginate,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sessions {
    chat_sessions: Vec<ChatSession>,
    paginate: Paginate,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unsent<'a> {
    #[schemars(with = "serde_json::Value")]
    message_id: &'a RawValue,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unread {
    unread_msg_count: Number,
}

impl Talk {
    pub(super) async fn answer(&mut self, request: &Request<'_>) -> Answered {
        match request.target() {
            Some((Side::Initiator, "init-chat-with-concierge")) => self.init(request).await,
            Some((side, "get-chat-session")) => self.get(request, side).await,
            Some((side, "ping-on-chat-session")) => {
                let session = self.house.chat.open_support(&self.caller, side, request.session()?).await?;
                self.whole(request, &session, Profile::Short).await
            }
            Some((side, "get-chat-messages")) => self.history(request, side).await,
            Some((side, "send-message")) => self.send(request, side).await,
            Some((side, "delete-message")) => self.unsend(request, side).await,
            Some((side, "update-message-seen-at")) => self.see(request, side).await,
            Some((Side::Initiator, "get-unread-msg-count")) => {
                let count = self.house.chat.support_unread(&self.caller).await?;
                said(request, &Unread { unread_msg_count: self.pen().number(count) })
            }
            Some((side @ Side::Initiator, "end-chat-with-concierge") | (side @ Side::Agent, "end-chat-session")) => {
                self.end(request, side).await
            }
            Some((Side::Agent, "list-chat-sessions")) => self.list(request).await,
            Some((Side::Agent, "join-chat-session")) => self.join(request).await,
            Some((Side::Agent, "leave-chat-session")) => self.leave(request).await,
            Some(_) | None => Err(Failure { status: 404, message: "There is no such route".into() }),
        }
    }

    async fn init(&self, request: &Request<'_>) -> Answered {
        let chat = &self.house.chat;
        let continues = match request.flag("newSession")? {
            Some(new) => !new,
            None => request.value("chatSessionId").is_some(),
        };
        let (session, profile) = match continues {
            true => (chat.open_support(&self.caller, Side::Initiator, request.session()?).await?, Profile::Short),
            false => (chat.begin_support(&self.caller).await?, Profile::Whole),
        };
        self.whole(request, &session, profile).await
    }

    async fn get(&self, request: &Request<'_>, side: Side) -> Answered {
        let got = match request.session() {
            Ok(uuid) => self.house.chat.support(&self.caller, side, uuid).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match got {
            Ok(session) => self.whole(request, &session, Profile::Short).await,
            // The published client treats an unknown session as closed, and reads that from a session object.
            Err(Failure { status: status @ 404, message }) if side == Side::Initiator => {
                let missing = Missing::new(&message, request.text("chatSessionId")?.unwrap_or_default());
                Ok(Some(answer(&request.route, status, &missing)))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn whole(&self, request: &Request<'_>, session: &SupportSession, profile: Profile) -> Answered {
        let tenant = self.tenant(session).await?;
        let pen = self.pen();
        let whole = Whole {
            chat_session_id: session.uuid,
            chat_session: pen.session(session),
            connection: self.connection(),
            tenant: pen.tenant(&tenant, profile),
        };
        said(request, &whole)
    }

    async fn tenant(&self, session: &SupportSession) -> Result<User, Failure> {
        let found = self.house.chat.users_by_id(&[session.initiator.user]).await?.pop();
        Ok(found.and_then(|contact| contact.user).ok_or(Error::NotFound(Thing::Partner))?)
    }

    async fn history(&self, request: &Request<'_>, side: Side) -> Answered {
        let paging = request.paging()?;
        let page = Page::Newest { offset: paging.offset(), limit: paging.limit() };
        let caller = Party::User(self.caller.user);
        let memory = self.house.shares.answers.reserve(caller, self.house.page_bytes(paging.limit())).await?;
        let (session, mut messages) = self.house.chat.support_history(&self.caller, side, request.session()?, page).await?;
        messages.reverse();
        let messages = messages.iter().map(|message| self.pen().seen(&session, message)).collect();
        let frame = answer(&request.route, 200, &History { messages, paginate: paging.into() });
        let frame = memory.on(frame.into())?;
        Ok(Some(Frame::try_from(frame).expect("it was a text before")))
    }

    async fn send(&mut self, request: &Request<'_>, side: Side) -> Answered {
        let uuid = request.session()?;
        let misspelt = request.metadata("metdata")?;
        let is_misspelt = misspelt.is_some();
        let metadata = request.metadata("metadata")?.or(misspelt);
        let body = request.text("messageContent")?.ok_or(Failure::bad("messageContent is missing"))?;
        let draft = Draft {
            client_key: Request::message_uid(metadata.as_ref())?,
            metadata,
            ..Draft::new(message_type(request.text("contentType")?.as_deref())?, body)
        };
        let session = self.house.chat.own_support(&self.caller, side, uuid).await?;
        let sent = self.house.chat.send(&self.caller, session.conversation, draft).await?;
        let message = &sent.message;
        // A new message is unseen.
        let seen = if sent.again { self.house.chat.support_seen(&session, message).await? } else { None };
        let file = self.house.chat.sent_file(message).await?;
        let mut chat_message = self.pen().message(&session, message, seen, file.as_ref());
        chat_message.metdata = message.metadata.as_ref().filter(|_| is_misspelt);
        let answer = said(request, &Sent { chat_session_id: session.uuid, chat_message })?;
        match answer {
            Some(answer) if !sent.again => {
                self.made.sent(message.id, session.conversation, answer);
                Ok(None)
            }
            at_once => {
                self.made.repeated(message.id);
                Ok(at_once)
            }
        }
    }

    async fn unsend(&mut self, request: &Request<'_>, side: Side) -> Answered {
        let (id, given) = request.message()?;
        let session = self.house.chat.own_support(&self.caller, side, request.session()?).await?;
        self.house.chat.delete_message(&self.caller, Right::Author, session.conversation, id).await?;
        self.made.unsent(id);
        said(request, &Unsent { message_id: given })
    }

    async fn see(&mut self, request: &Request<'_>, side: Side) -> Answered {
        let (id, _) = request.message()?;
        let (session, message) = self.house.chat.see_support(&self.caller, side, request.session()?, id).await?;
        self.made.seen(session.conversation, message.message.seq);
        let chat_message = self.pen().seen(&session, &message);
        said(request, &Sent { chat_session_id: session.uuid, chat_message })
    }

    async fn end(&mut self, request: &Request<'_>, side: Side) -> Answered {
        let (session, changed) = self.house.chat.end_support(&self.caller, side, request.session()?).await?;
        if changed {
            self.made.changed(session);
        }
        said(request, &Ended { chat_session_id: session.uuid, chat_session: self.pen().session(&session) })
    }

    async fn list(&self, request: &Request<'_>) -> Answered {
        let status = match request.text("status")?.as_deref() {
            None => None,
            Some("waiting") => Some(SupportStatus::Waiting),
            Some("joined") => Some(SupportStatus::Joined),
            Some("closed") => Some(SupportStatus::Closed),
            Some(_) => return Err(Failure::bad("status must be waiting, joined or closed")),
        };
        let paging = request.paging()?;
        let found = self.house.chat.support_sessions(&self.caller, status, paging.offset(), paging.limit()).await?;
        let chat_sessions = found.iter().map(|session| self.pen().session(session)).collect();
        said(request, &Sessions { chat_sessions, paginate: paging.into() })
    }

    async fn join(&mut self, request: &Request<'_>) -> Answered {
        let take_over = request.flag("takeOver")?.unwrap_or(false);
        let (session, changed) = self.house.chat.join_support(&self.caller, request.session()?, take_over).await?;
        if changed {
            self.made.changed(session);
        }
        self.whole(request, &session, Profile::Short).await
    }

    async fn leave(&mut self, request: &Request<'_>) -> Answered {
        let session = self.house.chat.leave_support(&self.caller, request.session()?).await?;
        // Once for the change, and once for the event that the session waits again.
        self.made.changed(session);
        self.made.changed(session);
        said(request, &Ended { chat_session_id: session.uuid, chat_session: self.pen().session(&session) })
    }
}

fn said(request: &Request<'_>, body: &impl Serialize) -> Answered {
    Ok(Some(answer(&request.route, 200, body)))
}

fn message_type(content_type: Option<&str>) -> Result<MessageType, Failure> {
    match content_type {
        None | Some("TEXT") => Ok(MessageType::Text),
        Some("FILE") => Ok(MessageType::File),
        Some("IMAGE") => Ok(MessageType::Image),
        Some("VIDEO") => Ok(MessageType::Video),
        Some(_) => Err(Failure::bad("contentType must be TEXT, FILE, IMAGE or VIDEO")),
    }
}
