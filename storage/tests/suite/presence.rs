use std::sync::Arc;

use storage::{PartnerId, Presence, SetStatus, Storage};

use crate::people::{at, new_partner, users, write};

on_every_backend!(
    whoever_was_never_seen_is_absent,
    touches_keep_what_was_set,
    what_was_set_can_be_changed_and_unset,
    a_touch_beside_an_open_transaction_is_kept,
);

async fn presence(store: &Arc<dyn Storage>, partner: PartnerId) -> Option<Presence> {
    let mut presences = store.presences(&[partner]).await.unwrap();
    assert!(presences.len() <= 1);
    presences.pop()
}

async fn whoever_was_never_seen_is_absent(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await.map(|user| user.partner.id);
    store.touch_presences(&[(ann, at(1)), (cat, at(2)), (ann, at(3))]).await.unwrap();
    let mut presences = store.presences(&[cat, ben, ann]).await.unwrap();
    presences.sort_by_key(|presence| presence.partner);
    let seen = |partner, seconds| Presence { partner, set: None, last_seen: at(seconds) };
    assert_eq!(presences, [seen(ann, 3), seen(cat, 2)]);
    assert_eq!(store.presences(&[]).await.unwrap(), []);
}

async fn touches_keep_what_was_set(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    let set = Presence { partner: ann, set: Some(SetStatus::Away), last_seen: at(10) };
    store.set_presence(set).await.unwrap();
    assert_eq!(presence(&store, ann).await, Some(set));
    store.touch_presences(&[(ann, at(20))]).await.unwrap();
    assert_eq!(presence(&store, ann).await, Some(Presence { last_seen: at(20), ..set }));
    store.touch_presences(&[(ann, at(15))]).await.unwrap();
    assert_eq!(presence(&store, ann).await, Some(Presence { last_seen: at(20), ..set }));
}

async fn what_was_set_can_be_changed_and_unset(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    for (seconds, set) in [(1, Some(SetStatus::Away)), (2, Some(SetStatus::Offline)), (3, None)] {
        let wanted = Presence { partner: ann, set, last_seen: at(seconds) };
        store.set_presence(wanted).await.unwrap();
        assert_eq!(presence(&store, ann).await, Some(wanted));
    }
    store.set_presence(Presence { partner: ann, set: Some(SetStatus::Away), last_seen: at(1) }).await.unwrap();
    let expected = Presence { partner: ann, set: Some(SetStatus::Away), last_seen: at(3) };
    assert_eq!(presence(&store, ann).await, Some(expected), "the time never goes back");
}

async fn a_touch_beside_an_open_transaction_is_kept(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    let mut tx = store.begin().await.unwrap();
    let company = tx.insert_partner(new_partner("Company")).await.unwrap().id;
    let touching = async { store.touch_presences(&[(ann, at(1))]).await.unwrap() };
    let committing = async { tx.commit().await.unwrap() };
    tokio::join!(touching, committing);
    assert!(presence(&store, ann).await.is_some());
    assert_eq!(store.people(&[company]).await.unwrap().len(), 1);
    write(&store, async |tx| tx.insert_partner(new_partner("Another")).await.unwrap()).await;
    assert!(presence(&store, ann).await.is_some());
}
