//! Fixtures for tests of caches: events, messages and users.

use chrono::DateTime;
use storage::{
    Attachment, Author, ConversationId, Event, Fact, Media, Message, MessageId, MessageType, NO_CLIENT, Partner, PartnerId,
    Position, Role, Topic, User, UserId,
};
use uuid::Uuid;

pub(crate) const ANN: (UserId, PartnerId) = (UserId(4), PartnerId(5));
pub(crate) const BEN: (UserId, PartnerId) = (UserId(6), PartnerId(7));
pub(crate) const ROOM: ConversationId = ConversationId(1);

/// Events that invalidate everything that was read from the store.
pub(crate) fn store_wide_events() -> [Event; 2] {
    let restarted = Fact::LogRestarted { epoch: 1, from: Position(2), to: Position(9) };
    [Fact::StoreChanged, restarted].map(|fact| event(1, Topic::Partner(NO_CLIENT), fact))
}

pub(crate) fn erased((user, partner): (UserId, PartnerId)) -> Event {
    event(1, Topic::Partner(NO_CLIENT), Fact::UserErased { user, partner })
}

pub(crate) fn event(position: i64, topic: Topic, fact: Fact) -> Event {
    Event { position: Position(position), topic, fact, at: DateTime::UNIX_EPOCH }
}

pub(crate) fn message(id: i64, body: &str, files: &[i64]) -> Message {
    Message {
        id: MessageId(id),
        seq: id,
        conversation: ROOM,
        author: Author { partner: ANN.1, user: Some(ANN.0), name: "Ann".into() },
        message_type: MessageType::Text,
        body: body.into(),
        metadata: None,
        attachments: files.iter().map(|id| file(*id)).collect(),
        client_key: None,
        external_id: None,
        reply_to: None,
        support_side: None,
        held: false,
        created_at: DateTime::UNIX_EPOCH,
        edited_at: None,
        edited_by: None,
        deleted_at: None,
        deleted_by: None,
    }
}

pub(crate) fn file(id: i64) -> Attachment {
    Attachment {
        id: storage::AttachmentId(id),
        object: String::new(),
        name: format!("{id}.txt"),
        mimetype: "text/plain".into(),
        size_bytes: 0,
        access_token: "secret".into(),
        owner: ANN.1,
        created_at: DateTime::UNIX_EPOCH,
        media: Media::default(),
    }
}

pub(crate) fn user((id, partner): (UserId, PartnerId)) -> User {
    User {
        id,
        uuid: Uuid::from_u128(id.0.unsigned_abs().into()),
        login: None,
        password: None,
        partner: Partner { id: partner, name: String::new(), email: None, phone: None, mobile: None },
        role: Role::User,
        active: true,
        language: String::new(),
        time_zone: String::new(),
        profile: Default::default(),
        created_at: DateTime::UNIX_EPOCH,
        external_id: None,
        can_moderate: false,
        picture_url: None,
        claims_as_of: None,
        tokens_not_before: None,
        banned_until: None,
        muted_until: None,
        erased_at: None,
    }
}
