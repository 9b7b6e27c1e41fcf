//! Tests of the import: what is imported reads and behaves like what was sent.

use std::sync::Arc;

use storage::{
    AttachmentAccess, AttachmentId, ConversationId, ConversationKind, Document, Error, Event, Fact, Folder, GroupId,
    ImportedAttachment, ImportedConversation, ImportedGroup, ImportedMessage, ImportedParticipant, ImportedReaction,
    ImportedSupport, ImportedUser, MessageId, MessageLocation, MessageSide, NO_CLIENT, NewAttachment, NewMessage, NewPartner,
    NewUser, Page, ParticipantStatus, PartnerId, PasswordHash, Position, ReactionCount, Revision, Role, Scope, Storage,
    SupportStatus, ThreadType, Topic, Tx, User, UserId, WindowState,
};
use uuid::Uuid;

use crate::{
    import_history::view,
    people::{
        at, begin, conflict, file, lock, new_attachment, new_message, new_partner, new_user, read_up_to, say, users, write,
    },
};

on_every_backend!(
    people_come_with_ids_and_change,
    groups_have_exactly_the_members_given,
    conversations_come_with_ids_and_change,
    sessions_of_support_have_their_sides,
    messages_that_do_not_fit_are_refused,
    a_refused_import_leaves_nothing,
    messages_change_with_their_files_and_reactions,
    what_was_deleted_stays_deleted,
    files_belong_to_their_messages,
    who_was_imported_is_told_what_comes_after,
    sequences_go_on_above_given_ids,
);

/// The time of all imports, after everything they import.
pub(crate) const NOW: i64 = 1_000_000;

pub(crate) fn new_room(uuid: Uuid) -> ImportedConversation {
    ImportedConversation {
        id: None,
        uuid,
        kind: ConversationKind::Group,
        thread_type: ThreadType::Group,
        name: "A conversation".to_owned(),
        created_at: at(0),
        group: None,
        documents: Vec::new(),
        closed_at: None,
        external_id: None,
        began_direct: false,
        support: None,
    }
}

fn imported(message: NewMessage) -> ImportedMessage {
    ImportedMessage { id: None, seq: None, message, edited: None, deleted: None, reactions: Vec::new() }
}

pub(crate) fn participant(conversation: ConversationId, partner: PartnerId, read_seq: i64) -> ImportedParticipant {
    ImportedParticipant {
        conversation,
        partner,
        joined_at: at(0),
        window: WindowState::Open,
        folder: Folder::Active,
        read_seq,
        status: ParticipantStatus::default(),
    }
}

pub(crate) async fn import_rooms(store: &Arc<dyn Storage>, rooms: &[ImportedConversation]) -> Vec<ConversationId> {
    write(store, async |tx| tx.import(at(NOW)).import_conversations(rooms).await.unwrap()).await
}

async fn try_import(tx: &mut dyn Tx, rows: &[ImportedMessage]) -> storage::Result<Vec<MessageLocation>> {
    let rooms: Vec<_> = rows.iter().map(|row| row.message.conversation).collect();
    let to = tx.lock_conversations(&rooms).await.unwrap();
    tx.import(at(NOW)).import_messages(to, rows).await
}

pub(crate) async fn import_messages(store: &Arc<dyn Storage>, rows: &[ImportedMessage]) -> Vec<MessageLocation> {
    write(store, async |tx| try_import(tx, rows).await.unwrap()).await
}

pub(crate) async fn import_participants(store: &Arc<dyn Storage>, rows: &[ImportedParticipant]) {
    write(store, async |tx| {
        let of = tx.lock_conversations(&rows.iter().map(|row| row.conversation).collect::<Vec<_>>()).await.unwrap();
        tx.import(at(NOW)).import_participants(&of, rows).await.unwrap();
    })
    .await;
}

/// A room with these participants, who have read nothing.
async fn room_of(store: &Arc<dyn Storage>, people: &[&User]) -> ConversationId {
    let room = import_rooms(store, &[new_room(Uuid::new_v4())]).await[0];
    let rows: Vec<_> = people.iter().map(|user| participant(room, user.partner.id, 0)).collect();
    import_participants(store, &rows).await;
    room
}

pub(crate) async fn all(store: &Arc<dyn Storage>, room: ConversationId, reader: PartnerId) -> Vec<storage::MessageForReader> {
    store.messages(room, reader, Page::After { id: MessageId(0), limit: 10_000 }).await.unwrap()
}

fn account(id: Option<i64>, partner: Option<i64>, name: &str) -> ImportedUser {
    let new = new_user(name);
    let partner = NewPartner { id: partner.map(PartnerId), ..new.partner };
    ImportedUser { user: NewUser { id: id.map(UserId), partner, ..new }, active: true }
}

async fn import_users(store: &Arc<dyn Storage>, rows: &[ImportedUser]) -> Vec<(UserId, PartnerId)> {
    write(store, async |tx| tx.import(at(NOW)).import_users(rows).await.unwrap()).await
}

async fn refused_users(store: &Arc<dyn Storage>, row: ImportedUser) -> &'static str {
    conflict(store.begin().await.unwrap().import(at(NOW)).import_users(&[row]).await)
}

async fn people_come_with_ids_and_change(store: Arc<dyn Storage>) {
    let [here] = users(&store, ["here"]).await;
    let new = |id, name| NewPartner { id, email: Some("mail@example.com".to_owned()), ..new_partner(name) };
    let partners = [new(Some(PartnerId(40)), "Forty"), new(None, "Next")];
    let partners = write(&store, async |tx| tx.import(at(NOW)).import_partners(&partners).await.unwrap()).await;
    assert_eq!(partners, [PartnerId(40), PartnerId(41)]);

    // A uid and the id of somebody else's partner may be the same.
    let mut zoe = account(Some(41), Some(50), "ZOË");
    zoe.user.external_id = Some("z".to_owned());
    zoe.user.role = Role::Admin;
    let rows = [zoe.clone(), account(None, None, "drawn"), account(None, Some(40), "Forty")];
    let ids = import_users(&store, &rows).await;
    assert_eq!((ids[0], ids[2].1), ((UserId(41), PartnerId(50)), PartnerId(40)));
    assert!(ids[1].0.0 > 50 && ids[1].1.0 > ids[1].0.0, "{ids:?}");
    let stored = store.user(UserId(41)).await.unwrap().unwrap();
    assert_eq!(
        (stored.uuid, stored.role, stored.active, stored.external_id.as_deref()),
        (zoe.user.uuid, Role::Admin, true, Some("z"))
    );
    let found =
        async |query: &str| -> Vec<_> { store.search_people(query, 9).await.unwrap().iter().map(|found| found.user).collect() };
    assert_eq!(found("zoë").await, [Some(UserId(41))]);
    assert_eq!(found("forty").await, [Some(ids[2].0)]);
    assert_eq!(store.people(&[PartnerId(40)]).await.unwrap()[0].partner.email, None, "as the account has it");

    let room = room_of(&store, &[&here]).await;
    say(&store, room, &stored, "hello").await;
    let change = |name: &str| {
        let mut row = account(Some(41), None, name);
        (row.user.uuid, row.user.login, row.user.password, row.active) = (zoe.user.uuid, None, None, false);
        row.user.language = "da_DK".to_owned();
        row
    };
    for name in ["Zoë", "Zoe"] {
        assert_eq!(import_users(&store, &[change(name)]).await, [(UserId(41), PartnerId(50))]);
        assert_eq!(store.fold_people(9).await.unwrap(), 0, "{name} is folded");
        let changed = store.user(UserId(41)).await.unwrap().unwrap();
        assert_eq!((changed.active, changed.language.as_str(), changed.partner.name.as_str()), (false, "da_DK", name));
        assert_eq!(
            (changed.login, changed.password, changed.external_id),
            (stored.login.clone(), stored.password.clone(), stored.external_id.clone())
        );
        assert_eq!(all(&store, room, here.partner.id).await[0].message.author.name, name);
    }
    assert_eq!(found("zoe").await, [], "who is not active is not found");

    let taken = |row: ImportedUser, change: fn(&mut NewUser, &User)| {
        let mut row = row;
        change(&mut row.user, &here);
        row
    };
    for (row, rule) in [
        (account(Some(41), None, "another"), "users_pkey"),
        (account(None, Some(50), "another"), "users_partner"),
        (taken(change("zoe"), |user, _| user.partner.id = Some(PartnerId(40))), "users_partner"),
        (taken(account(None, None, "a"), |user, here| user.login.clone_from(&here.login)), "users_login"),
        (taken(account(None, None, "a"), |user, here| user.uuid = here.uuid), "users_uuid"),
        (taken(account(None, None, "a"), |user, _| user.external_id = Some("z".to_owned())), "users_external_id"),
    ] {
        assert_eq!(refused_users(&store, row).await, rule);
    }
    let [next] = users(&store, ["next"]).await;
    assert!(next.id.0 > ids[1].1.0 && next.password == Some(PasswordHash("$argon2id$".to_owned())));
}

async fn groups_have_exactly_the_members_given(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await.map(|user| user.id);
    let group = |id, name: &str, members: &[UserId]| ImportedGroup { id, name: name.to_owned(), members: members.to_vec() };
    let import =
        async |rows: &[ImportedGroup]| write(&store, async |tx| tx.import(at(NOW)).import_groups(rows).await.unwrap()).await;
    let ids = import(&[group(Some(GroupId(7)), "staff", &[ann, ben]), group(None, "all", &[])]).await;
    assert_eq!(ids, [GroupId(7), GroupId(8)]);
    import(&[group(Some(GroupId(7)), "people", &[cat, ben, cat])]).await;
    assert_eq!(store.group_members(GroupId(7)).await.unwrap(), [ben, cat]);
    assert!(store.group_by_name("staff").await.unwrap().is_none() && store.group_by_name("people").await.unwrap().is_some());
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.import(at(NOW)).import_groups(&[group(None, "all", &[])]).await), "groups_name");
    drop(tx);
    assert!(write(&store, async |tx| tx.insert_group(None, "staff").await.unwrap().id).await > GroupId(8));
}

async fn conversations_come_with_ids_and_change(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let group = write(&store, async |tx| tx.insert_group(None, "staff").await.unwrap().id).await;
    let about = |id| Document { model: "sale.order".to_owned(), id };
    let mut direct = new_room(Uuid::new_v4());
    (direct.id, direct.kind, direct.thread_type) = (Some(ConversationId(30)), ConversationKind::Direct, ThreadType::Chat);
    direct.documents = vec![about(2), about(1), about(2)];
    direct.external_id = Some("talk".to_owned());
    let drawn = ImportedConversation { group: Some(group), closed_at: Some(at(5)), ..new_room(Uuid::new_v4()) };
    let ids = import_rooms(&store, &[direct.clone(), drawn.clone()]).await;
    assert_eq!(ids, [ConversationId(30), ConversationId(31)]);
    let stored = store.conversation(ids[0]).await.unwrap().unwrap();
    assert_eq!((stored.uuid, stored.documents, stored.began_direct), (direct.uuid, vec![about(1), about(2)], true));
    assert_eq!(store.group_conversation(group, None).await.unwrap(), Some(ids[1]));
    assert_eq!(store.conversation(ids[1]).await.unwrap().unwrap().closed_at, Some(at(5)));

    let pair = (ann.partner.id, ben.partner.id);
    import_participants(&store, &[participant(ids[0], pair.0, 0), participant(ids[0], pair.1, 0)]).await;
    assert_eq!(store.direct_conversations(pair).await.unwrap(), [ids[0]]);
    direct.documents = vec![about(3)];
    (direct.kind, direct.name, direct.external_id) = (ConversationKind::Group, "three".to_owned(), None);
    let opened = ImportedConversation { id: Some(ids[1]), group: None, closed_at: None, ..drawn };
    assert_eq!(import_rooms(&store, &[direct.clone(), opened]).await, ids);
    let stored = store.conversation(ids[0]).await.unwrap().unwrap();
    assert_eq!((stored.kind, stored.name.as_str(), stored.documents), (ConversationKind::Group, "three", vec![about(3)]));
    assert_eq!((stored.began_direct, stored.external_id.as_deref()), (true, Some("talk")));
    assert_eq!(store.group_conversation(group, None).await.unwrap(), None);
    assert_eq!(store.conversation(ids[1]).await.unwrap().unwrap().closed_at, Some(at(5)), "it stays closed");

    let refused = async |row| conflict(store.begin().await.unwrap().import(at(NOW)).import_conversations(&[row]).await);
    assert_eq!(refused(ImportedConversation { uuid: Uuid::new_v4(), ..direct.clone() }).await, "conversations_pkey");
    assert_eq!(refused(ImportedConversation { id: None, ..direct.clone() }).await, "conversations_uuid");
    let named = ImportedConversation { external_id: Some("talk".to_owned()), ..new_room(Uuid::new_v4()) };
    assert_eq!(refused(named).await, "conversations_external_id");
    assert!(begin(&store, &[&ann]).await > ConversationId(31));
}

async fn sessions_of_support_have_their_sides(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let sides = |joiner| ImportedSupport { initiator: (ann.partner.id, at(1)), joiner };
    let mut row =
        ImportedConversation { kind: ConversationKind::Support, support: Some(sides(None)), ..new_room(Uuid::new_v4()) };
    let id = import_rooms(&store, &[row.clone()]).await[0];
    assert_eq!(store.support_session(id).await.unwrap().unwrap().status(), SupportStatus::Waiting);
    (row.id, row.support, row.closed_at) = (Some(id), Some(sides(Some((ben.partner.id, at(2))))), Some(at(3)));
    import_rooms(&store, &[row.clone()]).await;
    let session = store.support_session(id).await.unwrap().unwrap();
    assert_eq!((session.initiator.user, session.joiner.map(|side| (side.user, side.pinged_at))), (ann.id, Some((ben.id, at(2)))));
    assert_eq!(store.support_sessions(Some(SupportStatus::Closed), 0, 9).await.unwrap(), [session]);
    import_participants(&store, &[participant(id, ann.partner.id, 0)]).await;
    let answer = NewMessage { support_side: Some(MessageSide::Agent), ..new_message(id, &ben, "yes") };
    import_messages(&store, &[imported(answer)]).await;
    assert_eq!(store.support_unread(ann.partner.id).await.unwrap(), 1);
    let guest = write(&store, async |tx| tx.insert_partner(new_partner("guest")).await.unwrap().id).await;
    row.support = Some(ImportedSupport { initiator: (guest, at(1)), joiner: None });
    let mut tx = store.begin().await.unwrap();
    let refused = tx.import(at(NOW)).import_conversations(&[row]).await;
    assert!(matches!(refused, Err(Error::Internal(_))), "a guest has no account: {refused:?}");
}

fn with_id(id: i64, row: ImportedMessage) -> ImportedMessage {
    ImportedMessage { id: Some(MessageId(id)), ..row }
}

async fn messages_that_do_not_fit_are_refused(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let [room, other] = [room_of(&store, &[&ann, &ben]).await, room_of(&store, &[&ann]).await];
    let unused = store.draw_message_id().await.unwrap();
    let row = |seq, text: &str| ImportedMessage { seq, ..imported(new_message(room, &ann, text)) };
    let first = import_messages(&store, &[row(Some(2), "two"), row(Some(1), "one"), row(None, "three")]).await;
    assert_eq!(first.iter().map(|message| message.seq).collect::<Vec<_>>(), [2, 1, 3]);
    let sent = say(&store, room, &ben, "meanwhile").await;
    assert_eq!((sent.seq, sent.id > first[2].id), (4, true), "a send goes on after an import");
    let (known, next) = (first[0].id.0, sent.id.0 + 10);
    let by_ben = imported(new_message(room, &ben, "ben's"));
    let elsewhere = imported(new_message(other, &ann, "elsewhere"));
    let refused = async |rows: &[ImportedMessage]| conflict(try_import(&mut *store.begin().await.unwrap(), rows).await);
    for (rows, rule) in [
        (vec![row(Some(4), "taken")], "messages_seq"),
        (vec![row(Some(6), "a gap")], "messages_seq"),
        (vec![row(Some(5), "five"), row(Some(5), "five again")], "messages_seq"),
        (vec![with_id(unused.0, row(None, "too early"))], "messages_seq"),
        (vec![with_id(known, row(Some(3), "another seq"))], "messages_seq"),
        (vec![with_id(next + 1, row(None, "five")), with_id(next, row(None, "six"))], "messages_seq"),
        (vec![with_id(next, row(None, "five")), with_id(next, elsewhere.clone())], "messages_pkey"),
        (vec![with_id(known, by_ben)], "messages_pkey"),
        (vec![with_id(known, elsewhere)], "messages_pkey"),
    ] {
        assert_eq!(refused(&rows).await, rule, "{}", rows[0].message.body);
    }
    let with_external_id = |text| NewMessage { external_id: Some("m".to_owned()), ..new_message(room, &ann, text) };
    let five = import_messages(&store, &[imported(with_external_id("five"))]).await;
    assert_eq!(five[0].seq, 5);
    assert_eq!(refused(&[imported(with_external_id("six"))]).await, "messages_external_id");
    assert_eq!(refused(&[with_id(known, imported(with_external_id("two")))]).await, "messages_external_id");
    assert_eq!(say(&store, room, &ben, "six").await.seq, 6);
}

async fn a_refused_import_leaves_nothing(store: Arc<dyn Storage>) {
    let people = users(&store, ["ann", "ben"]).await;
    let room = room_of(&store, &[&people[0]]).await;
    let row = |text| imported(new_message(room, &people[0], text));
    import_messages(&store, &[row("one")]).await;
    let (before, head) = (view(&store, room, &people).await, store.position().await.unwrap());
    let mut tx = store.begin().await.unwrap();
    tx.import(at(NOW)).import_partners(&[new_partner("nobody")]).await.unwrap();
    tx.import(at(NOW)).import_conversations(&[new_room(Uuid::from_u128(1))]).await.unwrap();
    let of = lock(&mut *tx, room).await;
    tx.import(at(NOW)).import_participants(&of, &[participant(room, people[1].partner.id, 0)]).await.unwrap();
    assert_eq!(try_import(&mut *tx, &[row("two")]).await.unwrap()[0].seq, 2);
    assert_eq!(conflict(try_import(&mut *tx, &[ImportedMessage { seq: Some(9), ..row("nine") }]).await), "messages_seq");
    drop(tx);
    assert_eq!((view(&store, room, &people).await, store.position().await.unwrap()), (before, head));
    assert!(store.search_people("nobody", 1).await.unwrap().is_empty());
    assert!(store.conversations_by_uuid(&[Uuid::from_u128(1)]).await.unwrap().is_empty());
    assert_eq!(store.members_at(room, head).await.unwrap().len(), 1);
}

/// A file in the form of an import, with this object.
fn new_file(owner: &User, object: &str) -> ImportedAttachment {
    ImportedAttachment { id: None, file: NewAttachment { object: object.to_owned(), ..new_attachment(owner, object) } }
}

async fn import_files(store: &Arc<dyn Storage>, files: &[ImportedAttachment]) -> Vec<storage::Attachment> {
    write(store, async |tx| tx.import(at(NOW)).import_attachments(files).await.unwrap()).await
}

async fn messages_change_with_their_files_and_reactions(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = room_of(&store, &[&ann, &ben]).await;
    let files = import_files(&store, &["a", "b", "c"].map(|object| new_file(&ann, object))).await;
    let react =
        |partner: &User, content: &str| ImportedReaction { partner: partner.partner.id, content: content.to_owned(), at: at(1) };
    let mut row = imported(NewMessage { attachments: files[..2].to_vec(), ..new_message(room, &ann, "before") });
    row.reactions = vec![react(&ann, "+1"), react(&ben, "+1"), react(&ben, "-1")];
    row.id = Some(import_messages(&store, &[row.clone()]).await[0].id);
    let seen = async || all(&store, room, ben.partner.id).await.remove(0);
    let counted = |content: &str, count, by_reader| ReactionCount { content: content.to_owned(), count, by_reader };
    assert_eq!(seen().await.reactions, [counted("+1", 2, true), counted("-1", 1, true)]);
    assert_eq!(store.unread_totals(ben.partner.id).await.unwrap().group, 1);

    // A copy in the event log follows.
    write(&store, async |tx| {
        let of = lock(tx, room).await;
        let edited = tx.edit_message(&of[0], row.id.unwrap(), "here", ann.partner.id, at(2)).await.unwrap().unwrap();
        tx.record(Topic::Conversation(room), Fact::MessageEdited(edited), at(2));
    })
    .await;
    row.message.attachments = vec![files[2].clone(), files[0].clone()];
    row.message.body = "after".to_owned();
    row.message.metadata = Some(serde_json::json!({"html": "<p>after</p>"}).into());
    row.edited = Some(Revision { by: ben.partner.id, at: at(3) });
    row.reactions = vec![react(&ann, "+1")];
    import_messages(&store, &[row.clone()]).await;
    let now = seen().await;
    assert_eq!(now.reactions, [counted("+1", 1, false)]);
    assert_eq!((now.message.body.as_str(), &now.message.attachments), ("after", &row.message.attachments));
    assert_eq!(
        (now.message.edited_at, now.message.edited_by, now.message.metadata),
        (Some(at(3)), Some(ben.partner.id), row.message.metadata)
    );
    assert!(store.attachment(files[1].id).await.unwrap().is_none(), "no message has it any longer");
    let copies = store.events(Position(0), Scope::Conversation(room), 99).await.unwrap();
    assert_eq!(
        copies.iter().filter_map(|event| event.fact.message()).map(|copy| copy.body.as_str()).collect::<Vec<_>>(),
        ["after"]
    );
    let changes = store.changes(room, storage::ChangeKey::since(MessageId(0)), 9).await.unwrap();
    assert_eq!(changes.iter().map(|change| change.key.at).collect::<Vec<_>>(), [at(3)]);
}

async fn what_was_deleted_stays_deleted(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = room_of(&store, &[&ann, &ben]).await;
    let files = import_files(&store, &[new_file(&ann, "a")]).await;
    let mut rows: Vec<_> = ["one", "two", "three"].map(|text| imported(new_message(room, &ann, text))).into();
    rows[1].message.attachments.clone_from(&files);
    rows[0].deleted = Some(Revision { by: ann.partner.id, at: at(5) });
    let located = import_messages(&store, &rows).await;
    rows.iter_mut().zip(&located).for_each(|(row, location)| row.id = Some(location.id));
    let unread = async || store.unread_totals(ben.partner.id).await.unwrap().group;
    assert_eq!(unread().await, 2, "the first is deleted");
    rows[0].deleted = None;
    rows[1].deleted = Some(Revision { by: ben.partner.id, at: at(6) });
    for _ in 0..2 {
        import_messages(&store, &rows).await;
        let seen = all(&store, room, ben.partner.id).await;
        let deleted: Vec<_> = seen.iter().map(|seen| (seen.message.body.as_str(), seen.message.deleted_by)).collect();
        assert_eq!(deleted, [("", Some(ann.partner.id)), ("", Some(ben.partner.id)), ("three", None)]);
        assert_eq!(unread().await, 1);
    }
    assert!(store.attachment(files[0].id).await.unwrap().is_none());
    assert_eq!(read_up_to(&store, room, ben.partner.id, 2).await, 0);
    assert_eq!(read_up_to(&store, room, ben.partner.id, 3).await, 1);
}

async fn files_belong_to_their_messages(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = room_of(&store, &[&ann, &ben]).await;
    let given = ImportedAttachment { id: Some(AttachmentId(70)), ..new_file(&ann, "given") };
    let files = import_files(&store, &[given.clone(), new_file(&ann, "drawn")]).await;
    assert_eq!(files.iter().map(|file| file.id.0).collect::<Vec<_>>(), [70, 71]);
    let with_files = |text| NewMessage { attachments: files.clone(), ..new_message(room, &ann, text) };
    import_messages(&store, &[imported(with_files("look")), imported(with_files("again"))]).await;
    let access = async |user: &User| store.attachment_access(files[0].id, user.partner.id).await.unwrap().unwrap();
    assert_eq!((access(&ben).await, access(&cat).await), (AttachmentAccess::Reader, AttachmentAccess::NoAccess));
    assert!(store.forget_unsent(at(NOW), 9).await.unwrap().is_empty(), "they were sent");
    assert_eq!(store.messages_with_files(room, ben.partner.id, None, 9).await.unwrap().len(), 2);

    let renamed = NewAttachment { name: "another name".to_owned(), ..given.file.clone() };
    assert_eq!(
        import_files(&store, &[ImportedAttachment { file: renamed, ..given.clone() }]).await,
        files[..1],
        "it stays as it is"
    );
    let refused = async |row| conflict(store.begin().await.unwrap().import(at(NOW)).import_attachments(&[row]).await);
    assert_eq!(refused(new_file(&ann, "given")).await, "attachments_object");
    assert_eq!(refused(ImportedAttachment { id: given.id, ..new_file(&ann, "other") }).await, "attachments_pkey");
    assert!(file(&store, &ann, "next").await.id > AttachmentId(71));
}

async fn who_was_imported_is_told_what_comes_after(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = begin(&store, &[&ann]).await;
    say(&store, room, &ann, "before").await;
    let mut tx = store.begin().await.unwrap();
    let hidden = ParticipantStatus { visible_from_seq: 2, ..ParticipantStatus::default() };
    let message = try_import(&mut *tx, &[imported(new_message(room, &ann, "imported"))]).await.unwrap()[0].id;
    let of = lock(&mut *tx, room).await;
    let newcomer = ImportedParticipant { status: hidden, ..participant(room, cat.partner.id, 0) };
    tx.import(at(NOW)).import_participants(&of, &[participant(room, ben.partner.id, 0), newcomer]).await.unwrap();
    let recorded = tx.commit().await.unwrap();
    let [Event { position, topic: Topic::Partner(NO_CLIENT), fact: Fact::StoreChanged, at: time }] = recorded[..] else {
        panic!("{recorded:?}")
    };
    assert_eq!(time, at(NOW));
    let before: Vec<_> = store.members_at(room, Position(position.0 - 1)).await.unwrap();
    assert_eq!(before.iter().map(|member| member.partner).collect::<Vec<_>>(), [ann.partner.id]);
    let members = store.members_at(room, position).await.unwrap();
    assert_eq!(
        members.iter().map(|member| (member.partner, member.visible_from_seq)).collect::<Vec<_>>(),
        [(ann.partner.id, 0), (ben.partner.id, 0), (cat.partner.id, 2)]
    );
    let after = say(&store, room, &ann, "after").await;
    write(&store, async |tx| {
        let of = lock(tx, room).await;
        let edited = tx.edit_message(&of[0], message, "edited", ann.partner.id, at(1)).await.unwrap().unwrap();
        tx.record(Topic::Conversation(room), Fact::MessageEdited(edited), at(1));
    })
    .await;
    for (who, told) in [(&ben, 2), (&cat, 1)] {
        let events = store.events(Position(0), Scope::Partner(who.partner.id), 99).await.unwrap();
        assert_eq!(events.len(), told, "{events:?}");
        assert_eq!(events[0].fact, Fact::MessagePosted(after.clone()));
    }
    import_participants(&store, &[ImportedParticipant { folder: Folder::Archive, ..participant(room, ben.partner.id, 1) }]).await;
    assert_eq!(store.members_at(room, store.position().await.unwrap()).await.unwrap().len(), 3, "once");
}

async fn sequences_go_on_above_given_ids(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [one, two] = [room_of(&store, &[&ann]).await, room_of(&store, &[&ann]).await];
    let text = |of, text| imported(new_message(of, &ann, text));
    let rows = [text(one, "drawn"), with_id(5_000, text(two, "given"))];
    let located = import_messages(&store, &rows).await;
    assert_eq!(located.iter().map(|message| message.id.0).collect::<Vec<_>>(), [5_001, 5_000]);
    assert_eq!(say(&store, two, &ann, "sent").await.id, MessageId(5_002));
    assert_eq!(import_messages(&store, &[with_id(6_000, text(one, "given"))]).await[0].seq, 2);
    assert_eq!(import_messages(&store, &[with_id(5_500, text(two, "between"))]).await[0].seq, 3);
    assert_eq!(say(&store, two, &ann, "sent").await.id, MessageId(6_001));
}
