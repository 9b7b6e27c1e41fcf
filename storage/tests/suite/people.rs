//! Fixtures of the suite: users, conversations and messages, and common operations on them.

use std::sync::Arc;

use storage::{
    Attachment, Author, Conversation, ConversationId, ConversationKind, DeletedMessage, Error, Fact, Locked, Media, Message,
    MessageType, NewAttachment, NewClientKey, NewConversation, NewMessage, NewPartner, NewUser, Page, PartnerId, PasswordHash,
    Role, Storage, ThreadType, Timestamp, Topic, Tx, User,
};
use uuid::Uuid;

/// A fixed time in the past plus this many seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp_micros(1_700_000_000_123_456 + seconds * 1_000_000).expect("is in chrono's range")
}

/// Pseudo-random numbers, the same in each run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

/// The constraint that refused a write.
#[track_caller]
pub(crate) fn conflict<T: std::fmt::Debug>(result: storage::Result<T>) -> &'static str {
    match result {
        Err(Error::Conflict(rule)) => rule,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

/// Does the work in a transaction and commits it.
pub(crate) async fn write<T>(store: &Arc<dyn Storage>, work: impl AsyncFnOnce(&mut dyn Tx) -> T) -> T {
    let mut tx = store.begin().await.unwrap();
    let result = work(&mut *tx).await;
    tx.commit().await.unwrap();
    result
}

pub(crate) fn new_partner(name: &str) -> NewPartner {
    NewPartner { id: None, name: name.to_owned(), email: None, phone: None, mobile: None }
}

/// A user whose login is its name.
pub(crate) fn new_user(name: &str) -> NewUser {
    NewUser {
        id: None,
        uuid: Uuid::new_v4(),
        login: Some(name.to_owned()),
        password: Some(PasswordHash("$argon2id$".to_owned())),
        external_id: None,
        partner: new_partner(name),
        role: Role::User,
        language: "en_US".to_owned(),
        time_zone: "UTC".to_owned(),
        profile: serde_json::json!({}),
        created_at: at(0),
    }
}

pub(crate) async fn users<const N: usize>(store: &Arc<dyn Storage>, names: [&str; N]) -> [User; N] {
    write(store, async |tx| {
        let mut users = Vec::new();
        for name in names {
            users.push(tx.insert_user(new_user(name)).await.unwrap());
        }
        users.try_into().expect("one for each name")
    })
    .await
}

pub(crate) fn new_conversation(participants: &[&User]) -> NewConversation {
    NewConversation {
        id: None,
        uuid: Uuid::new_v4(),
        kind: ConversationKind::Group,
        thread_type: ThreadType::Group,
        name: "A conversation".to_owned(),
        created_at: at(0),
        group: None,
        documents: Vec::new(),
        external_id: None,
        participants: participants.iter().map(|user| user.partner.id).collect(),
        owner: None,
    }
}

pub(crate) async fn conversation(store: &Arc<dyn Storage>, participants: &[&User]) -> ConversationId {
    write(store, async |tx| tx.insert_conversation(new_conversation(participants)).await.unwrap().id).await
}

/// Creates a conversation as [`conversation`] does, with its event.
pub(crate) async fn begin(store: &Arc<dyn Storage>, participants: &[&User]) -> ConversationId {
    write(store, async |tx| {
        let begun = tx.insert_conversation(new_conversation(participants)).await.unwrap();
        let id = begun.id;
        tx.record(Topic::Conversation(id), Fact::ConversationCreated(begun), at(0));
        id
    })
    .await
}

pub(crate) fn new_attachment(owner: &User, name: &str) -> NewAttachment {
    NewAttachment {
        object: Uuid::new_v4().to_string(),
        name: name.to_owned(),
        mimetype: "image/png".to_owned(),
        size_bytes: 5_000_000_000,
        access_token: "open sesame".to_owned(),
        owner: owner.partner.id,
        created_at: at(0),
        media: Media::default(),
    }
}

pub(crate) fn author(user: &User) -> Author {
    Author { partner: user.partner.id, user: Some(user.id), name: user.partner.name.clone() }
}

pub(crate) fn new_message(conversation: ConversationId, by: &User, body: &str) -> NewMessage {
    NewMessage {
        conversation,
        author: author(by),
        message_type: MessageType::Text,
        body: body.to_owned(),
        metadata: None,
        attachments: Vec::new(),
        client_key: None,
        external_id: None,
        reply_to: None,
        support_side: None,
        held: false,
        created_at: at(0),
    }
}

/// A client key. `words` stands for the content: other content under the same key is no retry.
pub(crate) fn client_key(key: &str, words: u8) -> NewClientKey {
    NewClientKey { key: key.to_owned(), hash: [words; 32] }
}

pub(crate) async fn lock(tx: &mut dyn Tx, id: ConversationId) -> Vec<Locked<Conversation>> {
    let locked = tx.lock_conversations(&[id]).await.unwrap();
    assert_eq!(locked.len(), 1);
    locked
}

/// Posts a message, with its event, in a transaction of its own.
pub(crate) async fn post(store: &Arc<dyn Storage>, new: NewMessage) -> Message {
    let mut tx = store.begin().await.unwrap();
    let to = lock(&mut *tx, new.conversation).await;
    let message = tx.insert_messages(to, vec![new]).await.unwrap().remove(0);
    tx.record(Topic::Conversation(message.conversation), Fact::MessagePosted(message.clone()), message.created_at);
    tx.commit().await.unwrap();
    message
}

pub(crate) async fn say(store: &Arc<dyn Storage>, conversation: ConversationId, by: &User, body: &str) -> Message {
    post(store, new_message(conversation, by, body)).await
}

/// Adds a participant from whom messages up to `visible_from_seq` are hidden, with the event.
pub(crate) async fn join(store: &Arc<dyn Storage>, room: ConversationId, who: &User, visible_from_seq: i64) {
    let partner = who.partner.id;
    write(store, async |tx| {
        let to = lock(tx, room).await;
        assert_eq!(tx.insert_participants(&to[0], &[partner], visible_from_seq, at(0)).await.unwrap(), [partner]);
        tx.record(Topic::Conversation(room), Fact::ParticipantJoined { partner, visible_from_seq }, at(0));
    })
    .await;
}

/// Removes a participant, with the events.
pub(crate) async fn leave(store: &Arc<dyn Storage>, room: ConversationId, who: &User) {
    let partner = who.partner.id;
    write(store, async |tx| {
        let from = lock(tx, room).await;
        assert!(tx.delete_participant(&from[0], partner).await.unwrap());
        for topic in [Topic::Conversation(room), Topic::Partner(partner)] {
            tx.record(topic, Fact::ParticipantLeft { conversation: room, partner }, at(0));
        }
    })
    .await;
}

pub(crate) async fn file(store: &Arc<dyn Storage>, owner: &User, name: &str) -> Attachment {
    write(store, async |tx| tx.insert_attachment(new_attachment(owner, name)).await.unwrap()).await
}

/// Posts a message with files.
pub(crate) async fn send(store: &Arc<dyn Storage>, room: ConversationId, by: &User, files: &[&Attachment]) -> Message {
    let attachments = files.iter().copied().cloned().collect();
    post(store, NewMessage { attachments, ..new_message(room, by, "look") }).await
}

/// Deletes a message as its author does, with the event.
pub(crate) async fn delete(store: &Arc<dyn Storage>, message: &Message) -> DeletedMessage {
    let mut tx = store.begin().await.unwrap();
    let of = lock(&mut *tx, message.conversation).await;
    let deleted = tx.delete_message(&of[0], message.id, message.author.partner, at(9)).await.unwrap().unwrap();
    tx.record(Topic::Conversation(message.conversation), Fact::MessageDeleted(deleted.message.clone()), at(9));
    tx.commit().await.unwrap();
    deleted
}

/// Yields to other tasks for the duration of this many reads.
pub(crate) async fn hesitate(store: &Arc<dyn Storage>, reads: usize) {
    for _ in 0..reads {
        store.position().await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// The texts of a page, concatenated.
pub(crate) async fn bodies(store: &Arc<dyn Storage>, room: ConversationId, reader: &User, page: Page) -> String {
    let page = store.messages(room, reader.partner.id, page).await.unwrap();
    page.into_iter().map(|seen| seen.message.body).collect()
}

/// Marks as read up to `seq`, and returns the number of messages that became read.
pub(crate) async fn read_up_to(store: &Arc<dyn Storage>, of: ConversationId, reader: PartnerId, seq: i64) -> i64 {
    write(store, async |tx| tx.advance_read(of, reader, seq).await.unwrap().newly_read).await
}
