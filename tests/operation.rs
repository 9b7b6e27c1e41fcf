//! What whoever runs the server relies on.

use crate::on_every_backend;

on_every_backend! {
    /// Both say so once requests are served.
    async fn healthy_and_ready(server) {
        for path in ["/healthz", "/readyz"] {
            let answer = server.get(path).await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), serde_json::json!({"status": "pass"}), "{path}");
        }
    }
}
