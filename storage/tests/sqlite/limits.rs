//! Tests of the one writer: its queue, the limits of a transaction, and a full disk.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::Executor;
use storage::sqlite::{Options, Sqlite};
use storage::{
    Conversations, Error, EventLog, Fact, Lane, Messages, NewMessage, Page, Position, Storage, Topic, Tx, Users, Workspace,
    Writability,
};
use tokio::task::JoinSet;

use crate::people::{at, lock, new_message, new_partner};
use crate::{Room, connect, expect_intact, open, options, shared, texts};

/// Messages whose insert takes many steps of SQLite's machine.
const MANY: usize = 5_000;

async fn insert_many(tx: &mut dyn Tx, room: &Room) -> storage::Result<()> {
    let to = lock(tx, room.room).await;
    let new: Vec<NewMessage> = (0..MANY).map(|_| new_message(room.room, &room.ann, "many")).collect();
    tx.insert_messages(to, new).await.map(drop)
}

async fn message_count(room: &Room) -> i64 {
    room.store.conversation(room.room).await.unwrap().unwrap().last_seq
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_dropped_within_a_statement_leaves_nothing() {
    let room = Room::new().await;
    for _ in 0..20 {
        let mut tx = room.store.begin().await.unwrap();
        tx.insert_partner(new_partner("nobody")).await.unwrap();
        // The first look sends a statement, and the second does not come.
        let inserted = tokio::time::timeout(Duration::ZERO, insert_many(&mut *tx, &room)).await;
        drop(tx);
        room.say("after").await;
        drop(inserted);
    }
    assert_eq!(message_count(&room).await, 20);
    assert_eq!(room.store.people_after(None, 100).await.unwrap().len(), 1);
    room.store.close().await;
    expect_intact(&room.path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_read_frees_its_reader() {
    let room = Room::new().await;
    for _ in 0..50 {
        let reading = room.store.messages(room.room, room.ann.partner.id, Page::latest(10));
        let _ = tokio::time::timeout(Duration::ZERO, reading).await;
        let begun = tokio::time::timeout(Duration::ZERO, room.store.begin()).await;
        drop(begun);
    }
    room.say("still there").await;
    assert_eq!(message_count(&room).await, 1);
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_rolled_back() {
    let room = Room::new().await;
    let limits = Options { transaction_timeout: Duration::from_millis(50), ..options(&room.path) };
    let store = Sqlite::open(&limits).await.unwrap();
    let mut idle = store.begin().await.unwrap();
    idle.mark_demo().await.unwrap();
    // Nobody touches the first one, which ends all the same: the second waits for no more than that.
    let mut next = store.begin().await.unwrap();
    assert!(matches!(idle.mark_demo().await, Err(Error::Unavailable(_))));
    drop(idle);
    next.secret("name", "fresh").await.unwrap();
    next.commit().await.unwrap();
    assert!(!store.is_demo().await.unwrap());

    let mut late = store.begin().await.unwrap();
    late.mark_demo().await.unwrap();
    store.begin().await.unwrap();
    late.record(Topic::Partner(room.ann.partner.id), Fact::StoreChanged, at(0));
    assert!(matches!(late.commit().await, Err(Error::Unavailable(_))));
    assert!(!store.is_demo().await.unwrap());
    assert_eq!(store.position().await.unwrap(), Position(0));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_interrupted() {
    let room = Room::new().await;
    // Short statements end before the first look at the clock.
    let limits = Options { statement_timeout: Duration::ZERO, ..options(&room.path) };
    let store = Sqlite::open(&limits).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.mark_demo().await.unwrap();
    assert!(matches!(insert_many(&mut *tx, &room).await, Err(Error::Unavailable(_))));
    assert!(matches!(tx.commit().await, Err(Error::Internal(_))), "nothing is committed after a failure");
    assert!(!store.is_demo().await.unwrap());
    let mut tx = store.begin().await.unwrap();
    tx.mark_demo().await.unwrap();
    tx.commit().await.unwrap();
    assert!(room.store.is_demo().await.unwrap());
    assert_eq!(message_count(&room).await, 0);
}

#[tokio::test]
async fn sends_go_before_all_other_writes() {
    let room = Room::new().await;
    let (store, order) = (shared(&room.store), Arc::new(parking_lot::Mutex::new(Vec::new())));
    let first = store.begin().await.unwrap();
    let write = async |store: Arc<dyn Storage>, name: &'static str| {
        let mut tx = store.begin().await.unwrap();
        tx.lock_workspace().await.unwrap();
        order.lock().push(name);
        tx.set_workspace(&Workspace::default()).await.unwrap();
        tx.commit().await.unwrap();
    };
    let others = async { tokio::join!(write(store.clone(), "other"), write(store.lane(Lane::Sessions), "session")) };
    let sends = async { tokio::join!(write(store.lane(Lane::Sends), "send"), write(store.lane(Lane::Sends), "next send")) };
    let release = async {
        // All have queued before this is looked at.
        drop(first);
    };
    tokio::join!(others, sends, release);
    assert_eq!(*order.lock(), ["send", "next send", "other", "session"]);
}

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing() {
    let room = Room::new().await;
    room.store.close().await;
    let store = Sqlite::open(&Options { max_bytes: Some(600_000), ..options(&room.path) }).await.unwrap();
    let room = Room { store, ..room };
    let mut posted = 0;
    let error = loop {
        let mut tx = room.store.begin().await.unwrap();
        let to = lock(&mut *tx, room.room).await;
        match tx.insert_messages(to, vec![new_message(room.room, &room.ann, &"x".repeat(10_000))]).await {
            Ok(mut stored) => tx.record(Topic::Conversation(room.room), Fact::MessagePosted(stored.remove(0)), at(0)),
            Err(error) => break error,
        }
        match tx.commit().await {
            Ok(_) => posted += 1,
            Err(error) => break error,
        }
    };
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(matches!(error, Error::Unavailable(_)) && cause.contains("free space"), "{cause}");
    assert_eq!(room.store.writability().await.unwrap(), Writability::Refused);
    assert_eq!(texts(&room.store).await.len(), posted, "reads go on");

    // Smaller writes may still fit; one says that there is room.
    let mut tx = room.store.begin().await.unwrap();
    tx.mark_demo().await.unwrap();
    if tx.commit().await.is_ok() {
        assert_eq!(room.store.writability().await.unwrap(), Writability::Writable);
    }
    room.store.close().await;
    let room = Room { store: open(&room.path).await, ..room };
    room.say("there is room again").await;
    assert_eq!(texts(&room.store).await.len(), posted + 1);
    room.store.close().await;
    expect_intact(&room.path).await;
}

/// Few matches are found by the index, many by a walk along the names.
#[tokio::test]
async fn people_are_found_in_order_however_many_they_are() {
    const MANY: usize = 1_200;
    let room = Room::new().await;
    let mut tx = room.store.begin().await.unwrap();
    for number in (0..MANY).rev() {
        tx.insert_partner(new_partner(&format!("Common {number:04} \"{}\"", if number % 500 == 7 { "rare" } else { "" })))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let names = async |query: &str, limit: usize| {
        let found = room.store.search_people(query, limit).await.unwrap();
        found.into_iter().map(|person| person.partner.name).collect::<Vec<_>>()
    };
    assert_eq!(names("COMMON", 2).await, ["Common 0000 \"\"", "Common 0001 \"\""]);
    assert_eq!(names("mm", 1).await, ["Common 0000 \"\""]);
    assert_eq!(names("\"rare\"", 2).await, ["Common 0007 \"rare\"", "Common 0507 \"rare\""]);
    assert_eq!(names("0507", 9).await, ["Common 0507 \"rare\""]);
    assert_eq!(names("common", usize::MAX).await.len(), MANY);
    assert_eq!(names("nobody", 9).await, [""; 0]);
}

#[tokio::test]
async fn clean_up_is_done_in_small_transactions() {
    const EVENTS: usize = 250;
    let room = Room::new().await;
    let mut tx = room.store.begin().await.unwrap();
    (0..EVENTS).for_each(|_| tx.record(Topic::Partner(room.ann.partner.id), Fact::StoreChanged, at(0)));
    tx.commit().await.unwrap();
    let commits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&commits);
    room.store.observe(Arc::new(move |operation, _, _| {
        counted.fetch_add(usize::from(operation == "commit"), Ordering::Relaxed);
    }));
    assert_eq!(room.store.forget_events(at(1), 1_000).await.unwrap(), EVENTS as u64);
    assert_eq!(commits.load(Ordering::Relaxed), EVENTS.div_ceil(100));
}

/// Reads that overlap: the checkpoints of commits do not wait for them, and never empty the write-ahead log.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_small_beside_constant_readers() {
    const BOUND: u64 = 24 * 1024 * 1024;
    let room = Room::new().await;
    let (text, log) = ("x".repeat(60_000), format!("{}-wal", room.path.display()));
    let mut readers = [connect(&room.path).await, connect(&room.path).await];
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        readers[1].execute("BEGIN").await.unwrap();
        for turn in (0..2).cycle() {
            readers[turn].execute("BEGIN; SELECT count(*) FROM messages").await.unwrap();
            // Each takes twice as long, and less than a checkpoint waits.
            tokio::time::sleep(Duration::from_millis(15)).await;
            readers[1 - turn].execute("COMMIT").await.unwrap();
        }
    });
    let (mut written, mut largest) = (0, 0);
    while written < 3 * BOUND {
        room.say(&text).await;
        // Its message and its event.
        written += 2 * text.len() as u64;
        largest = largest.max(fs::metadata(&log).unwrap().len());
    }
    assert!(largest < BOUND, "{largest}");
    room.store.checkpoint().await.unwrap();
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
}

#[tokio::test]
async fn every_statement_is_counted() {
    let room = Room::new().await;
    let counted = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&counted);
    room.store.observe(Arc::new(move |operation, _, failed| seen.lock().push((operation.to_owned(), failed))));
    room.store.position().await.unwrap();
    let mut tx = room.store.begin().await.unwrap();
    tx.mark_demo().await.unwrap();
    tx.commit().await.unwrap();
    let told = counted.lock().clone();
    let names: Vec<_> = told.iter().map(|(operation, failed)| (operation.as_str(), *failed)).collect();
    assert_eq!(names, [("select log_head", false), ("begin", false), ("insert workspace", false), ("commit", false)]);
}
