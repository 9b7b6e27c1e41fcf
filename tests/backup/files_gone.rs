//! Tests of a start without the files that the store names.

use super::{file, on_durable_stores, say, send_file};
use crate::support::JOHN;

on_durable_stores! {
    async fn a_store_without_its_files_is_not_served(place) {
        let mut server = place.server().start().await;
        let john = server.log_in(JOHN).await;
        let mut sent = Vec::new();
        for number in 0..3_u8 {
            sent.push(send_file(&john, &[number]).await.1);
        }
        server.stop().await;
        let (files, aside) = (place.files(), place.directory.path().join("aside"));
        std::fs::rename(&files, &aside).unwrap();
        let said = place.refused_start().await;
        assert!(said.contains(&format!("files: {} has none of the files that ", place.address_of_files())), "{said}");
        let store = if place.backend.is_postgres() { "postgres://" } else { place.backend.url() };
        assert!(said.contains(store) && said.contains("--files-are-gone"), "{said}");
        assert!(!said.contains(place.backend.url()) || !place.backend.is_postgres(), "{said} shows no password");

        // One of them is enough.
        let one = crate::support::files_below(&aside).pop().unwrap();
        let again = files.join(one.strip_prefix(&aside).unwrap());
        std::fs::create_dir_all(again.parent().unwrap()).unwrap();
        std::fs::copy(&one, &again).unwrap();
        place.start().await.stop().await;
        std::fs::remove_dir_all(&files).unwrap();

        let mut server = place.server().empty().option("--files-are-gone").start().await;
        let john = server.client().with_session(john.session());
        say(&john, "without").await;
        let (_, new) = send_file(&john, b"new").await;
        server.stop().await;
        // A file that was sent since shows that the place is right.
        let mut server = place.start().await;
        let john = server.client().with_session(john.session());
        assert_eq!(file(&john, &new).await, b"new");
        server.stop().await;
    }

    async fn a_store_that_names_no_files_needs_none(place) {
        place.server().start().await.stop().await;
        std::fs::remove_dir_all(place.files()).unwrap();
        place.start().await.stop().await;
    }
}
