//! Tests of backups beside a running server, and of the stores that they are restored into.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::json;

use super::{Place, file, messages, on_durable_stores, path, refused, say, send_file, succeeded};
use crate::support::{ADMIN, Backend, Client, JOHN, Server, run};

/// Sends messages until it is told to stop. Returns those that were acknowledged.
async fn keep_sending(client: &Client, stop: &AtomicBool) -> BTreeMap<i64, String> {
    let mut sent = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let body = format!("meanwhile {}", sent.len());
        sent.insert(say(client, &body).await, body);
    }
    sent
}

on_durable_stores! {
    /// A backup while others write has everything that was acknowledged before it began; the clients go on elsewhere.
    async fn a_store_is_restored_as_it_was_saved(place) {
        let mut server = place.server().start().await;
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let mut files = Vec::new();
        for number in 0..5_u8 {
            let bytes = vec![number; 100_000 * usize::from(number)];
            files.push((send_file(&john, &bytes).await.1, bytes));
        }
        let added = ["user", "add", "new@example.com", "--name", "New"];
        place.backend.administer(&added, "a long password\n").await;
        let before = messages(&admin).await;
        let stop = AtomicBool::new(false);
        let backup = async {
            let said = place.save().await;
            stop.store(true, Ordering::Relaxed);
            said
        };
        let (said, meanwhile) = tokio::join!(backup, keep_sending(&admin, &stop));
        assert!(said.contains("5 files (1000000 bytes)"), "{said}");
        let newest = say(&admin, "after it").await;
        assert_eq!(server.metric("dragoman_backups_running").await, 0.0);

        let other = place.elsewhere().await;
        let restored = other.restore(&place.archive()).await;
        assert!(restored.contains("5 files (1000000 bytes)"), "{restored}");
        let mut second = other.start().await;
        let [admin, john] = [&admin, &john].map(|client| second.client().with_session(client.session()));
        let found = messages(&admin).await;
        assert!(before.iter().all(|(id, body)| found.get(id) == Some(body)), "{before:?} is in {found:?}");
        let others: BTreeMap<_, _> = found.into_iter().filter(|(id, _)| !before.contains_key(id)).collect();
        assert!(others.iter().all(|(id, body)| meanwhile.get(id) == Some(body)), "{others:?} was sent meanwhile");
        assert!(others.keys().eq(meanwhile.keys().take(others.len())), "{others:?} has no gap");
        for (id, bytes) in &files {
            assert!(file(&john, id).await == *bytes, "{id} has its bytes");
        }
        let mut new = second.client();
        new.log_in("new@example.com", "a long password").await;
        // No id is given twice, and whoever knows more than the backup goes on.
        assert_eq!(second.metric("dragoman_log_epoch").await, 1.0);
        assert!(say(&admin, "here").await > newest);
        let ids = json!({"thread_id": 1, "last_message_id": newest, "timeout": 1});
        let polled = john.messaging("poll/messages", ids).await;
        assert_eq!(polled["messages"][0]["body"], "here", "{polled}");
        second.stop().await;
        server.stop().await;
    }

    /// A backup of a backup's store, of a store without files, and of one that no server has.
    async fn a_restored_store_can_be_saved(place) {
        let mut server = place.server().start().await;
        say(&server.log_in(JOHN).await, "hello").await;
        server.stop().await;
        place.save().await;
        let other = place.elsewhere().await;
        other.restore(&place.archive()).await;
        other.save().await;
        let third = place.elsewhere().await;
        third.restore(&other.archive()).await;
        let mut server = third.start().await;
        let john = server.log_in(JOHN).await;
        assert!(messages(&john).await.values().any(|body| body == "hello"));
        assert_eq!(server.metric("dragoman_log_epoch").await, 2.0);
        server.stop().await;
    }

    async fn nothing_is_overwritten(place) {
        let mut server = place.server().start().await;
        let john = server.log_in(JOHN).await;
        send_file(&john, b"bytes").await;
        place.save().await;
        let archive = place.archive();
        let before = std::fs::read(&archive).unwrap();
        let said = refused(&place.run("backup", &archive).await);
        assert!(said.contains("backup.tar exists already"), "{said}");
        assert!(std::fs::read(&archive).unwrap() == before);
        // Nothing else is left beside it, and no other user may read it.
        let names = std::fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.filter(|name| name != "files").collect();
        assert_eq!(names, ["backup.tar"]);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&archive).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);

        let said = refused(&place.run("restore", &archive).await);
        assert!(["another process serves it", "a node serves it"].iter().any(|cause| said.contains(cause)), "{said}");
        server.stop().await;
        let said = refused(&place.run("restore", &archive).await);
        assert!(said.contains("it holds data"), "{said}");
        // The files of another store.
        let other = Place { backend: place.elsewhere().await.backend, ..place };
        let third = other.elsewhere().await;
        third.server().start().await.stop().await;
        let said = refused(&Place { backend: other.backend.clone(), ..third }.run("restore", &archive).await);
        assert!(said.contains("belongs to workspace"), "{said}");
        // Its own are taken.
        other.restore(&archive).await;
        let mut server = other.start().await;
        say(&server.client().with_session(john.session()), "again").await;
        server.stop().await;
    }

    /// A store that a server has made and nobody has used is empty.
    async fn a_store_without_data_is_replaced(place) {
        let mut server = place.server().start().await;
        let john = server.log_in(JOHN).await;
        let (_, id) = send_file(&john, b"bytes").await;
        server.stop().await;
        place.save().await;
        let other = place.elsewhere().await;
        other.start().await.stop().await;
        other.restore(&place.archive()).await;
        let mut server = other.start().await;
        assert_eq!(file(&server.client().with_session(john.session()), &id).await, b"bytes");
        server.stop().await;
    }

    /// A file that rows name and that is gone: all else is saved, and the command says so.
    async fn a_missing_file_is_reported(place) {
        let mut server = place.server().start().await;
        let john = server.log_in(JOHN).await;
        let (_, lost) = send_file(&john, b"lost").await;
        let objects = crate::support::files_below(&place.files());
        let [object] = &objects[..] else { panic!("{objects:?}") };
        std::fs::remove_file(object).unwrap();
        let (_, kept) = send_file(&john, b"kept").await;
        let output = place.run("backup", &place.archive()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("all is saved but 1 files") && said.lines().count() == 1, "{said}");
        assert!(said.contains(object.file_name().unwrap().to_str().unwrap()), "{said}");
        let other = place.elsewhere().await;
        other.restore(&place.archive()).await;
        let mut second = other.start().await;
        let john = second.client().with_session(john.session());
        assert_eq!(file(&john, &kept).await, b"kept");
        let answer = john.request(reqwest::Method::GET, &format!("/api/messaging/attachment/{lost}")).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        second.stop().await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_backup_of_one_kind_is_not_restored_into_another() {
    let [file, database] = [Backend::sqlite(), Backend::postgres().await].map(Place::new);
    for (from, to) in [(&file, Place::new(Backend::empty_postgres().await)), (&database, Place::new(Backend::sqlite()))] {
        from.server().start().await.stop().await;
        from.save().await;
        let said = refused(&to.run("restore", &from.archive()).await);
        assert!(said.contains("dragoman move"), "{said}");
        assert!(to.is_untouched().await);
    }
}

#[tokio::test]
async fn a_backup_needs_a_store_and_the_programs() {
    let nowhere = Place::new(Backend::sqlite());
    let said = refused(&nowhere.run("backup", &nowhere.archive()).await);
    assert!(said.contains("no such file") && nowhere.is_untouched().await, "{said}");
    let said = refused(&run(&["backup", path(&nowhere.archive()), "--storage", "memory:"], &[], "").await);
    assert!(said.contains("memory: ends with the server"), "{said}");
    let database = Place::new(Backend::postgres().await);
    let files = database.address_of_files();
    let archive = database.archive();
    let arguments = ["backup", path(&archive), "--storage", database.backend.url(), "--files", &files];
    let said = refused(&run(&arguments, &[("PATH", "/nowhere")], "").await);
    assert!(said.contains("pg_dump cannot be started") && said.contains("install PostgreSQL's client programs"), "{said}");
    assert!(!archive.exists());
}

/// A copy of a database file is a backup as well; its files stay where they are.
#[tokio::test]
async fn a_copy_of_a_file_is_restored() {
    let place = Place::new(Backend::sqlite());
    let mut server = place.server().start().await;
    let john = server.log_in(JOHN).await;
    let (newest, id) = send_file(&john, b"bytes").await;
    server.stop().await;
    let database = place.backend.url().strip_prefix("sqlite:").unwrap();
    let other = Place { backend: Backend::sqlite(), ..place };
    let said = succeeded(&other.run("restore", database.as_ref()).await);
    assert!(said.contains("1 conversations") || said.contains("conversations"), "{said}");
    let mut server: Server = other.start().await;
    let john = server.client().with_session(john.session());
    assert_eq!(file(&john, &id).await, b"bytes");
    assert!(say(&john, "here").await > newest + 1_000);
    server.stop().await;
}
