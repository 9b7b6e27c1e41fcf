use std::sync::Arc;

use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};

use super::{Memory, MemoryTx, Sequence, missing};
use crate::{
    Attachment, AttachmentId, Attachments, ConversationId, Message, NewAttachment, PartnerId, Result, Timestamp, WriteAttachments,
};

#[derive(Clone, Default)]
pub(super) struct Table {
    ids: Sequence,
    rows: OrdMap<AttachmentId, Row>,
}

#[derive(Clone)]
struct Row {
    attachment: Arc<Attachment>,
    /// The `seq`s of the messages that have it.
    messages: OrdMap<ConversationId, OrdSet<i64>>,
}

impl Table {
    pub(super) fn get(&self, id: AttachmentId) -> Option<Attachment> {
        self.rows.get(&id).map(|row| Attachment::clone(&row.attachment))
    }

    /// Notes that the message has these attachments, which must exist.
    pub(super) fn attach(&mut self, message: &Message) -> Result<()> {
        for Attachment { id, .. } in &message.attachments {
            let row = self.rows.get_mut(id).ok_or_else(|| missing("attachment", id))?;
            row.messages.entry(message.conversation).or_default().insert(message.seq);
        }
        Ok(())
    }

    /// Notes that the message no longer has them.
    pub(super) fn detach(&mut self, message: &Message) {
        for Attachment { id, .. } in &message.attachments {
            let Some(row) = self.rows.get_mut(id) else { continue };
            if let Some(seqs) = row.messages.get_mut(&message.conversation) {
                seqs.remove(&message.seq);
                if seqs.is_empty() {
                    row.messages.remove(&message.conversation);
                }
            }
        }
    }
}

#[async_trait]
impl Attachments for Memory {
    async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>> {
        Ok(self.snapshot()?.attachments.get(id))
    }

    async fn attachment_reaches(&self, id: AttachmentId, partner: PartnerId) -> Result<bool> {
        let state = self.snapshot()?;
        let Some(row) = state.attachments.rows.get(&id) else { return Ok(false) };
        Ok(row.messages.keys().any(|conversation| state.conversations.has(*conversation, partner)))
    }

    async fn forget_unsent(&self, before: Timestamp, limit: usize) -> Result<Vec<String>> {
        let mut tx = self.draft().await?;
        let table = &mut tx.draft.attachments;
        let is_old = |row: &&Row| row.messages.is_empty() && row.attachment.created_at < before;
        let old: Vec<_> = table.rows.values().filter(is_old).take(limit).map(|row| Arc::clone(&row.attachment)).collect();
        for attachment in &old {
            table.rows.remove(&attachment.id);
        }
        tx.publish();
        Ok(old.iter().map(|attachment| attachment.object.clone()).collect())
    }
}

#[async_trait]
impl WriteAttachments for MemoryTx {
    async fn insert_attachment(&mut self, new: NewAttachment) -> Result<Attachment> {
        self.draft.users.person(new.owner)?;
        let table = &mut self.draft.attachments;
        let NewAttachment { object, name, mimetype, size_bytes, access_token, owner, created_at } = new;
        let id = AttachmentId(table.ids.draw(None));
        let attachment = Attachment { id, object, name, mimetype, size_bytes, access_token, owner, created_at };
        table.rows.insert(id, Row { attachment: Arc::new(attachment.clone()), messages: OrdMap::new() });
        Ok(attachment)
    }

    async fn delete_attachment(&mut self, id: AttachmentId) -> Result<Option<Attachment>> {
        let Some(row) = self.draft.attachments.rows.remove(&id) else { return Ok(None) };
        for (conversation, seqs) in &row.messages {
            self.draft.conversations.detach(*conversation, seqs, id);
        }
        Ok(Some(Attachment::clone(&row.attachment)))
    }
}
