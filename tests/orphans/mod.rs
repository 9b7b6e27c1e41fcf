//! Tests of the orphan sweep: it deletes the objects that no row in the store names, and no others.

mod marker;

use std::{
    fs::File,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use reqwest::{Method, header::CONTENT_TYPE, multipart};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{Answer, Backend, Bucket, Client, JOHN, RawConnection, Server, ServerBuilder, files_below, http, until};

const DAY: Duration = Duration::from_secs(86_400);
const DONE: &str = "dragoman_orphan_sweeps_total{outcome=\"done\"}";
const REFUSED: &str = "dragoman_orphan_sweeps_total{outcome=\"refused\"}";

/// File storage of a server.
enum Place {
    Directory(TempDir),
    Bucket(Bucket),
}

impl Place {
    fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    async fn bucket() -> Self {
        Self::Bucket(Bucket::start().await)
    }

    /// Builder of a server with its files here and a sweep every second.
    fn swept_by(&self, backend: &Backend) -> ServerBuilder {
        let server = Server::builder(backend.clone()).set("RETENTION__SWEEP_EVERY_SECONDS", 1);
        match self {
            Self::Directory(directory) => server.set("FILES", format!("file:{}", directory.path().display())),
            Self::Bucket(bucket) => bucket.holds_the_files_of(server),
        }
    }

    fn file(&self, object: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.path().join(object),
            Self::Bucket(bucket) => bucket.file(object),
        }
    }

    /// Writes an object from outside the server.
    fn put(&self, object: &str) {
        let file = self.file(object);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "bytes").unwrap();
    }

    /// Sets an object's time to three days ago, beyond `retention.orphans_seconds`.
    fn age(&self, object: &str) {
        let file = File::options().write(true).open(self.file(object)).unwrap();
        file.set_modified(SystemTime::now() - 3 * DAY).unwrap();
    }

    fn put_old(&self, object: &str) {
        self.put(object);
        self.age(object);
    }

    fn has(&self, object: &str) -> bool {
        self.file(object).exists()
    }

    /// Names of all objects.
    fn objects(&self) -> Vec<String> {
        let root = self.file("");
        let name = |file: PathBuf| file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        files_below(&root).into_iter().map(name).collect()
    }
}

/// An object name in the form of the attachments.
fn name() -> String {
    format!("attachments/{}", Uuid::new_v4().simple())
}

/// An object name in the form of the uploads.
fn upload_name() -> String {
    format!("chat-images/{}.png", Uuid::new_v4())
}

/// Waits until a whole sweep has begun and ended with this outcome.
async fn next(server: &Server, outcome: &str) {
    // Waits for two, since the first may have begun earlier.
    let until_now = server.metric(outcome).await;
    until(outcome, async || (server.metric(outcome).await >= until_now + 2.0).then_some(())).await;
}

/// Sends a message with a file. Returns the attachment's id.
async fn send_file(client: &Client) -> Value {
    let file = multipart::Part::bytes(b"bytes".to_vec()).file_name("a.txt");
    let form = multipart::Form::new().part("file", file).text("thread_id", "1");
    let request = client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
    let id = Answer::of(request).await.json()["attachment_id"].clone();
    let sent = client.messaging("message/send", json!({"thread_id": 1, "body": "look", "attachment_ids": [id]})).await;
    assert_eq!(sent["success"], true, "{sent}");
    id
}

async fn only_old_orphans_go(place: Place) {
    let backend = Backend::postgres().await;
    let mut server = place.swept_by(&backend).start().await;
    let john = server.log_in(JOHN).await;
    let id = send_file(&john).await;
    let [named] = place.objects().try_into().unwrap();
    let young = name();
    place.put(&young);
    // Foreign objects: other names than the server's, or other folders.
    let uuid = Uuid::new_v4();
    let foreign = [
        "README".to_owned(),
        "attachments/README".to_owned(),
        format!("attachments/{uuid}"),
        format!("attachments/{}.bak", uuid.simple()),
        format!("attachments/below/{}", uuid.simple()),
        format!("{}", uuid.simple()),
        format!("others/{}", uuid.simple()),
        "chat-images/logo.png".to_owned(),
        format!("chat-images/{uuid}.html"),
    ];
    foreign.iter().for_each(|object| place.put_old(object));
    place.age(&named);
    let orphan = name();
    place.put_old(&orphan);
    until("the end of the orphan", async || (!place.has(&orphan)).then_some(())).await;
    next(&server, DONE).await;
    let mut expected = [&foreign[..], &[named, young]].concat();
    let mut left = place.objects();
    expected.sort_unstable();
    left.sort_unstable();
    assert_eq!(left, expected);
    assert!(server.metric("dragoman_orphans_deleted_total").await >= 1.0);
    let path = format!("/api/messaging/attachment/{id}");
    assert_eq!(Answer::of(john.request(Method::GET, &path)).await.body, "bytes");
    server.stop().await;
}

#[tokio::test]
async fn only_old_orphans_go_from_a_directory() {
    only_old_orphans_go(Place::directory()).await;
}

#[tokio::test]
async fn only_old_orphans_go_from_a_bucket() {
    only_old_orphans_go(Place::bucket().await).await;
}

/// The upload goes directly to the bucket, without a request to the server.
#[tokio::test]
async fn uploads_that_a_client_has_put_into_the_bucket_stay() {
    let place = Place::bucket().await;
    let mut server = place.swept_by(&Backend::postgres().await).start().await;
    let john = server.log_in(JOHN).await;
    let wish = json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"});
    let answer = john.post("/file-new/get-upload-url", &wish).await.json();
    let url = answer["data"]["uploadUrlData"]["uploadURL"].as_str().unwrap();
    let put = Answer::of(http().put(url).header(CONTENT_TYPE, "image/png").body("bytes")).await;
    assert_eq!(put.status, 200, "{put:?}");
    let [named] = place.objects().try_into().unwrap();
    assert!(named.starts_with("chat-images/"), "{named}");
    place.age(&named);
    let orphan = upload_name();
    place.put_old(&orphan);
    until("the end of the orphan", async || (!place.has(&orphan)).then_some(())).await;
    next(&server, DONE).await;
    assert_eq!(place.objects(), [named]);
    server.stop().await;
}

/// Partial upload of a killed process: the sweep deletes it once it is old.
#[tokio::test]
async fn the_parts_of_a_killed_upload_go() {
    let place = Place::directory();
    let mut server = place.swept_by(&Backend::postgres().await).start().await;
    let john = server.log_in(JOHN).await;
    let _connection = RawConnection::half_an_upload(&server, &john, 3_000_000, &"x".repeat(1024 * 1024)).await;
    let is_written = |object: &String| place.file(object).metadata().is_ok_and(|file| file.len() >= 512 * 1024);
    let part = until("most of what has come", async || place.objects().into_iter().find(is_written)).await;
    assert!(part.starts_with("attachments/") && part.ends_with("#1"), "{part}");
    let address = server.kill().await;
    server.start_again(address).await;
    next(&server, DONE).await;
    assert_eq!(place.objects(), [part.as_str()], "it is young, and could be another node's");
    let foreign = "attachments/notes#1";
    place.put_old(foreign);
    place.age(&part);
    until("the end of the part", async || (!place.has(&part)).then_some(())).await;
    next(&server, DONE).await;
    assert_eq!(place.objects(), [foreign]);
    server.stop().await;
}

/// Safety limit: the sweep refuses to delete more than one in twenty of all objects, unless they are fewer than 50.
async fn too_many_of_all_stay(place: Place, young: usize, orphans: usize) {
    (0..young).for_each(|_| place.put(&name()));
    (0..orphans).for_each(|_| place.put_old(&name()));
    let mut server = place.swept_by(&Backend::postgres().await).start().await;
    next(&server, REFUSED).await;
    assert_eq!(place.objects().len(), young + orphans);
    let figures = format!("orphans={orphans} objects={}", young + orphans);
    let is_warning = |line: &str| line.contains("WARN") && line.contains("orphan sweep refused") && line.contains(&figures);
    assert!(server.log().lines().any(is_warning), "{}", server.log());
    assert_eq!(server.metric(DONE).await + server.metric("dragoman_orphans_deleted_total").await, 0.0);
    // With this many objects the orphans are one in twenty.
    let enough = 20 * orphans - orphans;
    (young..enough).for_each(|_| place.put(&name()));
    until("the end of the orphans", async || (place.objects().len() == enough).then_some(())).await;
    place.objects().iter().for_each(|object| std::fs::remove_file(place.file(object)).unwrap());
    (0..49).for_each(|_| place.put_old(&name()));
    until("the end of a few", async || place.objects().is_empty().then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn too_many_of_all_stay_in_a_directory() {
    too_many_of_all_stay(Place::directory(), 949, 50).await;
}

/// A bucket lists a thousand objects a page.
#[tokio::test]
async fn too_many_of_all_stay_in_a_bucket() {
    too_many_of_all_stay(Place::bucket().await, 1_900, 101).await;
}

/// The sweep refuses to delete more than a thousand orphans, whatever their share.
#[tokio::test]
async fn more_than_a_thousand_stay() {
    let place = Place::directory();
    (0..20_000).for_each(|_| place.put(&name()));
    let orphans: Vec<_> = (0..1_001).map(|_| name()).collect();
    orphans.iter().for_each(|orphan| place.put_old(orphan));
    let mut server = place.swept_by(&Backend::postgres().await).start().await;
    next(&server, REFUSED).await;
    assert_eq!(place.objects().len(), 21_001);
    std::fs::remove_file(place.file(&orphans[0])).unwrap();
    until("the end of a thousand", async || (place.objects().len() == 20_000).then_some(())).await;
    server.stop().await;
}

/// An operator can postpone the sweeps, as after a restore of an older database.
#[tokio::test]
async fn sweeps_can_be_put_off() {
    let (place, backend) = (Place::directory(), Backend::postgres().await);
    let mut server = place.swept_by(&backend).start().await;
    let address = server.address();
    server.stop().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let mut not_before = async |time: &str| {
        let set = "UPDATE workspace SET value = (value::jsonb || jsonb_build_object('sweep_not_before', $1::text))::text
            WHERE key = 'workspace'";
        assert_eq!(sqlx::query(set).bind(time).execute(&mut database).await.unwrap().rows_affected(), 1);
    };
    not_before("2100-01-01T00:00:00Z").await;
    let orphan = name();
    place.put_old(&orphan);
    server.start_again(address).await;
    let asked = "dragoman_store_seconds_count{operation=\"insert workspace\"}";
    let before = server.metric(asked).await;
    until("three rounds", async || (server.metric(asked).await >= before + 3.0).then_some(())).await;
    assert!(place.has(&orphan) && server.metric(DONE).await == 0.0);
    not_before("2000-01-01T00:00:00Z").await;
    until("the end of the orphan", async || (!place.has(&orphan)).then_some(())).await;
    server.stop().await;
}

/// The first sweep waits for a whole period, so that an operator can notice a wrong setting.
#[tokio::test]
async fn nothing_is_swept_at_the_start() {
    let place = Place::directory();
    let orphan = name();
    place.put_old(&orphan);
    let server = place.swept_by(&Backend::postgres().await).set("RETENTION__SWEEP_EVERY_SECONDS", 3);
    let mut server = server.start().await;
    let started = Instant::now();
    until("the end of the orphan", async || (!place.has(&orphan)).then_some(())).await;
    assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
    server.stop().await;
}

/// A single node sweeps in each period, whatever their number.
#[tokio::test]
async fn one_node_sweeps_at_a_time() {
    let (place, backend) = (Place::directory(), Backend::postgres().await);
    let nodes = [place.swept_by(&backend).start().await, place.swept_by(&backend).start().await];
    let done = async || nodes[0].metric(DONE).await + nodes[1].metric(DONE).await;
    let before = done().await;
    let begun = Instant::now();
    until("five sweeps", async || (done().await >= before + 5.0).then_some(())).await;
    assert!(begun.elapsed() > Duration::from_secs(4), "the first of them may have begun before that");
    for mut node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn files_on_their_way_are_not_orphans() {
    let environment = [("DRAGOMAN__RETENTION__ORPHANS_SECONDS", "60"), ("DRAGOMAN__LIMITS__BODY_SECONDS", "60")];
    let output = crate::support::run(&["serve", "--listen", "127.0.0.1:0"], &environment, "").await;
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("retention.orphans_seconds must be greater than limits.body_seconds"), "{errors}");
}
