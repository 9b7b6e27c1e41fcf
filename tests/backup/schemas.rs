//! Tests of backups whose schema is of another version.

use serde_json::json;
use tokio::process::Command;

use super::{Place, archive::Archive, file, messages, on_durable_stores, refused, say, send_file};
use crate::support::{Backend, JOHN};

/// Version of the schema of a file, an older one, and statements that lead back to it.
const OLDER_FILE: (i64, i64, &str) = (
    5,
    4,
    "INSERT INTO partners_folded (partners_folded, rank) VALUES ('secure-delete', 0);
    DELETE FROM _sqlx_migrations WHERE version > 4",
);
/// The same of a database.
const OLDER_DATABASE: (i64, i64, &str) = (
    53,
    49,
    "DROP INDEX participants_by_joining;
    ALTER TABLE pictures DROP COLUMN set_at;
    ALTER TABLE sessions DROP COLUMN token_expires_at, DROP COLUMN token_family, DROP COLUMN is_cursor;
    DROP TABLE left_reads;
    DELETE FROM _sqlx_migrations WHERE version > 49",
);

/// Rows as a backup has them.
async fn rows(place: &Place) -> Vec<u8> {
    match place.backend.url().strip_prefix("sqlite:") {
        Some(file) => std::fs::read(file).unwrap(),
        None => {
            let mut pg_dump = Command::new("pg_dump");
            pg_dump.args(["--format=custom", "--schema=public", "--dbname", place.backend.url()]);
            let output = pg_dump.kill_on_drop(true).output().await.unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        }
    }
}

on_durable_stores! {
    async fn a_backup_of_an_older_schema_is_migrated(place) {
        let mut server = place.server().start().await;
        let john = server.log_in(JOHN).await;
        say(&john, "hello").await;
        let (newest, id) = send_file(&john, b"bytes").await;
        let before = messages(&john).await;
        server.stop().await;
        place.save().await;
        let mut archive = Archive::read(&place.archive());
        let (version, older, undo) = if place.backend.is_postgres() { OLDER_DATABASE } else { OLDER_FILE };
        assert_eq!(archive.description["schema"], version, "each migration since is to be undone above, too");
        place.execute(undo).await;
        archive.description["schema"] = json!(older);
        archive.rows = rows(&place).await;
        let backup = place.directory.path().join("older.tar");
        archive.write(&backup);

        let other = place.elsewhere().await;
        other.restore(&backup).await;
        let mut server = other.server().empty().option("--no-migrate").start().await;
        let john = server.client().with_session(john.session());
        assert_eq!(messages(&john).await, before);
        assert_eq!(file(&john, &id).await, b"bytes");
        assert!(say(&john, "here").await > newest);
        server.stop().await;
        other.save().await;
        assert_eq!(Archive::read(&other.archive()).description["schema"], version);
    }
}

/// A copy of a database file is migrated, too, and one of a newer version refused.
#[tokio::test]
async fn a_copy_of_a_file_is_of_this_schema_or_an_older_one() {
    let place = Place::new(Backend::sqlite());
    let mut server = place.server().start().await;
    let john = server.log_in(JOHN).await;
    say(&john, "hello").await;
    server.stop().await;
    place.execute(OLDER_FILE.2).await;
    let database = place.backend.url().strip_prefix("sqlite:").unwrap();
    let other = place.elsewhere().await;
    other.restore(database.as_ref()).await;
    let mut server = other.server().empty().option("--no-migrate").start().await;
    assert!(messages(&server.client().with_session(john.session())).await.values().any(|body| body == "hello"));
    server.stop().await;

    place.execute("INSERT INTO _sqlx_migrations VALUES (99, 'newer', 0, true, x'00', 0)").await;
    let other = place.elsewhere().await;
    let said = refused(&other.run("restore", database.as_ref()).await);
    assert!(said.contains("of a newer version"), "{said}");
    assert!(other.is_untouched().await);
}
