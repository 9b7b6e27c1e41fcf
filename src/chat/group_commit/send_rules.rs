//! Validation of sends: reads the context of a batch in its transaction, and decides for each send whether it is stored, a
//! retry, or refused.

use std::collections::{HashMap, HashSet};

use storage::{
    Attachment, AttachmentId, Conversation, ConversationId, ConversationKind, KeyedMessage, Locked, Message, MessageId,
    NewClientKey, NewMessage, ParticipantStatus, PartnerId, SupportSession, Tx,
};

use super::{Locking, SendJob};
use crate::{
    chat::{
        conversations::must_be_open,
        error::{Error, ResourceKind, Result},
        support,
    },
    clock,
};

/// The send context: everything that validation needs from the store, for one batch.
pub(super) struct SendContext {
    conversations: HashMap<ConversationId, Locked<Conversation>>,
    /// Conversations that other transactions have locked.
    busy: HashSet<ConversationId>,
    /// The support sessions among the conversations.
    sessions: HashMap<ConversationId, SupportSession>,
    participating: HashMap<(ConversationId, PartnerId), ParticipantStatus>,
    sent: HashMap<(ConversationId, PartnerId, String), Vec<KeyedMessage>>,
    /// `seq` of each message that a send replies to.
    answered: HashMap<(ConversationId, MessageId), i64>,
    files: HashMap<AttachmentId, Attachment>,
}

pub(super) enum SendValidation {
    /// Not decided: another transaction has locked the conversation.
    Busy,
    /// An idempotent retry: the message that the first attempt stored.
    Retry(Message),
    New {
        message: NewMessage,
        /// A message whose client key has expired, and passes to this one.
        replaces_key_of: Option<MessageId>,
    },
}

impl SendContext {
    /// Locks the conversations of a batch, and reads the context.
    pub(super) async fn read(tx: &mut dyn Tx, batch: &[SendJob], locking: Locking) -> Result<Self> {
        let ids: Vec<_> = batch.iter().map(|send| send.to).collect();
        let (conversations, busy) = match locking {
            Locking::Wait => (tx.lock_conversations(&ids).await?, Vec::new()),
            Locking::Skip => tx.lock_free_conversations(&ids).await?,
        };
        let is_support = |conversation: &&Locked<Conversation>| conversation.kind == ConversationKind::Support;
        let sessions: Vec<_> = conversations.iter().filter(is_support).collect();
        let sessions = if sessions.is_empty() { Vec::new() } else { tx.support_sessions_of(&sessions).await? };
        let pairs: Vec<_> = batch.iter().map(|send| (send.to, send.author.partner)).collect();
        // A separate statement after the lock: the locking one sees the participants as they were before its wait.
        let participating = tx.participant_statuses(&pairs).await?;
        let keys: Vec<_> = batch.iter().filter_map(SendJob::client_key).collect();
        let sent = tx.messages_by_client_key(&keys).await?;
        let answered: Vec<_> = batch.iter().filter_map(|send| Some((send.to, send.draft.reply_to?))).collect();
        let answered = tx.seqs_of(&answered).await?;
        let files: Vec<_> = batch.iter().flat_map(|send| send.draft.attachments.iter().copied()).collect();
        let files = tx.attachments_to_send(&files).await?;
        let mut sent_with: HashMap<_, Vec<_>> = HashMap::new();
        for known in sent {
            if let Some(key) = known.message.client_key.clone() {
                sent_with.entry((known.message.conversation, known.message.author.partner, key)).or_default().push(known);
            }
        }
        Ok(Self {
            conversations: conversations.into_iter().map(|conversation| (conversation.id, conversation)).collect(),
            busy: busy.into_iter().collect(),
            sessions: sessions.into_iter().map(|session| (session.conversation, session)).collect(),
            participating,
            sent: sent_with,
            answered,
            files: files.into_iter().map(|file| (file.id, file)).collect(),
        })
    }

    /// Validates one send.
    pub(super) fn validate(&self, send: &SendJob) -> Result<SendValidation> {
        if self.busy.contains(&send.to) {
            return Ok(SendValidation::Busy);
        }
        let conversation = self.conversations.get(&send.to).ok_or(Error::NotFound(ResourceKind::Conversation))?;
        let standing = self.participating.get(&(send.to, send.author.partner)).ok_or(Error::Forbidden)?;
        let now = clock::now();
        let first = self.first_with_key(send);
        if let Some(first) = first.filter(|first| now - first.created_at < send.retry) {
            return Ok(SendValidation::Retry(first.clone()));
        }
        must_be_open(conversation)?;
        let support_side = match conversation.kind {
            ConversationKind::Direct | ConversationKind::Group => None,
            ConversationKind::Support => {
                let session = self.sessions.get(&send.to).ok_or(Error::NotFound(ResourceKind::Conversation))?;
                Some(support::side_of(session, send.author.partner)?)
            }
        };
        if let Some(reply_to) = send.draft.reply_to
            && self.answered.get(&(send.to, reply_to)).is_none_or(|seq| *seq <= standing.visible_from_seq)
        {
            return Err(Error::NotFound(ResourceKind::Message));
        }
        let attachments = send.draft.attachments.iter().map(|id| match self.files.get(id) {
            Some(file) if file.owner == send.author.partner => Ok(file.clone()),
            // The same error for a missing file: its existence is not disclosed.
            Some(_) | None => Err(Error::Forbidden),
        });
        let message = NewMessage {
            conversation: send.to,
            author: send.author.clone(),
            message_type: send.draft.message_type,
            body: send.draft.body.clone(),
            metadata: send.draft.metadata.clone(),
            attachments: attachments.collect::<Result<_>>()?,
            client_key: send.client_key.clone(),
            external_id: None,
            reply_to: send.draft.reply_to,
            support_side,
            held: send.draft.held,
            created_at: now,
        };
        Ok(SendValidation::New { message, replaces_key_of: first.map(|first| first.id) })
    }

    /// Finds the message that was stored with the client key and the content of a send. Rows of the first release have no hash:
    /// there the content is compared, unless the message has changed since.
    fn first_with_key(&self, send: &SendJob) -> Option<&Message> {
        let NewClientKey { key, hash } = send.client_key.as_ref()?;
        let known = self.sent.get(&(send.to, send.author.partner, key.clone()))?;
        let is_same = |known: &&KeyedMessage| match &known.hash {
            Some(known) => known == hash,
            None => {
                known.message.edited_at.is_some()
                    || known.message.deleted_at.is_some()
                    || send.draft.has_content_of(&known.message)
            }
        };
        known.iter().find(is_same).map(|known| &known.message)
    }

    /// The locked conversations, for the insertion.
    pub(super) fn into_conversations(self) -> Vec<Locked<Conversation>> {
        self.conversations.into_values().collect()
    }
}
