//! Methods of the models `im_chat.session` and `res.users`, as Odoo 8's web client calls them.

use serde_json::{Value, json};
use storage::{ConversationId, UserId, WindowState, fold};

use super::{
    address_book::rank,
    content::MessageKind,
    error::{fault, is_absent},
    messages, params, sessions, view,
    wire::im_status,
};
use crate::{
    auth::Caller,
    chat::{self, ListContent, people_bytes},
    shares::Account,
    web::{AppContext, jsonrpc::Fault, lenient::Text},
};

/// Default number of users that a search returns, as in Odoo 8.
const DEFAULT_SEARCH_LIMIT: usize = 20;
/// Most people found whose presence is read, to sort them by status.
const MAX_CANDIDATES: usize = 1_000;

/// Header of the session with a user; creates the session if there is none.
pub(super) async fn session_get(app: &AppContext, caller: &Caller, account: &Account, with: Value) -> Result<Value, Fault> {
    let with = number(&with).ok_or_else(|| params::value_error("user_to must be a whole number".into()))?;
    let id = app.chat.find_or_create_direct(caller, UserId(with), None).await.map_err(fault)?;
    header(app, caller, account, id).await
}

/// Header of a session, or of the first of several.
pub(super) async fn session_info(app: &AppContext, caller: &Caller, account: &Account, ids: Value) -> Result<Value, Fault> {
    let first = match &ids {
        Value::Array(ids) => ids.first(),
        one => Some(one),
    };
    let id = first.and_then(number).ok_or_else(|| params::value_error("ids must be whole numbers".into()))?;
    header(app, caller, account, ConversationId(id)).await
}

/// Sets the caller's window state of a session. Without a state, toggles it: open becomes folded, and any other state open.
pub(super) async fn update_state(app: &AppContext, caller: &Caller, uuid: Value, state: Option<Value>) -> Result<Value, Fault> {
    let wanted = match &state {
        Some(Value::String(word)) => Some(params::window(word)?),
        _ => None,
    };
    let Some((conversation, place)) = find_with_settings(app, caller, &uuid).await? else { return Ok(Value::Null) };
    let toggled = if place.window == WindowState::Open { WindowState::Folded } else { WindowState::Open };
    app.chat.set_conversation_settings(caller, conversation.id, Some(wanted.unwrap_or(toggled)), None).await.map_err(fault)?;
    Ok(Value::Null)
}

/// Adds a user to a session of the caller, and posts a notice of it.
pub(super) async fn add_user(app: &AppContext, caller: &Caller, uuid: Value, user: Value) -> Result<Value, Fault> {
    let user = number(&user).ok_or_else(|| params::value_error("user_id must be a whole number".into()))?;
    let Some(id) = find(app, caller, uuid).await? else { return Ok(Value::Null) };
    let new = app.chat.active_users(&[UserId(user)]).await.map_err(fault)?.pop();
    let new = new.ok_or_else(|| fault(chat::Error::NotFound(chat::ResourceKind::Partner)))?;
    if app.chat.add_participant(caller, id, &new.person()).await.map_err(fault)? {
        post_notice(app, caller, id, format!("{} joined the conversation.", new.partner.name)).await?;
    }
    Ok(Value::Null)
}

/// Removes the caller from a session with more than two users, and posts a notice of it. Returns true if the caller has left.
pub(super) async fn quit_user(app: &AppContext, caller: &Caller, uuid: Value) -> Result<Value, Fault> {
    let Some(id) = find(app, caller, uuid).await? else { return Ok(false.into()) };
    let (conversation, there) = app.chat.participants(caller, id).await.map_err(fault)?;
    if there.len() <= 2 || chat::may_change_members(&conversation).is_err() {
        return Ok(false.into());
    }
    post_notice(app, caller, id, format!("{} left the conversation.", caller.name)).await?;
    match app.chat.leave(caller, id).await {
        Ok(()) => Ok(true.into()),
        // Other users left meanwhile, so that only one participant would remain.
        Err(chat::Error::Conflict(_)) => Ok(false.into()),
        Err(error) if is_absent(&error) => Ok(false.into()),
        Err(error) => Err(fault(error)),
    }
}

/// Searches the active users other than the caller by `name`, sorted by status and then by name. Of more than [`MAX_CANDIDATES`]
/// matches only the first by name are considered.
pub(super) async fn im_search(
    app: &AppContext,
    caller: &Caller,
    account: &Account,
    name: Value,
    limit: Option<Value>,
) -> Result<Value, Fault> {
    let name = name.as_str().unwrap_or_default();
    let limit = limit.as_ref().and_then(number).and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_SEARCH_LIMIT);
    account.reserve(people_bytes(MAX_CANDIDATES)).await.map_err(Fault::refused)?;
    let mut found = app.chat.search_people(caller, name, MAX_CANDIDATES).await.map_err(fault)?;
    let folded = fold(name);
    let fits = |person: &storage::Person| {
        person.user.is_some_and(|user| user != caller.user) && fold(&person.partner.name).contains(&folded)
    };
    found.retain(fits);
    let mut found = app.chat.presence(found).await.map_err(fault)?;
    found.sort_by(|one, other| {
        let key = |presence: &chat::PersonPresence| rank(presence.status);
        key(one).cmp(&key(other)).then_with(|| one.person.partner.name.cmp(&other.person.partner.name))
    });
    let user = |presence: chat::PersonPresence| {
        let status = im_status(presence.status);
        json!({"id": presence.person.user, "name": presence.person.partner.name, "im_status": status})
    };
    Ok(found.into_iter().take(limit).map(user).collect())
}

async fn header(app: &AppContext, caller: &Caller, account: &Account, id: ConversationId) -> Result<Value, Fault> {
    let bytes = app.chat.participants_bytes(caller, id, ListContent::LastMessages).await.map_err(fault)?;
    account.reserve(bytes).await.map_err(Fault::refused)?;
    let headers = view::Headers::of_one(app, caller, id).await?;
    let kept = headers.conversations.first().ok_or_else(|| fault(chat::Error::NotFound(chat::ResourceKind::Conversation)))?;
    Ok(serde_json::to_value(headers.header(kept)).expect("texts and numbers can be written as JSON"))
}

async fn post_notice(app: &AppContext, caller: &Caller, id: ConversationId, what: String) -> Result<(), Fault> {
    messages::post(app, caller, id, MessageKind::Meta, what, &[]).await.map(drop)
}

async fn find(app: &AppContext, caller: &Caller, uuid: Value) -> Result<Option<ConversationId>, Fault> {
    match uuid {
        Value::String(uuid) => sessions::find(app, caller, Text::Present(uuid)).await,
        _ => Ok(None),
    }
}

async fn find_with_settings(
    app: &AppContext,
    caller: &Caller,
    uuid: &Value,
) -> Result<Option<(storage::Conversation, storage::Participant)>, Fault> {
    let Some(uuid) = uuid.as_str().and_then(params::uuid) else { return Ok(None) };
    match app.chat.conversation_by_uuid(caller, uuid).await {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(fault(error)),
    }
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}
