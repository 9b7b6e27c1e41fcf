//! Tests of the store itself: an empty store, secrets, and closing.

use std::sync::Arc;

use storage::{Error, Position, Scope, SessionKey, Storage, Writability};

use crate::people::{at, new_partner, users, write};

on_every_backend!(a_new_store_is_empty, the_demo_mark_stays, a_secret_is_made_once, a_closed_store_is_unavailable);

async fn a_new_store_is_empty(store: Arc<dyn Storage>) {
    assert_eq!(store.writability().await.unwrap(), Writability::Writable);
    assert!(store.is_empty().await.unwrap());
    assert!(!store.is_demo().await.unwrap());
    assert_eq!(store.position().await.unwrap(), Position(0));
    write(&store, async |tx| tx.insert_partner(new_partner("Somebody")).await.unwrap()).await;
    assert!(!store.is_empty().await.unwrap());
}

async fn the_demo_mark_stays(store: Arc<dyn Storage>) {
    for first in [true, false] {
        assert_eq!(write(&store, async |tx| tx.mark_demo().await.unwrap()).await, first);
        assert!(store.is_demo().await.unwrap());
    }
    assert!(store.is_empty().await.unwrap(), "the mark is nobody");
}

async fn a_secret_is_made_once(store: Arc<dyn Storage>) {
    let secret = async |name: &str, fresh: &str| write(&store, async |tx| tx.secret(name, fresh).await.unwrap()).await;
    let (mine, other) = tokio::join!(secret("one", "a"), secret("one", "b"));
    assert_eq!(mine, other, "two nodes that begin at the same time agree");
    assert_eq!(secret("one", "c").await, mine);
    assert_eq!(secret("two", "d").await, "d");
    store.begin().await.unwrap().secret("three", "forgotten").await.unwrap();
    assert_eq!(secret("three", "e").await, "e", "nothing stays of what was not committed");
    assert!(store.is_empty().await.unwrap() && !store.is_demo().await.unwrap());
}

async fn a_closed_store_is_unavailable(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    store.close().await;
    let failures = [
        store.writability().await.err(),
        store.begin().await.err(),
        store.user(ann.id).await.err(),
        store.session(SessionKey([0; 32])).await.err(),
        store.events(Position(0), Scope::Everything, 1).await.err(),
        store
            .record_heartbeats(&[storage::Heartbeat {
                partner: ann.partner.id,
                last_seen: at(0),
                there_until: at(1),
                idle_from: None,
            }])
            .await
            .err(),
    ];
    for failure in failures {
        assert!(matches!(failure, Some(Error::Unavailable(_))), "{failure:?}");
    }
}
