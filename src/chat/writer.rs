//! Sends that wait at the same time share one commit.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use storage::{
    Attachment, AttachmentId, Author, ClientKey, Conversation, ConversationId, Fact, Locked, Message, NewMessage, PartnerId,
    Storage, Topic,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    error::{Error, Result, Thing},
    messages::{Draft, Sent},
    tail::Announce,
};
use crate::{clock, lifecycle::Lifecycle, metrics::Metrics};

/// How many messages one commit carries at most.
const BATCH: usize = 256;
/// For how long a commit holds up the next one. Most take milliseconds; one of which it is not known whether the store
/// has done it goes on beside the others until that is known.
const HELD_UP: Duration = Duration::from_secs(5);

/// A message on its way into the store.
struct Send {
    author: Author,
    to: ConversationId,
    draft: Draft,
    /// What the message names, and thereby keeps.
    uploads: Vec<String>,
    answer: oneshot::Sender<Result<Sent>>,
}

/// Where messages are handed in.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Send>);

impl Writer {
    /// Starts the writer of this node. Nobody waits for a timer: an idle node commits a lone send at once, and what
    /// arrives during a commit shares the next one.
    pub(super) fn start(storage: Arc<dyn Storage>, announce: Announce, metrics: Metrics, lifecycle: &Lifecycle) -> Self {
        let (sends, mut waiting) = mpsc::channel::<Send>(4 * BATCH);
        let stop = lifecycle.clone();
        lifecycle.spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            loop {
                tokio::select! {
                    biased;
                    _ = waiting.recv_many(&mut batch, BATCH) => {}
                    // Nobody hands anything in any more, and what was handed in is stored.
                    () = stop.stopping() => return,
                }
                let (storage, announce, metrics) = (Arc::clone(&storage), announce.clone(), metrics.clone());
                let batch = std::mem::take(&mut batch);
                let mut committing = Box::pin(async move { commit(storage.as_ref(), &announce, &metrics, batch).await });
                tokio::select! {
                    () = &mut committing => {}
                    () = tokio::time::sleep(HELD_UP) => stop.spawn(committing),
                }
            }
        });
        Self(sends)
    }

    /// Stores a message, and gives it once it is durable. If the caller is cancelled the message may be stored or not.
    pub(super) async fn send(&self, author: Author, to: ConversationId, draft: Draft, uploads: Vec<String>) -> Result<Sent> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| Error::internal("the writer has stopped");
        self.0.send(Send { author, to, draft, uploads, answer }).await.map_err(|_| Error::internal("the writer has stopped"))?;
        answered.await.map_err(gone)?
    }

    /// How many sends wait for the next commit.
    pub(super) fn waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }
}

/// Stores a batch in one transaction and answers each sender. A send that breaks a rule fails alone; if the store
/// refuses the batch, its sends are tried one by one.
async fn commit(storage: &dyn Storage, announce: &Announce, metrics: &Metrics, batch: Vec<Send>) {
    match metrics.visit("send", try_commit(storage, announce, metrics, &batch)).await {
        Ok(outcomes) => answer(batch, outcomes),
        Err(Error::Internal(_)) if batch.len() > 1 => {
            for send in batch {
                let outcome = try_commit(storage, announce, metrics, std::slice::from_ref(&send)).await;
                let outcome = outcome.and_then(|mut outcomes| outcomes.remove(0));
                answer(vec![send], vec![outcome]);
            }
        }
        Err(error) => {
            let outcomes = batch.iter().map(|_| Err(error.clone())).collect();
            answer(batch, outcomes);
        }
    }
}

fn answer(batch: Vec<Send>, outcomes: Vec<Result<Sent>>) {
    for (send, outcome) in batch.into_iter().zip(outcomes) {
        // A sender who has gone away needs no answer.
        let _ = send.answer.send(outcome);
    }
}

async fn try_commit(storage: &dyn Storage, announce: &Announce, metrics: &Metrics, batch: &[Send]) -> Result<Vec<Result<Sent>>> {
    let mut tx = storage.begin().await?;
    let ids: Vec<_> = batch.iter().map(|send| send.to).collect();
    let conversations = tx.lock_conversations(&ids).await?;
    let pairs: Vec<_> = batch.iter().map(|send| (send.to, send.author.partner)).collect();
    // Not by the statement that locks: it would see who was in before it had to wait.
    let participating = tx.participating(&pairs).await?;
    let keys: Vec<_> = batch.iter().filter_map(Send::client_key).collect();
    let sent = tx.messages_by_client_key(&keys).await?;
    let files: Vec<_> = batch.iter().flat_map(|send| send.draft.attachments.iter().copied()).collect();
    let files = tx.attachments_to_send(&files).await?;
    let admission = Admission {
        conversations: conversations.iter().map(|conversation| (conversation.id, conversation)).collect(),
        participating,
        sent: sent.into_iter().filter_map(|message| Some((client_key(&message)?, message))).collect(),
        files: files.into_iter().map(|file| (file.id, file)).collect(),
    };

    let mut new = Vec::with_capacity(batch.len());
    let mut uploads = Vec::new();
    let mut first_with: HashMap<ClientKey, usize> = HashMap::new();
    let verdicts: Vec<Verdict> = batch
        .iter()
        .map(|send| match admission.judge(send) {
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
        })
        .collect();

    let stored = if new.is_empty() { Vec::new() } else { tx.insert_messages(conversations, new).await? };
    if !uploads.is_empty() {
        let named: Vec<_> = uploads.into_iter().map(|(index, name)| (stored[index].id, name)).collect();
        tx.keep_uploads(&named).await?;
    }
    for message in &stored {
        tx.record(Topic::Conversation(message.conversation), Fact::MessagePosted(message.clone()), message.created_at);
    }
    if !stored.is_empty() {
        announce.committed(tx.commit().await?).await;
        metrics.stored(stored.len());
    }
    Ok(verdicts
        .into_iter()
        .map(|verdict| match verdict {
            Verdict::Known(message) => Ok(Sent { message, again: true }),
            Verdict::New(index) => Ok(Sent { message: stored[index].clone(), again: false }),
            Verdict::Refused(error) => Err(error),
        })
        .collect())
}

enum Verdict {
    Known(Message),
    New(usize),
    Refused(Error),
}

/// What the rules need to know of the store to judge a send.
struct Admission<'a> {
    conversations: HashMap<ConversationId, &'a Locked<Conversation>>,
    participating: HashSet<(ConversationId, PartnerId)>,
    sent: HashMap<ClientKey, Message>,
    files: HashMap<AttachmentId, Attachment>,
}

enum Judged {
    /// A retry: this is what was stored the first time.
    Sent(Message),
    New(NewMessage),
}

impl Admission<'_> {
    /// The rules of sending, for one send.
    fn judge(&self, send: &Send) -> Result<Judged> {
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
}

impl Send {
    fn client_key(&self) -> Option<ClientKey> {
        self.draft.client_key.clone().map(|key| (self.to, self.author.partner, key))
    }
}

fn client_key(message: &Message) -> Option<ClientKey> {
    message.client_key.clone().map(|key| (message.conversation, message.author.partner, key))
}
