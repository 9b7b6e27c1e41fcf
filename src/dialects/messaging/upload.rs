//! Multipart upload of a file, with the check of its origin.

use poem::{
    Request, RequestBody,
    http::{HeaderMap, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaRequest, MetaSchema, Registry},
};
use storage::ConversationId;

use super::error::HttpFailure;
use crate::{
    auth::Caller,
    chat::{Chat, ReceivedFile},
    web::{
        AppContext,
        multipart::{self, FormError},
        origin, session,
    },
};

/// A multipart form of which nothing is read yet.
pub(super) struct AttachmentUpload {
    form: multipart::MultipartForm,
    /// `Origin` and `Host`; none if the session came by its header, which pages of other origins cannot set.
    headers: HeaderMap,
}

/// Contents of the form.
pub(super) struct AttachmentForm {
    pub(super) file: ReceivedFile,
    /// The form's `name`, or else the file's own.
    pub(super) name: String,
    pub(super) thread: Option<ConversationId>,
}

impl AttachmentUpload {
    /// True unless a page of a foreign origin sent the form along with the session's cookie.
    pub(super) fn is_allowed_origin(&self, app: &AppContext) -> bool {
        origin::may_post_form(&self.headers, &app.config)
    }

    /// Reads the parts in any order; unknown parts are skipped. The file is streamed piece by piece.
    pub(super) async fn read(mut self, chat: &Chat, caller: &Caller) -> Result<AttachmentForm, HttpFailure> {
        let (mut file, mut name, mut thread) = (None, None, None);
        while let Some(part) = self.form.next().await? {
            let filename = part.filename();
            match (part.name(), filename) {
                // The response describes one file.
                (Some("file"), Some(_)) if file.is_some() => return Err(FormError::Repeated("file").into()),
                (Some("file"), Some(filename)) => file = Some((part.receive(chat, caller).await?, filename)),
                (Some("name"), _) => part.read_once(&mut name, "name").await?,
                (Some("thread_id"), _) => part.read_once(&mut thread, "thread_id").await?,
                _ => {}
            }
        }
        let thread = thread.map_or(Ok(None), |thread| thread_id(&thread))?;
        let (file, filename) = file.ok_or_else(|| HttpFailure::bad_request("No file provided"))?;
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or(filename);
        Ok(AttachmentForm { file, name, thread })
    }
}

impl From<FormError> for HttpFailure {
    fn from(broken: FormError) -> Self {
        match broken {
            FormError::Malformed => Self::bad_request(FormError::MALFORMED_MESSAGE),
            FormError::Repeated(name) => Self::bad_request(FormError::repeated_message(name)),
            FormError::NoShare(why) => Self::refused(why),
        }
    }
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

impl<'a> ApiExtractor<'a> for AttachmentUpload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let members = vec![
            ("file", MetaSchema::new_with_format("string", "binary"), "The file; it must have a name."),
            ("name", MetaSchema::new("string"), "What to call it instead."),
            ("thread_id", MetaSchema::new_with_format("integer", "int64"), "A thread of the caller's."),
        ];
        Some(multipart::form_schema(members, vec!["file"]))
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let names = [header::ORIGIN, header::HOST].into_iter().filter(|_| !session::is_by_header(request));
        let headers = names.filter_map(|name| Some((name.clone(), request.headers().get(name)?.clone()))).collect();
        Ok(Self { form: multipart::MultipartForm::of(request, body).await?, headers })
    }
}
