//! Multipart file uploads, parsed as a stream and charged to the caller's memory quota.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use multer::{Field, Multipart};
use parking_lot::Mutex;
use poem::{Request, RequestBody, http::header};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef};

use super::{
    body::{BodyLimit, account},
    disposition::{self, Disposition},
};
use crate::{
    auth::Caller,
    blobs::NO_MEMORY,
    chat::{self, Chat, Received},
    shares::{Charge, NoShare},
};

/// Maximum size of a form without its file, in bytes.
const SPARE_BYTES: usize = 1024 * 1024;

/// A multipart form before its first part is read. A body of another type is a form without parts.
pub struct Form {
    form: Option<Multipart<'static>>,
    spare: Spare,
}

/// One part of a multipart form.
pub struct Part {
    field: Field<'static>,
    disposition: Disposition,
    spare: Spare,
}

/// Reason for which the rest of a form is not read.
#[derive(Clone, Copy, Debug)]
pub enum Broken {
    /// The form is incomplete, or contains too much besides the file.
    Form,
    /// Several parts have this name, which is allowed once.
    Repeated(&'static str),
    NoShare(NoShare),
}

impl Broken {
    /// Message for a broken form.
    pub const WORDS: &'static str = "The multipart form is broken, or holds too much beside the file";

    /// Message for a repeated part.
    pub fn repeated(name: &str) -> String {
        format!("{name} must be given once")
    }
}

/// Buffered bytes: received from the client and not yet passed on. Their number is bounded and charged, so it is the form's whole
/// memory, whatever its structure.
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

    /// Reason of a read error.
    fn broken(&self) -> Broken {
        self.0.lock().refused.map_or(Broken::Form, Broken::NoShare)
    }
}

impl Form {
    /// The form in the body of a request.
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
        let boundary = request.header(header::CONTENT_TYPE.as_str()).and_then(boundary);
        Ok(Self { form: boundary.map(|boundary| Multipart::new(Box::pin(pieces), boundary)), spare })
    }

    /// The next part. Parts may come in any order.
    pub async fn next(&mut self) -> Result<Option<Part>, Broken> {
        let Some(form) = &mut self.form else { return Ok(None) };
        let Some(field) = form.next_field().await.map_err(|_| self.spare.broken())? else { return Ok(None) };
        let disposition = field.headers().get(header::CONTENT_DISPOSITION);
        let disposition = disposition.map(|value| Disposition::parse(value.as_bytes())).unwrap_or_default();
        Ok(Some(Part { field, disposition, spare: self.spare.clone() }))
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

impl Part {
    pub fn name(&self) -> Option<&str> {
        self.disposition.name.as_deref()
    }

    /// File name given by the client; `None` if the part is no file.
    pub fn filename(&self) -> Option<String> {
        self.disposition.filename.clone()
    }

    /// Text of a part, in its declared charset, else decoded by [`disposition::text`].
    pub async fn text(self) -> Result<String, Broken> {
        let Self { field, spare, .. } = self;
        let names_charset = field.content_type().is_some_and(|kind| kind.get_param("charset").is_some());
        if names_charset {
            return field.text().await.map_err(|_| spare.broken());
        }
        let bytes = field.bytes().await.map_err(|_| spare.broken())?;
        Ok(disposition::text(&bytes).into_owned())
    }

    /// Stores the text of a part in `place`. Refuses a second part of the same name, since the client may mean either.
    pub async fn keep_in(self, place: &mut Option<String>, name: &'static str) -> Result<(), Broken> {
        if place.is_some() {
            return Err(Broken::Repeated(name));
        }
        *place = Some(self.text().await?);
        Ok(())
    }

    /// Stores a file as its pieces arrive.
    pub async fn receive(self, chat: &Chat, caller: &Caller) -> chat::Result<Received> {
        let Self { field, spare, .. } = self;
        let (charge, kept) = (spare.0.lock().charge.another(), Arc::clone(&spare.0));
        let declared = field.content_type().map(|kind| kind.essence_str().to_owned());
        let pieces = field.map(move |piece| {
            let piece = piece.map_err(std::io::Error::other)?;
            spare.handed_on(piece.len());
            Ok(piece)
        });
        let received = chat.receive(caller, declared.as_deref(), Box::pin(pieces), charge).await;
        // The form is intact; the memory quota is exhausted.
        received.map_err(|error| if kept.lock().refused.is_some() { NO_MEMORY } else { error })
    }
}

/// Describes a form for OpenAPI: its fields, each with a description, and the names of the required ones.
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
