//! Tests of refresh tokens and their families.

use std::sync::Arc;

use storage::{NewRefreshToken, RefreshToken, Storage, TokenKey, User};
use uuid::Uuid;

use crate::people::{at, conflict, users, write};

on_every_backend!(
    a_refresh_token_is_kept_as_it_was,
    a_refresh_token_is_stored_once,
    a_refresh_token_is_used_once,
    of_two_who_use_it_at_once_one_finds_it_unused,
    tokens_given_in_a_grace_window_are_counted,
    a_family_ends_as_a_whole,
    all_tokens_of_a_user_end,
    beyond_so_many_families_the_longest_unrenewed_end,
    tokens_that_expired_first_go_first,
);

fn key(n: u8) -> TokenKey {
    TokenKey([n; 32])
}

fn family(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

fn new(user: &User, n: u8, of: u8, seconds: i64) -> NewRefreshToken {
    NewRefreshToken { key: key(n), family: family(of), user: user.id, expires_at: at(seconds), grace_from: None }
}

async fn insert(store: &Arc<dyn Storage>, user: &User, n: u8, of: u8, seconds: i64) {
    let new = new(user, n, of, seconds);
    write(store, async |tx| tx.insert_refresh_token(new).await.unwrap()).await;
}

async fn left(store: &Arc<dyn Storage>) -> Vec<u8> {
    let mut left = Vec::new();
    for n in 0..10 {
        left.extend(store.refresh_token(key(n)).await.unwrap().map(|_| n));
    }
    left
}

async fn a_refresh_token_is_kept_as_it_was(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    insert(&store, &ann, 1, 1, 10).await;
    insert(&store, &ben, 2, 2, 20).await;
    let expected =
        RefreshToken { key: key(2), family: family(2), user: ben.id, expires_at: at(20), used_at: None, grace_from: None };
    assert_eq!(store.refresh_token(key(2)).await.unwrap(), Some(expected));
    assert_eq!(store.refresh_token(key(3)).await.unwrap(), None);
    assert_eq!(store.user_of_family(family(1)).await.unwrap(), Some(ann));
    assert_eq!(store.user_of_family(family(3)).await.unwrap(), None);
}

async fn a_refresh_token_is_stored_once(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    insert(&store, &ann, 1, 1, 10).await;
    let mut tx = store.begin().await.unwrap();
    let again = new(&ben, 1, 2, 20);
    assert_eq!(conflict(tx.insert_refresh_token(again).await), "refresh_tokens_pkey");
    drop(tx);
    assert_eq!(store.refresh_token(key(1)).await.unwrap().unwrap().user, ann.id);
}

async fn a_refresh_token_is_used_once(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    insert(&store, &ann, 1, 1, 10).await;
    let using =
        async |seconds| write(&store, async |tx| tx.use_refresh_token(key(1), at(seconds)).await.unwrap().unwrap().used_at).await;
    assert_eq!(using(1).await, None);
    assert_eq!(using(2).await, Some(at(1)));
    assert_eq!(using(3).await, Some(at(1)));
    assert_eq!(store.user_of_family(family(1)).await.unwrap(), Some(ann), "a family of used tokens is one");
    assert!(write(&store, async |tx| tx.use_refresh_token(key(2), at(1)).await.unwrap()).await.is_none());
}

async fn of_two_who_use_it_at_once_one_finds_it_unused(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    insert(&store, &ann, 1, 1, 10).await;
    let using = |seconds| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let before = tx.use_refresh_token(key(1), at(seconds)).await.unwrap().unwrap();
            tx.commit().await.unwrap();
            before.used_at.is_none()
        })
    };
    let first = [using(1), using(2), using(3), using(4)];
    let mut winners = 0;
    for one in first {
        winners += u32::from(one.await.unwrap());
    }
    assert_eq!(winners, 1);
}

async fn tokens_given_in_a_grace_window_are_counted(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    insert(&store, &ann, 1, 1, 10).await;
    for (n, of, from) in [(2, 1, 1), (3, 1, 1), (4, 1, 2), (5, 2, 1)] {
        let given = NewRefreshToken { grace_from: Some(at(from)), ..new(&ann, n, of, 10) };
        write(&store, async |tx| tx.insert_refresh_token(given).await.unwrap()).await;
    }
    assert_eq!(store.refresh_token(key(2)).await.unwrap().unwrap().grace_from, Some(at(1)));
    let counted = async |of, from| write(&store, async |tx| tx.count_grace_tokens(family(of), at(from)).await.unwrap()).await;
    assert_eq!([counted(1, 1).await, counted(1, 2).await, counted(2, 1).await, counted(2, 2).await], [2, 1, 1, 0]);
    let all = async |of| write(&store, async |tx| tx.count_tokens(family(of)).await.unwrap()).await;
    assert_eq!([all(1).await, all(2).await, all(3).await], [4, 1, 0]);
}

async fn a_family_ends_as_a_whole(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    for (n, of) in [(1, 1), (2, 2), (3, 1)] {
        insert(&store, &ann, n, of, 10).await;
    }
    write(&store, async |tx| tx.delete_family(family(1)).await.unwrap()).await;
    assert_eq!(left(&store).await, [2]);
    assert_eq!(store.user_of_family(family(1)).await.unwrap(), None);
    assert_eq!(store.user_of_family(family(2)).await.unwrap(), Some(ann));
}

async fn all_tokens_of_a_user_end(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    for (user, n) in [(&ann, 1), (&ben, 2), (&ann, 3)] {
        insert(&store, user, n, n, 10).await;
    }
    write(&store, async |tx| tx.delete_refresh_tokens_of(ann.id).await.unwrap()).await;
    assert_eq!(left(&store).await, [2]);
}

async fn tokens_that_expired_first_go_first(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    for n in 1..=4 {
        insert(&store, &ann, n, 1, 10 - i64::from(n)).await;
    }
    assert_eq!(store.expire_refresh_tokens(at(6), 10).await.unwrap(), 0, "expiring at that time is not before it");
    assert_eq!(store.expire_refresh_tokens(at(9), 2).await.unwrap(), 2);
    assert_eq!(left(&store).await, [1, 2]);
    assert_eq!(store.expire_refresh_tokens(at(9), 2).await.unwrap(), 1);
    assert_eq!(left(&store).await, [1]);
}

async fn beyond_so_many_families_the_longest_unrenewed_end(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    for (user, n, of, seconds) in [(&ann, 1, 1, 10), (&ann, 2, 2, 20), (&ann, 3, 3, 30), (&ann, 4, 1, 40), (&ben, 5, 4, 5)] {
        insert(&store, user, n, of, seconds).await;
    }
    let beyond = async |most| {
        let mut ended = write(&store, async |tx| tx.delete_families_beyond(most, ann.id).await.unwrap()).await;
        ended.sort_unstable();
        ended
    };
    assert!(beyond(3).await.is_empty());
    assert_eq!(beyond(2).await, [family(2)]);
    assert_eq!(left(&store).await, [1, 3, 4, 5], "a family ends as a whole, and nobody else's does");
    assert_eq!(beyond(1).await, [family(3)]);
    assert_eq!(left(&store).await, [1, 4, 5], "what was renewed last stays");
}
