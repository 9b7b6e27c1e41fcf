//! Messages on their way into the store.

use std::collections::HashMap;

use storage::{Author, ClientKey, ConversationId, Fact, Message, Topic, Tx};

use super::{
    Job, Written,
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
    pub(in crate::chat) draft: Draft,
    /// What the message names, and thereby keeps.
    pub(in crate::chat) uploads: Vec<String>,
}

enum Verdict {
    Known(Message),
    /// Which one of those that are stored.
    New(usize),
    Refused(Error),
}

impl Job for Send {
    const OPERATION: &'static str = "send";
    type Outcome = Sent;
    type Lock = ConversationId;

    fn locks(&self) -> impl Iterator<Item = ConversationId> {
        std::iter::once(self.to)
    }

    async fn write(tx: &mut dyn Tx, batch: &[Self]) -> Result<Written<Sent>> {
        let admission = Admission::read(tx, batch).await?;
        let mut new = Vec::with_capacity(batch.len());
        let mut uploads = Vec::new();
        let mut first_with: HashMap<ClientKey, usize> = HashMap::new();
        let judge = |send: &Self| match admission.judge(send) {
            Ok(Judged::Sent(message)) => Verdict::Known(message),
            Ok(Judged::New(message)) => {
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

        let stored = if new.is_empty() { Vec::new() } else { tx.insert_messages(admission.into_conversations(), new).await? };
        if !uploads.is_empty() {
            let named: Vec<_> = uploads.into_iter().map(|(index, name): (usize, String)| (stored[index].id, name)).collect();
            tx.keep_uploads(&named).await?;
        }
        for message in &stored {
            tx.record(Topic::Conversation(message.conversation), Fact::MessagePosted(message.clone()), message.created_at);
        }
        let outcome = |verdict| match verdict {
            Verdict::Known(message) => Ok(Sent { message, again: true }),
            Verdict::New(index) => Ok(Sent { message: stored[index].clone(), again: false }),
            Verdict::Refused(error) => Err(error),
        };
        Ok(Written { outcomes: verdicts.into_iter().map(outcome).collect(), changes: stored.len() })
    }

    fn count(metrics: &Metrics, changes: usize) {
        metrics.stored(changes);
    }
}

impl Send {
    pub(super) fn client_key(&self) -> Option<ClientKey> {
        self.draft.client_key.clone().map(|key| (self.to, self.author.partner, key))
    }
}
