//! Tests of the published example, word for word.

use serde_json::{Value, json};

use super::{PNG, WISH, get, put};
use crate::{
    on_every_backend,
    support::{JOHN, Server},
    with_every_backend,
};

async fn published(server: &Server) -> Value {
    let john = server.log_in(JOHN).await;
    let answer = john.post(WISH, &json!({"filename": "512x512.png", "mimeType": "image/png", "type": "chat-images"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// True if the text is `before`, a uuid, and `after`.
fn is_new_name(text: &str, before: &str, after: &str) -> bool {
    let uuid = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    uuid.is_some_and(|uuid| uuid.len() == 36 && uuid::Uuid::try_parse(uuid).is_ok())
}

on_every_backend! {
    /// Exactly the published keys.
    async fn the_published_example_holds(server) {
        let answer = published(server).await;
        let data = &answer["data"]["uploadUrlData"];
        let expected = json!({
            "data": {"uploadUrlData": {
                "uploadURL": data["uploadURL"], "fileName": "512x512.png", "uploadPath": data["uploadPath"],
                "resourceUrl": data["resourceUrl"],
            }},
            "message": "Upload Url generated successfully!",
        });
        assert_eq!(answer, expected);
        let text = |key: &str| data[key].as_str().unwrap();
        assert!(is_new_name(text("uploadPath"), "/chat-images/", ".png"), "{data}");
        assert_eq!(text("resourceUrl"), server.url(&format!("/files{}", text("uploadPath"))));
        let query = text("uploadURL").strip_prefix(text("resourceUrl")).unwrap();
        assert!(query.starts_with("?Content-Type=image%2Fpng&"), "{query}");
        assert_eq!(put(text("uploadURL"), "image/png", PNG).await.status, 200);
        assert_eq!(get(text("resourceUrl")).await.status, 200);
    }
}

with_every_backend! {
    /// Settings of the types (folders) and of the public URL.
    async fn where_files_are_reached_can_be_set(backend) {
        let server = Server::builder(backend)
            .set("UPLOADS__PUBLIC_URL", "https://cdn.example/chat/")
            .set("UPLOADS__TYPES", "chat-images,voice")
            .start()
            .await;
        let data = &published(&server).await["data"]["uploadUrlData"];
        assert!(is_new_name(data["resourceUrl"].as_str().unwrap(), "https://cdn.example/chat/chat-images/", ".png"), "{data}");
        assert!(data["uploadURL"].as_str().unwrap().starts_with(&server.url("/files/chat-images/")), "{data}");
        let john = server.log_in(JOHN).await;
        let voice = john.post(WISH, &json!({"filename": "a", "mimeType": "audio/ogg", "type": "voice"})).await.json();
        assert!(is_new_name(voice["data"]["uploadUrlData"]["uploadPath"].as_str().unwrap(), "/voice/", ".ogg"), "{voice}");
    }
}
