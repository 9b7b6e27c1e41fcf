//! Tests of files that are not as they should be.

use std::fs;
use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Executor, Row};
use storage::sqlite::Sqlite;
use storage::{Conversations, Error, EventLog, Storage, Users, Writability};

use crate::people::Dice;
use crate::{Room, connect, expect_intact, open, options, texts};

/// The whole text of an error, with its causes.
fn text(error: &Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        causes.push(next.to_string());
        cause = next.source();
    }
    causes.join(": ")
}

async fn refusal(path: &Path) -> Error {
    match Sqlite::open(&options(path)).await {
        Err(error) => error,
        Ok(_) => panic!("the file is accepted"),
    }
}

#[tokio::test]
async fn a_new_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let Room { path, store, .. } = &Room::new().await;
    for suffix in ["", "-wal", "-shm"] {
        let mode = fs::metadata(format!("{}{suffix}", path.display())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
    store.close().await;
    assert!(!fs::exists(format!("{}-wal", path.display())).unwrap(), "a close leaves one file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_made_once_however_many_open_it() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dragoman.db");
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let path = path.clone();
            opening.spawn(async move { open(&path).await });
        }
        let stores = opening.join_all().await;
        let mut tx = stores[0].begin().await.unwrap();
        tx.mark_demo().await.unwrap();
        tx.commit().await.unwrap();
        for store in &stores {
            assert!(store.is_demo().await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let Room { path, store, .. } = &Room::new().await;
    store.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'newer', true, x'00', 0)";
    connect(path).await.execute(newer).await.unwrap();
    let error = refusal(path).await;
    assert!(matches!(error, Error::Internal(_)) && text(&error).contains("newer version: 9999"), "{}", text(&error));
}

#[tokio::test]
async fn files_of_others_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("theirs.db");
    fs::write(&path, "").unwrap();
    connect(&path).await.execute("CREATE TABLE theirs (id INTEGER)").await.unwrap();
    let error = refusal(&path).await;
    assert!(text(&error).contains("another program"), "{}", text(&error));

    let path = directory.path().join("letter.txt");
    fs::write(&path, "Dear Ann, ".repeat(1_000)).unwrap();
    let error = refusal(&path).await;
    assert!(matches!(error, Error::Corrupt(_)) && text(&error).contains("letter.txt"), "{}", text(&error));

    let path = directory.path().join("missing").join("dragoman.db");
    let error = refusal(&path).await;
    assert!(matches!(error, Error::Unavailable(_)) && text(&error).contains("directory exists"), "{}", text(&error));
}

#[tokio::test]
async fn a_link_leads_to_the_file() {
    let Room { path, store, .. } = &Room::new().await;
    let link = path.with_file_name("link.db");
    std::os::unix::fs::symlink(path, &link).unwrap();
    store.lock_exclusive().unwrap();
    let other = open(&link).await;
    assert!(other.user_by_login("ann").await.unwrap().is_some());
    assert!(matches!(other.lock_exclusive(), Err(Error::Unavailable(_))), "it is the same file");
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let Room { path, store, .. } = &Room::new().await;
    store.lock_exclusive().unwrap();
    let other = open(path).await;
    let error = other.lock_exclusive().unwrap_err();
    assert!(text(&error).contains("another process serves it"), "{}", text(&error));
    other.lock_shared().unwrap_err();
    // Commands do without the lock.
    assert_eq!(other.people_after(None, 10).await.unwrap().len(), 1);
    store.close().await;
    other.lock_shared().unwrap();
    let third = open(path).await;
    third.lock_shared().unwrap();
    third.lock_exclusive().unwrap_err();
}

#[tokio::test]
async fn what_another_process_writes_is_seen() {
    let room = Room::new().await;
    let before = room.store.data_version().await.unwrap();
    assert!(before.is_some());
    assert_eq!(room.store.data_version().await.unwrap(), before);
    let other = Room { store: open(&room.path).await, ..Room::new().await };
    other.say("hello").await;
    assert_ne!(room.store.data_version().await.unwrap(), before);
    assert_eq!(texts(&room.store).await, ["hello"]);
}

#[tokio::test]
async fn an_older_file_is_copied_and_migrated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dragoman.db");
    let all = sqlx::migrate!("../migrations/sqlite");
    let newest = all.iter().map(|migration| migration.version).max().unwrap();
    let earlier = all.iter().filter(|migration| migration.version < newest).cloned().collect();
    fs::write(&path, "").unwrap();
    let mut file = connect(&path).await;
    Migrator::with_migrations(earlier).run_direct(None, &mut file, false).await.unwrap();
    file.execute("INSERT INTO workspace (key, value) VALUES ('demo', 'true')").await.unwrap();
    let copy = path.with_file_name(format!("dragoman.db.before-{newest}"));
    // A copy that was not finished is no obstacle.
    fs::write(copy.with_added_extension("unfinished"), "half").unwrap();

    let store = Sqlite::open(&options(&path)).await.unwrap();
    assert!(store.is_demo().await.unwrap(), "an older file can be read");
    let (one, other) = tokio::join!(store.migrate(), async { open(&path).await.migrate().await });
    one.unwrap();
    other.unwrap();
    assert!(store.is_demo().await.unwrap());
    expect_intact(&path).await;

    let mut copied = connect(&copy).await;
    let newest_of_copy = sqlx::query("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut copied).await.unwrap();
    assert_eq!(newest_of_copy.get::<i64, _>(0), newest - 1);
    assert!(!fs::exists(copy.with_added_extension("unfinished")).unwrap());
    fs::remove_file(&copy).unwrap();
    store.migrate().await.unwrap();
    assert!(!fs::exists(&copy).unwrap(), "nothing is copied where nothing is to be done");
}

#[tokio::test]
async fn a_file_that_was_removed_takes_no_writes() {
    for gone in ["", "-wal"] {
        let room = Room::new().await;
        room.say("before").await;
        fs::remove_file(format!("{}{gone}", room.path.display())).unwrap();
        let error = room.store.begin().await.map(drop).unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)) && text(&error).contains("is gone"), "{}", text(&error));
        assert!(matches!(room.store.writability().await, Err(Error::Unavailable(_))));
        assert!(matches!(room.store.conversation(room.room).await, Err(Error::Unavailable(_))));
    }
}

#[tokio::test]
async fn a_file_that_was_replaced_beneath_a_transaction_is_not_committed_to() {
    let room = Room::new().await;
    let mut tx = room.store.begin().await.unwrap();
    tx.mark_demo().await.unwrap();
    fs::rename(&room.path, room.path.with_file_name("moved.db")).unwrap();
    fs::write(&room.path, "").unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(text(&error).contains("was replaced"), "{}", text(&error));
    fs::rename(room.path.with_file_name("moved.db"), &room.path).unwrap();
    assert!(!room.store.is_demo().await.unwrap());
    assert_eq!(room.store.writability().await.unwrap(), Writability::Writable, "it is back");
}

/// A power failure may leave any part of the write-ahead log that was not yet acknowledged.
#[tokio::test]
async fn a_truncated_log_holds_the_messages_before_the_cut() {
    const MESSAGES: usize = 40;
    let room = Room::new().await;
    room.store.close().await;
    let room = Room { store: open(&room.path).await, ..room };
    for number in 1..=MESSAGES {
        room.say(&number.to_string()).await;
    }
    let mut dice = Dice::new(3);
    let log = fs::read(format!("{}-wal", room.path.display())).unwrap();
    let mut lengths = Vec::new();
    for round in 0..20 {
        let copy = room.path.with_file_name(format!("copy{round}.db"));
        // By another process: to open and close the file here would release SQLite's locks on it.
        assert!(std::process::Command::new("cp").args([&room.path, &copy]).status().unwrap().success());
        fs::write(format!("{}-wal", copy.display()), &log[..dice.roll(log.len())]).unwrap();
        let store = open(&copy).await;
        let texts = texts(&store).await;
        assert!(texts.iter().cloned().eq((1..=texts.len()).map(|number| number.to_string())), "{texts:?}");
        lengths.push(texts.len());
        store.close().await;
        expect_intact(&copy).await;
    }
    assert!(lengths.iter().any(|length| (1..MESSAGES).contains(length)), "{lengths:?}");
}

#[tokio::test]
async fn a_damaged_file_is_told() {
    let room = Room::new().await;
    for number in 0..50 {
        room.say(&format!("{number} {}", "x".repeat(4_000))).await;
    }
    room.store.close().await;
    let mut bytes = fs::read(&room.path).unwrap();
    let length = bytes.len();
    bytes[4_096..length].fill(0xA5);
    fs::write(&room.path, bytes).unwrap();
    let error = match Sqlite::open(&options(&room.path)).await {
        Err(error) => error,
        Ok(store) => store.people_after(None, 10).await.unwrap_err(),
    };
    assert!(matches!(error, Error::Corrupt(_)) && text(&error).contains("restore a backup"), "{}", text(&error));
}

#[tokio::test]
async fn people_that_a_script_renames_are_found() {
    let room = Room::new().await;
    connect(&room.path).await.execute("UPDATE partners SET name = 'Zoë'").await.unwrap();
    let found = async |query: &str| room.store.search_people(query, 9).await.unwrap().len();
    assert_eq!((found("oë").await, found("Zoë").await, found("ann").await), (1, 1, 0), "until it is folded, by the old rule");
    assert_eq!(found("ZOË").await, 0);
    assert_eq!(room.store.fold_people(9).await.unwrap(), 1);
    assert_eq!(room.store.fold_people(9).await.unwrap(), 0);
    assert_eq!((found("ZOË").await, found("OË").await, found("ann").await), (1, 1, 0));
    expect_intact(&room.path).await;
}

#[tokio::test]
async fn the_schema_is_strict() {
    let room = Room::new().await;
    let mut file = connect(&room.path).await;
    let tables = "SELECT name FROM pragma_table_list
        WHERE schema = 'main' AND type = 'table' AND strict = 0 AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'";
    let lax = file.fetch_all(AssertSqlSafe(tables)).await.unwrap();
    assert_eq!(lax.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>(), [""; 0]);
}
