//! The rules of sending.

use std::collections::{HashMap, HashSet};

use storage::{
    Attachment, AttachmentId, Conversation, ConversationId, ConversationKind, KeyedMessage, Locked, Message, MessageId,
    NewClientKey, NewMessage, PartnerId, Standing, SupportSession, Tx,
};

use super::{Locking, Send};
use crate::{
    chat::{
        conversations::must_be_open,
        error::{Error, Result, Thing},
        support,
    },
    clock,
};

/// What the rules need to know of the store to judge sends.
pub(super) struct Admission {
    conversations: HashMap<ConversationId, Locked<Conversation>>,
    /// Those that somebody else has locked.
    busy: HashSet<ConversationId>,
    /// Those of the conversations that are support sessions.
    sessions: HashMap<ConversationId, SupportSession>,
    participating: HashMap<(ConversationId, PartnerId), Standing>,
    sent: HashMap<(ConversationId, PartnerId, String), Vec<KeyedMessage>>,
    /// The messages that sends answer, each with its `seq`.
    answered: HashMap<(ConversationId, MessageId), i64>,
    files: HashMap<AttachmentId, Attachment>,
}

pub(super) enum Judged {
    /// Not yet: somebody else has the conversation.
    Busy,
    /// A retry: this is what was stored the first time.
    Sent(Message),
    New {
        message: NewMessage,
        /// A message whose client key is too old to make this one a retry.
        takes_key_from: Option<MessageId>,
    },
}

impl Admission {
    /// Locks the conversations of a batch, and reads what else there is to know.
    pub(super) async fn read(tx: &mut dyn Tx, batch: &[Send], locking: Locking) -> Result<Self> {
        let ids: Vec<_> = batch.iter().map(|send| send.to).collect();
        let (conversations, busy) = match locking {
            Locking::Wait => (tx.lock_conversations(&ids).await?, Vec::new()),
            Locking::Skip => tx.lock_free_conversations(&ids).await?,
        };
        let is_support = |conversation: &&Locked<Conversation>| conversation.kind == ConversationKind::Support;
        let sessions: Vec<_> = conversations.iter().filter(is_support).collect();
        let sessions = if sessions.is_empty() { Vec::new() } else { tx.support_sessions_of(&sessions).await? };
        let pairs: Vec<_> = batch.iter().map(|send| (send.to, send.author.partner)).collect();
        // Not by the statement that locks: it would see who was in before it had to wait.
        let participating = tx.participating(&pairs).await?;
        let keys: Vec<_> = batch.iter().filter_map(Send::client_key).collect();
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

    /// The rules of sending, for one send.
    pub(super) fn judge(&self, send: &Send) -> Result<Judged> {
        if self.busy.contains(&send.to) {
            return Ok(Judged::Busy);
        }
        let conversation = self.conversations.get(&send.to).ok_or(Error::NotFound(Thing::Conversation))?;
        let standing = self.participating.get(&(send.to, send.author.partner)).ok_or(Error::Forbidden)?;
        let now = clock::now();
        let first = self.first_with_key(send);
        if let Some(first) = first.filter(|first| now - first.created_at < send.retry) {
            return Ok(Judged::Sent(first.clone()));
        }
        must_be_open(conversation)?;
        let support_side = match conversation.kind {
            ConversationKind::Direct | ConversationKind::Group => None,
            ConversationKind::Support => {
                let session = self.sessions.get(&send.to).ok_or(Error::NotFound(Thing::Conversation))?;
                Some(support::side_of(session, send.author.partner)?)
            }
        };
        if let Some(reply_to) = send.draft.reply_to
            && self.answered.get(&(send.to, reply_to)).is_none_or(|seq| *seq <= standing.visible_from_seq)
        {
            return Err(Error::NotFound(Thing::Message));
        }
        let attachments = send.draft.attachments.iter().map(|id| match self.files.get(id) {
            Some(file) if file.owner == send.author.partner => Ok(file.clone()),
            // Whether it exists is not for others to learn.
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
        Ok(Judged::New { message, takes_key_from: first.map(|first| first.id) })
    }

    /// The message that was stored with the client key and the content of a send. The first release stored no hash: there the
    /// content is compared, if it still is what was sent.
    fn first_with_key(&self, send: &Send) -> Option<&Message> {
        let NewClientKey { key, hash } = send.client_key.as_ref()?;
        let known = self.sent.get(&(send.to, send.author.partner, key.clone()))?;
        let is_same = |known: &&KeyedMessage| match &known.hash {
            Some(known) => known == hash,
            None => known.message.edited_at.is_some() || known.message.deleted_at.is_some() || send.draft.says(&known.message),
        };
        known.iter().find(is_same).map(|known| &known.message)
    }

    /// The conversations, all of them locked.
    pub(super) fn into_conversations(self) -> Vec<Locked<Conversation>> {
        self.conversations.into_values().collect()
    }
}
