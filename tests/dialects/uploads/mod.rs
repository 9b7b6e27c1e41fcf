//! Tests of the `uploads` dialect: one URL to put a file, another to get it.

mod bucket;
mod expiry;
mod putting;
mod refusals;
mod seed;
mod showing;

use reqwest::{
    Body, Method,
    header::{CONTENT_TYPE, HeaderName},
};
use serde_json::{Value, json};

use crate::support::{Answer, Client, http};

const WISH: &str = "/file-new/get-upload-url";
/// Header of a PNG picture, enough to detect the type.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";

/// URLs of one upload.
#[derive(Clone, Debug)]
struct Urls {
    put: String,
    get: String,
    path: String,
}

/// Requests an upload grant.
async fn wish(client: &Client, filename: &str, mimetype: &str) -> Answer {
    client.post(WISH, &json!({"filename": filename, "mimeType": mimetype, "type": "chat-images"})).await
}

/// Requests an upload grant, which is given.
async fn urls(client: &Client, filename: &str, mimetype: &str) -> Urls {
    let answer = wish(client, filename, mimetype).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let data = &answer.json()["data"]["uploadUrlData"];
    let text = |key: &str| data[key].as_str().unwrap_or_else(|| panic!("{key} is a text: {data}")).to_owned();
    Urls { put: text("uploadURL"), get: text("resourceUrl"), path: text("uploadPath") }
}

async fn put(url: &str, mimetype: &str, body: impl Into<Body>) -> Answer {
    Answer::of(http().put(url).header(CONTENT_TYPE, mimetype).body(body)).await
}

/// Uploads a file, and returns its URL.
async fn upload(client: &Client, filename: &str, mimetype: &str, body: impl Into<Body>) -> String {
    let urls = urls(client, filename, mimetype).await;
    let answer = put(&urls.put, mimetype, body).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""), "{answer:?}");
    urls.get
}

async fn get(url: &str) -> Answer {
    Answer::of(http().get(url)).await
}

async fn head(url: &str) -> Answer {
    Answer::of(http().request(Method::HEAD, url)).await
}

fn header(answer: &Answer, name: HeaderName) -> Option<&str> {
    answer.headers.get(name).map(|value| value.to_str().expect("it is plain"))
}

/// Status and message of a refusal; asserts that it has nothing else.
fn refusal(answer: &Answer) -> (u16, String) {
    let whole = answer.json();
    assert_eq!(whole.as_object().map(serde_json::Map::len), Some(1), "{answer:?}");
    let Value::String(message) = &whole["message"] else { panic!("it holds a message: {answer:?}") };
    (answer.status.as_u16(), message.clone())
}
