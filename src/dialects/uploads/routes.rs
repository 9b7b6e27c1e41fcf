use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};

use super::{
    Tag,
    error::Failure,
    file::{Arriving, FileReply, Wanted},
    wire::{Answer, Wish},
};
use crate::{
    auth::Caller,
    chat::{self, Permit},
    dialects::{House, bearer::BearerOrSession},
};

pub(super) struct Uploads(pub(super) House);

/// How callers of this room say who they are.
type Credentials = BearerOrSession;

fn caller(credentials: &Credentials) -> Result<&Caller, Failure> {
    Ok(credentials.0.as_ref()?)
}

#[derive(ApiResponse)]
enum Generated {
    /// The addresses.
    #[oai(status = 200, content_type = "application/json")]
    Urls(Json<Answer>),
}

#[derive(ApiResponse)]
enum Taken {
    /// The file is stored.
    #[oai(status = 200)]
    Stored,
}

#[OpenApi(tag = "Tag::Uploads")]
impl Uploads {
    /// Gives an address to put a file at
    ///
    /// And the one where it will be: that can be sent in a message then. A file that no message names within a day goes
    /// away again.
    #[oai(path = "/file-new/get-upload-url", method = "post", operation_id = "uploads_get_upload_url")]
    async fn get_upload_url(&self, wish: Wish, credentials: Credentials) -> Result<Generated, Failure> {
        let caller = caller(&credentials)?;
        let announced = wish.0?;
        let filename = announced.filename.clone();
        let leave = self.0.chat.begin_upload(caller, announced).await?;
        Ok(Generated::Urls(Json(Answer::new(filename, leave, &self.0))))
    }

    /// Puts a file
    ///
    /// At an address that was given for it, with all of its query: once, with the announced `Content-Type`, and while the
    /// address is good.
    #[oai(path = "/files/:kind/:name", method = "put", operation_id = "uploads_put")]
    async fn put(
        &self,
        kind: Path<String>,
        name: Path<String>,
        #[oai(name = "Content-Type")] mimetype: Query<Option<String>>,
        #[oai(name = "Expires")] expires: Query<Option<String>>,
        #[oai(name = "Signature")] signature: Query<Option<String>>,
        file: Arriving,
    ) -> Result<Taken, Failure> {
        let permit = || {
            let (name, expires) = (format!("{}/{}", kind.0, name.0), expires.0?.parse().ok()?);
            Some(Permit { name, mimetype: mimetype.0?, expires, signature: signature.0? })
        };
        let permit = permit().ok_or(chat::Error::Forbidden)?;
        let (mimetype, size_bytes) = (file.mimetype.clone(), file.size_bytes);
        self.0.chat.take_upload(&permit, &mimetype, size_bytes, file.pieces()).await?;
        Ok(Taken::Stored)
    }

    /// Shows a file that was put
    ///
    /// To anybody who knows where it is, which nobody can guess.
    #[oai(path = "/files/:kind/:name", method = "get", operation_id = "uploads_get")]
    async fn get(
        &self,
        kind: Path<String>,
        name: Path<String>,
        /// One part of it: `bytes=0-3`, `bytes=4-`, or `bytes=-3` for the last three.
        #[oai(name = "Range")]
        range: Header<Option<String>>,
        /// Whoever has a condition gets the whole: there is nothing here that it could be about.
        #[oai(name = "If-Range")]
        condition: Header<Option<String>>,
    ) -> Result<FileReply, Failure> {
        let chat = &self.0.chat;
        let shown = chat.uploaded(&format!("{}/{}", kind.0, name.0)).await?;
        let range = range.0.filter(|_| condition.0.is_none());
        let part = match range.map_or(Wanted::Whole, |range| Wanted::of(&range, shown.size_bytes)) {
            Wanted::Whole => None,
            Wanted::Part(part) => Some(part),
            Wanted::Beyond => return Err(Failure::beyond(shown.size_bytes)),
        };
        let bytes = chat.uploaded_bytes(&shown, part.clone()).await?;
        Ok(FileReply { shown, part, bytes })
    }
}
