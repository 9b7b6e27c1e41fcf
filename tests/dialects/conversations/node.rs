//! Test of a Node client (`ws`) that exchanges the messages of the documentation.

use tokio::process::Command;

use super::{ADMIN, JOHN, url};
use crate::{support::token, with_tokens_on_every_backend};

with_tokens_on_every_backend! {
    /// Runs `node.js` beside this file.
    async fn a_client_of_node_is_understood(server) {
        let modules = std::env::var("DRAGOMAN_TEST_NODE_PATH").expect("run the tests with .ci/test, which installs ws");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialects/conversations/node.js");
        let addresses = [JOHN, ADMIN].map(|uid| url(server, 1, &token(uid)));
        let mut node = Command::new("node");
        node.arg(script).args(addresses).env("NODE_PATH", modules).kill_on_drop(true);
        let output = node.output().await.expect("node can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n");
    }
}
