//! Tests of the audit trail.

use std::sync::Arc;

use storage::{ActorKind, AuditEntry, AuditFilter, NewAuditEntry, Storage};

use crate::people::{at, write};

on_every_backend!(
    an_entry_comes_back_as_it_was_stored,
    an_entry_is_stored_with_its_change,
    pages_go_back_from_the_newest,
    an_actors_entries_are_found,
    old_entries_are_forgotten_in_small_steps,
);

fn entry(action: &str, seconds: i64) -> NewAuditEntry {
    NewAuditEntry {
        at: at(seconds),
        actor: ActorKind::System,
        actor_id: None,
        address: None,
        action: action.to_owned(),
        object: None,
        outcome: "ok".to_owned(),
        correlation: None,
    }
}

async fn all(store: &Arc<dyn Storage>) -> Vec<AuditEntry> {
    store.audit_entries(AuditFilter::default(), 100).await.unwrap()
}

fn actions(entries: &[AuditEntry]) -> String {
    entries.iter().map(|entry| entry.entry.action.as_str()).collect()
}

async fn an_entry_comes_back_as_it_was_stored(store: Arc<dyn Storage>) {
    let full = NewAuditEntry {
        at: at(7),
        actor: ActorKind::Stranger,
        actor_id: Some("Ünï 안 🦀".to_owned()),
        address: Some("2001:db8::1".to_owned()),
        action: "sign_in".to_owned(),
        object: Some("user 4".to_owned()),
        outcome: "wrong \"password\"".to_owned(),
        correlation: Some("abc".to_owned()),
    };
    let kinds = [ActorKind::User, ActorKind::Key, ActorKind::Operator, ActorKind::System];
    let mut entries: Vec<_> = kinds.map(|actor| NewAuditEntry { actor, ..entry("a", 1) }).into();
    entries.push(full);
    store.audit(&entries).await.unwrap();
    store.audit(&[]).await.unwrap();
    let stored: Vec<_> = all(&store).await.into_iter().rev().map(|entry| entry.entry).collect();
    assert_eq!(stored, entries);
}

async fn an_entry_is_stored_with_its_change(store: Arc<dyn Storage>) {
    write(&store, async |tx| tx.insert_audit(&entry("a", 1)).await.unwrap()).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_audit(&entry("b", 1)).await.unwrap();
    assert_eq!(actions(&all(&store).await), "a", "not before the commit");
    drop(tx);
    assert_eq!(actions(&all(&store).await), "a");
    write(&store, async |tx| tx.insert_audit(&entry("c", 1)).await.unwrap()).await;
    assert_eq!(actions(&all(&store).await), "ca");
}

async fn pages_go_back_from_the_newest(store: Arc<dyn Storage>) {
    // Timestamps need not ascend.
    store.audit(&[entry("a", 9), entry("b", 1), entry("c", 5)]).await.unwrap();
    store.audit(&[entry("d", 2)]).await.unwrap();
    let page = async |before, limit| store.audit_entries(AuditFilter { before, ..AuditFilter::default() }, limit).await.unwrap();
    let first = page(None, 2).await;
    assert_eq!(actions(&first), "dc");
    let second = page(Some(first[1].id), 3).await;
    assert_eq!(actions(&second), "ba");
    assert!(first[0].id > first[1].id && first[1].id > second[0].id && second[0].id > second[1].id);
    assert_eq!(actions(&page(Some(second[1].id), 3).await), "");
    assert_eq!(actions(&page(None, 0).await), "");
}

async fn an_actors_entries_are_found(store: Arc<dyn Storage>) {
    let by = |actor, id: &str, action| NewAuditEntry { actor, actor_id: Some(id.to_owned()), ..entry(action, 1) };
    let (user, key) = (ActorKind::User, ActorKind::Key);
    store.audit(&[by(user, "7", "a"), by(user, "70", "b"), by(key, "7", "c"), entry("d", 1), by(user, "7", "e")]).await.unwrap();
    let of = async |actor, before, limit| store.audit_entries(AuditFilter { actor: Some(actor), before }, limit).await.unwrap();
    let found = of((user, "7"), None, 9).await;
    assert_eq!(actions(&found), "ea");
    assert_eq!(actions(&of((user, "7"), None, 1).await), "e");
    assert_eq!(actions(&of((user, "7"), Some(found[0].id), 9).await), "a");
    assert_eq!(actions(&of((key, "7"), None, 9).await), "c");
    assert_eq!(actions(&of((ActorKind::System, "7"), None, 9).await), "");
}

async fn old_entries_are_forgotten_in_small_steps(store: Arc<dyn Storage>) {
    store.audit(&[entry("a", 3), entry("b", 1), entry("c", 2), entry("d", 5), entry("e", 4)]).await.unwrap();
    assert_eq!(store.forget_audit(at(1), 10).await.unwrap(), 0);
    assert_eq!(store.forget_audit(at(5), 0).await.unwrap(), 0);
    assert_eq!(store.forget_audit(at(5), 2).await.unwrap(), 2);
    assert_eq!(actions(&all(&store).await), "eda", "the oldest go first");
    assert_eq!(store.forget_audit(at(5), 10).await.unwrap(), 2);
    assert_eq!(actions(&all(&store).await), "d");
    assert_eq!(store.forget_audit(at(5), 10).await.unwrap(), 0);
    let last = all(&store).await[0].id;
    assert_eq!(store.forget_audit(at(6), 10).await.unwrap(), 1);
    store.audit(&[entry("f", 1)]).await.unwrap();
    assert!(all(&store).await[0].id > last, "ids are not given again");
}
