//! Tests of downloads as media players, browsers and caches request them: range requests, conditional requests, and addresses
//! that end in the file's name.

use reqwest::{Method, RequestBuilder, header::HeaderMap, multipart};
use serde_json::{Value, json};

use crate::{
    support::{ADMIN, Answer, BOB, Backend, Bucket, Client, JOHN, Server, http, token},
    with_every_backend,
};

const UID_OF_JOHN: i64 = 4;
const UUID_OF_ADMIN: &str = "75140d72-8b20-4549-885c-20599badb486";

/// First bytes of an MP4 file, then bytes that differ from place to place.
fn film() -> Vec<u8> {
    let head = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom".to_vec();
    head.into_iter().chain((0..400_000_u32).map(|number| (number % 251) as u8)).collect()
}

async fn attach(client: &Client, name: &str, bytes: Vec<u8>) -> Value {
    let form = multipart::Form::new().part("file", multipart::Part::bytes(bytes).file_name(name.to_owned()));
    let answer = Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Uploads a film to a public address.
async fn put(client: &Client) -> String {
    let wish = json!({"filename": "clip.mp4", "mimeType": "video/mp4", "type": "chat-images"});
    let urls = client.post("/file-new/get-upload-url", &wish).await.json()["data"]["uploadUrlData"].take();
    let put = http().put(urls["uploadURL"].as_str().unwrap()).header("Content-Type", "video/mp4").body(film());
    assert_eq!(Answer::of(put).await.status, 200);
    urls["resourceUrl"].as_str().unwrap().to_owned()
}

struct Got {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn get(request: RequestBuilder, headers: &[(&str, &str)]) -> Got {
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Got { status, headers, bytes: response.bytes().await.unwrap().into() }
}

/// Requests a file with ranges, conditions and `HEAD`, as a player, a browser or a cache does.
async fn is_served(ask: impl Fn(Method) -> RequestBuilder, bytes: &[u8], cache_control: &str, resource_policy: &str) {
    let size = bytes.len();
    let whole = get(ask(Method::GET), &[]).await;
    assert_eq!((whole.status, whole.bytes == bytes), (200, true));
    let tag = whole.header("etag").unwrap().to_owned();
    let modified = whole.header("last-modified").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{tag}");
    assert!(chrono::DateTime::parse_from_rfc2822(&modified).is_ok() && modified.ends_with(" GMT"), "{modified}");
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("content-length"), Some(size.to_string().as_str()));
    assert_eq!(whole.header("cache-control"), Some(cache_control));
    assert_eq!(whole.header("cross-origin-resource-policy"), Some(resource_policy));
    assert_eq!(whole.header("content-security-policy"), Some("sandbox"));
    // Safari first requests two bytes, and plays nothing without a partial answer.
    for (range, from, to) in [
        ("bytes=0-1".to_owned(), 0, 2),
        (format!("bytes=0-{}", size - 1), 0, size),
        ("bytes=65536-131071".to_owned(), 65_536, 131_072),
        ("bytes=300000-".to_owned(), 300_000, size),
        ("bytes=-7".to_owned(), size - 7, size),
        (format!("bytes={}-{}", size - 1, size * 2), size - 1, size),
    ] {
        for condition in [None, Some(tag.as_str()), Some(modified.as_str())] {
            let headers = [("Range", range.as_str())].into_iter().chain(condition.map(|condition| ("If-Range", condition)));
            let part = get(ask(Method::GET), &headers.collect::<Vec<_>>()).await;
            assert_eq!((part.status, part.bytes == bytes[from..to]), (206, true), "{range}, {condition:?}");
            assert_eq!(part.header("content-range"), Some(format!("bytes {from}-{}/{size}", to - 1).as_str()));
            assert_eq!(part.header("content-length"), Some((to - from).to_string().as_str()));
            assert_eq!((part.header("etag"), part.header("content-type")), (Some(tag.as_str()), whole.header("content-type")));
        }
    }
    let beyond = get(ask(Method::GET), &[("Range", &format!("bytes={size}-"))]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some(format!("bytes */{size}").as_str())));
    for headers in [
        [("Range", "bytes=0-1,4-5"), ("Accept", "*/*")],
        [("Range", "bytes=0-1"), ("If-Range", "\"another\"")],
        [("Range", "bytes=0-1"), ("If-Range", "Thu, 01 Jan 1970 00:00:01 GMT")],
        [("If-None-Match", "\"another\""), ("If-Modified-Since", modified.as_str())],
        [("If-Modified-Since", "Thu, 01 Jan 1970 00:00:01 GMT"), ("Accept", "*/*")],
    ] {
        let again = get(ask(Method::GET), &headers).await;
        assert_eq!((again.status, again.bytes.len()), (200, size), "{headers:?}");
    }
    for headers in [
        [("If-None-Match", tag.as_str()), ("Accept", "*/*")],
        [("If-None-Match", format!("\"another\", W/{tag}").as_str()), ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:01 GMT")],
        [("If-None-Match", "*"), ("Range", "bytes=0-1")],
        [("If-Modified-Since", modified.as_str()), ("Accept", "*/*")],
    ] {
        for method in [Method::GET, Method::HEAD] {
            let known = get(ask(method), &headers).await;
            assert_eq!((known.status, known.bytes.len()), (304, 0), "{headers:?}");
            assert_eq!((known.header("etag"), known.header("cache-control")), (Some(tag.as_str()), Some(cache_control)));
            assert_eq!(known.header("content-length").filter(|length| *length != size.to_string()), None);
        }
    }
    let head = get(ask(Method::HEAD), &[("Range", "bytes=0-1")]).await;
    assert_eq!((head.status, head.header("content-length"), head.bytes.len()), (200, Some(size.to_string().as_str()), 0));
    assert_eq!(head.header("etag"), Some(tag.as_str()));
}

async fn every_file_is_served(server: &Server) {
    const KEPT_BY_READERS: &str = "private, no-cache";
    let (john, stranger) = (server.log_in(JOHN).await, server.client());
    let id = attach(&john, "clip.mp4", film()).await["attachment_id"].take();
    let path = format!("/api/messaging/attachment/{id}");
    is_served(|method| john.request(method, &path), &film(), KEPT_BY_READERS, "same-site").await;
    let address = john.address_of(&id).await;
    is_served(|method| stranger.request(method, &address), &film(), KEPT_BY_READERS, "cross-origin").await;

    let part = multipart::Part::bytes(film()).file_name("clip.mp4");
    let form = multipart::Form::new().text("receiver", UUID_OF_ADMIN).part("attached_file", part);
    let sent = server.client().request(Method::POST, "/chat/attachment/").bearer_auth(token(UID_OF_JOHN)).multipart(form);
    let sent = Answer::of(sent).await.json();
    let address = sent["entity"]["message"]["attached_file"].as_str().unwrap_or_else(|| panic!("{sent}"));
    assert!(address.ends_with("/clip.mp4"), "{address}");
    is_served(|method| stranger.request(method, address), &film(), KEPT_BY_READERS, "cross-origin").await;
}

with_every_backend! {
    /// From a directory, on every route.
    async fn files_come_in_parts_and_on_conditions(backend) {
        let mut server = Server::with_tokens(backend).await;
        every_file_is_served(&server).await;
        let url = put(&server.log_in(JOHN).await).await;
        let kept = "public, max-age=86400, immutable";
        is_served(|method| http().request(method, &url), &film(), kept, "cross-origin").await;
        server.stop().await;
    }
}

/// From a bucket, and from memory.
#[tokio::test]
async fn wherever_files_are_kept_they_come_in_parts() {
    let bucket = Bucket::start().await;
    let in_bucket = bucket.holds_the_files_of(Server::builder(Backend::memory()));
    for builder in [in_bucket, Server::builder(Backend::memory()).set("FILES", "memory:")] {
        let mut server = builder.with_tokens().start().await;
        every_file_is_served(&server).await;
        server.stop().await;
    }
}

/// Conditional and range requests for the picture of a user.
#[tokio::test]
async fn a_picture_of_a_user_is_not_sent_again() {
    let mut server = Server::demo(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    let session = john.result("/im_chat/api/get_or_create_session", json!({"user_to": 2})).await;
    let path = format!("/im_chat/image/{}/2", session["uuid"].as_str().unwrap());
    let picture = get(john.request(Method::GET, &path), &[]).await;
    assert_eq!((picture.status, picture.header("content-type")), (200, Some("image/png")));
    assert_eq!(picture.header("cache-control"), Some("private, no-cache"));
    let tag = picture.header("etag").unwrap();
    let known = get(john.request(Method::GET, &path), &[("If-None-Match", tag)]).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));
    let part = get(john.request(Method::GET, &path), &[("Range", "bytes=1-3")]).await;
    assert_eq!((part.status, part.bytes.as_slice()), (206, &picture.bytes[1..4]));
    let since = picture.header("last-modified").expect("files say since when they are what they are").to_owned();
    let known = get(john.request(Method::GET, &path), &[("If-Modified-Since", &since)]).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));
    server.stop().await;
}

/// The server ignores the name at an address's end. Only the token grants access.
#[tokio::test]
async fn an_address_ends_in_the_name_of_its_file() {
    let mut server = Server::demo(Backend::memory()).await;
    let (john, stranger) = (server.log_in(JOHN).await, server.client());
    for (name, end) in [
        ("bill.pdf", "bill.pdf"),
        ("my bill (1).pdf", "my%20bill%20%281%29.pdf"),
        ("100% ?#&\".pdf", "100%25%20%3F%23%26%22.pdf"),
        ("新建.txt", "%E6%96%B0%E5%BB%BA.txt"),
    ] {
        let file = attach(&john, name, b"hello".to_vec()).await;
        let address = john.address_of(&file["attachment_id"]).await;
        let token = file["access_token"].as_str().unwrap();
        assert_eq!(address, format!("/api/messaging/attachment/{}/{token}/{end}", file["attachment_id"]));
        let place = address.strip_suffix(end).unwrap();
        for address in
            [&address, &format!("{place}other.txt"), &format!("{address}?access_token={token}"), &format!("{address}/")]
        {
            assert_eq!(Answer::of(stranger.request(Method::GET, address)).await.body, "hello", "{address}");
        }
        for wrong in [place.replace(token, "wrong") + end, place.replace(token, &token.replace('-', "")) + end] {
            assert_eq!(Answer::of(stranger.request(Method::GET, &wrong)).await.status, 403, "{wrong}");
            assert_eq!(Answer::of(john.request(Method::GET, &wrong)).await.body, "hello", "who may read needs no token");
        }
    }
    let long = format!("{}.pdf", "日".repeat(251));
    let file = attach(&john, &long, b"hello".to_vec()).await;
    let address = john.address_of(&file["attachment_id"]).await;
    let (place, end) = address.rsplit_once('/').unwrap();
    assert!(end.len() <= 128 && end.starts_with("%E6%97%A5") && end.ends_with("%E6%97%A5.pdf"), "{end}");
    let whole = format!("{place}/{}.pdf", "%E6%97%A5".repeat(251));
    for address in
        [&address, &whole, &format!("{place}/bill.pdf"), &format!("{place}/%FF.pdf"), &format!("{place}/"), &place.to_owned()]
    {
        let got = get(stranger.request(Method::GET, address), &[]).await;
        assert_eq!((got.status, got.bytes.as_slice()), (200, b"hello".as_slice()), "{address}");
        let saved = got.header("content-disposition").unwrap();
        assert!(saved.ends_with(&format!("{}.pdf", "%E6%97%A5".repeat(251))), "{saved}");
    }
    server.stop().await;
}

/// Revocation of an address with the token in its path, as of one with the token in its query: it works only as long as its
/// reader may read the file.
#[tokio::test]
async fn an_address_counts_as_long_as_its_reader_may_read() {
    let mut server = Server::demo(Backend::memory()).await;
    let (admin, john, bob) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(BOB).await);
    let id = attach(&john, "bill.pdf", b"hello".to_vec()).await["attachment_id"].take();
    let sent = john.messaging("message/send", json!({"thread_id": 1, "body": "File", "attachment_ids": [id]})).await;
    let address = admin.address_of(&id).await;
    assert_eq!(Answer::of(bob.request(Method::GET, &address)).await.body, "hello");
    john.messaging("message/delete", json!({"message_id": sent["message_id"]})).await;
    assert_eq!(Answer::of(admin.request(Method::GET, &address)).await.status, 404);
    server.stop().await;
}
