//! Forms with a file on their way in: multipart, read as they come.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use poem::{
    Body, FromRequest, Request, RequestBody,
    web::{Field, Multipart},
};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef};
use tokio_util::io::ReaderStream;

use super::jsonrpc::BodyLimit;
use crate::{
    auth::Caller,
    chat::{self, Chat, Received},
};

/// How much of a form may be something else than its file.
const SPARE_BYTES: i64 = 1024 * 1024;
/// How much of the file is handed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A form of which nothing was read yet, or no form at all, which is one without parts.
pub struct Form {
    form: Option<Multipart>,
    spare: Spare,
}

/// One part of a form.
pub struct Part {
    field: Field,
    spare: Spare,
}

/// The form is not whole, or holds too much beside the file.
#[derive(Clone, Copy, Debug)]
pub struct Broken;

impl Broken {
    /// Says so to whoever has sent it.
    pub const WORDS: &'static str = "The multipart form is broken, or holds too much beside the file";
}

/// How many bytes that are not the file's may still arrive. As the file's bytes count again once they are handed on, this
/// also bounds what is kept in memory, whatever the form looks like.
#[derive(Clone)]
struct Spare(Arc<AtomicI64>);

impl Spare {
    fn arrived(&self, bytes: usize) -> std::io::Result<()> {
        let bytes = bytes as i64;
        if self.0.fetch_sub(bytes, Ordering::Relaxed) < bytes {
            return Err(std::io::Error::other("too much beside the file"));
        }
        Ok(())
    }

    fn handed_on(&self, bytes: usize) {
        self.0.fetch_add(bytes as i64, Ordering::Relaxed);
    }
}

impl Form {
    /// The form that a request brings.
    pub async fn of(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let spare = Spare(Arc::new(AtomicI64::new(SPARE_BYTES)));
        let limit = *request.data::<BodyLimit>().expect("the server puts it into every request");
        let arriving = (Box::pin(body.take()?.into_bytes_stream()), spare.clone());
        let pieces = stream::unfold(arriving, move |(mut pieces, spare)| async move {
            let piece = match tokio::time::timeout(limit.time, pieces.next()).await {
                Ok(piece) => piece?.and_then(|piece| spare.arrived(piece.len()).map(|()| piece)),
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            };
            Some((piece, (pieces, spare)))
        });
        let mut body = RequestBody::new(Body::from_bytes_stream(pieces));
        Ok(Self { form: <Multipart as FromRequest>::from_request(request, &mut body).await.ok(), spare })
    }

    /// The next part, in whatever order they come.
    pub async fn next(&mut self) -> Result<Option<Part>, Broken> {
        let Some(form) = &mut self.form else { return Ok(None) };
        let field = form.next_field().await.map_err(|_| Broken)?;
        Ok(field.map(|field| Part { field, spare: self.spare.clone() }))
    }
}

impl Part {
    pub fn name(&self) -> Option<&str> {
        self.field.name()
    }

    /// What the client calls the file; `None` for what is none.
    pub fn filename(&self) -> Option<String> {
        self.field.file_name().filter(|name| !name.trim().is_empty()).map(str::to_owned)
    }

    pub async fn text(self) -> Result<String, Broken> {
        self.field.text().await.map_err(|_| Broken)
    }

    /// Takes in a file, piece by piece.
    pub async fn receive(self, chat: &Chat, caller: &Caller) -> chat::Result<Received> {
        let Self { field, spare } = self;
        let pieces = ReaderStream::with_capacity(field.into_async_read(), PIECE_BYTES);
        let pieces = pieces.inspect_ok(move |piece| spare.handed_on(piece.len()));
        chat.receive(caller, Box::pin(pieces)).await
    }
}

/// Describes a form: its members, each with what it is for, of which some must be there.
pub fn described(members: Vec<(&'static str, MetaSchema, &'static str)>, required: Vec<&'static str>) -> MetaRequest {
    let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
    let member = |(name, schema, description)| (name, inline(MetaSchema { description: Some(description), ..schema }));
    let properties = members.into_iter().map(member).collect();
    MetaRequest {
        description: Some("The parts may come in any order; others are passed over."),
        content: vec![MetaMediaType {
            content_type: "multipart/form-data",
            schema: inline(MetaSchema { required, properties, ..MetaSchema::new("object") }),
        }],
        required: true,
    }
}
