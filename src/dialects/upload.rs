//! Forms with a file on their way in: multipart, read as they come.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use poem::{
    Body, FromRequest, Request, RequestBody,
    web::{Field, Multipart},
};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef};
use tokio_util::io::ReaderStream;

use super::body::{BodyLimit, account};
use crate::{
    auth::Caller,
    chat::{self, Chat, Received},
    shares::{Charge, NoShare},
};

/// How much of a form may be something else than its file.
const SPARE_BYTES: usize = 1024 * 1024;
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

/// Reason why the rest of a form is not read.
#[derive(Clone, Copy, Debug)]
pub enum Broken {
    /// It is not whole, or holds too much beside the file.
    Form,
    NoShare(NoShare),
}

impl Broken {
    /// Words for a form that is broken.
    pub const WORDS: &'static str = "The multipart form is broken, or holds too much beside the file";
}

/// Bytes that have arrived and were not handed on. They are bounded and charged: all that is kept of a form in memory, whatever it
/// looks like.
#[derive(Clone)]
struct Spare(Arc<Mutex<Kept>>);

struct Kept {
    charge: Charge,
    refused: Option<NoShare>,
}

impl Spare {
    fn arrived(&self, bytes: usize) -> std::io::Result<()> {
        let mut kept = self.0.lock();
        let bytes = kept.charge.bytes() + bytes;
        if bytes > SPARE_BYTES {
            return Err(std::io::Error::other("too much beside the file"));
        }
        let charged = kept.charge.set(bytes);
        kept.refused = charged.err();
        charged.map_err(std::io::Error::other)
    }

    fn handed_on(&self, bytes: usize) {
        let charge = &mut self.0.lock().charge;
        let _ = charge.set(charge.bytes().saturating_sub(bytes));
    }

    /// The reason for which reading has failed.
    fn broken(&self) -> Broken {
        self.0.lock().refused.map_or(Broken::Form, Broken::NoShare)
    }
}

impl Form {
    /// The form that a request brings.
    pub async fn of(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let spare = Spare(Arc::new(Mutex::new(Kept { charge: account(request).body(), refused: None })));
        let limit = BodyLimit::of(request);
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
        let field = form.next_field().await.map_err(|_| self.spare.broken())?;
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
        self.field.text().await.map_err(|_| self.spare.broken())
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
