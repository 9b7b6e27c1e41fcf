use std::sync::Arc;

use storage::{Error, Position, Scope, SessionKey, Storage};

use crate::people::{at, new_partner, users, write};

on_every_backend!(a_new_store_is_empty, the_demo_mark_stays, a_closed_store_is_unavailable);

async fn a_new_store_is_empty(store: Arc<dyn Storage>) {
    store.ping().await.unwrap();
    assert!(store.is_empty().await.unwrap());
    assert!(!store.is_demo().await.unwrap());
    assert_eq!(store.position().await.unwrap(), Position(0));
    write(&store, async |tx| tx.insert_partner(new_partner("Somebody")).await.unwrap()).await;
    assert!(!store.is_empty().await.unwrap());
}

async fn the_demo_mark_stays(store: Arc<dyn Storage>) {
    for _ in 0..2 {
        write(&store, async |tx| tx.mark_demo().await.unwrap()).await;
        assert!(store.is_demo().await.unwrap());
    }
    assert!(store.is_empty().await.unwrap(), "the mark is nobody");
}

async fn a_closed_store_is_unavailable(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    store.close().await;
    let failures = [
        store.ping().await.err(),
        store.begin().await.err(),
        store.user(ann.id).await.err(),
        store.session(SessionKey([0; 32])).await.err(),
        store.events(Position(0), Scope::Everything, 1).await.err(),
        store.touch_presences(&[(ann.partner.id, at(0))]).await.err(),
    ];
    for failure in failures {
        assert!(matches!(failure, Some(Error::Unavailable(_))), "{failure:?}");
    }
}
