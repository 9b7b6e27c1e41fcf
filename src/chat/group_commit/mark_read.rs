//! Read marks as jobs of group commit.

use std::collections::HashMap;

use storage::{ConversationId, Fact, MessageId, PartnerId, ReadAdvance, Topic, Tx};

use super::{BatchResult, Job, Locking};
use crate::{chat::error::Result, clock, metrics::Metrics};

pub(in crate::chat) struct MarkRead {
    pub(in crate::chat) reader: PartnerId,
    /// One entry per conversation.
    pub(in crate::chat) marks: Vec<ReadMark>,
}

/// The read mark in one conversation.
pub(in crate::chat) struct ReadMark {
    pub(in crate::chat) conversation: ConversationId,
    pub(in crate::chat) seq: i64,
    /// The `ReadUpTo` events to record if there were unread messages: each `seq`, with the message ids that the reader has
    /// named.
    pub(in crate::chat) facts: Vec<(i64, Vec<MessageId>)>,
}

impl Job for MarkRead {
    /// The total over all conversations of the job.
    type Outcome = ReadAdvance;
    type Lock = (ConversationId, PartnerId);

    fn locks(&self) -> impl Iterator<Item = Self::Lock> {
        self.marks.iter().map(|upto| (upto.conversation, self.reader))
    }

    async fn write(tx: &mut dyn Tx, batch: &[Self], _: Locking) -> Result<BatchResult<ReadAdvance>> {
        let now = clock::now();
        let (mut outcomes, mut changes) = (vec![ReadAdvance::default(); batch.len()], 0);
        for round in rounds(batch) {
            let asked: Vec<_> = round.iter().map(|(_, reader, upto)| (upto.conversation, *reader, upto.seq)).collect();
            let mut seen = Vec::new();
            for (advanced, (job, reader, upto)) in tx.advance_reads(&asked).await?.into_iter().zip(round) {
                let Some(advanced) = advanced else { continue };
                changes += 1;
                if !advanced.has_seen {
                    continue;
                }
                for (seq, messages) in &upto.facts {
                    let fact = Fact::ReadUpTo { partner: reader, seq: *seq, messages: messages.clone() };
                    tx.record(Topic::Conversation(upto.conversation), fact, now);
                }
                let total = &mut outcomes[job];
                *total = ReadAdvance { newly_read: total.newly_read + advanced.newly_read, has_seen: true };
                seen.push((upto.conversation, reader, upto.seq));
            }
            tx.mark_seen(&seen, now).await?;
        }
        Ok(BatchResult { outcomes: outcomes.into_iter().map(|outcome| Some(Ok(outcome))).collect(), changes })
    }

    fn count(_: &Metrics, _: usize) {}
}

/// Splits the marks of a batch into rounds, each with the index of its job and its reader. A round has at most one mark per
/// reader and conversation: only then the store tells how many messages this mark has made read.
fn rounds(batch: &[MarkRead]) -> Vec<Vec<(usize, PartnerId, &ReadMark)>> {
    let mut rounds: Vec<Vec<_>> = Vec::new();
    let mut before: HashMap<_, usize> = HashMap::new();
    for (job, mark) in batch.iter().enumerate() {
        for upto in &mark.marks {
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
