//! Edits, deletions and late showing of messages.
//! Each is under the lock of its conversation, and in the event log in the same transaction.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! A dropped read leaves nothing behind. A write dropped before its commit changes nothing; dropped during it, all or nothing.

use storage::{Conversation, ConversationId, ConversationKind, DeletedMessage, Fact, Locked, Message, MessageId, Topic, Tx};

use crate::{
    auth::Caller,
    chat::{
        Chat, Draft, Error, ResourceKind, Result, conversations::must_be_open, rates::Act, support, uploads::mentioned_uploads,
    },
    clock,
};

/// Permission by which a message is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditPermission {
    /// An author's permission, for own messages in own conversations.
    Author,
    /// That permission, and a moderator's, for any message in any conversation.
    Moderator,
}

impl Chat {
    /// Changes the text of a message. The same text again changes nothing.
    ///
    /// # Errors
    /// `TooLong` or `Invalid` for the text; `NotFound` for the conversation or message; `Forbidden` without the permission;
    /// `Conflict` in a closed conversation, or for a deleted message; `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// After the commit, the bytes of uploads that the text no longer mentions may stay until the orphan sweep.
    pub async fn edit_message(
        &self,
        caller: &Caller,
        right: EditPermission,
        of: ConversationId,
        id: MessageId,
        body: &str,
    ) -> Result<Message> {
        self.check_body(body)?;
        if body.trim().is_empty() {
            return Err(Error::Invalid { field: "body", reason: "must not be empty".into() });
        }
        self.charge(caller, Act::Write)?;
        self.transaction(|mut tx| async {
            let (conversation, message) = changeable_message(tx.as_mut(), caller, right, of, id).await?;
            must_be_open(&conversation)?;
            if conversation.kind == ConversationKind::Support && message.author.partner == caller.partner {
                let session = tx.support_session_of(&conversation).await?.ok_or(Error::NotFound(ResourceKind::Conversation))?;
                support::side_of(&session, caller.partner)?;
            }
            if message.deleted_at.is_some() {
                return Err(Error::Conflict("the message was deleted"));
            }
            if message.body == body {
                return Ok(message);
            }
            let now = clock::now();
            keep_content_hash(tx.as_mut(), &message).await?;
            let edited = tx
                .edit_message(&conversation, id, body, caller.partner, now)
                .await?
                .ok_or(Error::NotFound(ResourceKind::Message))?;
            let named = mentioned_uploads(body, edited.metadata.as_ref(), &self.0.rules.uploads.kinds);
            let unnamed = tx.replace_upload_references(id, edited.author.partner, &named).await?;
            tx.record(Topic::Conversation(of), Fact::MessageEdited(edited.clone()), now);
            self.0.publisher.commit(tx).await?;
            self.discard(unnamed);
            Ok(edited)
        })
        .await
    }

    /// Deletes the content of a message, which leaves a tombstone at its position. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the conversation or message, `Forbidden` without the permission, `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// After the commit, the bytes of its files may stay until the orphan sweep.
    pub async fn delete_message(
        &self,
        caller: &Caller,
        right: EditPermission,
        of: ConversationId,
        id: MessageId,
    ) -> Result<Message> {
        self.charge(caller, Act::Write)?;
        self.transaction(|mut tx| async {
            let (conversation, message) = changeable_message(tx.as_mut(), caller, right, of, id).await?;
            if message.deleted_at.is_some() {
                return Ok(message);
            }
            let now = clock::now();
            keep_content_hash(tx.as_mut(), &message).await?;
            let deleted =
                tx.delete_message(&conversation, id, caller.partner, now).await?.ok_or(Error::NotFound(ResourceKind::Message))?;
            let DeletedMessage { message, files } = deleted;
            let unnamed = tx.replace_upload_references(id, message.author.partner, &[]).await?;
            tx.record(Topic::Conversation(of), Fact::MessageDeleted(message.clone()), now);
            self.0.publisher.commit(tx).await?;
            self.discard(unnamed);
            files.into_iter().for_each(|file| self.0.removal.remove(file.object));
            Ok(message)
        })
        .await
    }

    /// Shows a held message of the caller; returns it, and true if it was held until now. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the message, also if it has no file; `Forbidden` for anyone but its author, or once the author has left;
    /// `Conflict` if it is deleted; `TooFast` beyond the rate limit.
    pub async fn show_message(&self, caller: &Caller, id: MessageId) -> Result<(Message, bool)> {
        self.charge(caller, Act::Write)?;
        let found = self.0.storage.locate_messages(&[id]).await?;
        let of = found.first().ok_or(Error::NotFound(ResourceKind::Message))?.conversation;
        self.transaction(|mut tx| async {
            let (conversation, message) = changeable_message(tx.as_mut(), caller, EditPermission::Author, of, id).await?;
            if message.deleted_at.is_some() {
                return Err(Error::Conflict("the message was deleted"));
            }
            if message.attachments.is_empty() {
                return Err(Error::NotFound(ResourceKind::Message));
            }
            if !message.held {
                return Ok((message, false));
            }
            let shown = tx.show_message(&conversation, id).await?.ok_or(Error::NotFound(ResourceKind::Message))?;
            tx.record(Topic::Conversation(of), Fact::MessageShown(shown.clone()), clock::now());
            self.0.publisher.commit(tx).await?;
            Ok((shown, true))
        })
        .await
    }
}

/// Stores the content hash of a message with a client key before its first change. The first release stored none, and without it,
/// other content with the same key would count as a retry.
async fn keep_content_hash(tx: &mut dyn Tx, message: &Message) -> Result<()> {
    if message.client_key.is_some() && message.edited_at.is_none() {
        tx.set_content_hash(message.id, &Draft::of(message).content_hash()).await?;
    }
    Ok(())
}

/// Locks the conversation of a message, and returns both if the caller may change the message.
async fn changeable_message(
    tx: &mut dyn Tx,
    caller: &Caller,
    right: EditPermission,
    of: ConversationId,
    id: MessageId,
) -> Result<(Locked<Conversation>, Message)> {
    let conversation = tx.lock_conversations(&[of]).await?.pop().ok_or(Error::NotFound(ResourceKind::Conversation))?;
    let moderates = right == EditPermission::Moderator && caller.can_moderate;
    if !moderates && tx.participant_statuses(&[(of, caller.partner)]).await?.is_empty() {
        return Err(Error::Forbidden);
    }
    let message = tx.message_of(&conversation, id).await?.ok_or(Error::NotFound(ResourceKind::Message))?;
    if !moderates && message.author.partner != caller.partner {
        return Err(Error::Forbidden);
    }
    Ok((conversation, message))
}
