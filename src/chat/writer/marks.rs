//! How far somebody has read, on its way into the store.

use std::collections::HashMap;

use storage::{Advanced, ConversationId, Fact, MessageId, PartnerId, Topic, Tx};

use super::{Job, Locking, Written};
use crate::{chat::error::Result, clock, metrics::Metrics};

pub(in crate::chat) struct Mark {
    pub(in crate::chat) reader: PartnerId,
    /// Each of another conversation.
    pub(in crate::chat) upto: Vec<Upto>,
}

/// Up to where in a conversation.
pub(in crate::chat) struct Upto {
    pub(in crate::chat) conversation: ConversationId,
    pub(in crate::chat) seq: i64,
    /// What others are told if there was anything to be read: up to where, and which messages the reader has named.
    pub(in crate::chat) told: Vec<(i64, Vec<MessageId>)>,
}

impl Job for Mark {
    /// What has become of all its conversations together.
    type Outcome = Advanced;
    type Lock = (ConversationId, PartnerId);

    fn locks(&self) -> impl Iterator<Item = Self::Lock> {
        self.upto.iter().map(|upto| (upto.conversation, self.reader))
    }

    async fn write(tx: &mut dyn Tx, batch: &[Self], _: Locking) -> Result<Written<Advanced>> {
        let now = clock::now();
        let (mut outcomes, mut changes) = (vec![Advanced::default(); batch.len()], 0);
        for round in rounds(batch) {
            let asked: Vec<_> = round.iter().map(|(_, reader, upto)| (upto.conversation, *reader, upto.seq)).collect();
            let mut seen = Vec::new();
            for (advanced, (job, reader, upto)) in tx.advance_reads(&asked).await?.into_iter().zip(round) {
                let Some(advanced) = advanced else { continue };
                changes += 1;
                if !advanced.has_seen {
                    continue;
                }
                for (seq, messages) in &upto.told {
                    let fact = Fact::ReadUpTo { partner: reader, seq: *seq, messages: messages.clone() };
                    tx.record(Topic::Conversation(upto.conversation), fact, now);
                }
                let total = &mut outcomes[job];
                *total = Advanced { unread: total.unread + advanced.unread, has_seen: true };
                seen.push((upto.conversation, reader, upto.seq));
            }
            tx.mark_seen(&seen, now).await?;
        }
        Ok(Written { outcomes: outcomes.into_iter().map(|outcome| Some(Ok(outcome))).collect(), changes })
    }

    fn count(_: &Metrics, _: usize) {}
}

/// The marks of a batch, each with the index of its job and its reader, such that nobody reads on in the same conversation
/// twice in one round: the store can tell only what comes of one mark what had been unread before it.
fn rounds(batch: &[Mark]) -> Vec<Vec<(usize, PartnerId, &Upto)>> {
    let mut rounds: Vec<Vec<_>> = Vec::new();
    let mut before: HashMap<_, usize> = HashMap::new();
    for (job, mark) in batch.iter().enumerate() {
        for upto in &mark.upto {
            let round = before.entry((upto.conversation, mark.reader)).or_default();
            if *round == rounds.len() {
                rounds.push(Vec::new());
            }
            rounds[*round].push((job, mark.reader, upto));
            *round += 1;
        }
    }
    rounds
}
