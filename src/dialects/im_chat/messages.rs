//! Messages of sessions: posting, `init` of a starting client, and history pages (keyset pagination by `last_id`).

use chrono::TimeDelta;
use poem::Request;
use poem_openapi::{Object, OpenApi, types::Example};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::{Value, json};
use storage::{
    AttachmentId, Conversation, ConversationId, InboxEntry, InboxFilter, MessageForReader, MessageId, PAGE_BYTES, Page,
    Timestamp, WindowState,
};

use super::{
    Tag,
    content::{self, MessageKind},
    error::{fault, is_absent},
    params::{limit, optional, required, value_error},
    sessions, view,
    wire::{self, Message},
};
use crate::{
    auth::Caller,
    chat::{Draft, ListContent},
    clock,
    shares::Account,
    web::{
        AppContext, body,
        file_names::without_bidi_controls,
        jsonrpc::{Call, CallFailure, Fault, NoJsonRpcParams, Reply},
        lenient::{Int, Lenient, Text},
        page::json_len,
        session::Session,
    },
};

/// Default page size, as in Odoo 8, and the largest page.
const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 200;
/// Most messages of one session in the response of `init`. The history has older messages.
const MAX_INIT_MESSAGES: usize = 5 * MAX_PAGE;
/// Age below which `init` returns messages even if they are read, as in Odoo 8.
const RECENT: TimeDelta = TimeDelta::minutes(10);

pub(super) struct ImChatMessagesApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/im_chat", tag = "Tag::ImChat")]
impl ImChatMessagesApi {
    /// Posts a message
    ///
    /// Returns the message's id, or `false` if the session does not exist or the caller is not in it. A `typing` message is sent
    /// to the other users and is not stored. The content of a `money4_chat_attach_msg` must be JSON in which something has an
    /// `id`, `attachment_id`, `name` or `url`; otherwise, and for any other type, the answer is a `ValueError`. Posting is not
    /// idempotent: a retry after a failure may store the message twice.
    #[oai(path = "/post", method = "post", operation_id = "im_chat_post")]
    async fn post(&self, call: Call<Post>, session: Session) -> Reply<Value> {
        call.logged_in(session, |login, params| async move {
            let word = required(params.message_type, "post()", "message_type")?;
            let kind = MessageKind::parse(&word)
                .ok_or_else(|| value_error(format!("Wrong value for im_chat.message.type: '{word}'")))?;
            let mut body = optional(params.message_content, "message_content")?.unwrap_or_default();
            if kind == MessageKind::Attachment {
                body = without_bidi_controls(&body).into_owned();
            }
            let named = match kind {
                MessageKind::Attachment => content::named_attachments(&body)
                    .ok_or_else(|| value_error("message_content must be JSON that names an attachment".into()))?,
                MessageKind::Message | MessageKind::Meta | MessageKind::Typing => Vec::new(),
            };
            let Some(to) = sessions::find(&self.0, &login, params.uuid).await? else { return Ok(Value::Bool(false)) };
            Ok(post(&self.0, &login, to, kind, body, &named).await?)
        })
        .await
    }

    /// Returns the state that a client needs at start
    ///
    /// A list of `[channel, message]`, as in the bus's notifications. First the headers of the caller's sessions that are not
    /// closed or have unread messages: of the 10,000 most recent ones, with at most 100 users each, and fewer if there are many
    /// sessions (`session_info` has all of them). Then their messages by rising id: of each session, the messages from the oldest one that
    /// is unread or younger than ten minutes, at most the newest 1000. All messages together take at most 1 MiB, those of the
    /// most recent sessions first. The history has the rest. A closed session with unread messages is folded by this call.
    #[oai(path = "/init", method = "post", operation_id = "im_chat_init")]
    async fn init(
        &self,
        request: &Request,
        call: Call<NoJsonRpcParams>,
        session: Session,
    ) -> Reply<InitNotifications, Vec<Value>> {
        let account = body::account(request);
        call.logged_in(session, |login, _| async move { self.start(&login, account).await }).await
    }

    /// Lists a page of a session's messages, newest first
    ///
    /// Messages with a smaller id than `last_id`. `false` if the caller is not in the session. A page of more than 20 messages
    /// ends at 1 MiB.
    #[oai(path = "/history", method = "post", operation_id = "im_chat_history")]
    async fn history(&self, call: Call<HistoryParams>, session: Session) -> Reply<Value> {
        call.logged_in(session, |login, params| async move {
            Ok(match self.page(&login, params).await? {
                Some((_, messages)) => json(&messages),
                None => Value::Bool(false),
            })
        })
        .await
    }

    /// Lists a page of a session's messages, newest first, and marks the session as read
    ///
    /// Messages with a smaller id than `last_id`, which may be spelt `last_ID`. Empty if the caller is not in the session. A page
    /// of more than 20 messages ends at 1 MiB.
    #[oai(path = "/api/history", method = "post", operation_id = "im_chat_api_history")]
    async fn read(&self, call: Call<HistoryParams>, session: Session) -> Reply<Vec<Message>> {
        call.logged_in(session, |login, params| async move {
            let Some((conversation, messages)) = self.page(&login, params).await? else { return Ok(Vec::new()) };
            self.0.chat.mark_read_up_to(&login, conversation.id, conversation.last_seq).await.map_err(fault)?;
            Ok::<_, CallFailure>(messages)
        })
        .await
    }
}

impl ImChatMessagesApi {
    async fn page(&self, caller: &Caller, params: HistoryParams) -> Result<Option<(Conversation, Vec<Message>)>, Fault> {
        let last = optional(params.last_id, "last_id")?.or(optional(params.last_id_misspelt, "last_ID")?);
        let limit = limit(params.limit, DEFAULT_PAGE, MAX_PAGE)?;
        let Some(id) = sessions::find(&self.0, caller, params.uuid).await? else { return Ok(None) };
        let before = MessageId(last.filter(|last| *last > 0).unwrap_or(i64::MAX));
        let (conversation, mut seen) = match self.0.chat.history(caller, id, Page::Before { id: before, limit }).await {
            Err(error) if is_absent(&error) => return Ok(None),
            history => history.map_err(fault)?,
        };
        // Odoo 8 takes a page shorter than its page size for the last one, so only what exceeds that size may be cut off.
        while seen.len() < limit.min(DEFAULT_PAGE)
            && let Some(last) = seen.last()
            && seen.iter().map(|seen| seen.message.bytes()).sum::<usize>() >= PAGE_BYTES
        {
            let rest = Page::Before { id: last.message.id, limit: limit.min(DEFAULT_PAGE) - seen.len() };
            let (_, rest) = self.0.chat.history(caller, id, rest).await.map_err(fault)?;
            if rest.is_empty() {
                break;
            }
            seen.extend(rest);
        }
        let messages = seen.iter().map(|seen| Message::of(&seen.message, conversation.uuid, caller.partner));
        let mut messages: Vec<_> = messages.collect();
        messages.truncate(storage::page_length(messages.iter().map(json_len)).max(limit.min(DEFAULT_PAGE)));
        Ok(Some((conversation, messages)))
    }

    async fn start(&self, caller: &Caller, account: &Account) -> Result<InitNotifications, CallFailure> {
        let bytes = self.0.chat.list_bytes(caller, ListContent::LastMessages).await.map_err(fault)?;
        account.reserve(bytes + PAGE_BYTES).await.map_err(Fault::refused)?;
        let channel = json!([self.0.config.database, "im_chat.session", caller.user]);
        let recently = clock::now() - RECENT;
        let is_wanted = |entry: &InboxEntry| entry.window != WindowState::Closed || entry.unread > 0;
        let mut headers = view::Headers::of(&self.0, caller, InboxFilter::default(), is_wanted).await?;
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for kept in &mut headers.conversations {
            if kept.entry.window == WindowState::Closed {
                self.0.chat.fold_window(caller, kept.conversation().id).await.map_err(fault)?;
                kept.entry.window = WindowState::Folded;
            }
            let conversation = kept.conversation();
            let has_news = !kept.is_read() || conversation.last_message_at.is_some_and(|at| at > recently);
            if has_news && bytes < PAGE_BYTES {
                messages.extend(self.init_messages(caller, conversation, recently, &mut bytes).await?);
            }
        }
        messages.sort_unstable_by_key(|message| message.id);
        Ok(InitNotifications { channel, headers, messages })
    }

    /// Reads the messages of a session for `init`, newest first: from the oldest message that is unread or younger than
    /// `recently`, without gaps. Adds the written size to `bytes` and ends with the message that reaches [`PAGE_BYTES`].
    async fn init_messages(
        &self,
        caller: &Caller,
        of: &Conversation,
        recently: Timestamp,
        bytes: &mut usize,
    ) -> Result<Vec<Message>, Fault> {
        // `known`: messages to return only if an older message is unread or recent.
        let (mut news, mut known) = (Vec::new(), Vec::new());
        let mut page = Page::latest(MAX_PAGE);
        while news.len() + known.len() < MAX_INIT_MESSAGES {
            let (_, seen) = self.0.chat.history(caller, of.id, page).await.map_err(fault)?;
            let Some(id) = seen.last().map(|seen| seen.message.id) else { break };
            page = Page::Before { id, limit: MAX_PAGE };
            for MessageForReader { message, is_read, .. } in seen {
                let is_own = message.author.partner == caller.partner;
                let is_recent = message.created_at > recently;
                if is_read && !is_own && !is_recent {
                    // All older messages are read and not recent either.
                    return Ok(news);
                }
                let message = Message::of(&message, of.uuid, caller.partner);
                *bytes += json_len(&message);
                known.push(message);
                if is_recent || !is_own {
                    news.append(&mut known);
                }
                if *bytes >= PAGE_BYTES {
                    return Ok(news);
                }
            }
        }
        Ok(news)
    }
}

/// Response of `init`: bus notifications without ids.
struct InitNotifications {
    channel: Value,
    headers: view::Headers,
    messages: Vec<Message>,
}

impl Serialize for InitNotifications {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut notifications = serializer.serialize_seq(None)?;
        for kept in &self.headers.conversations {
            notifications.serialize_element(&(&self.channel, self.headers.header(kept)))?;
        }
        for message in &self.messages {
            notifications.serialize_element(&(&self.channel, message))?;
        }
        notifications.end()
    }
}

/// Posts to a session of the caller, with the named attachments that the caller has uploaded, and returns the message's id.
pub(super) async fn post(
    app: &AppContext,
    caller: &Caller,
    to: ConversationId,
    kind: MessageKind,
    body: String,
    named: &[AttachmentId],
) -> Result<Value, Fault> {
    let posted = match kind.stored() {
        Some(message_type) => {
            // A file of another user stays a mere name in the text, as on Odoo.
            let attachments = app.chat.own_attachments(caller, named).await.map_err(fault)?;
            let draft = Draft { attachments, ..Draft::new(message_type, body) };
            app.chat.send(caller, to, draft).await.map(|sent| sent.message.id)
        }
        None => app.chat.post_typing(caller, to, body).await,
    };
    match posted {
        Ok(id) => Ok(id.0.into()),
        Err(error) if is_absent(&error) => Ok(Value::Bool(false)),
        Err(error) => Err(fault(error)),
    }
}

fn json(messages: &[wire::Message]) -> Value {
    serde_json::to_value(messages).expect("texts and numbers can be written as JSON")
}

/// A message to post.
#[derive(Object)]
#[oai(rename = "ImChatPost", example)]
struct Post {
    uuid: Text,
    /// `message`, `meta`, `money4_chat_attach_msg` or `typing`.
    message_type: Text,
    message_content: Text,
}

impl Example for Post {
    fn example() -> Self {
        let text = |text: &str| Lenient::Present(text.to_owned());
        Self { uuid: text("91e03d34-1929-4a02-9486-4c3e708686b3"), message_type: text("message"), message_content: text("Hello") }
    }
}

/// A page of a session's messages.
#[derive(Object)]
#[oai(rename = "ImChatHistory", example)]
struct HistoryParams {
    uuid: Text,
    last_id: Int,
    /// Another spelling of `last_id`.
    #[oai(rename = "last_ID")]
    last_id_misspelt: Int,
    /// 20 by default, at most 200.
    limit: Int,
}

impl Example for HistoryParams {
    fn example() -> Self {
        let uuid = Lenient::Present("91e03d34-1929-4a02-9486-4c3e708686b3".into());
        Self { uuid, last_id: Lenient::Present(119), last_id_misspelt: Lenient::Missing, limit: Lenient::Present(20) }
    }
}
