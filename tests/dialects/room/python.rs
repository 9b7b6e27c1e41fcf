//! Test of a Python client, written by the documentation.

use tokio::process::Command;

use super::{ADMIN, JOHN};
use crate::{
    support::{Server, token},
    with_every_backend,
};

with_every_backend! {
    /// Runs `client.py` beside this file.
    async fn a_python_client_chats(backend) {
        let mut server = Server::with_tokens(backend).await;
        let python = std::env::var("DRAGOMAN_TEST_PYTHON").expect("run the tests with .ci/test, which installs websockets");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialects/room/client.py");
        let address = server.address().to_string();
        let arguments = [script, &address, &token(JOHN.uid), JOHN.uuid, &token(ADMIN.uid), ADMIN.uuid];
        let output = Command::new(python).args(arguments).kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n");
        server.stop().await;
    }
}
