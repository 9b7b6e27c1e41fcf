//! What whoever runs the server relies on.

use crate::{
    on_every_backend,
    support::{Backend, Server},
};

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

/// Addresses that clients are given cannot be where the server listens if that is everywhere.
#[tokio::test]
async fn who_listens_everywhere_is_to_say_how_to_be_reached() {
    const EVERYWHERE: &str = "0.0.0.0:0";
    for (base_url, warned) in [("", true), ("https://chat.example.com", false)] {
        let mut server = Server::builder(Backend::memory()).set("BASE_URL", base_url).start().await;
        server.stop().await;
        assert!(!server.log().contains("base_url"), "it listened at one address: {}", server.log());
        server.start_again(EVERYWHERE.parse().expect("it is an address")).await;
        assert_eq!(server.get("/healthz").await.status(), 200);
        assert_eq!(server.log().contains("base_url is not set"), warned, "{}", server.log());
        server.stop().await;
    }
}
