//! Tests of client keys: idempotent retries of sends.

use std::sync::Arc;

use storage::{
    ClientKey, ConversationId, Fact, KeyedMessage, Message, MessageId, NewClientKey, NewMessage, Page, Position, Scope, Storage,
    User,
};

use crate::people::{bodies, client_key, conflict, conversation, lock, new_message, post, say, users, write};

on_every_backend!(
    a_retry_finds_what_it_stored,
    a_client_key_is_one_authors_in_one_conversation,
    other_words_under_the_same_key_are_another_message,
    released_client_keys_are_free,
);

fn keyed(room: ConversationId, by: &User, key: &str, words: u8) -> NewMessage {
    NewMessage { client_key: Some(client_key(key, words)), ..new_message(room, by, "keyed") }
}

fn asked(conversation: ConversationId, by: &User, key: &str, words: u8) -> ClientKey {
    let NewClientKey { key, hash } = client_key(key, words);
    ClientKey { conversation, author: by.partner.id, key, hash }
}

fn found(message: Message, words: u8) -> KeyedMessage {
    KeyedMessage { message, hash: Some([words; 32]) }
}

async fn a_retry_finds_what_it_stored(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let stored = post(&store, keyed(room, &ann, "k1", 1)).await;
    let mut tx = store.begin().await.unwrap();
    let to = lock(&mut *tx, room).await;
    let key = |by: &User, key: &str| asked(room, by, key, 1);
    let again = [key(&ann, "k1"), key(&ann, "k1"), key(&ann, "k2"), key(&ben, "k1"), asked(ConversationId(1_000), &ann, "k1", 1)];
    assert_eq!(tx.messages_by_client_key(&again).await.unwrap(), [found(stored, 1)]);
    assert_eq!(tx.messages_by_client_key(&[]).await.unwrap(), []);
    let second = tx.insert_messages(to, vec![keyed(room, &ann, "k2", 1)]).await.unwrap().remove(0);
    let own = tx.messages_by_client_key(&[key(&ann, "k2")]).await.unwrap();
    assert_eq!(own, [found(second, 1)], "also of this transaction");
    let to = lock(&mut *tx, room).await;
    assert_eq!(conflict(tx.insert_messages(to, vec![keyed(room, &ann, "k1", 1)]).await), "messages_client_key");
    drop(tx);
    assert_eq!(bodies(&store, room, &ann, Page::Newest { offset: 0, limit: 9 }).await, "keyed");
}

async fn a_client_key_is_one_authors_in_one_conversation(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let [one, two] = [conversation(&store, &[&ann, &ben]).await, conversation(&store, &[&ann]).await];
    for new in [keyed(one, &ann, "k", 1), keyed(one, &ben, "k", 1), keyed(two, &ann, "k", 1), keyed(one, &ann, "K", 1)] {
        post(&store, new).await;
    }
    // Messages without a key are never deduplicated.
    say(&store, one, &ann, "keyless").await;
    say(&store, one, &ann, "keyless").await;
    let mut tx = store.begin().await.unwrap();
    let to = lock(&mut *tx, two).await;
    let twice = vec![keyed(two, &ann, "new", 1), keyed(two, &ann, "new", 1)];
    assert_eq!(conflict(tx.insert_messages(to, twice).await), "messages_client_key");
}

async fn other_words_under_the_same_key_are_another_message(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let first = post(&store, keyed(room, &ann, "k", 1)).await;
    let stored = write(&store, async |tx| {
        let to = lock(tx, room).await;
        tx.insert_messages(to, vec![keyed(room, &ann, "k", 2), keyed(room, &ann, "k", 3)]).await.unwrap()
    })
    .await;
    assert_eq!((first.client_key.as_deref(), stored[1].client_key.as_deref()), (Some("k"), Some("k")));
    let mut tx = store.begin().await.unwrap();
    let keys = [3, 1, 4].map(|words| asked(room, &ann, "k", words));
    let mut known = tx.messages_by_client_key(&keys).await.unwrap();
    known.sort_by_key(|known| known.message.id);
    assert_eq!(known, [found(first, 1), found(stored[1].clone(), 3)]);
    let to = lock(&mut *tx, room).await;
    assert_eq!(conflict(tx.insert_messages(to, vec![keyed(room, &ann, "k", 2)]).await), "messages_client_key");
}

async fn released_client_keys_are_free(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let [old, other] = [post(&store, keyed(room, &ann, "k", 1)).await, post(&store, keyed(room, &ann, "k", 2)).await];
    let keyless = say(&store, room, &ann, "keyless").await;
    let new = write(&store, async |tx| {
        tx.release_client_keys(&[]).await.unwrap();
        tx.release_client_keys(&[old.id, keyless.id, MessageId(1_000_000)]).await.unwrap();
        let keys = [1, 2].map(|words| asked(room, &ann, "k", words));
        assert_eq!(tx.messages_by_client_key(&keys).await.unwrap(), [found(other.clone(), 2)]);
        let to = lock(tx, room).await;
        let new = tx.insert_messages(to, vec![keyed(room, &ann, "k", 1)]).await.unwrap().remove(0);
        assert_eq!(tx.messages_by_client_key(&keys[..1]).await.unwrap(), [found(new.clone(), 1)]);
        new
    })
    .await;
    let freed = Message { client_key: None, ..old };
    assert_eq!(store.messages_by_id(&[freed.id]).await.unwrap(), std::slice::from_ref(&freed));
    let events = store.events(Position(0), Scope::Conversation(room), 10).await.unwrap();
    let told: Vec<_> = events.into_iter().map(|event| event.fact).collect();
    assert_eq!(told, [freed, other, keyless].map(Fact::MessagePosted), "the log says the same");
    assert_eq!(new.client_key.as_deref(), Some("k"));
}
