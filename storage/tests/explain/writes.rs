//! Rows read by writes to large conversations.

use std::cell::Cell;

use chrono::Utc;
use storage::{
    AttachmentId, Author, ClientKey, ConversationId, EventLog, Fact, MessageId, MessageType, NewMessage, PartnerId, Storage,
    Topic, WindowState, postgres::Postgres,
};

use crate::Explained;

/// Tests that sends and marks as read cost the same in large conversations as in others.
pub(crate) async fn to_what_is_large(on: &Explained) {
    let places = [
        ("a long conversation", ConversationId(1), PartnerId(1), PartnerId(2)),
        ("a busy person's conversation", ConversationId(5_000), PartnerId(3), PartnerId(100 + 4_990 % 500)),
        ("a crowd", ConversationId(2), PartnerId(1_001), PartnerId(4_000)),
    ];
    for (what, of, author, reader) in places {
        on.within(25, &format!("a message to {what}"), async |s| send(s, of, author).await).await;
        let window = async |s: &Postgres| {
            let mut tx = s.begin().await?;
            tx.set_conversation_settings(of, reader, Some(WindowState::Folded), None).await?;
            tx.commit().await
        };
        on.within(2, &format!("a window in {what}"), window).await;
        // Skips the history at once, then reads one message at a time.
        let mut tx = on.storage.begin().await.unwrap();
        tx.advance_read(of, reader, i64::MAX).await.unwrap();
        tx.commit().await.unwrap();
        let read = async |s: &Postgres| {
            send(s, of, author).await?;
            let mut tx = s.begin().await?;
            assert_eq!(tx.advance_read(of, reader, i64::MAX).await?.newly_read, 1);
            tx.commit().await
        };
        on.within(25 + 8, &format!("a mark as read in {what}"), read).await;
    }
    // Person 5 has written once, and marks nearly everything as read. The mark counts own messages among the skipped
    // ones. Further marks of the same reader never pass a message twice.
    let read = async |s: &Postgres| {
        let mut tx = s.begin().await?;
        tx.advance_read(ConversationId(1), PartnerId(5), 95_000).await?;
        tx.commit().await
    };
    on.within(95_000, "a mark as read of 95,000 messages", read).await;
    let edit = async |s: &Postgres| {
        let mut tx = s.begin().await?;
        let locked = tx.lock_conversations(&[ConversationId(1)]).await?;
        let now = Utc::now();
        tx.edit_message(&locked[0], MessageId(50_000), "again", PartnerId(1), now).await?;
        tx.delete_message(&locked[0], MessageId(50_001), PartnerId(1), now).await?;
        tx.commit().await
    };
    // Both rewrite a copy in the event log.
    on.within(30, "an edit and a deletion", edit).await;
    // Each run deletes another message, with another file.
    let next = Cell::new(60_000);
    let delete = async |s: &Postgres| {
        let id = next.replace(next.get() + 5);
        let mut tx = s.begin().await?;
        let locked = tx.lock_conversations(&[ConversationId(1)]).await?;
        let deleted = tx.delete_message(&locked[0], MessageId(id), PartnerId(1), Utc::now()).await?.unwrap();
        assert_eq!(deleted.files.len(), 1);
        tx.commit().await
    };
    on.within(40, "a deletion of a message with a file and reactions", delete).await;
    let delete = async |s: &Postgres| {
        let id = next.replace(next.get() + 5) / 5;
        let mut tx = s.begin().await?;
        assert_eq!(tx.delete_attachment(AttachmentId(id)).await?.unwrap().conversations, [ConversationId(1)]);
        tx.commit().await
    };
    on.within(20, "a deletion of a file", delete).await;
    let react = async |s: &Postgres| {
        let mut tx = s.begin().await?;
        let locked = tx.lock_conversations(&[ConversationId(1)]).await?;
        tx.insert_reaction(&locked[0], MessageId(50_010), PartnerId(2), "like", Utc::now()).await?;
        assert_eq!(tx.reaction_contents(&locked[0], MessageId(50_010)).await?, ["like"]);
        assert!(tx.delete_reaction(&locked[0], MessageId(50_010), PartnerId(2), "like").await?);
        tx.commit().await
    };
    on.within(12, "a reaction", react).await;
    // A thousand messages have the same key, and one of them the same content.
    let hash = |id: i64| {
        let mut hash = [0; 32];
        hash[24..].copy_from_slice(&id.to_be_bytes());
        hash
    };
    let retry = async |s: &Postgres| {
        let mut tx = s.begin().await?;
        let keys = [140_500, 7].map(|id| ClientKey {
            conversation: ConversationId(3),
            author: PartnerId(1),
            key: "again".to_owned(),
            hash: hash(id),
        });
        let known = tx.messages_by_client_key(&keys).await?;
        assert_eq!(known.iter().map(|known| known.message.id.0).collect::<Vec<_>>(), [140_500]);
        tx.release_client_keys(&[MessageId(next.replace(next.get() + 5))]).await?;
        Ok(())
    };
    on.within(20, "a retry with a key used again and again", retry).await;
    let forget = async |s: &Postgres| s.forget_events(Utc::now(), 50).await;
    assert_eq!(on.within(50 * 3, "forget_events", forget).await, 50);
}

async fn send(storage: &Postgres, to: ConversationId, author: PartnerId) -> storage::Result<()> {
    let now = Utc::now();
    let mut tx = storage.begin().await?;
    let locked = tx.lock_conversations(&[to]).await?;
    assert_eq!(tx.participant_statuses(&[(to, author)]).await?.len(), 1);
    tx.messages_by_client_key(&[ClientKey { conversation: to, author, key: "another".to_owned(), hash: [1; 32] }]).await?;
    let new = NewMessage {
        conversation: to,
        author: Author { partner: author, user: None, name: String::new() },
        message_type: MessageType::Text,
        body: "hello".to_owned(),
        metadata: None,
        attachments: Vec::new(),
        client_key: None,
        external_id: None,
        reply_to: None,
        support_side: None,
        held: false,
        created_at: now,
    };
    for message in tx.insert_messages(locked, vec![new]).await? {
        tx.record(Topic::Conversation(to), Fact::MessagePosted(message), now);
    }
    tx.commit().await.map(drop)
}
