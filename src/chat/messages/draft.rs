//! Draft of a message, and the result of its send.

use sha2::{Digest, Sha256};
use storage::{AttachmentId, ContentHash, Message, MessageId, MessageType, Metadata};

use crate::chat::{Error, Result, texts::check_bytes};

/// Depth limit of metadata. JSON parsers have limits, and the event log nests it further.
const METADATA_DEPTH: usize = 64;
/// Size limit of metadata, in bytes of JSON.
const METADATA_BYTES: usize = 16 * 1024;
/// Size limit of a client key, in bytes. Stores index it, and index keys are limited.
const CLIENT_KEY_BYTES: usize = 256;

/// A message to send.
#[derive(Clone, Debug)]
pub struct Draft {
    pub message_type: MessageType,
    pub body: String,
    /// Stored and returned unchanged.
    pub metadata: Option<Metadata>,
    /// The sender's own uploads, in the order of display; duplicates count once.
    pub attachments: Vec<AttachmentId>,
    /// The idempotency key: a retry with the same content stores nothing and returns the first message.
    pub client_key: Option<String>,
    /// The message of the same conversation that this one replies to.
    pub reply_to: Option<MessageId>,
    /// Held message: in the history at once, shown to present users when the sender says so. Ignored unless the sender has a
    /// socket to do so.
    pub held: bool,
}

impl Draft {
    /// Creates a draft of a text alone.
    pub fn new(message_type: MessageType, body: String) -> Self {
        Self { message_type, body, metadata: None, attachments: Vec::new(), client_key: None, reply_to: None, held: false }
    }

    /// Creates a draft with the type, text and attachments of a stored message.
    pub(in crate::chat) fn of(message: &Message) -> Self {
        let attachments = message.attachments.iter().map(|attachment| attachment.id).collect();
        Self { attachments, ..Self::new(message.message_type, message.body.clone()) }
    }

    /// SHA-256 of type, text and attachments. It distinguishes a retry from another message with the same client key.
    pub(in crate::chat) fn content_hash(&self) -> ContentHash {
        let mut hash = Sha256::new();
        hash.update(self.message_type.as_str());
        // Length prefix: different contents never give the same bytes.
        hash.update((self.body.len() as u64).to_be_bytes());
        hash.update(&self.body);
        for attachment in &self.attachments {
            hash.update(attachment.0.to_be_bytes());
        }
        hash.finalize().into()
    }

    /// True if a stored message has the same type, text and attachments.
    pub(in crate::chat) fn has_content_of(&self, message: &Message) -> bool {
        let attachments = message.attachments.iter().map(|attachment| attachment.id);
        self.message_type == message.message_type && self.body == message.body && attachments.eq(self.attachments.iter().copied())
    }

    /// Checks metadata and client key.
    pub(in crate::chat) fn check_metadata_and_key(&self) -> Result<()> {
        if let Some(metadata) = &self.metadata {
            if metadata.json().len() > METADATA_BYTES {
                return Err(Error::TooLong { field: "metadata", limit_bytes: METADATA_BYTES });
            }
            if metadata.depth() > METADATA_DEPTH {
                let reason = format!("must not be nested deeper than {METADATA_DEPTH} times").into();
                return Err(Error::Invalid { field: "metadata", reason });
            }
        }
        self.client_key.as_ref().map_or(Ok(()), |key| check_bytes("client key", key, CLIENT_KEY_BYTES))
    }
}

/// Result of a send.
#[derive(Clone, Debug)]
pub struct SendOutcome {
    pub message: Message,
    /// True for an idempotent retry: an earlier group commit has stored the message, with the same client key and content, and
    /// there is no new event. False for both of two such sends in one group commit.
    pub is_retry: bool,
}
