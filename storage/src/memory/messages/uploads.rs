//! In-memory uploads.

use std::collections::BTreeSet;

use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};

use crate::{
    MessageId, NewUpload, PartnerId, Result, Timestamp, Upload, UploadReference, UploadedFile, Uploads, WriteUploads,
    memory::{Memory, MemoryTx, taken},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    rows: OrdMap<String, Upload>,
    /// Uploads without a reference from a message, by expiry.
    expiring: OrdSet<(Timestamp, String)>,
    named_by: OrdMap<String, OrdSet<MessageId>>,
    named_in: OrdMap<MessageId, OrdSet<String>>,
}

impl Table {
    /// Names of objects that uploads have, or may have.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &str> {
        let put = self.rows.values().filter_map(|upload| upload.file.as_ref()).map(|file| file.object.as_str());
        self.rows.keys().map(String::as_str).chain(put)
    }

    /// Objects with their sizes; an upload without a file may have an object of its own name.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&str, Option<i64>)> {
        self.rows.values().map(|upload| match &upload.file {
            Some(file) => (file.object.as_str(), Some(file.size_bytes)),
            None => (upload.name.as_str(), None),
        })
    }

    /// The newest objects of files that were put.
    pub(crate) fn newest_sizes(&self, limit: usize) -> impl Iterator<Item = (&str, Option<i64>)> {
        let mut files: Vec<_> = self.rows.values().filter_map(|upload| upload.file.as_ref()).collect();
        files.sort_unstable_by_key(|file| std::cmp::Reverse(file.put_at));
        files.into_iter().take(limit).map(|file| (file.object.as_str(), Some(file.size_bytes)))
    }

    fn add_reference(&mut self, message: MessageId, author: PartnerId, name: &str) {
        let Some(upload) = self.rows.get(name).filter(|upload| upload.owner == author) else { return };
        self.expiring.remove(&(upload.expires_at, name.to_owned()));
        self.named_by.entry(name.to_owned()).or_default().insert(message);
        self.named_in.entry(message).or_default().insert(name.to_owned());
    }

    /// Removes a reference. Returns the upload if no message references it any longer.
    fn remove_reference(&mut self, message: MessageId, name: &str) -> Option<Upload> {
        let messages = self.named_by.get_mut(name)?;
        messages.remove(&message);
        if !messages.is_empty() {
            return None;
        }
        self.named_by.remove(name);
        let upload = self.rows.get(name)?.clone();
        if upload.file.is_some() {
            self.rows.remove(name);
        } else {
            self.expiring.insert((upload.expires_at, name.to_owned()));
        }
        Some(upload)
    }
}

#[async_trait]
impl Uploads for Memory {
    async fn upload(&self, name: &str) -> Result<Option<Upload>> {
        Ok(self.snapshot()?.uploads.rows.get(name).cloned())
    }

    async fn uploads(&self, names: &[String]) -> Result<Vec<Upload>> {
        let rows = &self.snapshot()?.uploads.rows;
        let names: BTreeSet<_> = names.iter().collect();
        Ok(names.into_iter().filter_map(|name| rows.get(name).cloned()).collect())
    }

    async fn expire_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<Upload>> {
        let mut tx = self.draft().await?;
        let table = &mut tx.draft.uploads;
        let expired: Vec<_> = table.expiring.iter().take_while(|(at, _)| *at < before).take(limit).cloned().collect();
        let mut uploads = Vec::with_capacity(expired.len());
        for row in expired {
            table.expiring.remove(&row);
            uploads.extend(table.rows.remove(&row.1));
        }
        tx.publish();
        Ok(uploads)
    }
}

#[async_trait]
impl WriteUploads for MemoryTx {
    async fn insert_upload(&mut self, new: NewUpload) -> Result<()> {
        let NewUpload { name, owner, mimetype, limit_bytes, expires_at } = new;
        self.draft.expect_account(owner)?;
        let table = &mut self.draft.uploads;
        if table.rows.contains_key(&name) {
            return Err(taken("upload", name));
        }
        table.expiring.insert((expires_at, name.clone()));
        table.rows.insert(name.clone(), Upload { name, owner, mimetype, limit_bytes, expires_at, file: None });
        Ok(())
    }

    async fn put_upload(&mut self, name: &str, file: UploadedFile) -> Result<bool> {
        match self.draft.uploads.rows.get_mut(name) {
            Some(upload) if upload.file.is_none() => {
                upload.file = Some(file);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn reference_uploads(&mut self, named: &[UploadReference]) -> Result<()> {
        named.iter().for_each(|mention| self.draft.uploads.add_reference(mention.message, mention.author, &mention.name));
        Ok(())
    }

    async fn replace_upload_references(&mut self, of: MessageId, author: PartnerId, names: &[String]) -> Result<Vec<Upload>> {
        let table = &mut self.draft.uploads;
        let before = table.named_in.remove(&of).unwrap_or_default();
        names.iter().for_each(|name| table.add_reference(of, author, name));
        let gone = before.iter().filter(|name| !names.contains(name));
        Ok(gone.filter_map(|name| table.remove_reference(of, name)).collect())
    }
}
