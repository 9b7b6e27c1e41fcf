//! Test of tokens made by Django's simplejwt.

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    assert_refused,
    making::{EC, EC_PUBLIC, RSA, RSA_PUBLIC, SECRET},
    text, uid,
};
use crate::support::{Backend, JOHN, PASSWORD, Server, Socket};

/// Makes an access token and a refresh token of a Django user with `simplejwt.py` beside this file.
async fn made_with(algorithm: &str, key: &str, id: &str) -> [String; 2] {
    let python = std::env::var("DRAGOMAN_TEST_PYTHON").expect("run the tests with .ci/test, which installs simplejwt");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokens/simplejwt.py");
    let output = Command::new(python).args(["-I", script, algorithm, key, id]).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    ["access", "refresh"].map(|member| text(&made, member))
}

#[tokio::test]
async fn tokens_of_simplejwt_let_in_as_they_come() {
    for (algorithm, key, setting, value) in [
        ("HS256", SECRET, "TOKENS__SECRET", SECRET),
        ("RS256", RSA, "TOKENS__PUBLIC_KEY", RSA_PUBLIC),
        ("ES256", EC, "TOKENS__PUBLIC_KEY", EC_PUBLIC),
    ] {
        let mut server = Server::builder(Backend::memory()).set(setting, value).start().await;
        let [access, refresh] = made_with(algorithm, key, "4").await;
        assert_eq!(uid(&server, &access).await, 4, "{algorithm}");
        assert_refused(&server, algorithm, &refresh, "not an access token").await;
        server.stop().await;
    }
}

/// External ids: both systems count users from one, so that an id there is no uid here.
#[tokio::test]
async fn djangos_user_17_is_nobody_until_linked_then_himself() {
    let backend = Backend::postgres().await;
    let mut server = Server::builder(backend.clone()).set("TOKENS__SECRET", SECRET).start().await;
    let link = async |login: &str, id: &str| backend.administer(&["user", "edit", login, "--external-id", id], "").await;
    // Uid of a user without an external id.
    let ours = backend.administer(&["user", "add", "anne@example.com", "--name", "Anne"], "a password\n").await;
    let uid_of_anne = ours.split("uid ").nth(1).and_then(|rest| rest.split(',').next()).expect("it prints the uid").to_owned();

    let [seventeen, _] = made_with("HS256", SECRET, "17").await;
    let [as_anne, _] = made_with("HS256", SECRET, &uid_of_anne).await;
    for (what, token, value) in [("nobody's uid", &seventeen, "17"), ("somebody's uid", &as_anne, uid_of_anne.as_str())] {
        assert_refused(&server, what, token, "unknown user").await;
        let log = server.log();
        let line = log.lines().rev().find(|line| line.contains("access token refused")).expect("it is there");
        assert!(line.contains("claim=\"user_id\"") && line.contains(&format!("value=\"{value}\"")), "{line}");
        let socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={token}"))).await;
        assert_eq!(socket.closed().await, 4003, "{what}");
    }

    link("anne@example.com", "17").await;
    assert_eq!(uid(&server, &seventeen).await.to_string(), uid_of_anne, "whom the token is of, and at once");
    assert_refused(&server, "still nobody", &as_anne, "unknown user").await;
    let pair = server.client().post("/auth/token", &json!({"login": "anne@example.com", "password": "a password"})).await.json();
    assert_eq!(uid(&server, &text(&pair, "access")).await.to_string(), uid_of_anne, "our own names her alike");
    let pair = server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await.json();
    assert_eq!(uid(&server, &text(&pair, "access")).await, 4);

    backend.administer(&["user", "edit", "anne@example.com", "--no-external-id"], "").await;
    crate::support::until("the end of the link", async || (super::holder(&server, &seventeen).await.status == 401).then_some(()))
        .await;
    server.stop().await;
}
