//! Tests of archives that are not as they were saved.

use sqlx::{ConnectOptions, Connection, Executor, sqlite::SqliteConnectOptions};

use super::{Place, archive::Archive, messages, on_durable_stores, refused, send_file};
use crate::support::{Backend, JOHN};

on_durable_stores! {
    /// Any changed byte and any cut is found before anything is written.
    async fn a_damaged_archive_is_refused(place) {
        let mut server = place.server().start().await;
        let john = server.log_in(JOHN).await;
        let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
        send_file(&john, &bytes).await;
        server.stop().await;
        place.save().await;
        let whole = std::fs::read(place.archive()).unwrap();
        let at = |wanted: &[u8]| whole.windows(wanted.len()).position(|window| window == wanted).expect("it is in the archive");
        let file = at(&bytes[..512]);
        let name = at(b"files/attachments/");
        const DIGEST: &[u8] = b"\"sha256\": \"";
        let of_files = whole.windows(DIGEST.len()).rposition(|window| window == DIGEST).unwrap();
        let other = place.elsewhere().await;
        let damaged = other.directory.path().join("damaged.tar");
        let digests = [("digest of the rows", at(DIGEST) + DIGEST.len()), ("digest of the files", of_files + DIGEST.len())];
        let others = [("rows", file / 2), ("file", file + 100), ("name", name + 20), ("description", 600), ("header", 3)];
        for (what, place) in digests.into_iter().chain(others) {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            std::fs::write(&damaged, &changed).unwrap();
            let said = refused(&other.run("restore", &damaged).await);
            assert!(said.contains("no backup, or it is damaged"), "{what}: {said}");
            assert!(other.is_untouched().await, "{what}");
        }
        for length in [0, 100, 1_000, file / 2, file + 100, whole.len() - 2_048] {
            std::fs::write(&damaged, &whole[..length]).unwrap();
            let said = refused(&other.run("restore", &damaged).await);
            assert!(said.contains("no backup, or it is damaged"), "{length} bytes: {said}");
            assert!(other.is_untouched().await, "{length} bytes");
        }
        // Another file of the archive in place of this one.
        std::fs::write(&damaged, "This is no archive. ".repeat(1_000)).unwrap();
        let said = refused(&other.run("restore", &damaged).await);
        assert!(said.contains("no backup, or it is damaged"), "{said}");

        other.restore(&place.archive()).await;
        let mut server = other.start().await;
        assert!(messages(&server.client().with_session(john.session())).await.values().any(|body| body == "look"));
        server.stop().await;
    }

    /// The digests of these archives are right.
    async fn a_name_that_leads_elsewhere_is_refused(place) {
        let mut server = place.server().start().await;
        send_file(&server.log_in(JOHN).await, b"bytes").await;
        server.stop().await;
        place.save().await;
        let mut archive = Archive::read(&place.archive());
        let other = place.elsewhere().await;
        let damaged = other.directory.path().join("damaged.tar");
        for name in ["../outside", "attachments/../../outside", "/outside", "attachments//outside", "", "dragoman-workspace"] {
            name.clone_into(&mut archive.files[0].0);
            archive.write(&damaged);
            let said = refused(&other.run("restore", &damaged).await);
            assert!(said.contains("no backup, or it is damaged") && said.ends_with(&format!("files/{name}")), "{name}: {said}");
            assert!(other.is_untouched().await && !other.directory.path().join("outside").exists(), "{name}");
        }
    }

    /// An archive of a newer version is not half understood.
    async fn a_newer_backup_is_refused(place) {
        place.server().start().await.stop().await;
        place.save().await;
        let archive = std::fs::read(place.archive()).unwrap();
        let newer = place.directory.path().join("newer.tar");
        for (now, then) in [("\"format\": 1", "\"format\": 2"), ("\"schema\": ", "\"schema\":9")] {
            let at = archive.windows(now.len()).position(|window| window == now.as_bytes()).unwrap();
            let mut changed = archive.clone();
            changed[at..at + now.len()].copy_from_slice(then.as_bytes());
            std::fs::write(&newer, changed).unwrap();
            let other = place.elsewhere().await;
            let said = refused(&other.run("restore", &newer).await);
            assert!(said.contains("the backup is of a newer version"), "{said}");
            assert!(other.is_untouched().await);
        }
    }
}

/// Copies of a database file have no digest.
#[tokio::test]
async fn a_damaged_database_file_is_refused() {
    let place = Place::new(Backend::sqlite());
    place.server().start().await.stop().await;
    let whole = std::fs::read(place.backend.url().strip_prefix("sqlite:").unwrap()).unwrap();
    let copy = place.directory.path().join("copy.db");
    let mut empty = SqliteConnectOptions::new().filename(&copy).create_if_missing(true).connect().await.unwrap();
    empty.execute("PRAGMA user_version = 1").await.unwrap();
    empty.close().await.unwrap();
    let without_tables = std::fs::read(&copy).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2..whole.len() * 3 / 4].fill(0);
    let cut = [100, 5_000, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_owned());
    let other = place.elsewhere().await;
    for bytes in cut.into_iter().chain([changed, without_tables]) {
        std::fs::write(&copy, &bytes).unwrap();
        let said = refused(&other.run("restore", &copy).await);
        assert!(said.contains("the rows to be restored are damaged"), "{} bytes: {said}", bytes.len());
        assert!(other.is_untouched().await, "{} bytes: {said}", bytes.len());
    }
}
