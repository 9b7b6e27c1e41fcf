//! Tests of NATS with an operator: accounts and users by signed JWTs, behind TLS.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{
    JOHN, PAIR, enter, send,
    start::{CUT_OFF, nats, port},
};
use crate::support::{self, Backend, Bus, Node, Server, until};

/// Permissions in a JWT: all.
fn limits() -> Value {
    json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    })
}

/// A JWT of one key about another, in the format of NATS.
fn jwt(signer: &KeyPair, subject: &KeyPair, expires: Option<i64>, nats: &Value) -> String {
    let mut claims = json!({
        "jti": "test", "iat": chrono::Utc::now().timestamp(), "iss": signer.public_key(), "sub": subject.public_key(),
        "name": "test", "nats": nats,
    });
    if let Some(expires) = expires {
        claims["exp"] = expires.into();
    }
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&claims));
    let signature = signer.sign(signed.as_bytes()).expect("it has a private key");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Writes a credentials file of a new user of an account.
fn credentials(directory: &Path, name: &str, account: &KeyPair, expires: Option<i64>) -> PathBuf {
    let user = KeyPair::new_user();
    let claims = json!({"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2});
    let jwt = jwt(account, &user, expires, &claims);
    let seed = user.seed().expect("it has a private key");
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    let file = directory.join(name);
    std::fs::write(&file, text).unwrap();
    file
}

async fn openssl(directory: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().await.unwrap();
    assert!(made.status.success(), "openssl {arguments}: {made:?}");
}

/// Creates an unknown certificate authority, and a certificate for NATS signed by it.
async fn certificates(directory: &Path) {
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let authority = "-x509 -days 2 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE";
    openssl(directory, &format!("req {new} {authority} -keyout authority.key -out authority.pem")).await;
    openssl(directory, &format!("req {new} -subj /CN=nats -keyout key.pem -out request.pem")).await;
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let signing = "-CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile names";
    openssl(directory, &format!("x509 -req -in request.pem {signing} -out certificate.pem")).await;
}

/// Starts a NATS server that knows the account.
fn with_operator(directory: &Path, account: &KeyPair) -> Child {
    let operator = KeyPair::new_operator();
    std::fs::write(directory.join("operator.jwt"), jwt(&operator, &operator, None, &json!({"type": "operator", "version": 2})))
        .unwrap();
    let known = jwt(&operator, account, None, &json!({"limits": limits(), "type": "account", "version": 2}));
    let (path, id) = (directory.display(), account.public_key());
    nats(
        directory,
        &format!(
            "listen: \"127.0.0.1:-1\"\noperator: \"{path}/operator.jwt\"\nresolver: MEMORY\n\
             resolver_preload {{ {id}: \"{known}\" }}\n\
             tls {{ cert_file: \"{path}/certificate.pem\", key_file: \"{path}/key.pem\" }}"
        ),
    )
}

/// Invalid credentials: the node reports them, and receives everything through the event log.
#[tokio::test]
async fn nodes_hear_each_other_with_credentials_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    certificates(path).await;
    let account = KeyPair::new_account();
    let _nats = with_operator(path, &account);
    let address = until("the port of NATS", async || port(path)).await;
    let (backend, bus) = (Backend::postgres().await, Bus::at(format!("tls://{address}")));
    let start = |credentials: PathBuf| {
        let server = Server::builder(backend.clone()).node(&bus).set("NATS__CREDENTIALS", credentials.display());
        server.set("NATS__AUTHORITIES", path.join("authority.pem").display()).start()
    };
    let mut here = start(credentials(path, "here", &account, None)).await;
    let mut there = start(credentials(path, "there", &account, None)).await;
    let mut stranger = start(credentials(path, "stranger", &KeyPair::new_account(), None)).await;
    let past = chrono::Utc::now().timestamp() - 60;
    let mut late = start(credentials(path, "late", &account, Some(past))).await;
    for node in [&here, &there] {
        node.ready().await;
    }
    for node in [&stranger, &late] {
        node.not_ready(CUT_OFF).await;
        until("that it says why", async || node.log().to_lowercase().contains("authorization violation").then_some(())).await;
        assert_eq!(node.metric("dragoman_bus_connected").await, 0.0);
    }
    let (john, admin) = (here.log_in(support::JOHN).await, there.log_in(support::ADMIN).await);
    until("a signal", async || {
        john.messaging("typing/start", json!({"thread_id": PAIR})).await;
        let typing = admin.messaging(&format!("typing/status/{PAIR}"), json!({})).await;
        typing["typing_users"].as_array().is_some_and(|typing| !typing.is_empty()).then_some(())
    })
    .await;
    for node in [&stranger, &late] {
        let mut socket = enter(node, JOHN, PAIR).await;
        let id = send(&admin, "to whoever is not trusted").await;
        // Earlier message: may come as well, since the node polls the event log at intervals.
        socket.hear_until(|told| told["message"]["id"] == *id.to_string()).await;
        socket.close().await;
    }
    for node in [&mut here, &mut there, &mut stranger, &mut late] {
        assert!(!node.log().contains("SUA"), "a seed is nothing for the log: {}", node.log());
        node.stop().await;
    }
}
