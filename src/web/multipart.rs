//! Multipart file uploads, parsed as a stream and charged to the caller's memory quota.

use std::sync::Arc;

use futures_util::StreamExt;
use multer::{Field, Multipart};
use parking_lot::Mutex;
use poem::{Request, RequestBody, http::header};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef};

use super::{
    body::account,
    disposition::{self, Disposition},
};
use crate::{
    auth::Caller,
    chat::{self, Chat, NO_MEMORY, ReceivedFile},
    shares::{Charge, NoShare},
};

/// Maximum size of a form without its file, in bytes.
const MAX_BUFFERED_BYTES: usize = 1024 * 1024;

/// A multipart form before its first part is read. A body of another type is a form without parts.
pub struct MultipartForm {
    form: Option<Multipart<'static>>,
    spare: FormBuffer,
}

/// One part of a multipart form.
pub struct FormPart {
    field: Field<'static>,
    disposition: Disposition,
    spare: FormBuffer,
}

/// Reason for which the rest of a form is not read.
#[derive(Clone, Copy, Debug)]
pub enum FormError {
    /// The form is incomplete, or contains too much besides the file.
    Malformed,
    /// Several parts have this name, which is allowed once.
    Repeated(&'static str),
    NoShare(NoShare),
}

impl FormError {
    /// Message for a broken form.
    pub const MALFORMED_MESSAGE: &'static str = "The multipart form is broken, or holds too much beside the file";

    /// Message for a repeated part.
    pub fn repeated_message(name: &str) -> String {
        format!("{name} must be given once")
    }
}

/// Buffered bytes: received from the client and not yet passed on. Their number is bounded and charged, so it is the form's whole
/// memory, whatever its structure.
#[derive(Clone)]
struct FormBuffer(Arc<Mutex<BufferCharge>>);

struct BufferCharge {
    charge: Charge,
    refused: Option<NoShare>,
}

impl FormBuffer {
    fn received(&self, bytes: usize) -> std::io::Result<()> {
        let mut kept = self.0.lock();
        let bytes = kept.charge.bytes() + bytes;
        if bytes > MAX_BUFFERED_BYTES {
            kept.charge.count_refusal("body_bytes");
            return Err(std::io::Error::other("too much beside the file"));
        }
        let charged = kept.charge.set(bytes);
        kept.refused = charged.err();
        charged.map_err(std::io::Error::other)
    }

    fn released(&self, bytes: usize) {
        let charge = &mut self.0.lock().charge;
        let _ = charge.set(charge.bytes().saturating_sub(bytes));
    }

    /// Reason of a read error.
    fn error(&self) -> FormError {
        self.0.lock().refused.map_or(FormError::Malformed, FormError::NoShare)
    }
}

impl MultipartForm {
    /// The form in the body of a request.
    pub async fn of(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let spare = FormBuffer(Arc::new(Mutex::new(BufferCharge { charge: account(request).body(), refused: None })));
        let received = spare.clone();
        let pieces = body.take()?.into_bytes_stream();
        let pieces = pieces.map(move |piece| piece.and_then(|piece| received.received(piece.len()).map(|()| piece)));
        let boundary = request.header(header::CONTENT_TYPE.as_str()).and_then(boundary);
        Ok(Self { form: boundary.map(|boundary| Multipart::new(pieces, boundary)), spare })
    }

    /// The next part. Parts may come in any order.
    pub async fn next(&mut self) -> Result<Option<FormPart>, FormError> {
        let Some(form) = &mut self.form else { return Ok(None) };
        let Some(field) = form.next_field().await.map_err(|_| self.spare.error())? else { return Ok(None) };
        let disposition = field.headers().get(header::CONTENT_DISPOSITION);
        let disposition = disposition.map(|value| Disposition::parse(value.as_bytes())).unwrap_or_default();
        Ok(Some(FormPart { field, disposition, spare: self.spare.clone() }))
    }
}

/// Boundary between the parts; `None` for any other content type. Some clients omit the quotes that it needs.
fn boundary(content_type: &str) -> Option<String> {
    let quoted = multer::parse_boundary(content_type).ok().filter(|boundary| !boundary.is_empty());
    quoted.or_else(|| {
        let (kind, parameters) = content_type.split_once(';')?;
        let mut parameters = parameters.split(';').filter_map(|parameter| parameter.trim().split_once('='));
        let (_, boundary) = parameters.find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
        let is_form = kind.trim().eq_ignore_ascii_case("multipart/form-data");
        (is_form && !boundary.is_empty()).then(|| boundary.to_owned())
    })
}

impl FormPart {
    pub fn name(&self) -> Option<&str> {
        self.disposition.name.as_deref()
    }

    /// File name given by the client; `None` if the part is no file.
    pub fn filename(&self) -> Option<String> {
        self.disposition.filename.clone()
    }

    /// Text of a part, in its declared charset, else decoded by [`disposition::text`].
    pub async fn text(self) -> Result<String, FormError> {
        let Self { field, spare, .. } = self;
        let names_charset = field.content_type().is_some_and(|kind| kind.get_param("charset").is_some());
        if names_charset {
            return field.text().await.map_err(|_| spare.error());
        }
        let bytes = field.bytes().await.map_err(|_| spare.error())?;
        Ok(disposition::text(&bytes).into_owned())
    }

    /// Stores the text of a part in `place`. Refuses a second part of the same name, since the client may mean either.
    pub async fn read_once(self, place: &mut Option<String>, name: &'static str) -> Result<(), FormError> {
        if place.is_some() {
            return Err(FormError::Repeated(name));
        }
        *place = Some(self.text().await?);
        Ok(())
    }

    /// Stores a file as its pieces arrive.
    pub async fn receive(self, chat: &Chat, caller: &Caller) -> chat::Result<ReceivedFile> {
        let Self { field, spare, .. } = self;
        let (charge, kept) = (spare.0.lock().charge.another(), Arc::clone(&spare.0));
        let declared = field.content_type().map(|kind| kind.essence_str().to_owned());
        let pieces = field.map(move |piece| {
            let piece = piece.map_err(std::io::Error::other)?;
            spare.released(piece.len());
            Ok(piece)
        });
        let received = chat.receive_file(caller, declared.as_deref(), Box::pin(pieces), charge).await;
        // The form is intact; the memory quota is exhausted.
        received.map_err(|error| if kept.lock().refused.is_some() { NO_MEMORY } else { error })
    }
}

/// Describes a form for OpenAPI: its fields, each with a description, and the names of the required ones.
pub fn form_schema(members: Vec<(&'static str, MetaSchema, &'static str)>, required: Vec<&'static str>) -> MetaRequest {
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

#[cfg(test)]
mod tests {
    use super::boundary;

    #[test]
    fn a_form_says_what_stands_between_its_parts() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=b", Some("b")),
            ("multipart/form-data; boundary=\"a b\"", Some("a b")),
            ("Multipart/Form-Data; charset=utf-8; Boundary=b", Some("b")),
            ("multipart/form-data; boundary=----=_Part_1_2.3", Some("----=_Part_1_2.3")),
            ("multipart/form-data; boundary=a/b:c", Some("a/b:c")),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=b", None),
            ("application/x-www-form-urlencoded", None),
        ] {
            assert_eq!(boundary(content_type).as_deref(), expected, "{content_type}");
        }
    }
}
