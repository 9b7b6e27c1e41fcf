//! Tests of nodes and their leases.

use std::sync::Arc;

use storage::{Node, Position, Storage};
use uuid::Uuid;

use crate::people::{at, users};

on_every_backend!(
    a_lease_comes_back_as_it_was_stored,
    a_lease_never_goes_back,
    nodes_are_listed_as_long_as_their_lease_lasts,
    a_lease_is_ended,
    old_nodes_are_forgotten_in_small_steps,
    a_lease_and_attendances_go_together,
);

fn node(id: u128, until: i64) -> Node {
    Node {
        id: Uuid::from_u128(id),
        version: Some("0.2.0".to_owned()),
        bus: Some("local".to_owned()),
        started_at: Some(at(1)),
        position: Some(Position(7)),
        until: at(until),
    }
}

async fn ids(store: &Arc<dyn Storage>, seconds: i64) -> Vec<u128> {
    store.nodes(at(seconds)).await.unwrap().iter().map(|node| node.id.as_u128()).collect()
}

async fn a_lease_comes_back_as_it_was_stored(store: Arc<dyn Storage>) {
    let bare = Node { version: None, bus: None, started_at: None, position: None, ..node(1, 10) };
    for node in [node(2, 10), bare.clone()] {
        store.renew_lease(&node).await.unwrap();
    }
    assert_eq!(store.nodes(at(0)).await.unwrap(), [bare, node(2, 10)]);
}

async fn a_lease_never_goes_back(store: Arc<dyn Storage>) {
    let renewed = async |node: Node| {
        store.renew_lease(&node).await.unwrap();
        store.nodes(at(0)).await.unwrap().remove(0)
    };
    let unknown = Node { position: None, ..node(1, 10) };
    assert_eq!(renewed(unknown.clone()).await, unknown);
    assert_eq!(renewed(node(1, 20)).await, node(1, 20));
    assert_eq!(renewed(Node { position: Some(Position(5)), ..node(1, 15) }).await, node(1, 20));
    assert_eq!(renewed(Node { position: None, ..node(1, 30) }).await, node(1, 30));
    let further = Node { position: Some(Position(8)), bus: Some("nats".to_owned()), ..node(1, 30) };
    assert_eq!(renewed(further.clone()).await, further);
}

async fn nodes_are_listed_as_long_as_their_lease_lasts(store: Arc<dyn Storage>) {
    for (id, until) in [(3, 10), (1, 20), (2, 30)] {
        store.renew_lease(&node(id, until)).await.unwrap();
    }
    assert_eq!(ids(&store, 10).await, [1, 2, 3]);
    assert_eq!(ids(&store, 11).await, [1, 2]);
    assert_eq!(ids(&store, 31).await, [0; 0]);
    store.renew_lease(&node(3, 40)).await.unwrap();
    assert_eq!(ids(&store, 31).await, [3]);
}

async fn a_lease_is_ended(store: Arc<dyn Storage>) {
    for id in [1, 2] {
        store.renew_lease(&node(id, 10)).await.unwrap();
    }
    for _ in 0..2 {
        store.end_lease(Uuid::from_u128(1)).await.unwrap();
        assert_eq!(ids(&store, 0).await, [2]);
    }
    store.renew_lease(&node(1, 5)).await.unwrap();
    assert_eq!(store.nodes(at(0)).await.unwrap()[0], node(1, 5), "nothing is left of the one that ended");
}

async fn old_nodes_are_forgotten_in_small_steps(store: Arc<dyn Storage>) {
    for (id, until) in [(1, 10), (2, 10), (3, 10), (4, 20)] {
        store.renew_lease(&node(id, until)).await.unwrap();
    }
    assert_eq!(store.forget_nodes(at(10), 10).await.unwrap(), 0);
    for left in [2, 1, 0] {
        assert_eq!(store.forget_nodes(at(11), 2).await.unwrap(), left);
    }
    assert_eq!(ids(&store, 0).await, [4]);
}

async fn a_lease_and_attendances_go_together(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await.map(|user| user.partner.id);
    let id = Uuid::from_u128(1);
    let attending = async |seconds| store.has_held_lease(ann, at(seconds)).await.unwrap();
    store.renew_lease(&node(1, 10)).await.unwrap();
    assert!(!store.renew_held_lease(id, at(5), &[ann]).await.unwrap(), "the store knows nobody by the lease alone");
    assert!(attending(10).await && !attending(11).await, "the lease is the node's time");
    assert!(store.renew_held_lease(id, at(20), &[]).await.unwrap());
    assert_eq!(store.nodes(at(20)).await.unwrap(), [node(1, 20)], "attending prolongs the lease and leaves the rest");
    store.renew_lease(&node(1, 30)).await.unwrap();
    assert!(store.renew_held_lease(id, at(30), &[]).await.unwrap() && attending(30).await);

    // A slow node may be forgotten as dead. Its lease is renewed before it renews held-message leases again.
    assert_eq!(store.forget_nodes(at(31), 10).await.unwrap(), 1);
    assert!(!attending(0).await);
    store.renew_lease(&node(1, 50)).await.unwrap();
    assert!(!store.renew_held_lease(id, at(50), &[]).await.unwrap(), "it must tell everything again");
    assert!(!store.renew_held_lease(id, at(50), &[ann]).await.unwrap() && attending(50).await);
    store.end_lease(id).await.unwrap();
    assert!(!attending(0).await);
}
