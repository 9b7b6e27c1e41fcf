//! Tests of stores whose files are in a bucket.

use serde_json::json;

use super::{Place, archive::Archive, file, path, refused, send_file, succeeded};
use crate::support::{JOHN, files_below, http};

/// Tests of other files, with buckets in place of directories.
macro_rules! in_buckets {
    ($($file:ident::$name:ident)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                super::$file::$name::check(Place::with_bucket().await).await;
            }
        )+
    };
}

in_buckets! {
    damaged::a_name_that_leads_elsewhere_is_refused
    deletions::a_killed_backup_delays_deletions_for_a_minute
    deletions::what_is_deleted_during_a_backup_is_in_it
    files_gone::a_store_without_its_files_is_not_served
    interrupted::a_killed_restoration_can_be_repeated
    saved::a_missing_file_is_reported
    saved::a_store_is_restored_as_it_was_saved
    saved::a_store_without_data_is_replaced
    saved::nothing_is_overwritten
}

/// A large file goes in parts, and what a client has put keeps its content type. `--files` goes before the setting.
#[tokio::test]
async fn files_go_to_another_bucket_and_to_a_directory() {
    const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    let place = Place::with_bucket().await;
    let mut server = place.server().start().await;
    let john = server.log_in(JOHN).await;
    let large: Vec<u8> = (0..12_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (_, id) = send_file(&john, &large).await;
    let wish = json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"});
    let wished = john.post("/file-new/get-upload-url", &wish).await.json();
    let url = wished["data"]["uploadUrlData"]["uploadURL"].as_str().unwrap_or_else(|| panic!("{wished}"));
    let put = http().put(url).header("Content-Type", "image/png").body(PICTURE).send().await.unwrap();
    assert_eq!(put.status(), 200);
    server.stop().await;
    let archive = place.archive();
    succeeded(&place.command(&["backup", path(&archive)]).await);
    let saved = Archive::read(&archive).files;
    let (picture, _) = saved.iter().find(|(_, bytes)| bytes == PICTURE).unwrap();

    let other = place.elsewhere().await;
    succeeded(&other.command(&["restore", path(&archive)]).await);
    let bucket = other.bucket.as_ref().unwrap();
    let found = http().get(format!("{}/some/prefix/{picture}", bucket.url())).send().await.unwrap();
    assert_eq!((found.status().as_u16(), &found.headers()["Content-Type"]), (200, &"image/png".parse().unwrap()));
    let mut server = other.start().await;
    assert!(file(&server.client().with_session(john.session()), &id).await == large, "the large file is the same");
    server.stop().await;
    assert!(bucket.unfinished().is_empty());

    let third = place.elsewhere().await;
    let directory = third.directory.path().join("files");
    succeeded(&third.command(&["restore", path(&archive), "--files", &format!("file:{}", directory.display())]).await);
    assert_eq!((files_below(&directory).len(), files_below(&third.files()).len()), (2, 0));
}

/// A bucket that is gone is no bucket without files.
#[tokio::test]
async fn without_its_bucket_a_store_is_not_saved() {
    let place = Place::with_bucket().await;
    let mut server = place.server().start().await;
    send_file(&server.log_in(JOHN).await, b"bytes").await;
    server.stop().await;
    place.bucket.as_ref().unwrap().vanish();
    let said = refused(&place.run("backup", &place.archive()).await);
    assert!(said.contains("files: ") && said.contains("NoSuchBucket"), "{said}");
    assert!(std::fs::read_dir(place.directory.path()).unwrap().next().is_none(), "nothing is left");
}
