//! Tests that the program's log holds no secrets, at its most verbose level.

use reqwest::{Method, header::CONTENT_TYPE, multipart};
use serde_json::{Value, json};

use crate::{
    on_every_backend,
    support::{Answer, JANE, JOHN, PASSWORD, Server},
};

/// A wrong password.
const MISTYPED: &str = "mistyped-4711";
/// Texts that only their sender may know.
const QUERY: &str = "in-the-query-4712";
const BODY: &str = "in-the-message-4713";
const IN_THE_FILE: &str = "in-the-file-4714";

/// Makes requests with secrets, valid and invalid. Returns the secrets.
async fn exercise(server: &Server) -> Vec<String> {
    let john = server.log_in(JOHN).await;
    let session = john.session().expect("it is logged in").to_owned();
    let params = json!({"db": "odoo2", "login": JANE, "password": MISTYPED});
    john.call("/web/session/authenticate", params.clone()).await;
    let arguments = json!(["odoo2", JANE, MISTYPED]);
    john.call("/jsonrpc", json!({"service": "common", "method": "login", "args": arguments})).await;
    let broken = format!("{{\"params\": {params}, ");
    let request = john.request(Method::POST, "/web/session/authenticate").header(CONTENT_TYPE, "application/json").body(broken);
    Answer::of(request).await;

    let part = multipart::Part::bytes(IN_THE_FILE.as_bytes()).file_name("notes.txt");
    let upload =
        john.request(Method::POST, "/api/messaging/attachment/upload").multipart(multipart::Form::new().part("file", part));
    let uploaded: Value = Answer::of(upload).await.json();
    let (id, token) = (&uploaded["attachment_id"], uploaded["access_token"].as_str().expect("it has one").to_owned());
    for token in [token.as_str(), QUERY] {
        for address in [format!("{id}?access_token={token}"), format!("{id}/{token}/notes.txt"), format!("{id}/{token}")] {
            Answer::of(server.client().request(Method::GET, &format!("/api/messaging/attachment/{address}"))).await;
        }
    }
    let wish = json!({"filename": IN_THE_FILE, "mimeType": "text/plain", "type": "chat-images"});
    let given = john.post("/file-new/get-upload-url", &wish).await.json();
    let address = given["data"]["uploadUrlData"]["uploadURL"].as_str().expect("it has one");
    let (_, signature) = address.split_once("Signature=").expect("it is signed");
    for text in [IN_THE_FILE, "again"] {
        let put = crate::support::http().put(address).header(CONTENT_TYPE, "text/plain").body(text);
        Answer::of(put).await;
    }
    for path in [format!("/nowhere?token={QUERY}"), format!("/web/session/check?session_id={QUERY}&Auth={QUERY}")] {
        Answer::of(john.request(Method::GET, &path)).await;
        john.call(&path, json!({})).await;
    }
    john.messaging("message/send", json!({"thread_id": 1, "body": BODY, "attachment_ids": [id]})).await;
    john.messaging("partners/search", json!({"query": QUERY})).await;
    let mut tokens = Vec::new();
    for body in [json!({"login": JANE, "password": PASSWORD}), json!({})] {
        let pair = john.post("/auth/token", &body).await.json();
        tokens.extend(["access", "refresh"].map(|member| pair[member].as_str().expect("it has one").to_owned()));
    }
    john.post("/auth/token", &json!({"login": JANE, "password": MISTYPED})).await;
    for token in tokens.clone() {
        john.post("/auth/token/refresh", &json!({"refresh": token})).await;
        john.post("/auth/token/refresh", &json!({"refresh": token})).await;
        john.post("/auth/token/refresh", &json!([token])).await;
        for path in ["/auth/token".to_owned(), format!("/auth/token?token={token}")] {
            for scheme in ["Bearer", "Basic"] {
                let request = server.client().request(Method::GET, &path);
                Answer::of(request.header("Authorization", format!("{scheme} {token}"))).await;
            }
        }
    }
    // The session in a header instead of a cookie.
    let header = server.client().request(Method::POST, "/web/session/check").header("X-Openerp-Session-Id", &session);
    Answer::of(header.header(CONTENT_TYPE, "application/json").body("{}")).await;
    john.call("/web/session/destroy", json!({})).await;
    let secrets =
        [session, token, signature.to_owned(), PASSWORD.into(), MISTYPED.into(), QUERY.into(), BODY.into(), IN_THE_FILE.into()];
    for path in ["/ws/chat/room?token=", "/conversations/1?token=", "/concierge?deviceId=phone&Auth="] {
        for token in [tokens[0].as_str(), QUERY] {
            let address = server.url(&format!("{path}{token}")).replacen("http", "ws", 1);
            drop(tokio_tungstenite::connect_async(address).await);
        }
    }
    secrets.into_iter().chain(tokens).chain(["access_token=".into(), "argon2".into()]).collect()
}

/// Log lines with a secret. The demo password is a number that others may contain by chance.
fn leaks<'a>(log: &'a str, secrets: &[String]) -> Vec<&'a str> {
    let is_word = |line: &str, secret: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == secret);
    let holds = |line: &str, secret: &String| if secret == PASSWORD { is_word(line, secret) } else { line.contains(secret) };
    log.lines().filter(|line| secrets.iter().any(|secret| holds(line, secret))).collect()
}

on_every_backend! {
    async fn no_secret_is_ever_logged(server) {
        let secrets = exercise(server).await;
        server.terminate();
        let log = {
            crate::support::until("the end of the log", async || server.log().contains("stopped").then_some(())).await;
            server.log()
        };
        assert!(log.contains("/api/messaging/message/send"), "requests are logged: {log}");
        assert_eq!(leaks(&log, &secrets), Vec::<&str>::new());
    }
}

#[test]
fn a_leak_is_found() {
    let secrets = [PASSWORD.to_owned(), "f00".to_owned()];
    assert_eq!(leaks("DEBUG path=/a password=123456\nDEBUG micros=1234567", &secrets), ["DEBUG path=/a password=123456"]);
    assert_eq!(leaks("DEBUG path=/a?token=f00 ok", &secrets), ["DEBUG path=/a?token=f00 ok"]);
}
