//! In-memory attachments, and the messages that have each.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};

use crate::{
    Attachment, AttachmentAccess, AttachmentId, Attachments, ConversationId, DeletedAttachment, Message, NamedObject,
    NewAttachment, PartnerId, Result, Timestamp, WriteAttachments,
    memory::{Memory, MemoryTx, Sequence, missing},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) ids: Sequence,
    pub(crate) rows: OrdMap<AttachmentId, Row>,
}

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) attachment: Arc<Attachment>,
    /// The `seq` numbers of the messages that have it, by conversation.
    pub(crate) messages: OrdMap<ConversationId, OrdSet<i64>>,
    /// True if any message ever had it.
    pub(crate) sent: bool,
}

impl Table {
    pub(crate) fn get(&self, id: AttachmentId) -> Option<Attachment> {
        self.rows.get(&id).map(|row| Attachment::clone(&row.attachment))
    }

    /// Records the attachments of a message. Fails if one does not exist.
    pub(crate) fn attach(&mut self, message: &Message) -> Result<()> {
        for Attachment { id, .. } in &message.attachments {
            let row = self.rows.get_mut(id).ok_or_else(|| missing("attachment", id))?;
            row.sent = true;
            row.messages.entry(message.conversation).or_default().insert(message.seq);
        }
        Ok(())
    }

    /// Removes a message from its attachments. Deletes and returns those that no message has any longer.
    pub(crate) fn detach(&mut self, message: &Message) -> Vec<Attachment> {
        let mut gone = Vec::new();
        for Attachment { id, .. } in &message.attachments {
            let Some(row) = self.rows.get_mut(id) else { continue };
            if let Some(seqs) = row.messages.get_mut(&message.conversation) {
                seqs.remove(&message.seq);
                if seqs.is_empty() {
                    row.messages.remove(&message.conversation);
                }
            }
            if row.messages.is_empty() {
                gone.extend(self.rows.remove(id).map(|row| Attachment::clone(&row.attachment)));
            }
        }
        gone
    }
}

fn named((object, size_bytes): (&str, Option<i64>)) -> NamedObject {
    NamedObject { object: object.to_owned(), size_bytes }
}

#[async_trait]
impl Attachments for Memory {
    async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>> {
        Ok(self.snapshot()?.attachments.get(id))
    }

    async fn attachment_access(&self, id: AttachmentId, partner: PartnerId) -> Result<Option<AttachmentAccess>> {
        let state = self.snapshot()?;
        let Some(row) = state.attachments.rows.get(&id) else { return Ok(None) };
        let reaches = |(conversation, seqs): (&ConversationId, &OrdSet<i64>)| {
            let standing = state.conversations.standing(*conversation, partner);
            standing.is_some_and(|standing| seqs.get_max().is_some_and(|newest| *newest > standing.visible_from_seq))
        };
        Ok(Some(match () {
            () if !row.sent => AttachmentAccess::Unsent,
            () if row.messages.iter().any(reaches) => AttachmentAccess::Reader,
            () if row.messages.keys().any(|conversation| state.support.contains_key(conversation)) => AttachmentAccess::Support,
            () => AttachmentAccess::NoAccess,
        }))
    }

    async fn forget_unsent(&self, before: Timestamp, limit: usize) -> Result<Vec<String>> {
        let mut tx = self.draft().await?;
        let table = &mut tx.draft.attachments;
        let is_old = |row: &&Row| !row.sent && row.attachment.created_at < before;
        let old: Vec<_> = table.rows.values().filter(is_old).take(limit).map(|row| Arc::clone(&row.attachment)).collect();
        for attachment in &old {
            table.rows.remove(&attachment.id);
        }
        tx.publish();
        Ok(old.iter().map(|attachment| attachment.object.clone()).collect())
    }

    async fn objects_in_use(&self, objects: &[String]) -> Result<Vec<String>> {
        let state = self.snapshot()?;
        let attached = state.attachments.rows.values().map(|row| row.attachment.object.as_str());
        let used: HashSet<&str> = attached.chain(state.uploads.objects()).collect();
        Ok(objects.iter().filter(|object| used.contains(object.as_str())).cloned().collect())
    }

    async fn objects(&self, after: &str, limit: usize) -> Result<Vec<NamedObject>> {
        let state = self.snapshot()?;
        let attached =
            state.attachments.rows.values().map(|row| (row.attachment.object.as_str(), Some(row.attachment.size_bytes)));
        let all: BTreeMap<_, _> = attached.chain(state.uploads.sizes()).filter(|(object, _)| *object > after).collect();
        Ok(all.into_iter().take(limit).map(named).collect())
    }

    async fn newest_objects(&self, limit: usize) -> Result<Vec<NamedObject>> {
        let state = self.snapshot()?;
        let attached = state.attachments.rows.values().rev().take(limit);
        let attached = attached.map(|row| (row.attachment.object.as_str(), Some(row.attachment.size_bytes)));
        Ok(attached.chain(state.uploads.newest_sizes(limit)).map(named).collect())
    }
}

#[async_trait]
impl WriteAttachments for MemoryTx {
    async fn insert_attachment(&mut self, new: NewAttachment) -> Result<Attachment> {
        self.draft.users.person(new.owner)?;
        let table = &mut self.draft.attachments;
        let NewAttachment { object, name, mimetype, size_bytes, access_token, owner, created_at, media } = new;
        let id = AttachmentId(table.ids.draw(None));
        let attachment = Attachment { id, object, name, mimetype, size_bytes, access_token, owner, created_at, media };
        table.rows.insert(id, Row { attachment: Arc::new(attachment.clone()), messages: OrdMap::new(), sent: false });
        Ok(attachment)
    }

    async fn delete_attachment(&mut self, id: AttachmentId) -> Result<Option<DeletedAttachment>> {
        let Some(row) = self.draft.attachments.rows.remove(&id) else { return Ok(None) };
        for (conversation, seqs) in &row.messages {
            for message in self.draft.conversations.detach(*conversation, seqs, id) {
                self.draft.log.rewrite(&message);
            }
        }
        let conversations = row.messages.keys().copied().collect();
        Ok(Some(DeletedAttachment { attachment: Attachment::clone(&row.attachment), conversations }))
    }
}
