//! A published client, unchanged: OdooRPC logs in, calls a route of ours and fails as it does with Odoo.

use tokio::process::Command;

use crate::on_every_backend;

on_every_backend! {
    /// `odoorpc.py` beside this file says what it does.
    async fn odoorpc_finds_its_odoo(server) {
        let python = std::env::var("DRAGOMAN_TEST_PYTHON").expect("run the tests with .ci/test, which installs OdooRPC");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odoorpc.py");
        let port = server.address().port().to_string();
        // -I, because the script has the name of the module.
        let output = Command::new(python).args(["-I", script, &port]).kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n");
    }
}
