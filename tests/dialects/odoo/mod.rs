//! Tests of the `odoo` dialect: the cookie session and the JSON-RPC envelope.

mod administration;
mod content;
mod cors;
mod envelope;
mod jsonrpc;
mod limits;
mod login;
mod passwords;
mod server;
mod session;
mod settings;

use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::support::{Answer, Client};

const AUTHENTICATE: &str = "/web/session/authenticate";
const CHECK: &str = "/web/session/check";
const INFO: &str = "/web/session/get_session_info";
const DESTROY: &str = "/web/session/destroy";
const VERSION: &str = "/web/webclient/version_info";

/// Posts a raw call.
async fn raw(client: &Client, path: &str, body: &str) -> Answer {
    typed(client, path, "application/json", body).await
}

/// Posts a body of any content type.
async fn typed(client: &Client, path: &str, kind: &str, body: &str) -> Answer {
    Answer::of(client.request(Method::POST, path).header(CONTENT_TYPE, kind).body(body.to_owned())).await
}

/// Makes a call that fails, and returns the error.
async fn fault(client: &Client, path: &str, params: Value) -> Value {
    let answer = client.call(path, params).await;
    assert!(answer.get("result").is_none(), "{path}: {answer}");
    answer["error"].clone()
}

fn credentials(login: &str, password: &str) -> Value {
    json!({"db": "odoo2", "login": login, "password": password})
}

/// True if the session is alive. Panics at an error other than "Session expired".
async fn is_alive(client: &Client) -> bool {
    let answer = client.call(CHECK, json!({})).await;
    match answer.get("error") {
        None => true,
        Some(error) => {
            assert_eq!(error["code"], 100, "{answer}");
            false
        }
    }
}
