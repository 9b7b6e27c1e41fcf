//! A file on its way in: a multipart form that is read as it comes.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use poem::{
    Body, FromRequest, Request, RequestBody,
    http::{HeaderValue, header},
    web::Multipart,
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry},
};
use storage::ConversationId;
use tokio_util::io::ReaderStream;
use url::Url;

use super::error::HttpFailure;
use crate::{
    chat::{Chat, Received},
    dialects::{House, jsonrpc::BodyLimit},
};

/// How much of a form may be something else than its file.
const SPARE_BYTES: i64 = 1024 * 1024;
/// How much of the file is handed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A form with a file, of which nothing was read yet.
pub(super) struct Upload {
    /// `None` if the request is no multipart form.
    form: Option<Multipart>,
    spare: Spare,
    origin: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

/// What a form held.
pub(super) struct Form {
    pub(super) file: Received,
    /// As the form says, or else as the file is called.
    pub(super) name: String,
    pub(super) thread: Option<ConversationId>,
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

impl Upload {
    /// Whether no page of a foreign origin has sent this. A browser lets any page post a form, cookie included, but says
    /// from where.
    pub(super) fn is_ours(&self, house: &House) -> bool {
        let Some(origin) = &self.origin else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        let base = Url::parse(&house.base_url).map(|url| url.origin().ascii_serialization());
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        base.is_ok_and(|base| base == origin)
            || house.config.cors.origins.iter().any(|allowed| allowed == origin)
            || host.is_some_and(|host| origin.split_once("://").is_some_and(|(_, authority)| authority == host))
    }

    /// Reads the parts in whatever order they come; unknown ones are passed over. The file goes on piece by piece.
    pub(super) async fn read(self, chat: &Chat) -> Result<Form, HttpFailure> {
        let no_file = || HttpFailure::bad_request("No file provided");
        let mut form = self.form.ok_or_else(no_file)?;
        let (mut file, mut name, mut thread) = (None, None, None);
        while let Some(part) = form.next_field().await.map_err(|_| broken())? {
            let filename = part.file_name().filter(|name| !name.trim().is_empty()).map(str::to_owned);
            match (part.name(), filename) {
                (Some("file"), Some(filename)) if file.is_none() => {
                    let spare = self.spare.clone();
                    let pieces = ReaderStream::with_capacity(part.into_async_read(), PIECE_BYTES);
                    let pieces = pieces.inspect_ok(move |piece| spare.handed_on(piece.len()));
                    file = Some((chat.receive(Box::pin(pieces)).await?, filename));
                }
                (Some("name"), _) => name = Some(part.text().await.map_err(|_| broken())?),
                (Some("thread_id"), _) => thread = thread_id(&part.text().await.map_err(|_| broken())?)?,
                _ => {}
            }
        }
        let (file, filename) = file.ok_or_else(no_file)?;
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or(filename);
        Ok(Form { file, name, thread })
    }
}

fn broken() -> HttpFailure {
    HttpFailure::bad_request("The multipart form is broken, or holds too much beside the file")
}

fn thread_id(text: &str) -> Result<Option<ConversationId>, HttpFailure> {
    match text.trim() {
        "" => Ok(None),
        number => match number.parse() {
            Ok(id) => Ok(Some(ConversationId(id))),
            Err(_) => Err(HttpFailure::bad_request("thread_id must be a whole number")),
        },
    }
}

impl<'a> ApiExtractor<'a> for Upload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
        let member = |schema, description| inline(MetaSchema { description: Some(description), ..schema });
        let form = MetaSchema {
            required: vec!["file"],
            properties: vec![
                ("file", member(MetaSchema::new_with_format("string", "binary"), "The file; it must have a name.")),
                ("name", member(MetaSchema::new("string"), "What to call it instead.")),
                ("thread_id", member(MetaSchema::new_with_format("integer", "int64"), "A thread of the caller's.")),
            ],
            ..MetaSchema::new("object")
        };
        Some(MetaRequest {
            description: Some("The parts may come in any order; others are passed over."),
            content: vec![MetaMediaType { content_type: "multipart/form-data", schema: inline(form) }],
            required: true,
        })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
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
        Ok(Self {
            form: <Multipart as FromRequest>::from_request(request, &mut body).await.ok(),
            spare,
            origin: request.headers().get(header::ORIGIN).cloned(),
            host: request.headers().get(header::HOST).cloned(),
        })
    }
}
