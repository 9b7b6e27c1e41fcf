//! The rules of sending.

use std::collections::{HashMap, HashSet};

use storage::{Attachment, AttachmentId, ClientKey, Conversation, ConversationId, Locked, Message, NewMessage, PartnerId, Tx};

use super::Send;
use crate::{
    chat::error::{Error, Result, Thing},
    clock,
};

/// What the rules need to know of the store to judge sends.
pub(super) struct Admission {
    conversations: HashMap<ConversationId, Locked<Conversation>>,
    participating: HashSet<(ConversationId, PartnerId)>,
    sent: HashMap<ClientKey, Message>,
    files: HashMap<AttachmentId, Attachment>,
}

pub(super) enum Judged {
    /// A retry: this is what was stored the first time.
    Sent(Message),
    New(NewMessage),
}

impl Admission {
    /// Locks the conversations of a batch, and reads what else there is to know.
    pub(super) async fn read(tx: &mut dyn Tx, batch: &[Send]) -> Result<Self> {
        let ids: Vec<_> = batch.iter().map(|send| send.to).collect();
        let conversations = tx.lock_conversations(&ids).await?;
        let pairs: Vec<_> = batch.iter().map(|send| (send.to, send.author.partner)).collect();
        // Not by the statement that locks: it would see who was in before it had to wait.
        let participating = tx.participating(&pairs).await?;
        let keys: Vec<_> = batch.iter().filter_map(Send::client_key).collect();
        let sent = tx.messages_by_client_key(&keys).await?;
        let files: Vec<_> = batch.iter().flat_map(|send| send.draft.attachments.iter().copied()).collect();
        let files = tx.attachments_to_send(&files).await?;
        Ok(Self {
            conversations: conversations.into_iter().map(|conversation| (conversation.id, conversation)).collect(),
            participating,
            sent: sent.into_iter().filter_map(|message| Some((client_key(&message)?, message))).collect(),
            files: files.into_iter().map(|file| (file.id, file)).collect(),
        })
    }

    /// The rules of sending, for one send.
    pub(super) fn judge(&self, send: &Send) -> Result<Judged> {
        let conversation = self.conversations.get(&send.to).ok_or(Error::NotFound(Thing::Conversation))?;
        if !self.participating.contains(&(send.to, send.author.partner)) {
            return Err(Error::Forbidden);
        }
        if let Some(message) = send.client_key().and_then(|key| self.sent.get(&key)) {
            return Ok(Judged::Sent(message.clone()));
        }
        if conversation.closed_at.is_some() {
            return Err(Error::Conflict("the conversation is closed"));
        }
        let attachments = send.draft.attachments.iter().map(|id| match self.files.get(id) {
            Some(file) if file.owner == send.author.partner => Ok(file.clone()),
            // Whether it exists is not for others to learn.
            Some(_) | None => Err(Error::Forbidden),
        });
        Ok(Judged::New(NewMessage {
            conversation: send.to,
            author: send.author.clone(),
            message_type: send.draft.message_type,
            body: send.draft.body.clone(),
            metadata: send.draft.metadata.clone(),
            attachments: attachments.collect::<Result<_>>()?,
            client_key: send.draft.client_key.clone(),
            held: send.draft.held,
            created_at: clock::now(),
        }))
    }

    /// The conversations, all of them locked.
    pub(super) fn into_conversations(self) -> Vec<Locked<Conversation>> {
        self.conversations.into_values().collect()
    }
}

fn client_key(message: &Message) -> Option<ClientKey> {
    message.client_key.clone().map(|key| (message.conversation, message.author.partner, key))
}
