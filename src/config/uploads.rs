//! Settings of direct uploads by signed URL.

use std::time::Duration;

use serde::Deserialize;

use super::is_web_address;
use crate::chat::UploadRules;

/// Direct uploads to the object store, by signed URL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadSettings {
    /// Upload types that `/file-new/get-upload-url` accepts; each has a folder of its own.
    pub types: Vec<String>,
    /// Size limit of a file.
    pub bytes: u64,
    /// Lifetime of a signed upload URL; S3 allows a week at most.
    pub lifetime_seconds: u64,
    /// Retention of a file that no message names, from the expiry of its upload URL. A file that an edit or a delete takes out of
    /// the last message with it is deleted at once.
    pub unnamed_seconds: u64,
    /// Public URL of the folders, for example a CDN; empty means the bucket's own URL, or this server's `/files`.
    pub public_url: String,
}

impl UploadSettings {
    pub fn rules(&self) -> UploadRules {
        UploadRules { kinds: self.types.clone(), bytes: self.bytes, lifetime: Duration::from_secs(self.lifetime_seconds) }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        /// Folder of attachments.
        const TAKEN: &str = "attachments";

        let is_plain = |kind: &String| {
            !kind.is_empty() && kind != TAKEN && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if self.types.is_empty() || !self.types.iter().all(is_plain) {
            return Err(format!("uploads.types must hold names of letters, digits, - and _, and none of them {TAKEN}"));
        }
        if !self.public_url.is_empty() && !is_web_address(&self.public_url) {
            return Err("uploads.public_url must be an http or https address".into());
        }
        Ok(())
    }
}
