use chrono::TimeDelta;
use poem_openapi::{Object, OpenApi, types::Example};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::{Value, json};
use storage::{AttachmentId, Conversation, ConversationId, MessageId, PAGE_BYTES, Page, Seen, Timestamp, Window};

use super::{
    Tag,
    content::{self, Kind},
    error::{fault, is_absent},
    params::{limit, optional, required, value_error},
    sessions, view,
    wire::{self, Message},
};
use crate::{
    auth::Caller,
    chat::Draft,
    clock,
    dialects::{
        House,
        file_names::without_bidi_controls,
        jsonrpc::{Call, Failure, Fault, Nothing, Reply},
        loose::{Int, Loose, Text},
        page::written,
        session::Session,
    },
};

/// How many messages a page has if nobody says, as in Odoo 8, and at most.
const PAGE: usize = 20;
const LONGEST_PAGE: usize = 200;
/// How many messages of a session a client that starts is shown at most. Whoever has more to read finds the rest in the
/// history, from the oldest of these on.
const MOST_NEWS: usize = 5 * LONGEST_PAGE;
/// A client that starts is shown what is younger than this even if it was read, as in Odoo 8.
const RECENT: TimeDelta = TimeDelta::minutes(10);

pub(super) struct Messages(pub(super) House);

#[OpenApi(prefix_path = "/im_chat", tag = "Tag::ImChat")]
impl Messages {
    /// Posts a message
    ///
    /// Gives its id; `false` if there is no such session, or the caller is not in it. A `typing` message is told to the
    /// others, and stored nowhere. The content of a `money4_chat_attach_msg` must be JSON in which something is named by an
    /// `id`, `attachment_id`, `name` or `url`; else it is a `ValueError`, as any other type is. There is nothing by which a repeated post could be told from a new one: a client that
    /// tries again after a failure may have posted twice, and both are stored.
    #[oai(path = "/post", method = "post", operation_id = "im_chat_post")]
    async fn post(&self, call: Call<Post>, session: Session) -> Reply<Value> {
        call.logged_in(session, |login, params| async move {
            let word = required(params.message_type, "post()", "message_type")?;
            let kind =
                Kind::parse(&word).ok_or_else(|| value_error(format!("Wrong value for im_chat.message.type: '{word}'")))?;
            let mut body = optional(params.message_content, "message_content")?.unwrap_or_default();
            if kind == Kind::Attachment {
                body = without_bidi_controls(&body).into_owned();
            }
            let named = match kind {
                Kind::Attachment => content::named_attachments(&body)
                    .ok_or_else(|| value_error("message_content must be JSON that names an attachment".into()))?,
                Kind::Message | Kind::Meta | Kind::Typing => Vec::new(),
            };
            let Some(to) = sessions::find(&self.0, &login, params.uuid).await? else { return Ok(Value::Bool(false)) };
            Ok(post(&self.0, &login, to, kind, body, &named).await?)
        })
        .await
    }

    /// What a client needs to start
    ///
    /// A list of `[channel, message]`, as the bus would tell them: the caller's sessions that are not closed or hold
    /// unread messages, then the messages in them by rising id, from the oldest on
    /// that is unread or younger than ten minutes: the newest 1000 of a session at most, and no more than 1 MiB in
    /// all, those of the most recent sessions. The history has the rest. A closed session with unread messages is folded by
    /// this.
    #[oai(path = "/init", method = "post", operation_id = "im_chat_init")]
    async fn init(&self, call: Call<Nothing>, session: Session) -> Reply<Start, Vec<Value>> {
        call.logged_in(session, |login, _| async move { self.start(&login).await }).await
    }

    /// A page of a session's messages, newest first
    ///
    /// Those with a smaller id than `last_id`. `false` if the caller is not in the session. Of more than 20 messages no more
    /// than 1 MiB is given.
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

    /// A page of a session's messages, newest first, which marks the session as read
    ///
    /// Those with a smaller id than `last_id`, which may be spelt `last_ID`. Empty if the caller is not in the session. Of
    /// more than 20 messages no more than 1 MiB is given.
    #[oai(path = "/api/history", method = "post", operation_id = "im_chat_api_history")]
    async fn read(&self, call: Call<HistoryParams>, session: Session) -> Reply<Vec<Message>> {
        call.logged_in(session, |login, params| async move {
            let Some((conversation, messages)) = self.page(&login, params).await? else { return Ok(Vec::new()) };
            self.0.chat.mark_read_up_to(&login, conversation.id, conversation.last_seq).await.map_err(fault)?;
            Ok::<_, Failure>(messages)
        })
        .await
    }
}

impl Messages {
    async fn page(&self, caller: &Caller, params: HistoryParams) -> Result<Option<(Conversation, Vec<Message>)>, Fault> {
        let last = optional(params.last_id, "last_id")?.or(optional(params.last_id_misspelt, "last_ID")?);
        let limit = limit(params.limit, PAGE, LONGEST_PAGE)?;
        let Some(id) = sessions::find(&self.0, caller, params.uuid).await? else { return Ok(None) };
        let before = MessageId(last.filter(|last| *last > 0).unwrap_or(i64::MAX));
        let (conversation, mut seen) = match self.0.chat.history(caller, id, Page::Before { id: before, limit }).await {
            Err(error) if is_absent(&error) => return Ok(None),
            history => history.map_err(fault)?,
        };
        // Odoo 8 takes a page that is shorter than its own for the last one: only what is beyond that may be cut off.
        while seen.len() < limit.min(PAGE)
            && let Some(last) = seen.last()
            && seen.iter().map(|seen| seen.message.bytes()).sum::<usize>() >= PAGE_BYTES
        {
            let rest = Page::Before { id: last.message.id, limit: limit.min(PAGE) - seen.len() };
            let (_, rest) = self.0.chat.history(caller, id, rest).await.map_err(fault)?;
            if rest.is_empty() {
                break;
            }
            seen.extend(rest);
        }
        let messages = seen.iter().map(|seen| Message::of(&seen.message, conversation.uuid, caller.partner));
        let mut messages: Vec<_> = messages.collect();
        messages.truncate(storage::fitting(messages.iter().map(written)).max(limit.min(PAGE)));
        Ok(Some((conversation, messages)))
    }

    async fn start(&self, caller: &Caller) -> Result<Start, Failure> {
        let channel = json!([self.0.config.database, "im_chat.session", caller.user]);
        let recently = clock::now() - RECENT;
        let mut headers = view::Headers::of(&self.0, caller, None).await?;
        headers.kept.retain(|kept| kept.entry.window != Window::Closed || !kept.is_read());
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for kept in &mut headers.kept {
            if kept.entry.window == Window::Closed {
                self.0.chat.fold(caller, kept.conversation().id).await.map_err(fault)?;
                kept.entry.window = Window::Folded;
            }
            let conversation = kept.conversation();
            let has_news = !kept.is_read() || conversation.last_message_at.is_some_and(|at| at > recently);
            if has_news && bytes < PAGE_BYTES {
                messages.extend(self.news(caller, conversation, recently, &mut bytes).await?);
            }
        }
        messages.sort_unstable_by_key(|message| message.id);
        Ok(Start { channel, headers, messages })
    }

    /// What a client that starts has to show of a session: from the oldest message on that the caller has not read, or that
    /// is younger than `recently`, without a hole; newest first. Adds the `bytes` that are written of them, and ends with the one
    /// that reaches [`PAGE_BYTES`].
    async fn news(
        &self,
        caller: &Caller,
        of: &Conversation,
        recently: Timestamp,
        bytes: &mut usize,
    ) -> Result<Vec<Message>, Fault> {
        // What is known already, as far as nothing older is news.
        let (mut news, mut known) = (Vec::new(), Vec::new());
        let mut page = Page::latest(LONGEST_PAGE);
        while news.len() + known.len() < MOST_NEWS {
            let (_, seen) = self.0.chat.history(caller, of.id, page).await.map_err(fault)?;
            let Some(id) = seen.last().map(|seen| seen.message.id) else { break };
            page = Page::Before { id, limit: LONGEST_PAGE };
            for Seen { message, is_read, .. } in seen {
                let is_own = message.author.partner == caller.partner;
                let is_recent = message.created_at > recently;
                if is_read && !is_own && !is_recent {
                    // So is everything before it.
                    return Ok(news);
                }
                let message = Message::of(&message, of.uuid, caller.partner);
                *bytes += written(&message);
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

/// What a client that starts is told: notifications as polls of the bus give them, without ids.
struct Start {
    channel: Value,
    headers: view::Headers,
    messages: Vec<Message>,
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut notifications = serializer.serialize_seq(None)?;
        for kept in &self.headers.kept {
            notifications.serialize_element(&(&self.channel, self.headers.header(kept)))?;
        }
        for message in &self.messages {
            notifications.serialize_element(&(&self.channel, message))?;
        }
        notifications.end()
    }
}

/// Posts to a session of the caller's, with those of the named attachments that are the caller's own; gives the message's id.
pub(super) async fn post(
    house: &House,
    caller: &Caller,
    to: ConversationId,
    kind: Kind,
    body: String,
    named: &[AttachmentId],
) -> Result<Value, Fault> {
    let posted = match kind.stored() {
        Some(message_type) => {
            // A file of somebody else's is no more than a name, as on Odoo.
            let attachments = house.chat.own_attachments(caller, named).await.map_err(fault)?;
            let draft = Draft { attachments, ..Draft::new(message_type, body) };
            house.chat.send(caller, to, draft).await.map(|sent| sent.message.id)
        }
        None => house.chat.post_typing(caller, to, body).await,
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

/// A message.
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
        let text = |text: &str| Loose::Given(text.to_owned());
        Self { uuid: text("91e03d34-1929-4a02-9486-4c3e708686b3"), message_type: text("message"), message_content: text("Hello") }
    }
}

/// Which messages.
#[derive(Object)]
#[oai(rename = "ImChatHistory", example)]
struct HistoryParams {
    uuid: Text,
    last_id: Int,
    /// Another spelling of `last_id`.
    #[oai(rename = "last_ID")]
    last_id_misspelt: Int,
    /// 20 unless given.
    limit: Int,
}

impl Example for HistoryParams {
    fn example() -> Self {
        let uuid = Loose::Given("91e03d34-1929-4a02-9486-4c3e708686b3".into());
        Self { uuid, last_id: Loose::Given(119), last_id_misspelt: Loose::Missing, limit: Loose::Given(20) }
    }
}
