//! Tests of the marker that ties a file storage to one store's workspace.

use sqlx::{Connection, PgConnection};

use super::{Place, name};
use crate::support::{Backend, Bucket, JOHN, MARKER, run, until};

/// The uuid of a store's workspace.
async fn workspace(backend: &Backend) -> String {
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let uuid = "SELECT value::json ->> 'uuid' FROM workspace WHERE key = 'workspace'";
    sqlx::query_scalar(uuid).fetch_one(&mut database).await.unwrap()
}

fn marker(place: &Place) -> String {
    std::fs::read_to_string(place.file(MARKER)).unwrap()
}

/// The last error line of a server that refuses to start with this store and file storage.
async fn refusal(backend: &Backend, place: &Place) -> String {
    let settings = place.swept_by(backend).environment();
    let environment: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let output = run(&["serve", "--listen", "127.0.0.1:0"], &environment, "").await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap().lines().last().unwrap().to_owned()
}

/// First start on a file storage, also on one with files but no marker, as the first release left it.
async fn a_place_gets_the_marker_of_its_store(place: Place) {
    let backend = Backend::postgres().await;
    let file = name();
    place.put(&file);
    for _ in 0..2 {
        let mut server = place.swept_by(&backend).start().await;
        server.log_in(JOHN).await;
        server.stop().await;
        assert_eq!(marker(&place).trim(), workspace(&backend).await);
    }
    assert!(place.has(&file));
    // A power cut can leave an empty marker.
    std::fs::write(place.file(MARKER), "").unwrap();
    place.swept_by(&backend).start().await.stop().await;
    assert_eq!(marker(&place).trim(), workspace(&backend).await);
}

async fn another_store_is_refused(place: Place) {
    let [owner, other] = [Backend::postgres().await, Backend::postgres().await];
    place.swept_by(&owner).start().await.stop().await;
    let before = marker(&place);
    let line = refusal(&other, &place).await;
    let [owner, other_uuid] = [workspace(&owner).await, workspace(&other).await];
    assert!(line.starts_with("dragoman: files: ") && line.contains(MARKER), "{line}");
    assert!(line.contains(&owner) && line.contains(&other_uuid), "{line}");
    assert_eq!(marker(&place), before);
    for nonsense in ["nobody's".to_owned(), "x".repeat(1_000_000)] {
        std::fs::write(place.file(MARKER), nonsense).unwrap();
        let line = refusal(&other, &place).await;
        assert!(line.starts_with("dragoman: files: ") && line.contains("no workspace"), "{line}");
    }
}

#[tokio::test]
async fn a_directory_gets_the_marker_of_its_store() {
    a_place_gets_the_marker_of_its_store(Place::directory()).await;
}

#[tokio::test]
async fn a_bucket_gets_the_marker_of_its_store() {
    a_place_gets_the_marker_of_its_store(Place::bucket().await).await;
}

/// A bucket without conditional writes.
#[tokio::test]
async fn a_simple_bucket_gets_the_marker_of_its_store() {
    a_place_gets_the_marker_of_its_store(Place::Bucket(Bucket::without_conditions().await)).await;
}

#[tokio::test]
async fn another_store_is_refused_a_directory() {
    another_store_is_refused(Place::directory()).await;
}

#[tokio::test]
async fn another_store_is_refused_a_bucket() {
    another_store_is_refused(Place::bucket().await).await;
}

/// Race of several nodes of one store for the marker of an empty file storage.
#[tokio::test]
async fn nodes_that_start_at_once_agree() {
    for place in [Place::directory(), Place::bucket().await, Place::Bucket(Bucket::without_conditions().await)] {
        let backend = Backend::postgres().await;
        // With a schema, but without a workspace's uuid.
        backend.administer(&["migrate"], "").await;
        let start = || place.swept_by(&backend).empty().start();
        let (one, two, three) = tokio::join!(start(), start(), start());
        for mut node in [one, two, three] {
            node.stop().await;
        }
        assert_eq!(marker(&place).trim(), workspace(&backend).await);
    }
}

/// A store in memory is gone at the program's end, so its files need no marker.
#[tokio::test]
async fn a_store_in_memory_leaves_no_marker() {
    let place = Place::directory();
    place.swept_by(&Backend::memory()).start().await.stop().await;
    assert!(!place.has(MARKER));
    // An existing marker is ignored, too.
    std::fs::write(place.file(MARKER), "another's").unwrap();
    place.swept_by(&Backend::memory()).start().await.stop().await;
}

/// A missing bucket does not prevent the start. The sweep deletes nothing before the bucket has its marker.
#[tokio::test]
async fn a_bucket_that_is_away_gets_its_marker_later() {
    let bucket = Bucket::start().await;
    bucket.vanish();
    let backend = Backend::postgres().await;
    let place = Place::Bucket(bucket);
    let mut server = place.swept_by(&backend).start().await;
    server.log_in(JOHN).await;
    let failed = "dragoman_orphan_sweeps_total{outcome=\"failed\"}";
    until("a failed sweep", async || (server.metric(failed).await >= 1.0).then_some(())).await;
    let orphan = name();
    place.put_old(&orphan);
    until("the end of the orphan", async || (!place.has(&orphan)).then_some(())).await;
    assert_eq!(marker(&place).trim(), workspace(&backend).await);
    server.stop().await;
}

/// An unreachable bucket.
#[tokio::test]
async fn a_bucket_that_does_not_answer_is_no_reason_not_to_start() {
    let mut bucket = Bucket::start().await;
    bucket.stop().await;
    let place = Place::Bucket(bucket);
    let mut server = place.swept_by(&Backend::postgres().await).start().await;
    server.log_in(JOHN).await;
    let warning = "no orphan sweep until";
    until(warning, async || server.log().contains(warning).then_some(())).await;
    server.stop().await;
}

/// Files of another workspace, moved here while the server runs.
#[tokio::test]
async fn a_marker_that_changes_ends_the_sweeps() {
    let place = Place::directory();
    let mut server = place.swept_by(&Backend::postgres().await).start().await;
    server.log_in(JOHN).await;
    std::fs::write(place.file(MARKER), uuid::Uuid::new_v4().to_string()).unwrap();
    super::next(&server, super::REFUSED).await;
    let orphan = name();
    place.put_old(&orphan);
    super::next(&server, super::REFUSED).await;
    assert!(place.has(&orphan));
    assert!(server.log().contains("the files belong to another workspace"), "{}", server.log());
    server.stop().await;
}
