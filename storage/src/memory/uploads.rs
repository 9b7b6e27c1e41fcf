use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};

use super::{Memory, MemoryTx, taken};
use crate::{NewUpload, Result, Timestamp, Upload, UploadedFile, Uploads, WriteUploads};

#[derive(Clone, Default)]
pub(super) struct Table {
    rows: OrdMap<String, Upload>,
    /// Those that are not kept.
    expiring: OrdSet<(Timestamp, String)>,
}

#[async_trait]
impl Uploads for Memory {
    async fn upload(&self, name: &str) -> Result<Option<Upload>> {
        Ok(self.snapshot()?.uploads.rows.get(name).cloned())
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
        self.draft.users.expect_user(owner)?;
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

    async fn keep_uploads(&mut self, names: &[String]) -> Result<()> {
        let table = &mut self.draft.uploads;
        for upload in names.iter().filter_map(|name| table.rows.get(name)) {
            table.expiring.remove(&(upload.expires_at, upload.name.clone()));
        }
        Ok(())
    }
}
