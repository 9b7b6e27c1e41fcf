//! Descriptions of files in messages, for clients that show a file before they fetch it. The source is the attachment, the
//! upload, or the name in the URL.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use storage::{Attachment, Message, MessageId, MessageType, Upload};

use super::safe_name;
use crate::chat::{
    Chat, Result,
    uploads::{mentioned_uploads, mimetype_by_name},
};

/// The description of a file in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFile {
    pub name: String,
    pub mimetype: String,
    /// Size in bytes; 0 if unknown, as for a file that a client put straight into the bucket.
    pub size_bytes: i64,
    /// Width and height of a picture in pixels, if its header has them.
    pub dimensions: Option<(i32, i32)>,
}

impl SentFile {
    fn of_attachment(file: &Attachment) -> Self {
        Self {
            name: file.name.clone(),
            mimetype: file.mimetype.clone(),
            size_bytes: file.size_bytes,
            dimensions: file.media.width.zip(file.media.height),
        }
    }

    fn of_upload(upload: Upload) -> Self {
        let name = last_part(&upload.name).to_owned();
        match upload.file {
            Some(file) => {
                Self { name, mimetype: file.mimetype, size_bytes: file.size_bytes, dimensions: file.width.zip(file.height) }
            }
            None => Self { name, mimetype: upload.mimetype, size_bytes: 0, dimensions: None },
        }
    }

    /// A file at a URL of another system: the name and the media type come from the URL alone.
    fn at(address: &str) -> Self {
        let path = address.split(['?', '#']).next().unwrap_or_default();
        let name = match last_part(path.trim()) {
            "" => String::new(),
            part => safe_name(&percent_decode_str(part).decode_utf8_lossy()),
        };
        Self { mimetype: mimetype_by_name(&name).to_owned(), name, size_bytes: 0, dimensions: None }
    }
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

impl Chat {
    /// Describes the file of each message that has one and no metadata: the first attachment, or the file at the URL in the
    /// body of a message of type file, image or video. Deleted messages have none.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    pub async fn sent_files(&self, messages: impl IntoIterator<Item = &Message>) -> Result<HashMap<MessageId, SentFile>> {
        let mut files = HashMap::new();
        let mut uploads: HashMap<String, Vec<MessageId>> = HashMap::new();
        let silent = |message: &&Message| message.metadata.is_none() && message.deleted_at.is_none();
        for message in messages.into_iter().filter(silent) {
            if let Some(file) = message.attachments.first() {
                files.insert(message.id, SentFile::of_attachment(file));
            } else if matches!(message.message_type, MessageType::File | MessageType::Image | MessageType::Video) {
                files.insert(message.id, SentFile::at(&message.body));
                let named = mentioned_uploads(&message.body, None, &self.0.rules.uploads.kinds);
                if let Some(name) = named.into_iter().next() {
                    uploads.entry(name).or_default().push(message.id);
                }
            }
        }
        let names: Vec<_> = uploads.keys().cloned().collect();
        for upload in self.0.storage.uploads(&names).await? {
            for message in uploads.remove(&upload.name).unwrap_or_default() {
                files.insert(message, SentFile::of_upload(upload.clone()));
            }
        }
        Ok(files)
    }

    /// Describes the file of one message, as [`Chat::sent_files`].
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    pub async fn sent_file(&self, message: &Message) -> Result<Option<SentFile>> {
        Ok(self.sent_files([message]).await?.remove(&message.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_elsewhere_is_known_by_its_address() {
        for (address, name, mimetype) in [
            ("https://a.example/x/photo.PNG?w=1#top", "photo.PNG", "image/png"),
            (" https://a.example/report.pdf ", "report.pdf", "application/pdf"),
            ("https://a.example/page.html", "page.html", "application/octet-stream"),
            ("https://a.example/", "", "application/octet-stream"),
            ("no address", "no address", "application/octet-stream"),
            ("https://a.example/na%C3%AFve%20caf%C3%A9.PDF", "naïve café.PDF", "application/pdf"),
            ("https://a.example/photo_%E2%80%AEgpj.exe", "photo_gpj.exe", "application/octet-stream"),
            ("https://a.example/a%2Fb%00.png", "b.png", "image/png"),
            ("https://a.example/%FF.png", "\u{fffd}.png", "image/png"),
        ] {
            let file = SentFile::at(address);
            assert_eq!((file.name.as_str(), file.mimetype.as_str()), (name, mimetype), "{address}");
        }
        assert_eq!(SentFile::at(&format!("https://a.example/{}", "x".repeat(60_000))).name.len(), 255);
    }
}
