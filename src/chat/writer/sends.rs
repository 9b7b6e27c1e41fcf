//! Sends as jobs of group commit, with deduplication by client key.

use std::collections::HashMap;

use chrono::TimeDelta;
use storage::{Author, ClientKey, ConversationId, Fact, Mention, Message, NewClientKey, Topic, Tx};

use super::{
    Job, Locking, Written,
    admission::{Admission, Judged},
};
use crate::{
    chat::{
        error::{Error, Result},
        messages::{Draft, Sent},
    },
    metrics::Metrics,
};

pub(in crate::chat) struct Send {
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

enum Verdict {
    Known(Box<Message>),
    /// Index among the stored messages.
    New(usize),
    Refused(Error),
    /// Another transaction has locked the conversation.
    Busy,
}

impl Job for Send {
    type Outcome = Sent;
    type Lock = ConversationId;

    fn locks(&self) -> impl Iterator<Item = ConversationId> {
        std::iter::once(self.to)
    }

    async fn write(tx: &mut dyn Tx, batch: &[Self], locking: Locking) -> Result<Written<Sent>> {
        let admission = Admission::read(tx, batch, locking).await?;
        let mut new = Vec::with_capacity(batch.len());
        let mut uploads = Vec::new();
        let mut first_with: HashMap<ClientKey, usize> = HashMap::new();
        let mut outdated = Vec::new();
        let judge = |send: &Self| match admission.judge(send) {
            Ok(Judged::Busy) => Verdict::Busy,
            Ok(Judged::Sent(message)) => Verdict::Known(Box::new(message)),
            Ok(Judged::New { message, takes_key_from }) => {
                outdated.extend(takes_key_from);
                let index = match send.client_key() {
                    Some(key) => *first_with.entry(key).or_insert(new.len()),
                    None => new.len(),
                };
                if index == new.len() {
                    new.push(message);
                    uploads.extend(send.uploads.iter().map(|name| (index, name.clone())));
                }
                Verdict::New(index)
            }
            Err(error) => Verdict::Refused(error),
        };
        let verdicts: Vec<_> = batch.iter().map(judge).collect();

        tx.release_client_keys(&outdated).await?;
        let stored = if new.is_empty() { Vec::new() } else { tx.insert_messages(admission.into_conversations(), new).await? };
        if !uploads.is_empty() {
            let mention = |(index, name): (usize, String)| {
                let message: &Message = &stored[index];
                Mention { message: message.id, author: message.author.partner, name }
            };
            let named: Vec<_> = uploads.into_iter().map(mention).collect();
            tx.keep_uploads(&named).await?;
        }
        for message in &stored {
            tx.record(Topic::Conversation(message.conversation), Fact::MessagePosted(message.clone()), message.created_at);
        }
        let outcome = |verdict| match verdict {
            Verdict::Known(message) => Some(Ok(Sent { message: *message, again: true })),
            Verdict::New(index) => Some(Ok(Sent { message: stored[index].clone(), again: false })),
            Verdict::Refused(error) => Some(Err(error)),
            Verdict::Busy => None,
        };
        Ok(Written { outcomes: verdicts.into_iter().map(outcome).collect(), changes: stored.len() })
    }

    fn count(metrics: &Metrics, changes: usize) {
        metrics.stored(changes);
    }
}

impl Send {
    pub(super) fn client_key(&self) -> Option<ClientKey> {
        let NewClientKey { key, hash } = self.client_key.clone()?;
        Some(ClientKey { conversation: self.to, author: self.author.partner, key, hash })
    }
}
