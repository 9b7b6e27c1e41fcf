//! Tests of changed messages: the edits and deletions that a client reads after an absence.

use std::sync::Arc;

use storage::{ChangeKey, ConversationId, Message, MessageId, Storage};

use crate::people::{at, begin, lock, say, users, write};

on_every_backend!(changed_messages_come_by_their_last_change, changes_are_found_though_the_log_has_forgotten_them,);

/// Edits a message at this time; without a body, deletes it.
async fn change(store: &Arc<dyn Storage>, message: &Message, body: Option<&str>, seconds: i64) {
    write(store, async |tx| {
        let of = lock(tx, message.conversation).await;
        let (id, by, at) = (message.id, message.author.partner, at(seconds));
        match body {
            Some(body) => drop(tx.edit_message(&of[0], id, body, by, at).await.unwrap().unwrap()),
            None => drop(tx.delete_message(&of[0], id, by, at).await.unwrap().unwrap()),
        }
    })
    .await;
}

async fn changes(store: &Arc<dyn Storage>, of: ConversationId, after: ChangeKey, limit: usize) -> Vec<(ChangeKey, usize)> {
    let changes = store.changes(of, after, limit).await.unwrap();
    changes.into_iter().map(|change| (change.key, change.bytes)).collect()
}

async fn changed_messages_come_by_their_last_change(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [begin(&store, &[&ann]).await, begin(&store, &[&ann]).await];
    let mut said = Vec::new();
    for body in ["a", "b", "c", "d"] {
        said.push(say(&store, room, &ann, body).await);
    }
    let elsewhere = say(&store, other, &ann, "elsewhere").await;
    let start = ChangeKey::since(MessageId(0));
    assert_eq!(changes(&store, room, start, 9).await, []);
    // Order follows the newest message at the time of the change, because clocks may be wrong.
    for (message, body, seconds) in [
        (&said[0], Some("A"), 10),
        (&said[1], Some("größer"), 90),
        (&said[2], Some("C"), 90),
        (&elsewhere, Some("of no concern"), 25),
    ] {
        change(&store, message, body, seconds).await;
    }
    let last = say(&store, room, &ann, "e").await;
    for (message, body, seconds) in [(&said[0], Some("AA"), 30), (&said[2], None, 40), (&last, Some("E!"), 50)] {
        change(&store, message, body, seconds).await;
    }
    let place = |after: &Message, seconds, message: &Message| ChangeKey { after: after.id, at: at(seconds), message: message.id };
    let b = (place(&said[3], 90, &said[1]), 8);
    // A deletion never counts as earlier than the message's edit, whose clock was fast.
    let [a, e, c] = [(place(&last, 30, &said[0]), 2), (place(&last, 50, &last), 2), (place(&last, 90, &said[2]), 0)];
    assert_eq!(changes(&store, room, start, 9).await, [b, a, e, c], "each once, as it changed last");
    assert_eq!(changes(&store, room, start, 2).await, [b, a]);
    assert_eq!(changes(&store, room, a.0, 9).await, [e, c]);
    assert_eq!(changes(&store, room, ChangeKey::since(said[3].id), 9).await, [b, a, e, c]);
    assert_eq!(changes(&store, room, ChangeKey::since(last.id), 9).await, [a, e, c], "since that was said");
    assert_eq!(changes(&store, room, c.0, 9).await, []);
    assert_eq!(changes(&store, ConversationId(1_000), start, 9).await, []);
    assert_eq!(changes(&store, room, start, 0).await, []);
}

async fn changes_are_found_though_the_log_has_forgotten_them(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = begin(&store, &[&ann]).await;
    let message = say(&store, room, &ann, "a").await;
    change(&store, &message, Some("A"), 10).await;
    store.forget_events(at(1_000_000_000), 100).await.unwrap();
    let expected = ChangeKey { after: message.id, at: at(10), message: message.id };
    assert_eq!(changes(&store, room, ChangeKey::since(message.id), 9).await, [(expected, 1)]);
}
