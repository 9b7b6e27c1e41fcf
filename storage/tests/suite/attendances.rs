//! Tests of held-message leases.

use std::sync::Arc;

use storage::{MessageId, NewMessage, PartnerId, Storage, User};
use uuid::Uuid;

use crate::people::{at, conversation, lock, new_message, post, users, write};

on_every_backend!(
    who_attends_does_so_until_it_departs,
    a_node_counts_as_long_as_it_says,
    a_forgotten_node_knows_nobody,
    what_is_held_is_found_by_who_holds_it,
    what_nobody_is_there_to_show_is_found,
);

const ONE: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

async fn attending(store: &Arc<dyn Storage>, partner: PartnerId, seconds: i64) -> bool {
    store.has_held_lease(partner, at(seconds)).await.unwrap()
}

async fn who_attends_does_so_until_it_departs(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await.map(|user| user.partner.id);
    assert!(!attending(&store, ann, 0).await);
    assert!(!store.renew_held_lease(ONE, at(10), &[ann]).await.unwrap(), "nobody knew of it");
    assert!(store.renew_held_lease(ONE, at(10), &[ann, ann]).await.unwrap());
    assert!(attending(&store, ann, 0).await && !attending(&store, ben, 0).await);
    store.renew_held_lease(OTHER, at(10), &[ben, ann]).await.unwrap();
    store.end_held_lease(ONE, &[ann, ben]).await.unwrap();
    assert!(attending(&store, ann, 0).await && attending(&store, ben, 0).await, "they are at the other");
    store.end_held_lease(OTHER, &[ann]).await.unwrap();
    store.end_held_lease(OTHER, &[]).await.unwrap();
    assert!(!attending(&store, ann, 0).await && attending(&store, ben, 0).await);
}

async fn a_node_counts_as_long_as_it_says(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    store.renew_held_lease(ONE, at(10), &[ann]).await.unwrap();
    assert!(attending(&store, ann, 10).await && !attending(&store, ann, 11).await);
    store.renew_held_lease(ONE, at(20), &[]).await.unwrap();
    store.renew_held_lease(ONE, at(15), &[]).await.unwrap();
    assert!(attending(&store, ann, 20).await && !attending(&store, ann, 21).await, "its time never goes back");
}

async fn a_forgotten_node_knows_nobody(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await.map(|user| user.partner.id);
    store.renew_held_lease(ONE, at(10), &[ann]).await.unwrap();
    store.renew_held_lease(OTHER, at(20), &[ben]).await.unwrap();
    assert_eq!(store.forget_nodes(at(10), 10).await.unwrap(), 0);
    assert_eq!(store.forget_nodes(at(11), 10).await.unwrap(), 1);
    assert!(!store.renew_held_lease(ONE, at(30), &[]).await.unwrap(), "it must tell everything again");
    assert!(!attending(&store, ann, 0).await && attending(&store, ben, 0).await);
    assert_eq!(store.forget_nodes(at(100), 1).await.unwrap(), 1);
    assert_eq!(store.forget_nodes(at(100), 10).await.unwrap(), 1);
}

/// A held message of each author, and other messages in the same conversation.
async fn hold(store: &Arc<dyn Storage>, authors: &[&User]) -> Vec<MessageId> {
    let room = conversation(store, &authors[..2]).await;
    let mut held = Vec::new();
    for author in authors {
        held.push(post(store, NewMessage { held: true, ..new_message(room, author, "a file") }).await.id);
        post(store, new_message(room, author, "a text")).await;
    }
    held
}

async fn what_is_held_is_found_by_who_holds_it(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let held = hold(&store, &[&ann, &ben, &ann, &ann]).await;
    let find = async |limit| store.held_messages_of(ann.partner.id, limit).await.unwrap();
    assert_eq!(find(10).await, [held[0], held[2], held[3]]);
    assert_eq!(find(2).await, [held[0], held[2]]);
    let room = store.messages_by_id(&held[..1]).await.unwrap()[0].conversation;
    write(&store, async |tx| {
        let locked = lock(tx, room).await;
        tx.show_message(&locked[0], held[0]).await.unwrap();
        tx.delete_message(&locked[0], held[2], ann.partner.id, at(9)).await.unwrap();
        tx.edit_message(&locked[0], held[3], "still held", ann.partner.id, at(9)).await.unwrap();
    })
    .await;
    assert_eq!(find(10).await, [held[3]]);
}

async fn what_nobody_is_there_to_show_is_found(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let held = hold(&store, &[&ann, &ben]).await;
    let find = async |seconds, limit| store.held_without_lease(at(seconds), limit).await.unwrap();
    assert_eq!(find(0, 10).await, held);
    assert_eq!(find(0, 1).await, held[..1]);
    store.renew_held_lease(ONE, at(10), &[ann.partner.id]).await.unwrap();
    store.renew_held_lease(OTHER, at(20), &[ann.partner.id, ben.partner.id]).await.unwrap();
    assert_eq!(find(15, 10).await, []);
    store.end_held_lease(OTHER, &[ann.partner.id]).await.unwrap();
    assert_eq!(find(10, 10).await, []);
    assert_eq!(find(15, 10).await, held[..1]);
    assert_eq!(find(21, 10).await, held);
}
