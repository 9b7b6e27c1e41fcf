//! HTTP routes for uploading files with a message. The message is held back from the receiver's sockets until the sender shows
//! it.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi,
    payload::Json,
    registry::{MetaRequest, MetaSchema, Registry},
};
use serde_json::Value;
use storage::{Message, MessageType, User};
use uuid::Uuid;

use super::{
    Tag,
    content::{self, Content},
    error::{NO_SUCH_USER, RoomFailure},
    server_frame::Revision,
    wire::time,
};
use crate::{
    auth::Caller,
    chat::{self, ATTACHMENTS, Chat, Draft, FileName, ReceivedFile},
    web::{AppContext, bearer::Bearer, multipart},
};

pub(super) struct RoomUploadsApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/chat", tag = "Tag::Room")]
impl RoomUploadsApi {
    /// Uploads a file with a message
    ///
    /// Several files are possible: the first is the message's file, and the text lists the others with their addresses. The
    /// message appears in the history at once. The receiver's sockets get it when the sender's socket sends `file_message` with
    /// its id, or at once if the sender has no open socket, or closes the last one.
    #[oai(path = "/attachment", method = "post", operation_id = "room_attachment")]
    async fn attachment(&self, form: RoomUploadForm, bearer: Bearer) -> Result<RoomUploadResponse, RoomFailure> {
        self.store(form, bearer, Revision::Current).await
    }

    /// Uploads a file with a message, at the path of the older revision
    ///
    /// The same as `/chat/attachment/`, with additional fields under the older names in the answer.
    #[oai(path = "/chat-attachment", method = "post", operation_id = "room_older_attachment")]
    async fn older_attachment(&self, form: RoomUploadForm, bearer: Bearer) -> Result<RoomUploadResponse, RoomFailure> {
        self.store(form, bearer, Revision::Older).await
    }
}

impl RoomUploadsApi {
    async fn store(&self, form: RoomUploadForm, bearer: Bearer, revision: Revision) -> Result<RoomUploadResponse, RoomFailure> {
        let (caller, chat) = (bearer.0?, &self.0.chat);
        let RoomUploadFields { receiver, message, files } = form.read(chat, &caller).await?;
        let receiver = chat.user_by_uuid(receiver).await?;
        let draft = Draft::new(MessageType::File, message);
        // Validated first, so that an invalid message creates no thread.
        chat.check_draft(&draft)?;
        let named = files.into_iter().map(|(file, name)| Ok((file, FileName::of(&name)?)));
        let named: Vec<_> = named.collect::<Result<_, chat::Error>>()?;
        let thread = chat.find_or_create_direct(&caller, receiver.id, None).await?;
        let mut attachments = Vec::new();
        for (file, name) in named {
            attachments.push(chat.store_attachment(&caller, file, name, Some(thread)).await?.id);
        }
        let draft = Draft { attachments, held: true, ..draft };
        let message = chat.send(&caller, thread, draft).await?.message;
        let sender = chat.user_by_uuid(caller.uuid).await?;
        let stored = RoomUploadedMessage::of(&message, &sender, &receiver);
        let stored = match revision {
            Revision::Current => stored,
            Revision::Older => stored.with_older_names(&message, &sender, &self.0),
        };
        Ok(RoomUploadResponse::Stored(Json(RoomUploadResult {
            status: "success".into(),
            entity: RoomUploadEntity { message: stored },
            message: "File uploaded and chat created successfully".into(),
            success: true,
        })))
    }
}

/// The form before its first part is read.
struct RoomUploadForm(multipart::MultipartForm);

/// Contents of the form.
struct RoomUploadFields {
    receiver: Uuid,
    message: String,
    /// Each file with its name; at least one.
    files: Vec<(ReceivedFile, String)>,
}

impl RoomUploadForm {
    /// Reads the parts in any order and ignores unknown ones. Files are stored as they arrive.
    async fn read(mut self, chat: &Chat, caller: &Caller) -> Result<RoomUploadFields, RoomFailure> {
        let (mut receiver, mut message, mut files, mut names) = (None, None, Vec::new(), Vec::new());
        while let Some(part) = self.0.next().await? {
            let filename = part.filename();
            match (part.name(), filename) {
                (Some("attached_file"), Some(filename)) => {
                    if files.len() == ATTACHMENTS {
                        return Err(RoomFailure::bad_request(format!("A message can have {ATTACHMENTS} files at most")));
                    }
                    files.push((part.receive(chat, caller).await?, filename));
                }
                (Some("attached_file_name"), _) => names.push(part.text().await?),
                (Some("receiver"), _) => part.read_once(&mut receiver, "receiver").await?,
                (Some("message" | "message_body"), _) => part.read_once(&mut message, "message").await?,
                _ => {}
            }
        }
        let receiver = receiver.ok_or_else(|| RoomFailure::bad_request("receiver is missing"))?;
        let receiver = receiver.trim().parse().map_err(|_| RoomFailure::not_found(NO_SUCH_USER))?;
        if files.is_empty() {
            return Err(RoomFailure::bad_request("attached_file is missing"));
        }
        // Names belong to the files in their order.
        for ((_, filename), name) in files.iter_mut().zip(names) {
            if !name.trim().is_empty() {
                *filename = name;
            }
        }
        Ok(RoomUploadFields { receiver, message: message.unwrap_or_default(), files })
    }
}

impl<'a> ApiExtractor<'a> for RoomUploadForm {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let members = vec![
            ("receiver", MetaSchema::new_with_format("string", "uuid"), "The uuid of the user whom it is for."),
            ("message", MetaSchema::new("string"), "What is said beside the file; may be empty, and be called `message_body`."),
            (
                "attached_file",
                MetaSchema::new_with_format("string", "binary"),
                "The file; it must have a name. There may be several.",
            ),
            (
                "attached_file_name",
                MetaSchema::new("string"),
                "What to call it instead; of several the first names the first file.",
            ),
        ];
        Some(multipart::form_schema(members, vec!["receiver", "attached_file"]))
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        multipart::MultipartForm::of(request, body).await.map(Self)
    }
}

#[derive(ApiResponse)]
enum RoomUploadResponse {
    /// The file and its message are stored.
    #[oai(status = 201, content_type = "application/json")]
    Stored(Json<RoomUploadResult>),
}

#[derive(Debug, Object)]
#[oai(rename = "RoomStored")]
struct RoomUploadResult {
    /// `success`.
    status: String,
    entity: RoomUploadEntity,
    message: String,
    success: bool,
}

#[derive(Debug, Object)]
#[oai(rename = "RoomStoredEntity")]
struct RoomUploadEntity {
    message: RoomUploadedMessage,
}

/// Sender or receiver of an upload.
#[derive(Debug, Object)]
#[oai(rename = "RoomUploader")]
struct RoomUploader {
    /// The uuid.
    id: String,
    email: String,
    /// Null.
    #[oai(nullable)]
    profile: Option<Value>,
}

impl From<&User> for RoomUploader {
    fn from(user: &User) -> Self {
        let email = user.partner.email.clone().unwrap_or_else(|| user.login_text().to_owned());
        Self { id: user.uuid.to_string(), email, profile: None }
    }
}

/// A message that was just stored with its file.
#[derive(Debug, Object)]
#[oai(rename = "RoomUploaded")]
struct RoomUploadedMessage {
    /// The message's id, for `chat_id` of `file_message`.
    id: i64,
    sender: RoomUploader,
    receiver: RoomUploader,
    attached_file_size: String,
    message: String,
    /// The same as `message`; only at the path of the older revision.
    #[oai(skip_serializing_if_is_none)]
    message_body: Option<String>,
    updated: String,
    created: String,
    seen: bool,
    deleted: bool,
    /// Path of the file on this server. It grants access without a token, as long as the sender may read the file.
    #[oai(nullable)]
    attached_file: Option<String>,
    /// Absolute URL of the file; only at the path of the older revision.
    #[oai(skip_serializing_if_is_none)]
    attached_file_url: Option<String>,
    #[oai(nullable)]
    attached_file_name: Option<String>,
    thread: i64,
}

impl RoomUploadedMessage {
    /// The message as its sender sees it.
    fn of(message: &Message, sender: &User, receiver: &User) -> Self {
        let file = Content::of(message).file();
        Self {
            id: message.id.0,
            sender: sender.into(),
            receiver: receiver.into(),
            attached_file_size: content::size(file),
            message: content::text(message, sender.partner.id).into_owned(),
            message_body: None,
            updated: time(message.created_at),
            created: time(message.created_at),
            // The receiver cannot have seen it yet.
            seen: false,
            deleted: message.deleted_at.is_some(),
            attached_file: file.map(|file| content::address(file, sender.partner.id)),
            attached_file_url: None,
            attached_file_name: file.map(|file| file.name.clone()),
            thread: message.conversation.0,
        }
    }

    fn with_older_names(self, message: &Message, sender: &User, app: &AppContext) -> Self {
        let file = Content::of(message).file();
        Self {
            message_body: Some(self.message.clone()),
            attached_file_url: file.map(|file| content::url(file, sender.partner.id, app)),
            ..self
        }
    }
}
