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
    error::{Failure, NO_SUCH_USER},
    wire::time,
};
use crate::{
    auth::Caller,
    chat::{Chat, Draft, FileName, Received},
    dialects::{House, bearer::Bearer, upload},
};

pub(super) struct Uploads(pub(super) House);

#[OpenApi(prefix_path = "/chat", tag = "Tag::Room")]
impl Uploads {
    /// Uploads a file with a message
    ///
    /// It is in the history at once. The receiver's sockets are told once the sender's sends `file_message` with its id, or at
    /// once if the sender has no socket open, or closes the last one.
    #[oai(path = "/attachment", method = "post", operation_id = "room_attachment")]
    async fn attachment(&self, form: Form, bearer: Bearer) -> Result<Created, Failure> {
        let (caller, chat) = (bearer.0?, &self.0.chat);
        let Filled { receiver, message, file, name } = form.read(chat, &caller).await?;
        let receiver = chat.user_by_uuid(receiver).await?;
        let draft = Draft::new(MessageType::File, message);
        // A message that cannot be sent begins no thread.
        chat.check_draft(&draft)?;
        let name = FileName::of(&name)?;
        let thread = chat.meet(&caller, receiver.id, None).await?;
        let file = chat.keep(&caller, file, name, Some(thread)).await?;
        let draft = Draft { attachments: vec![file.id], held: true, ..draft };
        let message = chat.send(&caller, thread, draft).await?.message;
        let sender = chat.user_by_uuid(caller.uuid).await?;
        Ok(Created::Stored(Json(Stored {
            status: "success".into(),
            entity: Entity { message: Uploaded::of(&message, &sender, &receiver) },
            message: "File uploaded and chat created successfully".into(),
            success: true,
        })))
    }
}

/// A form of which nothing was read yet.
struct Form(upload::Form);

/// What a form held.
struct Filled {
    receiver: Uuid,
    message: String,
    file: Received,
    name: String,
}

impl Form {
    /// Reads the parts in whatever order they come; unknown ones are passed over. The file goes on piece by piece.
    async fn read(mut self, chat: &Chat, caller: &Caller) -> Result<Filled, Failure> {
        let (mut receiver, mut message, mut file, mut name) = (None, String::new(), None, None);
        while let Some(part) = self.0.next().await? {
            let filename = part.filename();
            match (part.name(), filename) {
                (Some("attached_file"), Some(filename)) if file.is_none() => {
                    file = Some((part.receive(chat, caller).await?, filename))
                }
                (Some("attached_file_name"), _) => name = Some(part.text().await?),
                (Some("receiver"), _) => receiver = Some(part.text().await?),
                (Some("message"), _) => message = part.text().await?,
                _ => {}
            }
        }
        let receiver = receiver.ok_or_else(|| Failure::bad_request("receiver is missing"))?;
        let receiver = receiver.trim().parse().map_err(|_| Failure::not_found(NO_SUCH_USER))?;
        let (file, filename) = file.ok_or_else(|| Failure::bad_request("attached_file is missing"))?;
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or(filename);
        Ok(Filled { receiver, message, file, name })
    }
}

impl<'a> ApiExtractor<'a> for Form {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let members = vec![
            ("receiver", MetaSchema::new_with_format("string", "uuid"), "The uuid of the user whom it is for."),
            ("message", MetaSchema::new("string"), "What is said beside the file; may be empty."),
            ("attached_file", MetaSchema::new_with_format("string", "binary"), "The file; it must have a name."),
            ("attached_file_name", MetaSchema::new("string"), "What to call it instead."),
        ];
        Some(upload::described(members, vec!["receiver", "attached_file"]))
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        upload::Form::of(request, body).await.map(Self)
    }
}

#[derive(ApiResponse)]
enum Created {
    /// The file and its message are stored.
    #[oai(status = 201, content_type = "application/json")]
    Stored(Json<Stored>),
}

#[derive(Debug, Object)]
#[oai(rename = "RoomStored")]
struct Stored {
    /// `success`.
    status: String,
    entity: Entity,
    message: String,
    success: bool,
}

#[derive(Debug, Object)]
#[oai(rename = "RoomStoredEntity")]
struct Entity {
    message: Uploaded,
}

/// A user as uploads show it.
#[derive(Debug, Object)]
#[oai(rename = "RoomUploader")]
struct Person {
    /// The uuid.
    id: String,
    email: String,
    /// Null.
    #[oai(nullable)]
    profile: Option<Value>,
}

impl From<&User> for Person {
    fn from(user: &User) -> Self {
        let email = user.partner.email.clone().unwrap_or_else(|| user.login_text().to_owned());
        Self { id: user.uuid.to_string(), email, profile: None }
    }
}

/// A message that was just stored with its file.
#[derive(Debug, Object)]
#[oai(rename = "RoomUploaded")]
struct Uploaded {
    /// `chat_id` of `file_message`.
    id: i64,
    sender: Person,
    receiver: Person,
    attached_file_size: String,
    message: String,
    updated: String,
    created: String,
    seen: bool,
    deleted: bool,
    /// A path on this server, at which whoever knows it may read the file for as long as the sender may.
    #[oai(nullable)]
    attached_file: Option<String>,
    #[oai(nullable)]
    attached_file_name: Option<String>,
    thread: i64,
}

impl Uploaded {
    /// As it is shown to its sender.
    fn of(message: &Message, sender: &User, receiver: &User) -> Self {
        let file = Content::of(message).file();
        Self {
            id: message.id.0,
            sender: sender.into(),
            receiver: receiver.into(),
            attached_file_size: content::size(file),
            message: message.body.clone(),
            updated: time(message.created_at),
            created: time(message.created_at),
            // Nobody can have seen it before it is answered.
            seen: false,
            deleted: message.deleted_at.is_some(),
            attached_file: file.map(|file| content::address(file, sender.partner.id)),
            attached_file_name: file.map(|file| file.name.clone()),
            thread: message.conversation.0,
        }
    }
}
