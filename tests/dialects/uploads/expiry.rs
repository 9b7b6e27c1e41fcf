//! What nobody puts or names goes away again, in small steps.

use std::sync::Arc;

use bytes::Bytes;
use chrono::TimeDelta;
use dragoman::{
    auth::Caller,
    blobs::Blobs,
    chat::{Chat, Draft, Error, Rules, Thing},
    clock,
    config::Config,
    demo,
    lifecycle::Lifecycle,
    metrics::Metrics,
};
use futures_util::{StreamExt, stream};
use storage::{ConversationId, MessageType, NewUpload, Storage, UploadedFile, UserId, memory::Memory};
use uuid::Uuid;

use crate::support::files_below;

/// A chat whose uploads of other days can be written into its store: no test waits for a day.
struct Stage {
    storage: Arc<dyn Storage>,
    blobs: Blobs,
    chat: Chat,
    john: Caller,
}

impl Stage {
    async fn set(files: &std::path::Path) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        assert!(demo::load(storage.as_ref()).await.unwrap());
        let config = Config::load_defaults().unwrap();
        let lifecycle = Lifecycle::default();
        let blobs = Blobs::open(&format!("file:{}", files.display()), &lifecycle).unwrap();
        let rules = Rules {
            waiting_per_user: 1,
            upload_bytes: 1_000,
            uploads: config.uploads.rules(),
            presence: config.presence.rules(),
            recent_events: 16,
        };
        let metrics = Metrics::default();
        let (store, files) = (Arc::clone(&storage), blobs.clone());
        let chat = Chat::start(store, files, rules, metrics, Vec::new(), &lifecycle, &lifecycle).await.unwrap();
        let john = Caller::of(storage.user(UserId(4)).await.unwrap().unwrap());
        Self { storage, blobs, chat, john }
    }

    /// An upload whose time was over so many hours ago; gives its name.
    async fn uploaded(&self, hours_ago: i64, content: Option<&'static str>) -> String {
        let name = format!("chat-images/{}.txt", Uuid::new_v4());
        let expires_at = clock::now() - TimeDelta::hours(hours_ago);
        let new = NewUpload { name: name.clone(), owner: UserId(4), mimetype: "text/plain".into(), limit_bytes: 10, expires_at };
        let mut tx = self.storage.begin().await.unwrap();
        tx.insert_upload(new).await.unwrap();
        if let Some(content) = content {
            let stored = self.blobs.put(stream::iter([Ok(Bytes::from(content))]), 100).await.unwrap();
            let (mimetype, put_at) = (stored.mimetype.into(), expires_at);
            let file = UploadedFile { object: stored.object, mimetype, size_bytes: stored.size_bytes, put_at };
            assert!(tx.put_upload(&name, file).await.unwrap());
        }
        tx.commit().await.unwrap();
        name
    }

    async fn is_shown(&self, name: &str) -> bool {
        match self.chat.uploaded(name).await {
            Ok(shown) => shown.bytes.all(|piece| async move { piece.is_ok() }).await,
            Err(Error::NotFound(Thing::Attachment)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn say(&self, body: String) {
        let draft = Draft { message_type: MessageType::Text, body, attachments: Vec::new(), client_key: None };
        self.chat.send(&self.john, ConversationId(1), draft).await.unwrap();
    }
}

#[tokio::test]
async fn what_nobody_puts_or_names_goes_away() {
    let directory = tempfile::tempdir().unwrap();
    let stage = Stage::set(directory.path()).await;
    let old = stage.uploaded(30, Some("old")).await;
    let older = stage.uploaded(40, Some("older")).await;
    let never_put = stage.uploaded(50, None).await;
    let young = stage.uploaded(1, Some("young")).await;
    let named = stage.uploaded(60, Some("named")).await;
    stage.say(format!("Look: https://chat.example/files/{named}, and nothing more")).await;

    assert_eq!(files_below(directory.path()).len(), 4);
    assert_eq!(stage.chat.expire_uploads(2).await.unwrap(), 2, "in small steps, the oldest first");
    assert!(stage.is_shown(&old).await && !stage.is_shown(&older).await);
    assert_eq!(stage.storage.upload(&never_put).await.unwrap(), None);
    assert_eq!(stage.chat.expire_uploads(2).await.unwrap(), 1);
    assert_eq!(stage.chat.expire_uploads(2).await.unwrap(), 0);
    assert!(!stage.is_shown(&old).await);
    assert!(stage.is_shown(&young).await, "its day is not over");
    assert!(stage.is_shown(&named).await, "a message names it");
    assert_eq!(files_below(directory.path()).len(), 2, "the bytes went with the rest");
}
