//! Threads: list, creation, and participants.

use poem::Request;
use poem_openapi::{Object, OpenApi, param::Path, types::Example};
use serde::Serialize;
use storage::{ConversationId, InboxFilter, PartnerId, ThreadType};

use super::{
    MessagingReply, Tag, failure,
    people::resolve,
    wire::{Contact, Participant, ThreadKind, user_of},
};
use crate::{
    chat::{self, InboxLine, ListContent, NewThread, ResourceKind, text_for},
    web::{
        AppContext, body,
        jsonrpc::{Call, CallFailure, Fault, NoJsonRpcParams},
        lenient::{Int, IntList, Ints, PathInt, Text},
        odoo_time,
        session::Session,
    },
};

pub(super) struct ThreadsApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl ThreadsApi {
    /// Lists threads
    ///
    /// The caller's threads, most recent message first: at most 10,000, with at most 100 participants each, and fewer if the list is
    /// long (`/thread/participants` has all of them). An unknown `thread_type` gives an empty list.
    #[oai(path = "/threads", method = "post", operation_id = "messaging_threads")]
    async fn list(&self, request: &Request, call: Call<ThreadListParams>, session: Session) -> MessagingReply<ThreadList> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let thread_type = match params.thread_type.optional("thread_type")?.as_deref().map(ThreadType::parse) {
                Some(None) => return Ok(ThreadList { threads: Vec::new() }),
                known => known.flatten(),
            };
            let bytes = self.0.chat.list_bytes(&login, ListContent::People).await.map_err(failure)?;
            account.reserve(bytes).await.map_err(Fault::refused)?;
            let filter = InboxFilter { thread_type, ..InboxFilter::default() };
            let lines = self.0.chat.inbox(&login, filter).await.map_err(failure)?;
            Ok(ThreadList { threads: lines.into_iter().map(|line| ThreadSummary::of(line, login.partner)).collect() })
        })
        .await
    }

    /// Creates a thread
    ///
    /// The caller is always a participant. Unknown ids in `partner_ids` are ignored. A thread has at most `limits.participants`
    /// (5,000) participants; each started hundred of them counts as a new conversation for the rate limit.
    #[oai(path = "/thread/create", method = "post", operation_id = "messaging_thread_create")]
    async fn create(&self, request: &Request, call: Call<CreateParams>, session: Session) -> MessagingReply<CreatedThread> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let name = params.name.optional("name")?.filter(|name| !name.trim().is_empty());
            let name = name.ok_or(CallFailure::refusal("name is required"))?;
            let thread_type = match params.thread_type.optional("thread_type")? {
                None => ThreadType::Chat,
                Some(word) => ThreadType::parse(&word).ok_or(CallFailure::refusal("thread_type must be chat, group or sms"))?,
            };
            let IntList { numbers, .. } = params.partner_ids.optional("partner_ids")?.unwrap_or_default();
            let people = resolve(&self.0, &login, account, "partner_ids", &numbers).await?;
            let participants = people.iter().map(|person| person.partner.id).collect();
            let new = NewThread { name, thread_type, participants };
            let thread = self.0.chat.create_conversation(&login, new).await.map_err(failure)?;
            Ok(CreatedThread { success: true, thread_id: thread.id.0, name: thread.name })
        })
        .await
    }

    /// Lists participants
    ///
    /// The participants of a thread of the caller, in the order in which they joined. More than 100 count as a search for each
    /// started 1,000.
    #[oai(path = "/thread/participants/:id", method = "post", operation_id = "messaging_thread_participants")]
    async fn participants(
        &self,
        request: &Request,
        Path(id): Path<PathInt>,
        call: Call<NoJsonRpcParams>,
        session: Session,
    ) -> MessagingReply<ThreadPeople> {
        let account = body::account(request);
        call.logged_in(session, |login, _| async move {
            let id = ConversationId(id.0);
            let bytes = self.0.chat.participants_bytes(&login, id, ListContent::People).await.map_err(failure)?;
            account.reserve(bytes).await.map_err(Fault::refused)?;
            let (thread, people) = self.0.chat.participants(&login, id).await.map_err(failure)?;
            let participants = people.into_iter().map(|participant| participant.person.into()).collect();
            Ok(ThreadPeople { thread_id: thread.id.0, thread_name: thread.name, participants })
        })
        .await
    }

    /// Adds a participant
    ///
    /// Adds a person to a thread of the caller. Idempotent: adding a participant again succeeds.
    #[oai(path = "/thread/add_participant", method = "post", operation_id = "messaging_thread_add_participant")]
    async fn add_participant(
        &self,
        request: &Request,
        call: Call<AddParams>,
        session: Session,
    ) -> MessagingReply<AddedParticipant> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            const MISSING: &str = "thread_id and partner_id are required";
            let thread_id = params.thread_id.required("thread_id", MISSING)?;
            let id = params.partner_id.required("partner_id", MISSING)?;
            let person = resolve(&self.0, &login, account, "partner_id", &[id]).await?.pop();
            let person = person.ok_or_else(|| failure(chat::Error::NotFound(ResourceKind::Partner)))?;
            self.0.chat.add_participant(&login, ConversationId(thread_id), &person).await.map_err(failure)?;
            let (partner_id, user_id) = (person.partner.id.0, user_of(&person));
            Ok(AddedParticipant { success: true, thread_id, partner_id, user_id, participant: Participant::from(&person) })
        })
        .await
    }
}

/// A filter for threads.
#[derive(Debug, Object)]
#[oai(rename = "MessagingThreadsParams", example)]
struct ThreadListParams {
    /// `chat`, `group` or `sms`; all if missing.
    thread_type: Text,
}

impl Example for ThreadListParams {
    fn example() -> Self {
        Self { thread_type: Text::Present("chat".into()) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingThreads")]
struct ThreadList {
    threads: Vec<ThreadSummary>,
}

/// A thread in the caller's list.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingThread")]
struct ThreadSummary {
    id: i64,
    name: String,
    r#type: ThreadKind,
    /// The caller and those who joined first, in the order in which they joined.
    participants: Vec<Participant>,
    /// The newest message's body, at most 1 KiB of it; empty if there is none.
    last_message: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC; empty if there is no message.
    last_message_date: String,
    /// Number of messages of others that the caller has not read.
    unread_count: i64,
}

impl ThreadSummary {
    /// Thread as shown to `reader`.
    fn of(InboxLine { entry, people }: InboxLine, reader: PartnerId) -> Self {
        let last_message_date = entry.conversation.last_message_at.map(odoo_time).unwrap_or_default();
        Self {
            id: entry.conversation.id.0,
            name: entry.conversation.name,
            r#type: entry.conversation.thread_type.into(),
            participants: people.iter().map(|person| Participant::from(&**person)).collect(),
            last_message: entry.last_message.map(|message| text_for(&message, reader).into_owned()).unwrap_or_default(),
            last_message_date,
            unread_count: entry.unread,
        }
    }
}

/// A thread to create.
#[derive(Debug, Object)]
#[oai(rename = "MessagingThreadCreateParams", example)]
struct CreateParams {
    name: Text,
    /// Ids of users or partners.
    partner_ids: Ints,
    /// `chat` (the default), `group` or `sms`.
    thread_type: Text,
}

impl Example for CreateParams {
    fn example() -> Self {
        Self {
            name: Text::Present("Project".into()),
            partner_ids: Ints::Present(IntList { numbers: vec![7, 8], has_others: false }),
            thread_type: Text::Present("group".into()),
        }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingThreadCreated")]
struct CreatedThread {
    success: bool,
    thread_id: i64,
    name: String,
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingThreadPeople")]
struct ThreadPeople {
    thread_id: i64,
    thread_name: String,
    participants: Vec<Contact>,
}

/// A thread and the person to add.
#[derive(Debug, Object)]
#[oai(rename = "MessagingAddParticipantParams", example)]
struct AddParams {
    thread_id: Int,
    /// The id of a user or partner.
    partner_id: Int,
}

impl Example for AddParams {
    fn example() -> Self {
        Self { thread_id: Int::Present(1), partner_id: Int::Present(8) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingParticipantAdded")]
struct AddedParticipant {
    success: bool,
    thread_id: i64,
    partner_id: i64,
    #[oai(nullable)]
    user_id: Option<i64>,
    participant: Participant,
}
