//! Test of a Node client (`ws`) that sends the requests of the documentation.

use tokio::process::Command;

use super::{CONCIERGE, DEEPAK, address, start, token};
use crate::with_every_backend;

with_every_backend! {
    /// Runs `node.js` beside this file.
    async fn a_client_of_node_is_understood(backend) {
        let mut server = start(backend).await;
        let modules = std::env::var("DRAGOMAN_TEST_NODE_PATH").expect("run the tests with .ci/test, which installs ws");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialects/concierge/node.js");
        let addresses = [("uat", DEEPAK, "123-postman-321"), ("concierge", CONCIERGE, "desk")]
            .map(|(path, uid, device)| address(&server, &format!("/{path}?Auth={}&deviceId={device}", token(uid))));
        let mut node = Command::new("node");
        node.arg(script).args(addresses).env("NODE_PATH", modules).kill_on_drop(true);
        let output = node.output().await.expect("node can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n");
        server.stop().await;
    }
}
