//! Sessions of the chat extension under `/im_chat/api`: finding or creating one, listing, and changing the status (the caller's
//! folder).

use poem::Request;
use poem_openapi::{Object, OpenApi, types::Example};
use storage::{ConversationId, ConversationKind, GroupId, InboxEntry, InboxFilter, UserId};

use super::{
    Tag,
    error::{fault, is_absent},
    params::{self, document, optional, required},
    view,
    wire::{Outcome, Session as Wire},
};
use crate::{
    auth::Caller,
    chat::{InboxConversation, ListContent},
    shares::Account,
    web::{
        AppContext, body,
        jsonrpc::{Call, Fault, Reply},
        lenient::{Int, Lenient, Text},
        session::Session,
    },
};

pub(super) struct ImChatSessionsApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/im_chat/api", tag = "Tag::ImChat")]
impl ImChatSessionsApi {
    /// Finds or creates the session with a user
    ///
    /// The session of the caller and that user about the given document, or about no document.
    #[oai(path = "/get_or_create_session", method = "post", operation_id = "im_chat_get_or_create_session")]
    async fn get_or_create(&self, call: Call<UserSession>, session: Session) -> Reply<Wire> {
        call.logged_in(session, |login, params| async move {
            let with = UserId(required(params.user_to, "get_or_create_session()", "user_to")?);
            let about = document(params.doc_id, params.doc_model)?;
            let id = self.0.chat.find_or_create_direct(&login, with, about.as_ref()).await.map_err(fault)?;
            Ok(view::session(&self.0, &login, id).await?)
        })
        .await
    }

    /// Finds or creates the session of a group
    ///
    /// All members of the group are in it. Only members may call this. A group with more than `limits.participants` (5,000) members
    /// has no session.
    #[oai(path = "/get_or_create_session_group", method = "post", operation_id = "im_chat_get_or_create_session_group")]
    async fn get_or_create_group(&self, request: &Request, call: Call<GroupSession>, session: Session) -> Reply<Wire> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let group = GroupId(required(params.group, "get_or_create_session_group()", "group")?);
            let about = document(params.doc_id, params.doc_model)?;
            let id = self.0.chat.find_or_create_for_group(&login, group, about.as_ref()).await.map_err(fault)?;
            let bytes = self.0.chat.charged_participants_bytes(&login, id, ListContent::LastMessages).await.map_err(fault)?;
            account.reserve(bytes).await.map_err(Fault::refused)?;
            Ok(view::session(&self.0, &login, id).await?)
        })
        .await
    }

    /// Lists the caller's sessions other than group sessions
    ///
    /// The 10,000 most recent ones.
    #[oai(path = "/get_sessions", method = "post", operation_id = "im_chat_get_sessions")]
    async fn list(&self, request: &Request, call: Call<UserFilter>, session: Session) -> Reply<Vec<Wire>> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let with = optional(params.user_to, "user_to")?.map(UserId);
            let other = with.filter(|with| *with != login.user);
            let filter = SessionFilter::parse(params.doc_id, params.doc_model, params.state)?;
            let kinds = &[ConversationKind::Direct, ConversationKind::Support];
            let mut kept = self.kept(&login, account, kinds, |entry| filter.fits(entry)).await?;
            // A list shows at least two people of each session, which are all of one that is no group's.
            kept.retain(|kept| match (with, other) {
                (None, _) => true,
                (Some(_), Some(other)) => kept.people.iter().any(|person| person.user == Some(other)),
                // The caller's own uid selects the session in which the caller is alone.
                (Some(_), None) => kept.people.len() == 1,
            });
            Ok(view::sessions(&self.0, &login, &kept).await?)
        })
        .await
    }

    /// Lists the caller's group sessions
    ///
    /// The 10,000 most recent ones, with at most 100 users each: the caller and those who joined first; fewer if the list is long.
    /// `/get_or_create_session_group` has all users of a session.
    #[oai(path = "/get_sessions_group", method = "post", operation_id = "im_chat_get_sessions_group")]
    async fn list_groups(&self, request: &Request, call: Call<GroupFilter>, session: Session) -> Reply<Vec<Wire>> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let group = optional(params.group, "group")?.map(GroupId);
            let filter = SessionFilter::parse(params.doc_id, params.doc_model, params.state)?;
            let fits =
                |entry: &InboxEntry| filter.fits(entry) && group.is_none_or(|group| entry.conversation.group == Some(group));
            let kept = self.kept(&login, account, &[ConversationKind::Group], fits).await?;
            Ok(view::sessions(&self.0, &login, &kept).await?)
        })
        .await
    }

    /// Sets the status of a session: active, favorite or archive
    #[oai(path = "/change_session_status", method = "post", operation_id = "im_chat_change_session_status")]
    async fn change_status(&self, call: Call<NewStatus>, session: Session) -> Reply<Outcome> {
        call.logged_in(session, |login, params| async move {
            let absent = || Ok(Outcome::error_in("uuid", "Session does not exist"));
            let Some(id) = find(&self.0, &login, params.uuid).await? else { return absent() };
            let shelf = match params.new_status {
                Lenient::Present(word) => params::folder(&word),
                Lenient::Missing | Lenient::WrongType(_) => None,
            };
            let Some(shelf) = shelf else {
                return Ok(Outcome::error_in("new_status", "Status must be active, favorite or archive"));
            };
            self.0.chat.set_conversation_settings(&login, id, None, Some(shelf)).await.map_err(fault)?;
            Ok(Outcome::success())
        })
        .await
    }
}

impl ImChatSessionsApi {
    /// The listed sessions of these kinds that fit.
    async fn kept(
        &self,
        caller: &Caller,
        account: &Account,
        kinds: &[ConversationKind],
        fits: impl Fn(&InboxEntry) -> bool + Send,
    ) -> Result<Vec<InboxConversation>, Fault> {
        let bytes = self.0.chat.list_bytes(caller, ListContent::LastMessages).await.map_err(fault)?;
        account.reserve(bytes).await.map_err(Fault::refused)?;
        let filter = InboxFilter { kinds, ..InboxFilter::default() };
        self.0.chat.inbox_conversations(caller, filter, fits).await.map_err(fault)
    }
}

/// Finds the caller's session with this uuid; `None` if there is none.
pub(super) async fn find(app: &AppContext, caller: &Caller, uuid: Text) -> Result<Option<ConversationId>, Fault> {
    let Lenient::Present(text) = uuid else { return Ok(None) };
    let Some(uuid) = params::uuid(&text) else { return Ok(None) };
    match app.chat.conversation_by_uuid(caller, uuid).await {
        Ok((conversation, _)) => Ok(Some(conversation.id)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(fault(error)),
    }
}

/// Filter that both session lists share.
struct SessionFilter {
    doc_id: Option<i64>,
    doc_model: Option<String>,
    state: Option<storage::WindowState>,
}

impl SessionFilter {
    fn parse(doc_id: Int, doc_model: Text, state: Text) -> Result<Self, Fault> {
        let state = optional(state, "state")?.map(|word| params::window(&word)).transpose()?;
        Ok(Self { doc_id: optional(doc_id, "doc_id")?, doc_model: optional(doc_model, "doc_model")?, state })
    }

    fn fits(&self, entry: &InboxEntry) -> bool {
        let about = |document: &storage::Document| {
            self.doc_id.is_none_or(|id| document.id == id) && self.doc_model.as_ref().is_none_or(|model| document.model == *model)
        };
        let asks_for_document = self.doc_id.is_some() || self.doc_model.is_some();
        self.state.is_none_or(|state| entry.window == state)
            && (!asks_for_document || entry.conversation.documents.iter().any(about))
    }
}

/// A session's other user and document.
#[derive(Object)]
#[oai(rename = "ImChatUserSession", example)]
struct UserSession {
    /// A uid.
    user_to: Int,
    doc_id: Int,
    doc_model: Text,
}

impl Example for UserSession {
    fn example() -> Self {
        Self { user_to: Lenient::Present(4), doc_id: Lenient::Present(25), doc_model: Lenient::Present("res.partner".into()) }
    }
}

/// A session's group and document.
#[derive(Object)]
#[oai(rename = "ImChatGroupSession", example)]
struct GroupSession {
    group: Int,
    doc_id: Int,
    doc_model: Text,
}

impl Example for GroupSession {
    fn example() -> Self {
        Self { group: Lenient::Present(3), doc_id: Lenient::Missing, doc_model: Lenient::Missing }
    }
}

/// A filter for sessions; all fields are optional.
#[derive(Object)]
#[oai(rename = "ImChatUserFilter", example)]
struct UserFilter {
    /// A uid.
    user_to: Int,
    doc_id: Int,
    doc_model: Text,
    /// `open`, `folded` or `closed`.
    state: Text,
}

impl Example for UserFilter {
    fn example() -> Self {
        Self { user_to: Lenient::Present(4), doc_id: Lenient::Missing, doc_model: Lenient::Missing, state: Lenient::Missing }
    }
}

/// A filter for group sessions; all fields are optional.
#[derive(Object)]
#[oai(rename = "ImChatGroupFilter", example)]
struct GroupFilter {
    group: Int,
    doc_id: Int,
    doc_model: Text,
    /// `open`, `folded` or `closed`.
    state: Text,
}

impl Example for GroupFilter {
    fn example() -> Self {
        Self {
            group: Lenient::Present(3),
            doc_id: Lenient::Missing,
            doc_model: Lenient::Missing,
            state: Lenient::Present("open".into()),
        }
    }
}

/// A session and its new status.
#[derive(Object)]
#[oai(rename = "ImChatNewStatus", example)]
struct NewStatus {
    uuid: Text,
    /// `active`, `favorite` or `archive`.
    new_status: Text,
}

impl Example for NewStatus {
    fn example() -> Self {
        let uuid = Lenient::Present("91e03d34-1929-4a02-9486-4c3e708686b3".into());
        Self { uuid, new_status: Lenient::Present("favorite".into()) }
    }
}
