//! Tests of presence: chosen status, heartbeats, leases and their expiry.

use std::sync::Arc;

use storage::{ChosenStatus, Heartbeat, PartnerId, Presence, ShortenedLease, Storage};

use crate::people::{at, new_partner, users, write};

on_every_backend!(
    whoever_was_never_seen_is_absent,
    touches_keep_what_was_set,
    each_sign_counts_for_itself,
    what_was_set_can_be_changed_and_unset,
    a_touch_beside_an_open_transaction_is_kept,
    whose_signs_have_ended_is_found_page_by_page,
    an_end_comes_forward_unless_another_is_known,
);

async fn presence(store: &Arc<dyn Storage>, partner: PartnerId) -> Option<Presence> {
    let mut presences = store.presences(&[partner]).await.unwrap();
    assert!(presences.len() <= 1);
    presences.pop()
}

fn sign(partner: PartnerId, seconds: i64) -> Heartbeat {
    Heartbeat { partner, last_seen: at(seconds), there_until: at(seconds + 55), idle_from: None }
}

fn seen(partner: PartnerId, seconds: i64) -> Presence {
    Presence { partner, chosen: None, last_seen: at(seconds), lease_expires_at: Some(at(seconds + 55)), idle_since: None }
}

async fn whoever_was_never_seen_is_absent(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await.map(|user| user.partner.id);
    store.record_heartbeats(&[sign(ann, 1), sign(cat, 2), sign(ann, 3)]).await.unwrap();
    let mut presences = store.presences(&[cat, ben, ann]).await.unwrap();
    presences.sort_by_key(|presence| presence.partner);
    assert_eq!(presences, [seen(ann, 3), seen(cat, 2)]);
    assert_eq!(store.presences(&[]).await.unwrap(), []);
}

async fn touches_keep_what_was_set(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    store.set_presence(ann, Some(ChosenStatus::Away), at(10)).await.unwrap();
    let set = Presence { chosen: Some(ChosenStatus::Away), lease_expires_at: None, ..seen(ann, 10) };
    assert_eq!(presence(&store, ann).await, Some(set));
    store.record_heartbeats(&[sign(ann, 20)]).await.unwrap();
    assert_eq!(presence(&store, ann).await, Some(Presence { chosen: set.chosen, ..seen(ann, 20) }));
    store.record_heartbeats(&[sign(ann, 15)]).await.unwrap();
    assert_eq!(presence(&store, ann).await, Some(Presence { chosen: set.chosen, ..seen(ann, 20) }));
}

async fn each_sign_counts_for_itself(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    let asked = Heartbeat { partner: ann, last_seen: at(5), there_until: at(305), idle_from: None };
    let polled = Heartbeat { partner: ann, last_seen: at(9), there_until: at(64), idle_from: Some(at(600)) };
    store.record_heartbeats(&[asked]).await.unwrap();
    store.record_heartbeats(&[polled]).await.unwrap();
    store.record_heartbeats(&[asked]).await.unwrap();
    let both = Presence { idle_since: Some(at(600)), lease_expires_at: Some(at(305)), ..seen(ann, 9) };
    assert_eq!(presence(&store, ann).await, Some(both));
}

async fn what_was_set_can_be_changed_and_unset(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    for (seconds, chosen) in [(1, Some(ChosenStatus::Away)), (2, Some(ChosenStatus::Offline)), (3, None)] {
        store.set_presence(ann, chosen, at(seconds)).await.unwrap();
        assert_eq!(presence(&store, ann).await, Some(Presence { chosen, lease_expires_at: None, ..seen(ann, seconds) }));
    }
    store.set_presence(ann, Some(ChosenStatus::Away), at(1)).await.unwrap();
    let expected = Presence { chosen: Some(ChosenStatus::Away), lease_expires_at: None, ..seen(ann, 3) };
    assert_eq!(presence(&store, ann).await, Some(expected), "the time never goes back");
}

async fn a_touch_beside_an_open_transaction_is_kept(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    let mut tx = store.begin().await.unwrap();
    let company = tx.insert_partner(new_partner("Company")).await.unwrap().id;
    let touching = async { store.record_heartbeats(&[sign(ann, 1)]).await.unwrap() };
    let committing = async { tx.commit().await.unwrap() };
    tokio::join!(touching, committing);
    assert!(presence(&store, ann).await.is_some());
    assert_eq!(store.people(&[company]).await.unwrap().len(), 1);
    write(&store, async |tx| tx.insert_partner(new_partner("Another")).await.unwrap()).await;
    assert!(presence(&store, ann).await.is_some());
}

async fn whose_signs_have_ended_is_found_page_by_page(store: Arc<dyn Storage>) {
    let [ann, ben, cat, dan, eve, fay] =
        users(&store, ["ann", "ben", "cat", "dan", "eve", "fay"]).await.map(|user| user.partner.id);
    store.record_heartbeats(&[sign(cat, 1), sign(ann, 2), sign(ben, 2), sign(dan, 3), sign(eve, 4)]).await.unwrap();
    store.set_presence(fay, None, at(2)).await.unwrap();
    store.set_presence(dan, Some(ChosenStatus::Away), at(3)).await.unwrap();
    let ended = async |after, until, most| store.expired_leases(after, at(until), most).await.unwrap();
    let end = |seconds: i64| at(seconds + 55);
    let all = [(cat, end(1)), (ann, end(2)), (ben, end(2)), (eve, end(4))];
    assert_eq!(ended((at(0), PartnerId(0)), 59, 10).await, all, "what is set does not end, and Fay gave no sign");
    assert_eq!(ended((at(0), PartnerId(0)), 59, 2).await, all[..2]);
    assert_eq!(ended((end(2), ann), 59, 2).await, all[2..]);
    assert_eq!(ended((end(2), ben), 58, 10).await, []);
    assert_eq!(ended((end(1), PartnerId(i64::MAX)), 57, 10).await, all[1..3]);
    store.record_heartbeats(&[sign(ann, 9)]).await.unwrap();
    store.set_presence(dan, None, at(3)).await.unwrap();
    assert_eq!(ended((end(1), cat), 59, 10).await, [(ben, end(2)), (dan, end(3)), (eve, end(4))]);
}

async fn an_end_comes_forward_unless_another_is_known(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await.map(|user| user.partner.id);
    store.record_heartbeats(&[sign(ann, 1), sign(ben, 1)]).await.unwrap();
    let end = |partner, known: Option<i64>, until| ShortenedLease { partner, expected: known.map(at), there_until: at(until) };
    let until = async |partner| presence(&store, partner).await.and_then(|presence| presence.lease_expires_at);
    store.shorten_leases(&[end(ben, Some(56), 9), end(cat, None, 9), end(ann, Some(56), 8)]).await.unwrap();
    assert_eq!((until(ann).await, until(ben).await), (Some(at(8)), Some(at(9))));
    assert_eq!(presence(&store, cat).await, None, "who was never seen has no end");
    store.shorten_leases(&[end(ann, Some(56), 3), end(ben, Some(9), 20)]).await.unwrap();
    assert_eq!((until(ann).await, until(ben).await), (Some(at(8)), Some(at(9))), "known otherwise, and never later");
    store.shorten_leases(&[end(ann, None, 3)]).await.unwrap();
    store.shorten_leases(&[]).await.unwrap();
    assert_eq!(presence(&store, ann).await, Some(Presence { lease_expires_at: Some(at(3)), ..seen(ann, 1) }));
    store.record_heartbeats(&[sign(ann, 2)]).await.unwrap();
    assert_eq!(until(ann).await, Some(at(57)));
}
