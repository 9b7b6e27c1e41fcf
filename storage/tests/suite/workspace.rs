//! Tests of the workspace's settings.

use std::sync::Arc;

use storage::{ImportMarks, PartnerId, Storage, Workspace};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::people::{at, write};

on_every_backend!(
    a_new_workspace_is_blank,
    a_workspace_comes_back_as_it_was_set,
    a_rollback_leaves_the_workspace,
    whoever_changes_the_workspace_waits_for_others,
);

async fn a_new_workspace_is_blank(store: Arc<dyn Storage>) {
    assert_eq!(store.workspace().await.unwrap(), Workspace::default());
    assert_eq!(write(&store, async |tx| tx.lock_workspace().await.unwrap()).await, Workspace::default());
    assert_eq!(store.workspace().await.unwrap(), Workspace::default());
    assert!(store.is_empty().await.unwrap() && !store.is_demo().await.unwrap());
}

async fn a_workspace_comes_back_as_it_was_set(store: Arc<dyn Storage>) {
    let import = ImportMarks {
        author_id: Some("partner".to_owned()),
        preferred_id: None,
        kept_ids: true,
        odoo_uuid: Some("Ünï 안 🦀".to_owned()),
        odoo_database: Some("odoo".to_owned()),
    };
    let full = Workspace {
        uuid: Some(Uuid::from_u128(7)),
        epoch: i64::MAX,
        timeline: Some(2),
        system_partner: Some(PartnerId(3)),
        import: Some(import),
        moved_to: Some("postgres://elsewhere".to_owned()),
        unfinished_copy_of: Some(Uuid::from_u128(9)),
        sweep_not_before: Some(at(5)),
        backups: [(Uuid::from_u128(8), at(6))].into(),
    };
    for workspace in [full, Workspace { epoch: 1, ..Workspace::default() }] {
        write(&store, async |tx| {
            tx.lock_workspace().await.unwrap();
            tx.set_workspace(&workspace).await.unwrap();
            assert_eq!(tx.lock_workspace().await.unwrap(), workspace);
        })
        .await;
        assert_eq!(store.workspace().await.unwrap(), workspace);
    }
    assert!(write(&store, async |tx| tx.mark_demo().await.unwrap()).await, "the demo's mark is another matter");
}

async fn a_rollback_leaves_the_workspace(store: Arc<dyn Storage>) {
    let mut tx = store.begin().await.unwrap();
    let workspace = Workspace { epoch: 7, ..tx.lock_workspace().await.unwrap() };
    tx.set_workspace(&workspace).await.unwrap();
    assert_eq!(store.workspace().await.unwrap(), Workspace::default());
    drop(tx);
    assert_eq!(write(&store, async |tx| tx.lock_workspace().await.unwrap()).await, Workspace::default());
}

async fn whoever_changes_the_workspace_waits_for_others(store: Arc<dyn Storage>) {
    const WRITERS: i64 = 8;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let workspace = tx.lock_workspace().await.unwrap();
            tokio::task::yield_now().await;
            tx.set_workspace(&Workspace { epoch: workspace.epoch + 1, ..workspace }).await.unwrap();
            tx.commit().await.unwrap();
        });
    }
    writers.join_all().await;
    assert_eq!(store.workspace().await.unwrap().epoch, WRITERS, "nobody has passed over another's change");
}
