//! The tokens of Django's own library, unchanged.

use serde_json::Value;
use tokio::process::Command;

use super::{
    assert_refused,
    making::{EC, EC_PUBLIC, RSA, RSA_PUBLIC, SECRET},
    text, uid,
};
use crate::support::{Backend, Server};

/// An access token and a refresh token of the user with uid 4; `simplejwt.py` beside this file makes them.
async fn made_with(algorithm: &str, key: &str) -> [String; 2] {
    let python = std::env::var("DRAGOMAN_TEST_PYTHON").expect("run the tests with .ci/test, which installs simplejwt");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokens/simplejwt.py");
    let output = Command::new(python).args(["-I", script, algorithm, key]).kill_on_drop(true).output().await.unwrap();
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
        let [access, refresh] = made_with(algorithm, key).await;
        assert_eq!(uid(&server, &access).await, 4, "{algorithm}");
        assert_refused(&server, algorithm, &refresh, "it is not an access token").await;
        server.stop().await;
    }
}
