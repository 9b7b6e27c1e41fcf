//! Tests of JWKS: the keys of an authentication service, from a file or from its URL.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::{
    assert_refused, holder,
    making::{EC, Key, OTHER_EC, OTHER_RSA, RSA, RSA_PUBLIC, SECRET, claims, sign},
    uid,
};
use crate::support::{Backend, Server, until};

const UNKNOWN: &str = "unknown key";

fn token(key: Key, id: Option<&str>) -> String {
    sign(key, id, &claims(json!({})))
}

fn set(keys: &[Value]) -> Value {
    json!({"keys": keys})
}

/// An authentication service that only publishes keys.
struct Service {
    url: String,
    /// `None` during an outage.
    keys: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Service {
    async fn with(keys: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().unwrap());
        let (keys, asked) = (Arc::new(Mutex::new(Some(keys))), Arc::<AtomicUsize>::default());
        let (published, counted) = (Arc::clone(&keys), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && connection.read_buf(&mut request).await.unwrap() > 0 {}
                let (status, body) = match &*published.lock() {
                    Some(keys) => ("200 OK", keys.to_string()),
                    None => ("500 Out Of Order", "{}".into()),
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, keys, asked, serving }
    }

    fn publish(&self, keys: Option<Value>) {
        *self.keys.lock() = keys;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn server(jwks: &str, pause_seconds: u64) -> Server {
    let server = Server::builder(Backend::memory()).set("TOKENS__JWKS", jwks);
    server.set("TOKENS__JWKS_PAUSE_SECONDS", pause_seconds).start().await
}

/// Key rotation, and an outage of the service.
#[tokio::test]
async fn keys_are_loaded_when_they_are_needed() {
    let service = Service::with(set(&[Key::Rsa(RSA).published("1")])).await;
    let mut server = server(&service.url, 0).await;
    assert_eq!(service.asked(), 0, "the service may start after us");
    assert_eq!(uid(&server, &token(Key::Rsa(RSA), Some("1"))).await, 4);
    assert_eq!(uid(&server, &token(Key::Rsa(RSA), None)).await, 4, "without naming its key");
    assert_refused(&server, "another key of that name", &token(Key::Rsa(OTHER_RSA), Some("1")), "invalid signature").await;
    assert_eq!(service.asked(), 1, "known keys are not asked for again");

    service.publish(Some(set(&[Key::Rsa(RSA).published("1"), Key::Ec(EC).published("2")])));
    assert_eq!(uid(&server, &token(Key::Ec(EC), Some("2"))).await, 4);
    assert_eq!(service.asked(), 2);

    service.publish(None);
    assert_refused(&server, "a key that cannot be asked for", &token(Key::Rsa(OTHER_RSA), Some("3")), UNKNOWN).await;
    assert!(server.log().contains("tokens.jwks not loaded"));
    assert_eq!(uid(&server, &token(Key::Rsa(RSA), Some("1"))).await, 4, "those that are known stay");
    assert_eq!(uid(&server, &token(Key::Ec(EC), Some("2"))).await, 4);

    service.publish(Some(set(&[Key::Rsa(OTHER_RSA).published("3")])));
    assert_eq!(uid(&server, &token(Key::Rsa(OTHER_RSA), Some("3"))).await, 4);
    assert_refused(&server, "a key that is no longer published", &token(Key::Rsa(RSA), Some("1")), UNKNOWN).await;
    server.stop().await;
}

/// Direct requests for keys: no redirects, which may lead to a foreign address (SSRF), and no proxies of the environment.
#[tokio::test]
async fn the_service_is_asked_directly() {
    let service = Service::with(set(&[Key::Rsa(RSA).published("1")])).await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", elsewhere.local_addr().unwrap());
    let redirecting = tokio::spawn({
        let location = service.url.clone();
        async move {
            let (mut connection, _) = elsewhere.accept().await.unwrap();
            assert_ne!(connection.read(&mut [0; 4096]).await.unwrap(), 0, "it asks");
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            connection.write_all(answer.as_bytes()).await.unwrap();
            connection.read_to_end(&mut Vec::new()).await.unwrap();
        }
    });
    let mut redirected = server(&url, 0).await;
    assert_eq!(holder(&redirected, &token(Key::Rsa(RSA), Some("1"))).await.status, 503);
    assert!(redirected.log().contains("answers 302 Found, and redirects are not followed"), "{}", redirected.log());
    redirecting.abort();
    redirected.stop().await;
    assert_eq!(service.asked(), 0);

    let proxied = Server::builder(Backend::memory()).set("TOKENS__JWKS", &service.url);
    let variables = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let proxied = variables.iter().fold(proxied, |server, name| server.env(name, "http://127.0.0.1:1"));
    let mut proxied = proxied.start().await;
    assert_eq!(uid(&proxied, &token(Key::Rsa(RSA), Some("1"))).await, 4);
    proxied.stop().await;
}

/// Static public key: independent of the service.
#[tokio::test]
async fn a_public_key_counts_while_the_service_is_out_of_order() {
    let service = Service::with(set(&[Key::Ec(EC).published("1")])).await;
    service.publish(None);
    let server = Server::builder(Backend::memory()).set("TOKENS__JWKS", &service.url).set("TOKENS__PUBLIC_KEY", RSA_PUBLIC);
    let mut server = server.set("TOKENS__JWKS_PAUSE_SECONDS", 0).start().await;
    for id in [None, Some("1")] {
        assert_eq!(uid(&server, &token(Key::Rsa(RSA), id)).await, 4);
    }
    assert_eq!(service.asked(), 0);
    assert_eq!(holder(&server, &token(Key::Ec(EC), Some("1"))).await.status, 503);
    service.publish(Some(set(&[Key::Ec(EC).published("1")])));
    assert_eq!(uid(&server, &token(Key::Ec(EC), Some("1"))).await, 4);
    server.stop().await;
}

#[tokio::test]
async fn invented_keys_are_asked_for_once() {
    let service = Service::with(set(&[Key::Rsa(RSA).published("1")])).await;
    let mut server = server(&service.url, 3600).await;
    for invented in ["a", "b", "c", "d"] {
        assert_refused(&server, invented, &token(Key::Rsa(RSA), Some(invented)), UNKNOWN).await;
    }
    assert_eq!(service.asked(), 1);
    assert_eq!(uid(&server, &token(Key::Rsa(RSA), Some("1"))).await, 4);
    server.stop().await;
}

/// Keys not loaded yet: unavailable, since a token cannot be verified.
#[tokio::test]
async fn before_the_service_has_answered_once_tokens_are_not_refused() {
    let service = Service::with(json!({})).await;
    service.publish(None);
    let mut server = server(&service.url, 0).await;
    let token = token(Key::Rsa(RSA), Some("1"));
    assert_eq!(holder(&server, &token).await.status, 503);
    service.publish(Some(set(&[Key::Rsa(RSA).published("1")])));
    assert_eq!(uid(&server, &token).await, 4);
    server.stop().await;
}

#[tokio::test]
async fn a_file_is_read_again_when_it_has_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let publish = |keys: &[Value]| std::fs::write(&path, set(keys).to_string()).unwrap();
    publish(&[Key::Rsa(RSA).published("1")]);
    let mut server = server(path.to_str().unwrap(), 0).await;
    assert_eq!(uid(&server, &token(Key::Rsa(RSA), Some("1"))).await, 4);
    assert_refused(&server, "before", &token(Key::Ec(EC), Some("2")), UNKNOWN).await;
    publish(&[Key::Ec(EC).published("2")]);
    until("the new key", async || (holder(&server, &token(Key::Ec(EC), Some("2"))).await.status == 200).then_some(())).await;
    server.stop().await;
}

/// Ignored keys: a symmetric one, one for encryption, one of another algorithm, and a malformed one.
#[tokio::test]
async fn keys_that_are_for_something_else_are_passed_over() {
    let mut for_encryption = Key::Rsa(RSA).published("encryption");
    for_encryption["use"] = "enc".into();
    let mut for_another = Key::Rsa(RSA).published("RS512");
    for_another["alg"] = "RS512".into();
    let symmetric = Key::Secret(SECRET).published("symmetric");
    let keys = [for_encryption, for_another, symmetric, json!({"kty": "?"}), json!(7), Key::Ec(EC).published("good")];
    let service = Service::with(set(&keys)).await;
    let mut server = server(&service.url, 0).await;
    for id in ["encryption", "RS512"] {
        assert_refused(&server, id, &token(Key::Rsa(RSA), Some(id)), UNKNOWN).await;
    }
    // Symmetric key: the demo's secret applies, which is another.
    assert_refused(&server, "symmetric", &token(Key::Secret(SECRET), Some("symmetric")), "invalid signature").await;
    assert_refused(&server, "of another", &token(Key::Ec(OTHER_EC), Some("good")), "invalid signature").await;
    assert_eq!(uid(&server, &token(Key::Ec(EC), Some("good"))).await, 4);
    server.stop().await;
}
