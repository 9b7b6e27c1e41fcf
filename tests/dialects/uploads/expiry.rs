//! What nobody puts or names goes away again.

use serde_json::json;

use super::{PNG, get, upload, urls};
use crate::{
    support::{JOHN, Server, files_below, until},
    with_every_backend,
};

with_every_backend! {
    async fn what_nobody_puts_or_names_goes_away(backend) {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::builder(backend)
            .set("FILES", format!("file:{}", directory.path().display()))
            .set("UPLOADS__LIFETIME_SECONDS", 1)
            .set("UPLOADS__UNNAMED_SECONDS", 1)
            .set("RETENTION__EVERY_SECONDS", 1)
            .start()
            .await;
        let john = server.log_in(JOHN).await;
        let named = upload(&john, "named.png", "image/png", PNG).await;
        let body = format!("Look: {named}, and nothing more");
        john.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
        let unnamed = upload(&john, "unnamed.png", "image/png", PNG).await;
        let never_put = urls(&john, "never.png", "image/png").await;
        assert_eq!(files_below(directory.path()).len(), 2);

        until("the end of what nobody names", async || (get(&unnamed).await.status == 404).then_some(())).await;
        until("the end of its bytes", async || (files_below(directory.path()).len() == 1).then_some(())).await;
        assert_eq!(get(&named).await.status, 200, "a message names it");
        assert_eq!(get(&never_put.get).await.status, 404);
    }
}
