//! Sends as jobs of group commit, with deduplication by client key.

use std::collections::HashMap;

use chrono::TimeDelta;
use storage::{Author, ClientKey, ConversationId, Fact, Message, NewClientKey, Topic, Tx, UploadReference};

use super::{
    BatchResult, Job, Locking,
    send_rules::{SendContext, SendValidation},
};
use crate::{
    chat::{
        error::{Error, Result},
        messages::draft::{Draft, SendOutcome},
    },
    metrics::Metrics,
};

pub(in crate::chat) struct SendJob {
    pub(in crate::chat) author: Author,
    pub(in crate::chat) to: ConversationId,
    /// The draft without its client key.
    pub(in crate::chat) draft: Draft,
    pub(in crate::chat) client_key: Option<NewClientKey>,
    /// Deduplication window of a client key.
    pub(in crate::chat) retry: TimeDelta,
    /// Uploads that the message mentions, which are then kept.
    pub(in crate::chat) uploads: Vec<String>,
}

enum SendDecision {
    Retry(Box<Message>),
    /// Index among the stored messages.
    New(usize),
    Refused(Error),
    /// Another transaction has locked the conversation.
    Busy,
}

impl Job for SendJob {
    type Outcome = SendOutcome;
    type Lock = ConversationId;

    fn locks(&self) -> impl Iterator<Item = ConversationId> {
        std::iter::once(self.to)
    }

    async fn write(tx: &mut dyn Tx, batch: &[Self], locking: Locking) -> Result<BatchResult<SendOutcome>> {
        let context = SendContext::read(tx, batch, locking).await?;
        let mut new = Vec::with_capacity(batch.len());
        let mut uploads = Vec::new();
        let mut first_with: HashMap<ClientKey, usize> = HashMap::new();
        let mut outdated = Vec::new();
        let judge = |send: &Self| match context.validate(send) {
            Ok(SendValidation::Busy) => SendDecision::Busy,
            Ok(SendValidation::Retry(message)) => SendDecision::Retry(Box::new(message)),
            Ok(SendValidation::New { message, replaces_key_of: takes_key_from }) => {
                outdated.extend(takes_key_from);
                let index = match send.client_key() {
                    Some(key) => *first_with.entry(key).or_insert(new.len()),
                    None => new.len(),
                };
                if index == new.len() {
                    new.push(message);
                    uploads.extend(send.uploads.iter().map(|name| (index, name.clone())));
                }
                SendDecision::New(index)
            }
            Err(error) => SendDecision::Refused(error),
        };
        let verdicts: Vec<_> = batch.iter().map(judge).collect();

        tx.release_client_keys(&outdated).await?;
        let stored = if new.is_empty() { Vec::new() } else { tx.insert_messages(context.into_conversations(), new).await? };
        if !uploads.is_empty() {
            let mention = |(index, name): (usize, String)| {
                let message: &Message = &stored[index];
                UploadReference { message: message.id, author: message.author.partner, name }
            };
            let named: Vec<_> = uploads.into_iter().map(mention).collect();
            tx.reference_uploads(&named).await?;
        }
        for message in &stored {
            tx.record(Topic::Conversation(message.conversation), Fact::MessagePosted(message.clone()), message.created_at);
        }
        let outcome = |verdict| match verdict {
            SendDecision::Retry(message) => Some(Ok(SendOutcome { message: *message, is_retry: true })),
            SendDecision::New(index) => Some(Ok(SendOutcome { message: stored[index].clone(), is_retry: false })),
            SendDecision::Refused(error) => Some(Err(error)),
            SendDecision::Busy => None,
        };
        Ok(BatchResult { outcomes: verdicts.into_iter().map(outcome).collect(), changes: stored.len() })
    }

    fn count(metrics: &Metrics, changes: usize) {
        metrics.stored(changes);
    }
}

impl SendJob {
    pub(super) fn client_key(&self) -> Option<ClientKey> {
        let NewClientKey { key, hash } = self.client_key.clone()?;
        Some(ClientKey { conversation: self.to, author: self.author.partner, key, hash })
    }
}
