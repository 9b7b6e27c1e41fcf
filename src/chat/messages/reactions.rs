//! Reactions to messages: one of each content per user and message. Idempotent: a repeat changes nothing and publishes no
//! event.

use storage::{ConversationId, Fact, MessageId, ReactionCount, Topic};

use crate::{
    auth::Caller,
    chat::{Chat, Error, ResourceKind, Result, check_storable, rates::Act},
    clock,
};

/// The longest content of a reaction, in bytes.
const CONTENT_BYTES: usize = 64;
/// The most different contents of the reactions to one message.
const MAX_CONTENTS: usize = 20;

/// The requested change of a reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReactionChange {
    /// Adds the reaction, or removes an existing one.
    Toggle,
    Add,
    Remove,
}

/// The state after a request.
#[derive(Clone, Debug)]
pub struct ReactionState {
    /// True if the caller's reaction exists now.
    pub exists: bool,
    /// True if the request changed something. Without a change no event is published.
    pub changed: bool,
    /// All reactions to the message, from the caller's view.
    pub reactions: Vec<ReactionCount>,
}

impl Chat {
    /// Finds the conversation of a message by the message's id. Access is not checked: the action that follows does that.
    ///
    /// # Errors
    /// `NotFound` if there is no such message, `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    pub async fn conversation_of(&self, message: MessageId) -> Result<ConversationId> {
        let found = self.0.storage.locate_messages(&[message]).await?;
        Ok(found.first().ok_or(Error::NotFound(ResourceKind::Message))?.conversation)
    }

    /// Adds or removes a reaction of the caller to a message.
    ///
    /// # Errors
    /// `NotFound` for a message that is hidden from the caller, `Forbidden` for a conversation of others, `Conflict` for a
    /// deleted message or a closed conversation, `Invalid` for a bad content, `TooMany` beyond 20 different contents, `TooFast`
    /// beyond the rate limit, `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A future dropped before its commit changes nothing. A later drop keeps the change, and the tail publishes it. The retry
    /// is idempotent, except for `Toggle`.
    pub async fn react(
        &self,
        caller: &Caller,
        of: ConversationId,
        id: MessageId,
        content: &str,
        reacting: ReactionChange,
    ) -> Result<ReactionState> {
        check_storable("content", content)?;
        if content.trim().is_empty() || content.len() > CONTENT_BYTES || content.chars().any(char::is_control) {
            let reason = format!("must have between 1 and {CONTENT_BYTES} bytes, none of them a control character").into();
            return Err(Error::Invalid { field: "content", reason });
        }
        self.charge(caller, Act::Write)?;
        let now = clock::now();
        let (changed, removed) = self
            .transaction(|mut tx| async {
                let conversation =
                    tx.lock_conversations(&[of]).await?.pop().ok_or(Error::NotFound(ResourceKind::Conversation))?;
                let standing =
                    tx.participant_statuses(&[(of, caller.partner)]).await?.into_values().next().ok_or(Error::Forbidden)?;
                let message = tx.message_of(&conversation, id).await?.filter(|message| message.seq > standing.visible_from_seq);
                let message = message.ok_or(Error::NotFound(ResourceKind::Message))?;
                if message.deleted_at.is_some() {
                    return Err(Error::Conflict("the message was deleted"));
                }
                if conversation.closed_at.is_some() {
                    return Err(Error::Conflict("the conversation is closed"));
                }
                let removed = match reacting {
                    ReactionChange::Add => false,
                    ReactionChange::Toggle | ReactionChange::Remove => {
                        tx.delete_reaction(&conversation, id, caller.partner, content).await?
                    }
                };
                let added = !removed && reacting != ReactionChange::Remove && {
                    let contents = tx.reaction_contents(&conversation, id).await?;
                    if contents.len() >= MAX_CONTENTS && !contents.iter().any(|known| known == content) {
                        return Err(Error::TooMany("kinds of reactions"));
                    }
                    tx.insert_reaction(&conversation, id, caller.partner, content, now).await?
                };
                let changed = added || removed;
                if changed {
                    let (partner, content) = (caller.partner, content.to_owned());
                    tx.record(
                        Topic::Conversation(of),
                        Fact::MessageReacted { message: id, seq: message.seq, partner, content, removed },
                        now,
                    );
                    self.0.publisher.commit(tx).await?;
                }
                Ok((changed, removed))
            })
            .await?;
        let reactions = self.0.storage.reactions(id, caller.partner).await?;
        Ok(ReactionState { exists: !removed && reacting != ReactionChange::Remove, changed, reactions })
    }
}
