//! Wire form of sessions, built for several sessions at a time with few reads of the store.

use std::collections::HashMap;

use serde_json::{Value, json};
use storage::{ConversationId, ConversationKind, InboxEntry, InboxFilter, PartnerId, Person, User};

use super::{
    content::{self, MessageKind},
    error::fault,
    wire::{self, Doc, Group, InfoUser, Session, SessionInfo, SessionUser, im_status},
};
use crate::{
    auth::Caller,
    chat::{self, InboxConversation},
    events::PresenceState,
    web::{AppContext, jsonrpc::Fault, odoo_time},
};

/// Presence statuses of the participants of sessions, the caller included.
struct Statuses(HashMap<PartnerId, PresenceState>);

impl Statuses {
    async fn of(app: &AppContext, kept: &[InboxConversation]) -> Result<Self, Fault> {
        let people: HashMap<_, _> = kept.iter().flat_map(|kept| &kept.people).map(|person| (person.partner.id, person)).collect();
        let people = people.into_values().map(|person| Person::clone(person)).collect();
        let presence = app.chat.presence(people).await.map_err(fault)?;
        Ok(Self(presence.into_iter().map(|presence| (presence.person.partner.id, presence.status)).collect()))
    }

    fn name(&self, partner: PartnerId) -> String {
        im_status(self.0.get(&partner).copied().unwrap_or(PresenceState::Offline)).into()
    }
}

/// Sessions in the extension's wire form, as shown to the caller.
pub(super) async fn sessions(app: &AppContext, caller: &Caller, kept: &[InboxConversation]) -> Result<Vec<Session>, Fault> {
    let statuses = Statuses::of(app, kept).await?;
    let in_group = kept.iter().any(|kept| kept.conversation().group.is_some());
    let groups = if in_group { app.chat.groups().await.map_err(fault)? } else { Vec::new() };
    Ok(kept
        .iter()
        .map(|kept| {
            let conversation = kept.conversation();
            let docs: Vec<_> = conversation.documents.iter().map(|document| Doc::of(conversation.id, document)).collect();
            let groups = groups.iter().filter(|group| Some(group.id) == conversation.group);
            Session {
                uuid: conversation.uuid.to_string(),
                create_date: odoo_time(conversation.created_at),
                status: kept.entry.shelf.as_str().into(),
                state: kept.entry.window.as_str().into(),
                is_group: is_group(kept),
                is_read: kept.is_read(),
                groups: groups.map(|group| Group { id: group.id.0, name: group.name.clone() }).collect(),
                with_documents: !docs.is_empty(),
                with_documents_misspelt: !docs.is_empty(),
                docs: docs.clone(),
                docs_misspelt: docs,
                users: kept.people.iter().filter_map(|person| session_user(kept, person, caller.partner, &statuses)).collect(),
            }
        })
        .collect())
}

/// Session of the caller by its id, with all its participants.
pub(super) async fn session(app: &AppContext, caller: &Caller, id: ConversationId) -> Result<Session, Fault> {
    let kept = app.chat.inbox_conversation(caller, id).await.map_err(fault)?;
    sessions(app, caller, kept.as_slice()).await?.pop().ok_or_else(|| fault(chat::Error::Forbidden))
}

/// Conversations of the caller, with the data of their Odoo 8 headers. All headers together take far more memory than this:
/// build one at a time while writing.
pub(super) struct Headers {
    pub(super) conversations: Vec<InboxConversation>,
    statuses: Statuses,
}

impl Headers {
    /// The listed conversations that match both filters.
    pub(super) async fn of(
        app: &AppContext,
        caller: &Caller,
        filter: InboxFilter<'_>,
        is_wanted: impl Fn(&InboxEntry) -> bool + Send,
    ) -> Result<Self, Fault> {
        let kept = app.chat.inbox_conversations(caller, filter, is_wanted).await.map_err(fault)?;
        let statuses = Statuses::of(app, &kept).await?;
        Ok(Self { conversations: kept, statuses })
    }

    /// One conversation, with all its participants; none if the caller is not in it.
    pub(super) async fn of_one(app: &AppContext, caller: &Caller, id: ConversationId) -> Result<Self, Fault> {
        let kept = app.chat.inbox_conversation(caller, id).await.map_err(fault)?;
        let statuses = Statuses::of(app, kept.as_slice()).await?;
        Ok(Self { conversations: kept.into_iter().collect(), statuses })
    }

    pub(super) fn header(&self, kept: &InboxConversation) -> SessionInfo {
        SessionInfo {
            uuid: kept.conversation().uuid.to_string(),
            users: kept.people.iter().filter_map(|person| info_user(person, &self.statuses)).collect(),
            state: kept.entry.window.as_str().into(),
            status: kept.entry.shelf.as_str().into(),
            is_read: kept.is_read(),
            read_by: None,
            changed: None,
        }
    }
}

/// True if the session is a group session.
fn is_group(kept: &InboxConversation) -> bool {
    kept.conversation().kind == ConversationKind::Group
}

/// A user in a session; `None` for a partner without a user, since Odoo's sessions consist of users.
fn session_user(kept: &InboxConversation, person: &Person, reader: PartnerId, statuses: &Statuses) -> Option<SessionUser> {
    let Person { partner, user } = person;
    let last = kept.last_messages.get(&partner.id).map(|message| {
        json!({
            "type": MessageKind::of(message).as_str(),
            "message": content::text(message, reader),
            "create_date": odoo_time(message.created_at),
            "id": message.id,
        })
    });
    Some(SessionUser {
        im_status: statuses.name(partner.id),
        id: user.as_ref()?.0,
        name: partner.name.clone(),
        partner_id: vec![partner.id.0.into(), partner.name.as_str().into()],
        last_message: last.unwrap_or(Value::Bool(false)),
    })
}

fn info_user(person: &Person, statuses: &Statuses) -> Option<InfoUser> {
    let id = person.user?.0;
    Some(InfoUser { id, name: person.partner.name.clone(), im_status: statuses.name(person.partner.id) })
}

/// Users with their presence status, in the order given.
pub(super) async fn users(app: &AppContext, users: Vec<User>) -> Result<Vec<wire::User>, Fault> {
    let people = users.iter().map(User::person).collect();
    let presence = app.chat.presence(people).await.map_err(fault)?;
    let user = |(user, presence): (User, chat::PersonPresence)| wire::User {
        im_status: im_status(presence.status).into(),
        id: user.id.0,
        name: user.partner.name,
    };
    Ok(users.into_iter().zip(presence).map(user).collect())
}
