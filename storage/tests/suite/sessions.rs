//! Tests of log-in sessions and poll cursors.

use std::sync::Arc;

use storage::{
    NewRefreshToken, NewSession, Position, Session, SessionKey, SessionToken, SessionTouch, Storage, TokenKey, User, UserChange,
};
use uuid::Uuid;

use crate::people::{at, conflict, users, write};

on_every_backend!(
    a_session_comes_with_its_user,
    several_sessions_are_one_read,
    a_key_is_used_once,
    touches_never_go_back,
    sessions_end_one_by_one_or_all,
    beyond_so_many_sessions_the_longest_unused_end,
    the_longest_unused_sessions_expire_first,
    a_touch_beside_an_open_transaction_is_kept,
    a_session_ends_with_the_family_that_it_was_begun_with,
    cursors_are_counted_apart_from_sessions,
);

fn key(n: u8) -> SessionKey {
    SessionKey([n; 32])
}

fn new(user: &User, n: u8, seconds: i64) -> NewSession {
    NewSession { key: key(n), user: user.id, created_at: at(seconds), token: None, is_cursor: false }
}

async fn log_in(store: &Arc<dyn Storage>, user: &User, n: u8, seconds: i64) {
    insert(store, new(user, n, seconds)).await;
}

async fn insert(store: &Arc<dyn Storage>, new: NewSession) {
    write(store, async |tx| tx.insert_session(new).await.unwrap()).await;
}

async fn session(store: &Arc<dyn Storage>, n: u8) -> Option<Session> {
    store.session(key(n)).await.unwrap().map(|(session, _)| session)
}

async fn touch(store: &Arc<dyn Storage>, n: u8, seconds: i64, told: Option<i64>) {
    let touch = SessionTouch { key: key(n), last_used_at: at(seconds), told: told.map(Position) };
    store.touch_sessions(&[touch]).await.unwrap();
}

async fn a_session_comes_with_its_user(store: Arc<dyn Storage>) {
    let [mut ann, ben] = users(&store, ["ann", "ben"]).await;
    log_in(&store, &ben, 1, 10).await;
    log_in(&store, &ann, 2, 20).await;
    let expected = Session {
        key: key(2),
        user: ann.id,
        created_at: at(20),
        last_used_at: at(20),
        delivered: None,
        token: None,
        is_cursor: false,
    };
    assert_eq!(store.session(key(2)).await.unwrap(), Some((expected.clone(), ann.clone())));
    write(&store, async |tx| tx.update_user(ann.id, UserChange { active: Some(false), ..UserChange::default() }).await.unwrap())
        .await;
    ann.active = false;
    assert_eq!(store.session(key(2)).await.unwrap(), Some((expected, ann)));
    assert_eq!(store.session(key(3)).await.unwrap(), None);
}

async fn several_sessions_are_one_read(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    for (user, n) in [(&ann, 1), (&ben, 2), (&ann, 3)] {
        log_in(&store, user, n, 0).await;
    }
    let found = store.sessions(&[key(9), key(3), key(2), key(3)]).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|(session, user)| (session.key, session.user, user.id)).collect();
    found.sort_unstable();
    assert_eq!(found, [(key(2), ben.id, ben.id), (key(3), ann.id, ann.id)]);
    assert!(store.sessions(&[]).await.unwrap().is_empty());
}

async fn a_key_is_used_once(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    log_in(&store, &ann, 1, 0).await;
    let mut tx = store.begin().await.unwrap();
    conflict(tx.insert_session(new(&ben, 1, 1)).await);
    drop(tx);
    assert_eq!(session(&store, 1).await.unwrap().user, ann.id);
}

async fn touches_never_go_back(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    log_in(&store, &ann, 1, 100).await;
    let state = async || session(&store, 1).await.map(|session| (session.last_used_at, session.delivered)).unwrap();

    touch(&store, 1, 50, None).await;
    assert_eq!(state().await, (at(100), None));
    touch(&store, 1, 50, Some(7)).await;
    assert_eq!(state().await, (at(100), Some(Position(7))));
    touch(&store, 1, 200, Some(3)).await;
    assert_eq!(state().await, (at(200), Some(Position(7))));
    touch(&store, 1, 150, None).await;
    assert_eq!(state().await, (at(200), Some(Position(7))));

    // Session 9 has ended, and session 1 is touched twice.
    let touches = [(9, 300), (1, 400), (1, 350)];
    let touches = touches.map(|(n, seconds)| SessionTouch { key: key(n), last_used_at: at(seconds), told: None });
    store.touch_sessions(&touches).await.unwrap();
    assert_eq!(state().await, (at(400), Some(Position(7))));
    assert_eq!(session(&store, 9).await, None);
    store.touch_sessions(&[]).await.unwrap();
}

async fn sessions_end_one_by_one_or_all(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    for n in 1..=3 {
        log_in(&store, &ann, n, 0).await;
    }
    log_in(&store, &ben, 4, 0).await;
    write(&store, async |tx| {
        assert_eq!(tx.delete_sessions(&[key(2), key(9), key(2)]).await.unwrap(), [(key(2), ann.id)]);
        assert_eq!(tx.delete_sessions(&[key(2)]).await.unwrap(), []);
        assert_eq!(tx.delete_sessions(&[]).await.unwrap(), []);
        let mut ended = tx.delete_sessions_of(ann.id).await.unwrap();
        ended.sort();
        assert_eq!(ended, [key(1), key(3)]);
        assert_eq!(tx.delete_sessions_of(ann.id).await.unwrap(), []);
    })
    .await;
    for n in 1..=3 {
        assert_eq!(session(&store, n).await, None);
    }
    assert!(session(&store, 4).await.is_some());
}

async fn the_longest_unused_sessions_expire_first(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    for n in 1..=4 {
        log_in(&store, &ann, n, i64::from(n)).await;
    }
    touch(&store, 1, 100, None).await;
    assert_eq!(store.expire_sessions(at(2), 10).await.unwrap(), 0, "used at that time is not used before");
    assert_eq!(store.expire_sessions(at(100), 2).await.unwrap(), 2);
    let mut left = Vec::new();
    for n in 1..=4 {
        left.extend(session(&store, n).await.map(|session| session.key));
    }
    assert_eq!(left.len(), 2);
    assert!(left.contains(&key(1)));
    assert_eq!(store.expire_sessions(at(100), 2).await.unwrap(), 1);
    assert!(session(&store, 1).await.is_some());
    let ended = write(&store, async |tx| tx.delete_sessions_of(ann.id).await.unwrap()).await;
    assert_eq!(ended, [key(1)]);
}

async fn a_touch_beside_an_open_transaction_is_kept(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    log_in(&store, &ann, 1, 0).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_session(new(&ann, 2, 0)).await.unwrap();
    let touching = touch(&store, 1, 100, Some(5));
    let committing = async { tx.commit().await.unwrap() };
    tokio::join!(touching, committing);
    assert_eq!(session(&store, 1).await.unwrap().last_used_at, at(100));
    assert!(session(&store, 2).await.is_some());
}

async fn beyond_so_many_sessions_the_longest_unused_end(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    for (user, n, seconds) in [(&ann, 1, 10), (&ann, 2, 20), (&ann, 3, 30), (&ann, 4, 40), (&ben, 5, 5)] {
        log_in(&store, user, n, seconds).await;
    }
    touch(&store, 1, 50, None).await;
    let beyond = async |most| {
        let mut ended = write(&store, async |tx| tx.delete_sessions_beyond(most, ann.id, false).await.unwrap()).await;
        ended.sort_unstable();
        ended
    };
    assert_eq!(beyond(4).await, [SessionKey([0; 32]); 0]);
    assert_eq!(beyond(2).await, [key(2), key(3)]);
    let mut left = Vec::new();
    for n in 1..=5 {
        left.extend(session(&store, n).await.map(|_| n));
    }
    assert_eq!(left, [1, 4, 5], "nobody else's, and what was used last stays");
    assert_eq!(beyond(0).await, [key(1), key(4)]);
    let mut tx = store.begin().await.unwrap();
    tx.delete_sessions_beyond(0, ben.id, false).await.unwrap();
    drop(tx);
    assert!(session(&store, 5).await.is_some(), "without a commit nothing ends");
}

async fn a_session_ends_with_the_family_that_it_was_begun_with(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let family = Uuid::from_u128(1);
    let token = NewRefreshToken { key: TokenKey([1; 32]), family, user: ann.id, expires_at: at(10), grace_from: None };
    write(&store, async |tx| tx.insert_refresh_token(token).await.unwrap()).await;
    let own = Some(SessionToken { expires_at: at(5), family: Some(family) });
    let foreign = Some(SessionToken { expires_at: at(7), family: None });
    for (n, token) in [(1, own), (2, foreign), (3, None)] {
        insert(&store, NewSession { token, ..new(&ann, n, 0) }).await;
    }
    for (n, token) in [(1, own), (2, foreign), (3, None)] {
        assert_eq!(session(&store, n).await.unwrap().token, token);
    }
    write(&store, async |tx| tx.delete_family(family).await.unwrap()).await;
    assert_eq!(session(&store, 1).await, None);
    assert!(session(&store, 2).await.is_some() && session(&store, 3).await.is_some());
}

async fn cursors_are_counted_apart_from_sessions(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    log_in(&store, &ann, 1, 0).await;
    for (user, n, seconds) in [(&ann, 2, 10), (&ann, 3, 20), (&ann, 4, 30), (&ben, 5, 30)] {
        insert(&store, NewSession { is_cursor: true, ..new(user, n, seconds) }).await;
    }
    for (n, told) in [(1, 1), (2, 2), (3, 9), (5, 3)] {
        touch(&store, n, 0, Some(told)).await;
    }
    let least = async |seconds| write(&store, async |tx| tx.least_delivered(ann.id, at(seconds)).await.unwrap()).await;
    assert_eq!([least(10).await, least(11).await, least(21).await], [Some(Position(2)), Some(Position(9)), None]);
    let beyond =
        async |most, is_cursor| write(&store, async |tx| tx.delete_sessions_beyond(most, ann.id, is_cursor).await.unwrap()).await;
    assert_eq!(beyond(2, true).await, [key(2)]);
    assert_eq!(beyond(1, false).await, []);
    assert!(session(&store, 1).await.is_some_and(|session| !session.is_cursor));
    assert!(session(&store, 5).await.is_some_and(|session| session.is_cursor));
}
