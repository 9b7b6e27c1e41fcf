//! Tests of transactions: atomic commits, rollbacks, and snapshot isolation of reads.

use std::sync::Arc;

use storage::{
    ActorKind, AuditFilter, ConversationId, ConversationKind, Fact, InboxFilter, Message, NewAuditEntry, NewMessage, NewSession,
    Page, Position, Scope, SessionKey, Storage, Topic, Tx, UnreadTotals, User, UserChange, Workspace,
};
use tokio::task::JoinSet;

use crate::people::{
    at, client_key, conversation, lock, new_attachment, new_conversation, new_message, new_partner, new_user, post, say, send,
    users, write,
};

on_every_backend!(
    rollback_leaves_no_trace,
    a_commit_shows_everything_at_once,
    a_failed_transaction_leaves_no_trace,
    a_reader_never_sees_half_a_commit,
);

/// Data from before the transaction, for all writes to change.
struct Before {
    ann: User,
    ben: User,
    room: ConversationId,
    file: storage::Attachment,
    /// A message with a reaction and with a file that no other message has.
    gone: Message,
    held: storage::Attachment,
}

async fn before(store: &Arc<dyn Storage>) -> Before {
    let [ann, ben] = users(store, ["ann", "ben"]).await;
    let room = conversation(store, &[&ann]).await;
    let file = write(store, async |tx| {
        for n in 1..=2 {
            let user = [ann.id, ben.id][n - 1];
            tx.insert_session(NewSession {
                key: SessionKey([n as u8; 32]),
                user,
                created_at: at(0),
                token: None,
                is_cursor: false,
            })
            .await
            .unwrap();
        }
        tx.insert_group(None, "before").await.unwrap();
        tx.insert_attachment(new_attachment(&ann, "file")).await.unwrap()
    })
    .await;
    post(store, NewMessage { attachments: vec![file.clone()], ..new_message(room, &ben, "look") }).await;
    let held = crate::people::file(store, &ann, "held").await;
    let gone = send(store, room, &ann, &[&held]).await;
    write(store, async |tx| {
        let of = lock(tx, room).await;
        tx.insert_reaction(&of[0], gone.id, ann.partner.id, "+1", at(1)).await.unwrap()
    })
    .await;
    Before { ann, ben, room, file, gone, held }
}

/// Makes every kind of write.
async fn write_everything(tx: &mut dyn Tx, before: &Before) {
    let Before { ann, ben, room, file, gone, held: _ } = before;
    tx.insert_partner(new_partner("new partner")).await.unwrap();
    let user = tx.insert_user(new_user("new user")).await.unwrap();
    tx.update_user(ben.id, UserChange { active: Some(false), ..UserChange::default() }).await.unwrap();
    let group = tx.insert_group(None, "new group").await.unwrap();
    tx.insert_group_members(group.id, &[ann.id, user.id]).await.unwrap();
    tx.insert_session(NewSession { key: SessionKey([3; 32]), user: user.id, created_at: at(1), token: None, is_cursor: false })
        .await
        .unwrap();
    tx.delete_sessions(&[SessionKey([1; 32])]).await.unwrap();
    tx.delete_sessions_of(ben.id).await.unwrap();
    tx.insert_conversation(new_conversation(&[ann, ben])).await.unwrap();
    let to = lock(tx, *room).await;
    tx.insert_participants(&to[0], &[ben.partner.id], 0, at(1)).await.unwrap();
    tx.set_kind(&to[0], ConversationKind::Support).await.unwrap();
    tx.advance_read(*room, ann.partner.id, 1).await.unwrap();
    let keyed = NewMessage { client_key: Some(client_key("key", 1)), ..new_message(*room, ben, "new message") };
    let new = vec![keyed, new_message(*room, ben, "another")];
    let message = tx.insert_messages(to, new).await.unwrap().remove(0);
    tx.advance_read_everywhere(ben.partner.id).await.unwrap();
    tx.insert_attachment(new_attachment(ann, "new file")).await.unwrap();
    tx.delete_attachment(file.id).await.unwrap();
    let of = lock(tx, *room).await;
    tx.delete_message(&of[0], gone.id, ann.partner.id, at(1)).await.unwrap();
    tx.insert_reaction(&of[0], message.id, ann.partner.id, "+1", at(1)).await.unwrap();
    let workspace = Workspace { epoch: 1, ..tx.lock_workspace().await.unwrap() };
    tx.set_workspace(&workspace).await.unwrap();
    tx.insert_audit(&NewAuditEntry {
        at: at(1),
        actor: ActorKind::System,
        actor_id: None,
        address: None,
        action: "write".to_owned(),
        object: None,
        outcome: "ok".to_owned(),
        correlation: None,
    })
    .await
    .unwrap();
    tx.mark_demo().await.unwrap();
    tx.record(Topic::Conversation(*room), Fact::MessagePosted(message), at(1));
    tx.record(Topic::Partner(ben.partner.id), Fact::UserChanged { user: ben.id }, at(1));
}

/// Every read that shows a write of [`write_everything`], with its name.
async fn everything(store: &Arc<dyn Storage>, before: &Before) -> Vec<(&'static str, String)> {
    let Before { ann, ben, room, file, gone, held } = before;
    let mut shown = Vec::new();
    macro_rules! show {
        ($($name:literal: $read:expr;)+) => { $(shown.push(($name, format!("{:?}", $read.await.unwrap())));)+ };
    }
    show! {
        "partners": store.search_people("", 100);
        "users": store.users(None, 100);
        "login": store.user_by_login("new user");
        "groups": store.groups();
        "session kept": store.session(SessionKey([1; 32]));
        "session of a user": store.session(SessionKey([2; 32]));
        "session added": store.session(SessionKey([3; 32]));
        "conversation": store.conversation(*room);
        "participants": store.participants(*room);
        "inbox": store.inbox(ann.partner.id, InboxFilter::default());
        "inbox of another": store.inbox(ben.partner.id, InboxFilter::default());
        "unread": store.unread_totals(ann.partner.id);
        "messages": store.messages(*room, ann.partner.id, Page::Newest { offset: 0, limit: 9 });
        "attachment": store.attachment(file.id);
        "reach": store.attachment_access(file.id, ann.partner.id);
        "attachment of a message": store.attachment(held.id);
        "reactions": store.reactions(gone.id, ann.partner.id);
        "workspace": store.workspace();
        "audit": store.audit_entries(AuditFilter::default(), 9);
        "demo": store.is_demo();
        "events": store.events(Position(0), Scope::Everything, 100);
        "position": store.position();
    }
    shown
}

async fn rollback_leaves_no_trace(store: Arc<dyn Storage>) {
    let before = before(&store).await;
    let untouched = everything(&store, &before).await;
    let mut tx = store.begin().await.unwrap();
    write_everything(&mut *tx, &before).await;
    assert_eq!(everything(&store, &before).await, untouched, "nothing is visible before the commit");
    drop(tx);
    assert_eq!(everything(&store, &before).await, untouched);

    // A rollback releases locks and unique keys, too: the same writes succeed afterwards.
    let mut tx = store.begin().await.unwrap();
    write_everything(&mut *tx, &before).await;
    let events = tx.commit().await.unwrap();
    let positions: Vec<_> = events.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, [3, 4], "what was rolled back takes no position");
}

async fn a_commit_shows_everything_at_once(store: Arc<dyn Storage>) {
    let before = before(&store).await;
    let untouched = everything(&store, &before).await;
    write(&store, async |tx| write_everything(tx, &before).await).await;
    for (old, new) in untouched.iter().zip(everything(&store, &before).await) {
        assert_eq!(old.0, new.0);
        assert_ne!(old.1, new.1, "{} should have changed", old.0);
    }
}

async fn a_failed_transaction_leaves_no_trace(store: Arc<dyn Storage>) {
    let before = before(&store).await;
    let keyed = |body| NewMessage { client_key: Some(client_key("k", 1)), ..new_message(before.room, &before.ann, body) };
    post(&store, keyed("first")).await;
    let untouched = everything(&store, &before).await;
    let mut tx = store.begin().await.unwrap();
    let to = lock(&mut *tx, before.room).await;
    let new = vec![new_message(before.room, &before.ann, "innocent"), keyed("second")];
    tx.insert_messages(to, new).await.unwrap_err();
    drop(tx);
    assert_eq!(everything(&store, &before).await, untouched);
}

async fn a_reader_never_sees_half_a_commit(store: Arc<dyn Storage>) {
    const MESSAGES: i64 = 200;
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let mut writers = JoinSet::new();
    let writing = Arc::clone(&store);
    let reader = ann.partner.id;
    writers.spawn(async move {
        for _ in 0..MESSAGES {
            say(&writing, room, &ben, "hello").await;
        }
    });
    let mut told = 0;
    while told < MESSAGES {
        // A single read is consistent: conversation, newest message and unread count agree.
        let entry = store.inbox(reader, InboxFilter::default()).await.unwrap().remove(0);
        let newest = entry.last_message.as_ref();
        assert_eq!(entry.conversation.last_seq, newest.map_or(0, |message| message.seq));
        assert_eq!(entry.conversation.last_message, newest.map(|message| message.id));
        assert_eq!(entry.unread, entry.conversation.last_seq);

        // Later reads show everything that an earlier read has shown.
        let events = store.events(Position(0), Scope::Conversation(room), 10_000).await.unwrap();
        told = i64::try_from(events.len()).expect("a few");
        assert!(told >= entry.conversation.last_seq, "a message without its event");
        let page = store.messages(room, reader, Page::Newest { offset: 0, limit: 1 }).await.unwrap();
        let seq = page.first().map_or(0, |seen| seen.message.seq);
        assert!(seq >= told, "an event without its message");
        let conversation = store.conversation(room).await.unwrap().expect("it exists");
        assert!(conversation.last_seq >= seq, "a message beyond its conversation's last");
        let totals = store.unread_totals(reader).await.unwrap();
        assert!(totals.group >= conversation.last_seq);
        assert_eq!(UnreadTotals { group: 0, ..totals }, UnreadTotals::default());
    }
    writers.join_all().await;
}
