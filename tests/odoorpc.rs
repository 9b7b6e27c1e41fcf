//! Tests with OdooRPC, a published client: it logs in, calls one of the server's routes, and fails as it does with Odoo.

use tokio::process::Command;

use crate::{support::Server, with_every_backend};

/// Runs `odoorpc.py`, which describes itself.
async fn all_is_well(server: Server, version: &str) {
    let python = std::env::var("DRAGOMAN_TEST_PYTHON").expect("run the tests with .ci/test, which installs OdooRPC");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odoorpc.py");
    let port = server.address().port().to_string();
    // -I, because the script has the name of the module.
    let output = Command::new(python).args(["-I", script, &port, version]).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n");
}

with_every_backend! {
    /// Odoo 17: OdooRPC logs in over `/jsonrpc`, and with a session for routes that belong to no model.
    async fn odoorpc_finds_an_odoo_17(backend) {
        all_is_well(Server::demo(backend).await, "17.0").await;
    }

    /// Odoo 9: OdooRPC logs in with the session routes alone.
    async fn odoorpc_finds_an_odoo_9(backend) {
        all_is_well(Server::builder(backend).set("ODOO__SERVER_VERSION", "9.0c").start().await, "9.0c").await;
    }
}
