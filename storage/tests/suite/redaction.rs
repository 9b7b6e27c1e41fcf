//! Tests of the copies of messages in the event log, which stay equal to the messages.

use std::sync::Arc;

use storage::{
    ConversationId, DeletedAttachment, Event, Fact, Message, MessageId, NewMessage, Position, Scope, Storage, Topic, User,
};

use crate::people::{at, begin, delete, file, hesitate, lock, new_message, post, say, send, users, write};

on_every_backend!(
    an_edit_changes_all_copies,
    a_deletion_redacts_all_copies,
    showing_a_message_changes_its_copies,
    a_deleted_file_leaves_all_copies,
    a_rollback_leaves_the_copies,
    copies_that_were_forgotten_are_not_missed,
    an_edit_beside_the_deletion_of_a_file_loses_neither,
    forgetting_beside_rewriting_never_deadlocks,
);

/// JSON that is stored verbatim, and that PostgreSQL's JSON functions refuse.
const METADATA: &str = r#"{"z": 1.0, "a":[null, {"nested": "secret \u0000"}], "big": 1e400, "a": 12345678901234567890123}"#;

async fn log(store: &Arc<dyn Storage>) -> Vec<Event> {
    store.events(Position(0), Scope::Everything, 1_000).await.unwrap()
}

/// Kinds of the facts that hold a copy of the message. Each copy must be equal to the stored message.
async fn kinds(store: &Arc<dyn Storage>, of: MessageId) -> Vec<&'static str> {
    let stored = store.messages_by_id(&[of]).await.unwrap().remove(0);
    let mut kinds = Vec::new();
    for event in log(store).await {
        let (kind, copy) = match &event.fact {
            Fact::MessagePosted(copy) => ("posted", copy),
            Fact::MessageEdited(copy) => ("edited", copy),
            Fact::MessageDeleted(copy) => ("deleted", copy),
            Fact::MessageShown(copy) => ("shown", copy),
            _ => continue,
        };
        if copy.id == of {
            assert_eq!(*copy, stored, "{}", event.position.0);
            kinds.push(kind);
        }
    }
    kinds
}

/// Edits a message as its author does, with the event.
async fn edit(store: &Arc<dyn Storage>, message: &Message, body: &str) -> Message {
    write(store, async |tx| {
        let of = lock(tx, message.conversation).await;
        let edited = tx.edit_message(&of[0], message.id, body, message.author.partner, at(9)).await.unwrap().unwrap();
        tx.record(Topic::Conversation(message.conversation), Fact::MessageEdited(edited.clone()), at(9));
        edited
    })
    .await
}

/// A message with metadata and a file.
async fn secret(store: &Arc<dyn Storage>, room: ConversationId, by: &User) -> Message {
    let attachments = vec![file(store, by, "secret.png").await];
    let metadata = Some(serde_json::from_str(METADATA).unwrap());
    post(store, NewMessage { metadata, attachments, ..new_message(room, by, "secret") }).await
}

async fn an_edit_changes_all_copies(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = begin(&store, &[&ann, &ben]).await;
    let (message, other) = (secret(&store, room, &ann).await, say(&store, room, &ben, "secret").await);
    let before = log(&store).await;
    let edited = edit(&store, &message, "Ünï 안 🦀 \\u0000 \"quoted\"").await;
    assert_eq!(edited.metadata, message.metadata);
    assert_eq!(kinds(&store, message.id).await, ["posted", "edited"]);
    edit(&store, &message, "again").await;
    assert_eq!(kinds(&store, message.id).await, ["posted", "edited"], "the last edit says all");
    assert_eq!(kinds(&store, other.id).await, ["posted"]);
    let after = log(&store).await;
    assert_eq!(after.iter().filter(|event| event.fact == Fact::EditSuperseded).count(), 1);
    for (old, new) in before.iter().zip(after) {
        assert_eq!((old.position, old.topic, old.at), (new.position, new.topic, new.at));
        let is_other = old.fact.message().is_none_or(|copy| copy.id != message.id);
        assert_eq!(is_other, old.fact == new.fact, "{}", old.position.0);
    }
}

async fn a_deletion_redacts_all_copies(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = begin(&store, &[&ann, &ben]).await;
    let message = secret(&store, room, &ann).await;
    edit(&store, &message, "another secret").await;
    delete(&store, &message).await;
    assert_eq!(kinds(&store, message.id).await, ["posted", "edited", "deleted"]);
    let told = format!("{:?}", log(&store).await);
    assert!(!told.contains("secret"), "{told}");
    // A second deletion, which no rule of the chat allows.
    delete(&store, &message).await;
    assert_eq!(kinds(&store, message.id).await, ["posted", "edited", "deleted", "deleted"]);
}

async fn showing_a_message_changes_its_copies(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = begin(&store, &[&ann]).await;
    let held = post(&store, NewMessage { held: true, ..new_message(room, &ann, "a file") }).await;
    write(&store, async |tx| {
        let of = lock(tx, room).await;
        let shown = tx.show_message(&of[0], held.id).await.unwrap().unwrap();
        tx.record(Topic::Conversation(room), Fact::MessageShown(shown), at(1));
    })
    .await;
    assert_eq!(kinds(&store, held.id).await, ["posted", "shown"]);
}

async fn a_deleted_file_leaves_all_copies(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let rooms = [begin(&store, &[&ann]).await, begin(&store, &[&ann]).await, begin(&store, &[&ann]).await];
    let (gone, kept) = (file(&store, &ann, "secret.png").await, file(&store, &ann, "kept.png").await);
    let both = send(&store, rooms[2], &ann, &[&gone, &kept]).await;
    let twice = [send(&store, rooms[0], &ann, &[&gone]).await, send(&store, rooms[0], &ann, &[&gone]).await];
    let other = send(&store, rooms[1], &ann, &[&kept]).await;
    edit(&store, &both, "edited").await;
    let deleted = write(&store, async |tx| tx.delete_attachment(gone.id).await.unwrap().unwrap()).await;
    assert_eq!(deleted, DeletedAttachment { attachment: gone, conversations: vec![rooms[0], rooms[2]] });
    assert_eq!(kinds(&store, both.id).await, ["posted", "edited"]);
    for message in [&twice[0], &twice[1], &other] {
        assert_eq!(kinds(&store, message.id).await, ["posted"]);
    }
    let told = format!("{:?}", log(&store).await);
    assert!(!told.contains("secret") && told.contains("kept"), "{told}");
}

async fn a_rollback_leaves_the_copies(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = begin(&store, &[&ann]).await;
    let message = secret(&store, room, &ann).await;
    let before = log(&store).await;
    let mut tx = store.begin().await.unwrap();
    let of = lock(&mut *tx, room).await;
    tx.edit_message(&of[0], message.id, "never", ann.partner.id, at(1)).await.unwrap();
    tx.delete_message(&of[0], message.id, ann.partner.id, at(1)).await.unwrap();
    drop(tx);
    assert_eq!(log(&store).await, before);
    assert_eq!(kinds(&store, message.id).await, ["posted"]);
}

async fn copies_that_were_forgotten_are_not_missed(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = begin(&store, &[&ann]).await;
    let message = secret(&store, room, &ann).await;
    assert_eq!(store.forget_events(at(1), 10).await.unwrap(), 2);
    edit(&store, &message, "edited").await;
    assert_eq!(kinds(&store, message.id).await, ["edited"]);
    delete(&store, &message).await;
    assert_eq!(kinds(&store, message.id).await, ["edited", "deleted"]);
}

/// Tests an edit beside the deletion of a file, in varying interleavings.
async fn an_edit_beside_the_deletion_of_a_file_loses_neither(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = begin(&store, &[&ann]).await;
    for round in 0..24 {
        let file = file(&store, &ann, "file").await;
        let message = send(&store, room, &ann, &[&file]).await;
        let editing = async {
            let mut tx = store.begin().await.unwrap();
            let of = lock(&mut *tx, room).await;
            let edited = tx.edit_message(&of[0], message.id, "edited", ann.partner.id, at(9)).await.unwrap().unwrap();
            tx.record(Topic::Conversation(room), Fact::MessageEdited(edited), at(9));
            hesitate(&store, round % 12).await;
            tx.commit().await.unwrap();
        };
        let deleting = async {
            hesitate(&store, 3).await;
            let mut tx = store.begin().await.unwrap();
            tx.delete_attachment(file.id).await.unwrap().unwrap();
            hesitate(&store, round / 2).await;
            tx.commit().await.unwrap();
        };
        tokio::join!(editing, deleting);
        assert_eq!(kinds(&store, message.id).await, ["posted", "edited"], "round {round}");
        let stored = store.messages_by_id(&[message.id]).await.unwrap().remove(0);
        assert_eq!((stored.body.as_str(), stored.attachments.len()), ("edited", 0), "round {round}");
    }
}

/// Tests `forget_events` beside edits that lock events in any order.
async fn forgetting_beside_rewriting_never_deadlocks(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = begin(&store, &[&ann]).await;
    for round in 0..6 {
        let mut messages = Vec::new();
        for _ in 0..6 {
            messages.push(say(&store, room, &ann, "once").await);
        }
        let rewriting = async {
            let mut tx = store.begin().await.unwrap();
            let of = lock(&mut *tx, room).await;
            for message in messages.iter().rev() {
                tx.edit_message(&of[0], message.id, "again", ann.partner.id, at(9)).await.unwrap().unwrap();
                hesitate(&store, 2).await;
            }
            tx.commit().await.unwrap();
        };
        let forgetting = async {
            hesitate(&store, 2 * round).await;
            store.forget_events(at(1), 50).await.unwrap()
        };
        let ((), forgotten) = tokio::join!(rewriting, forgetting);
        let left = log(&store).await.len() as u64;
        assert_eq!(store.forget_events(at(1), 50).await.unwrap(), left, "{forgotten} went before");
        assert_eq!(log(&store).await, []);
    }
}
