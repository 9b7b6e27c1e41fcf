//! Descriptions of the files that messages hold, for clients that show a file before they fetch it.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use storage::{Attachment, Message, MessageId, MessageType, Upload};

use super::{
    Chat, Result,
    attachments::safe_name,
    uploads::{mimetype_by_name, named_in},
};

/// A file as a message would describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFile {
    pub name: String,
    pub mimetype: String,
    /// 0 where it is unknown: a bucket takes files without telling.
    pub size_bytes: i64,
    /// Width and height of a picture whose header says them, in pixels.
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

    /// A file at another system's address, of which nothing else is known.
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
    /// The file of each of these messages that holds one without saying anything of it: the first attachment, or what is at the
    /// address that is the text of a file's message. Deleted messages hold none.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be read.
    pub async fn sent_files(&self, messages: impl IntoIterator<Item = &Message>) -> Result<HashMap<MessageId, SentFile>> {
        let mut files = HashMap::new();
        let mut uploads: HashMap<String, Vec<MessageId>> = HashMap::new();
        let silent = |message: &&Message| message.metadata.is_none() && message.deleted_at.is_none();
        for message in messages.into_iter().filter(silent) {
            if let Some(file) = message.attachments.first() {
                files.insert(message.id, SentFile::of_attachment(file));
            } else if matches!(message.message_type, MessageType::File | MessageType::Image | MessageType::Video) {
                files.insert(message.id, SentFile::at(&message.body));
                let named = named_in(&message.body, None, &self.0.rules.uploads.kinds);
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

    /// The same of one message.
    ///
    /// # Errors
    /// As [`Chat::sent_files`].
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
