//! Tests of query plans: no statement reads a large table from end to end. Plans depend on the schema alone, since no statistics
//! are ever gathered.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use chrono::{TimeDelta, Utc};
use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, Row};
use storage::{
    ActorKind, AddressBooks, Attachments, Audit, AuditFilter, ChangeKey, Changes, ClientKey, Conversations, DeviceConnection,
    Devices, Directory, Document, EventLog, Fact, GroupId, Groups, Heartbeat, InboxFilter, Lane, ListSize, MessageId,
    MessageSide, Messages, NewAuditEntry, NewMessage, NewRefreshToken, NewSession, NewUpload, Node, Nodes, Page, Pictures,
    Position, Reactions, Reads, Role, Scope, Search, SearchScan, SessionKey, SessionTouch, Sessions, ShortenedLease, Storage,
    Support, SupportStatus, TokenKey, Tokens, Topic, UploadReference, UploadedFile, Uploads, Users, Workspaces,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use uuid::Uuid;

use crate::people::{at, client_key, lock, new_attachment, new_conversation, new_message, new_user};
use crate::{Room, connect, shared};

/// Tables without a bound, and the aliases under which statements read them.
const LARGE: &[&str] = &[
    "a",
    "account",
    "attachments",
    "audit",
    "book_entries",
    "c",
    "conversation_documents",
    "conversations",
    "e",
    "events",
    "f",
    "m",
    "ma",
    "memberships",
    "message_attachments",
    "messages",
    "o",
    "of_it",
    "other",
    "p",
    "participants",
    "partners",
    "person",
    "presences",
    "r2",
    "reactions",
    "refresh_tokens",
    "s",
    "session",
    "sessions",
    "support_seen",
    "support_sessions",
    "u",
    "upload_mentions",
    "uploads",
    "users",
];
/// Scans that end early, or read what is never much.
const ALLOWED: &[&str] = &[
    // Open sessions are few; pages of others begin at the newest.
    "conversations_open_support",
    "conversations_closed_support",
    // Messages that are held back, and people without a folded text: never many.
    "messages_held",
    "partners_unfolded",
    // A walk along the names ends once enough people are found.
    "partners_by_name",
    // The kinds of all hashes are read once an hour.
    "users_by_role",
];
/// Statements whose scans SQLite lists without doing them, or that end after some rows.
const EXEMPT: &[&str] = &[
    // Rows that refer to the new one are looked for only if some refer to nothing.
    "INSERT INTO partners",
    // The oldest events, by position.
    "DELETE FROM events",
];

/// Statements that sqlx has run, as `tracing` tells them.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, event: &Event<'_>) {
        // Connections of a store have named threads; those that a test opens beside it have not.
        if !std::thread::current().name().is_some_and(|name| name.starts_with("sqlite-")) {
            return;
        }
        let mut statement = Statement(String::new());
        event.record(&mut statement);
        self.0.lock().insert(statement.0.trim().to_owned());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Statement(String);

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        // A short statement is its own summary.
        if field.name() == "db.statement" && !value.is_empty() || field.name() == "summary" && !value.ends_with('…') {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The subscriber of this process: connections run in threads of their own.
fn statements() -> &'static Statements {
    static STATEMENTS: OnceLock<Statements> = OnceLock::new();
    STATEMENTS.get_or_init(|| {
        let statements = Statements::default();
        tracing::subscriber::set_global_default(statements.clone()).unwrap();
        statements
    })
}

#[tokio::test]
async fn no_statement_reads_a_large_table_from_end_to_end() {
    let statements = statements();
    let room = Room::new().await;
    write(&room).await;
    change(&room).await;
    read(&room).await;
    serve(&room).await;
    support(&room).await;
    clear_away(&room).await;
    let mut file = connect(&room.path).await;
    let run = statements.0.lock().clone();
    let run: BTreeSet<_> = run.iter().flat_map(|texts| texts.split(';')).map(str::trim).collect();
    let is_own = |text: &&&str| ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|verb| text.starts_with(verb));
    let own: Vec<_> = run.iter().filter(is_own).collect();
    assert!(own.len() > 170, "statements are found, not only {}", own.len());
    let replanned: Vec<_> = own.iter().filter(|text| text.contains("LIMIT $")).collect();
    assert!(replanned.is_empty(), "a limit without a sign has SQLite plan anew for each value: {replanned:?}");
    let mut scans = Vec::new();
    for text in own.into_iter().filter(|text| !EXEMPT.iter().any(|exempt| text.starts_with(exempt))) {
        let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
        // Parts of migrations are no statements.
        let Ok(plan) = sqlx::query(plan).fetch_all(&mut file).await else { continue };
        for step in plan {
            let step: String = step.get("detail");
            let scanned = step.strip_prefix("SCAN ").and_then(|step| step.split(' ').next());
            if scanned.is_some_and(|table| LARGE.contains(&table)) && !ALLOWED.iter().any(|index| step.ends_with(index)) {
                scans.push(format!("{step}: {text}"));
            }
            if step.contains("AUTOMATIC") {
                scans.push(format!("{step}: {text}"));
            }
        }
    }
    assert!(scans.is_empty(), "{}", scans.join("\n"));
}

async fn write(room: &Room) {
    let ann = room.ann.partner.id;
    let mut tx = room.store.begin().await.unwrap();
    let ben = tx.insert_user(new_user("ben")).await.unwrap();
    tx.lock_user(ben.id).await.unwrap();
    tx.update_user(ben.id, storage::UserChange::default()).await.unwrap();
    let group = tx.insert_group(Some(GroupId(7)), "all").await.unwrap();
    tx.insert_group_members(group.id, &[ben.id]).await.unwrap();
    tx.delete_group_members(group.id, &[ben.id]).await.unwrap();
    tx.insert_into_address_book(ben.id, &[room.ann.id]).await.unwrap();
    tx.delete_from_address_book(ben.id, &[room.ann.id]).await.unwrap();
    tx.set_picture(ben.id, b"png", at(0)).await.unwrap();
    let session = NewSession { key: SessionKey([1; 32]), user: ben.id, created_at: at(0), token: None, is_cursor: false };
    tx.insert_session(session).await.unwrap();
    tx.least_delivered(ben.id, at(0)).await.unwrap();
    tx.delete_sessions_beyond(1, ben.id, false).await.unwrap();
    tx.delete_sessions(&[SessionKey([2; 32])]).await.unwrap();
    tx.delete_sessions_of(room.ann.id).await.unwrap();
    let (key, family) = (TokenKey([1; 32]), Uuid::nil());
    let token = NewRefreshToken { key, family, user: ben.id, expires_at: at(0), grace_from: None };
    tx.insert_refresh_token(token).await.unwrap();
    tx.use_refresh_token(key, at(1)).await.unwrap();
    tx.count_grace_tokens(family, at(0)).await.unwrap();
    tx.count_tokens(family).await.unwrap();
    tx.delete_families_beyond(0, ben.id).await.unwrap();
    tx.delete_family(family).await.unwrap();
    tx.delete_refresh_tokens_of(ben.id).await.unwrap();
    let mut new = new_conversation(&[&room.ann, &ben]);
    new.documents = vec![Document { model: "sale.order".to_owned(), id: 7 }];
    let other = tx.insert_conversation(new).await.unwrap();
    tx.set_key(other.id, Some("key")).await.unwrap();
    tx.record(Topic::Conversation(other.id), Fact::ConversationCreated(other.clone()), at(0));
    let file = tx.insert_attachment(new_attachment(&room.ann, "file")).await.unwrap();
    tx.attachments_to_send(&[file.id]).await.unwrap();
    let to = lock(&mut *tx, room.room).await;
    tx.lock_free_conversations(&[room.room]).await.unwrap();
    tx.insert_participants(&to[0], &[ben.partner.id], 0, at(0)).await.unwrap();
    tx.record(Topic::Conversation(room.room), Fact::ParticipantJoined { partner: ben.partner.id, visible_from_seq: 0 }, at(0));
    tx.participant_statuses(&[(room.room, ann)]).await.unwrap();
    tx.participant_count(&to[0]).await.unwrap();
    tx.set_kind(&to[0], storage::ConversationKind::Group).await.unwrap();
    tx.set_conversation_settings(room.room, ann, None, Some(storage::Folder::Archive)).await.unwrap();
    let key = ClientKey { conversation: room.room, author: ann, key: "key".to_owned(), hash: [1; 32] };
    tx.messages_by_client_key(&[key]).await.unwrap();
    let keyed = NewMessage { client_key: Some(client_key("key", 1)), ..new_message(room.room, &room.ann, "hello") };
    let with_file = NewMessage { attachments: vec![file], ..new_message(room.room, &ben, "look") };
    for message in tx.insert_messages(to, vec![keyed, with_file]).await.unwrap() {
        tx.record(Topic::Conversation(room.room), Fact::MessagePosted(message), at(0));
    }
    tx.set_content_hash(MessageId(1), &[2; 32]).await.unwrap();
    tx.release_client_keys(&[MessageId(1)]).await.unwrap();
    tx.seqs_of(&[(room.room, MessageId(1))]).await.unwrap();
    tx.advance_read(room.room, ann, 1).await.unwrap();
    tx.advance_read_everywhere(ben.partner.id).await.unwrap();
    tx.secret("name", "fresh").await.unwrap();
    tx.lock_workspace().await.unwrap();
    tx.commit().await.unwrap();
    room.say("more").await;
}

async fn change(room: &Room) {
    let ann = room.ann.partner.id;
    let mut tx = room.store.begin().await.unwrap();
    let of = lock(&mut *tx, room.room).await.remove(0);
    tx.insert_reaction(&of, MessageId(1), ann, "wow", at(1)).await.unwrap();
    tx.reaction_contents(&of, MessageId(1)).await.unwrap();
    tx.delete_reaction(&of, MessageId(1), ann, "wow").await.unwrap();
    tx.edit_message(&of, MessageId(1), "again", ann, at(1)).await.unwrap().unwrap();
    tx.show_message(&of, MessageId(1)).await.unwrap().unwrap();
    let ben = tx.partners_with_role(&[Role::User]).await.unwrap().pop().unwrap();
    let upload = NewUpload { name: "u".to_owned(), owner: ann, mimetype: String::new(), limit_bytes: 1, expires_at: at(0) };
    tx.insert_upload(upload).await.unwrap();
    let file =
        UploadedFile { object: "o".to_owned(), mimetype: String::new(), size_bytes: 1, width: None, height: None, put_at: at(0) };
    tx.put_upload("u", file).await.unwrap();
    tx.reference_uploads(&[UploadReference { message: MessageId(1), author: ann, name: "u".to_owned() }]).await.unwrap();
    tx.replace_upload_references(MessageId(1), ann, &[]).await.unwrap();
    let deleted = tx.delete_message(&of, MessageId(2), ann, at(1)).await.unwrap().unwrap();
    assert_eq!(deleted.files.len(), 1);
    let file = tx.insert_attachment(new_attachment(&room.ann, "file")).await.unwrap();
    tx.delete_attachment(file.id).await.unwrap().unwrap();
    tx.delete_participant(&of, ben).await.unwrap();
    tx.record(Topic::Conversation(room.room), Fact::ParticipantLeft { conversation: room.room, partner: ben }, at(1));
    tx.set_closed(&of, at(9)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn read(room: &Room) {
    let (s, of, ann) = (&room.store, room.room, room.ann.partner.id);
    s.is_empty().await.unwrap();
    s.is_demo().await.unwrap();
    s.workspace().await.unwrap();
    s.user(room.ann.id).await.unwrap();
    s.user_by_login("ann").await.unwrap();
    s.user_by_uuid(Uuid::nil()).await.unwrap();
    s.user_by_external_id("a").await.unwrap();
    s.has_external_ids().await.unwrap();
    s.password_kinds(9).await.unwrap();
    s.users(None, 9).await.unwrap();
    s.users_by_id(&[room.ann.id]).await.unwrap();
    s.people_after(None, 9).await.unwrap();
    s.people(&[ann]).await.unwrap();
    s.people_of_users(&[room.ann.id]).await.unwrap();
    s.search_people("an", 9).await.unwrap();
    s.search_people("ann", 9).await.unwrap();
    s.address_book(room.ann.id).await.unwrap();
    s.address_book_owners(&[ann]).await.unwrap();
    s.picture(room.ann.id).await.unwrap();
    s.groups().await.unwrap();
    s.group(GroupId(7)).await.unwrap();
    s.group_by_name("all").await.unwrap();
    s.group_members(GroupId(7)).await.unwrap();
    s.conversation(of).await.unwrap();
    s.conversation_seen_by(of, ann).await.unwrap();
    s.participants(of).await.unwrap();
    s.people_in(&[of], ann, 10).await.unwrap();
    s.list_size(ann, 10, ListSize { conversations: 10, people: 10 }).await.unwrap();
    s.participant_ids(of).await.unwrap();
    s.contacts(&[ann]).await.unwrap();
    s.inbox(ann, InboxFilter::default()).await.unwrap();
    s.inbox(ann, InboxFilter { only: Some(&[of]), ..InboxFilter::default() }).await.unwrap();
    s.unread_totals(ann).await.unwrap();
    s.conversations_by_uuid(&[Uuid::nil()]).await.unwrap();
    s.conversation_uuids(&[of]).await.unwrap();
    let about = Document { model: "sale.order".to_owned(), id: 7 };
    s.direct_conversation((ann, ann), Some(&about)).await.unwrap();
    s.direct_conversations((ann, ann)).await.unwrap();
    s.group_conversation(GroupId(7), None).await.unwrap();
    for page in [Page::Newest { offset: 0, limit: 9 }, Page::latest(9), Page::After { id: MessageId(0), limit: 9 }] {
        s.messages(of, ann, page).await.unwrap();
    }
    s.newest_bytes(of, ann, 0, 9).await.unwrap();
    s.messages_by_id(&[MessageId(1)]).await.unwrap();
    s.locate_messages(&[MessageId(1)]).await.unwrap();
    s.messages_at(&[(of, 1)]).await.unwrap();
    s.last_messages(&[(of, ann)], ann).await.unwrap();
    s.draw_message_id().await.unwrap();
    s.messages_with_files(of, ann, None, 9).await.unwrap();
    s.conversations_with_new_messages(ann, at(0)).await.unwrap();
    s.changes(of, ChangeKey::since(MessageId(1)), 9).await.unwrap();
    s.read_by_others(of, ann).await.unwrap();
    s.unread_by_others(ann, 9).await.unwrap();
    s.reactions(MessageId(1), ann).await.unwrap();
    s.newest_messages(ann, None, None).await.unwrap();
    let start = s.newest_messages(ann, Some(of), None).await.unwrap().remove(0);
    let scan = SearchScan { messages: 9, query: "more", limit: 9, bytes: 9_999 };
    assert_eq!(s.search_messages(start, ann, scan).await.unwrap().matches.len(), 1);
    for scope in [Scope::Everything, Scope::Conversation(of), Scope::Partner(ann)] {
        s.events(Position(0), scope, 9).await.unwrap();
    }
    s.members_at(of, Position(1)).await.unwrap();
    s.position().await.unwrap();
    s.log_state(Position(1)).await.unwrap();
    s.position_at(at(0)).await.unwrap();
}

async fn serve(room: &Room) {
    let (s, ann, now, node) = (shared(&room.store).lane(Lane::Sessions), room.ann.partner.id, Utc::now(), Uuid::nil());
    s.sessions(&[SessionKey([1; 32])]).await.unwrap();
    s.touch_sessions(&[SessionTouch { key: SessionKey([1; 32]), last_used_at: now, told: None }]).await.unwrap();
    s.refresh_token(TokenKey([1; 32])).await.unwrap();
    s.user_of_family(node).await.unwrap();
    s.presences(&[ann]).await.unwrap();
    s.expired_leases((now, ann), now, 9).await.unwrap();
    s.record_heartbeats(&[Heartbeat { partner: ann, last_seen: now, there_until: now, idle_from: None }]).await.unwrap();
    s.shorten_leases(&[ShortenedLease { partner: ann, expected: None, there_until: now }]).await.unwrap();
    s.set_presence(ann, None, now).await.unwrap();
    s.renew_lease(&Node { id: node, version: None, bus: None, started_at: None, position: None, until: now }).await.unwrap();
    s.nodes(now).await.unwrap();
    s.renew_held_lease(node, now, &[ann]).await.unwrap();
    s.has_held_lease(ann, now).await.unwrap();
    s.held_messages_of(ann, 9).await.unwrap();
    s.held_without_lease(now, 9).await.unwrap();
    s.end_held_lease(node, &[ann]).await.unwrap();
    s.end_lease(node).await.unwrap();
    let used = DeviceConnection { user: room.ann.id, device: "d", connection: "c", at: now, expires_at: now };
    let mut tx = s.begin().await.unwrap();
    tx.connect_device(used).await.unwrap();
    tx.connect_device(used).await.unwrap();
    tx.forget_devices_beyond(1, room.ann.id).await.unwrap();
    tx.commit().await.unwrap();
    s.touch_device(used).await.unwrap();
    let entry = NewAuditEntry {
        at: now,
        actor: ActorKind::System,
        actor_id: None,
        address: None,
        action: "serve".to_owned(),
        object: None,
        outcome: "ok".to_owned(),
        correlation: None,
    };
    s.audit(&[entry]).await.unwrap();
    for actor in [None, Some((ActorKind::User, "7"))] {
        s.audit_entries(AuditFilter { actor, before: None }, 9).await.unwrap();
    }
    s.upload("u").await.unwrap();
    s.uploads(&["u".to_owned()]).await.unwrap();
    s.objects_in_use(&["o".to_owned()]).await.unwrap();
    s.attachment(storage::AttachmentId(1)).await.unwrap();
    s.attachment_access(storage::AttachmentId(1), ann).await.unwrap();
}

async fn support(room: &Room) {
    let (s, ann, now) = (&room.store, room.ann.partner.id, Utc::now());
    let mut tx = s.begin().await.unwrap();
    let new = storage::NewConversation { kind: storage::ConversationKind::Support, ..new_conversation(&[&room.ann]) };
    let session = tx.insert_conversation(new).await.unwrap().id;
    tx.insert_support_session(session, ann, now).await.unwrap();
    let of = lock(&mut *tx, session).await;
    tx.set_support_joiner(&of[0], Some(ann), now).await.unwrap();
    tx.support_session_of(&of[0]).await.unwrap();
    tx.support_sessions_of(&[&of[0]]).await.unwrap();
    tx.open_support_sessions(ann, 9).await.unwrap();
    tx.lock_joined_support(ann).await.unwrap();
    tx.lock_absent_support(now, &[Role::Agent], 9).await.unwrap();
    tx.lock_silent_support(now, 9).await.unwrap();
    tx.mark_seen(&[(session, ann, 1)], now).await.unwrap();
    tx.commit().await.unwrap();
    s.support_session(session).await.unwrap().unwrap();
    for status in [Some(SupportStatus::Waiting), Some(SupportStatus::Joined), Some(SupportStatus::Closed)] {
        s.support_sessions(status, 0, 9).await.unwrap();
    }
    s.touch_support_session(session, ann, now).await.unwrap().unwrap();
    s.support_unread(ann).await.unwrap();
    s.seen_at(session, &[(1, MessageSide::Agent)]).await.unwrap();
}

async fn clear_away(room: &Room) {
    let (s, later) = (&room.store, Utc::now() + TimeDelta::hours(1));
    s.forget_events(later, 9).await.unwrap();
    s.forget_memberships(9).await.unwrap();
    s.expire_sessions(later, 9).await.unwrap();
    s.expire_refresh_tokens(later, 9).await.unwrap();
    s.forget_unsent(later, 9).await.unwrap();
    s.expire_uploads(later, 9).await.unwrap();
    s.forget_nodes(later, 9).await.unwrap();
    s.forget_audit(later, 9).await.unwrap();
    s.fold_people(9).await.unwrap();
    s.forget_devices(later, 9).await.unwrap();
}
