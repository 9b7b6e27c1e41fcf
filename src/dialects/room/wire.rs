//! JSON types shared by the HTTP routes.

use chrono::{DateTime, Utc};
use poem::{
    IntoResponse, Response,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    payload::Json,
    registry::{MetaResponses, Registry},
    types::{ParseFromJSON, ToJSON},
};
use serde::Serialize;
use serde_json::Value;
use storage::{Message as Stored, PartnerId, Role, User as Account};

use super::content::{self, Content};
use crate::web::{AppContext, jsonrpc::JSON};

/// Formats a time for the HTTP routes: UTC, with microseconds.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A user's phone number; empty if unknown.
pub(super) fn phone_number(user: &Account) -> &str {
    let known = user.partner.phone.as_deref().or(user.partner.mobile.as_deref());
    known.or_else(|| text(user, "phone_number")).unwrap_or_default()
}

/// Number of times that a response repeats its data, for the size limit of a page.
pub(super) const COPIES: usize = 2;

/// Successful response.
#[derive(Debug, Object)]
#[oai(rename = "RoomSuccess")]
struct Success<T: ParseFromJSON + ToJSON + Send + Sync> {
    /// `success`.
    status: String,
    data: T,
    /// The same as `data`, for clients of the older revision.
    entity: T,
    #[oai(nullable)]
    message: Option<String>,
    success: bool,
}

/// Successful response, serialized without a copy of its data.
pub(super) struct RoomSuccess<T> {
    data: T,
    message: Option<&'static str>,
}

impl<T> RoomSuccess<T> {
    pub(super) fn new(data: T, message: Option<&'static str>) -> Self {
        Self { data, message }
    }
}

impl<T: Serialize + Send> IntoResponse for RoomSuccess<T> {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Wire<'a, T> {
            status: &'static str,
            data: &'a T,
            entity: &'a T,
            message: Option<&'static str>,
            success: bool,
        }
        let Self { data, message } = &self;
        let wire = Wire { status: "success", data, entity: data, message: *message, success: true };
        let text = serde_json::to_vec(&wire).expect("what is found has text keys only");
        Response::builder().status(StatusCode::OK).header(header::CONTENT_TYPE, JSON).body(text)
    }
}

impl<T: ParseFromJSON + ToJSON + Send + Sync> ApiResponse for RoomSuccess<T> {
    fn meta() -> MetaResponses {
        Json::<Success<T>>::meta()
    }

    fn register(registry: &mut Registry) {
        <Json<Success<T>> as ApiResponse>::register(registry);
    }
}

/// A user, with the fields of Django's user model. Fields that the account lacks come from its profile, or are neutral values.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "RoomUser")]
pub(super) struct User {
    /// The uuid.
    id: String,
    /// Always empty.
    password: String,
    #[oai(nullable)]
    last_login: Option<String>,
    #[oai(nullable)]
    gender: Option<String>,
    email: String,
    fullname: String,
    country_code: String,
    phone_number: String,
    is_email_verified: bool,
    is_phone_verified: bool,
    is_active: bool,
    is_staff: bool,
    is_admin: bool,
    is_superuser: bool,
    created_at: String,
    updated_at: String,
    account_type: String,
    #[oai(nullable)]
    date_of_birth: Option<String>,
    #[oai(nullable)]
    profile_photo: Option<String>,
    is_profile_complete: bool,
    groups: Vec<Value>,
    user_permissions: Vec<Value>,
}

impl From<&Account> for User {
    fn from(user: &Account) -> Self {
        let given = |key| text(user, key).map(str::to_owned);
        let flag = |key| user.profile.get(key).and_then(Value::as_bool).unwrap_or_default();
        let list = |key| user.profile.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let created_at = time(user.created_at);
        Self {
            id: user.uuid.to_string(),
            password: String::new(),
            last_login: given("last_login"),
            gender: given("gender"),
            email: user.partner.email.clone().unwrap_or_else(|| user.login_text().to_owned()),
            fullname: user.partner.name.clone(),
            country_code: given("country_code").unwrap_or_default(),
            phone_number: phone_number(user).to_owned(),
            is_email_verified: flag("is_email_verified"),
            is_phone_verified: flag("is_phone_verified"),
            is_active: user.active,
            is_staff: matches!(user.role, Role::Agent | Role::Admin),
            is_admin: user.role == Role::Admin,
            is_superuser: user.role == Role::Admin,
            updated_at: given("updated_at").unwrap_or_else(|| created_at.clone()),
            created_at,
            account_type: given("account_type").unwrap_or_else(|| "user".to_owned()),
            date_of_birth: given("date_of_birth"),
            profile_photo: given("profile_photo"),
            is_profile_complete: flag("is_profile_complete"),
            groups: list("groups"),
            user_permissions: list("user_permissions"),
        }
    }
}

/// A string of the user's profile, which is free-form JSON.
fn text<'a>(user: &'a Account, key: &str) -> Option<&'a str> {
    user.profile.get(key)?.as_str()
}

/// A message in its current form.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "RoomMessage")]
pub(super) struct Message {
    id: i64,
    /// Null if the sender is no user.
    #[oai(nullable)]
    sender: Option<User>,
    /// Null in a group or support thread, and if the receiver is no user.
    #[oai(nullable)]
    receiver: Option<User>,
    /// For example `194.75KB`; `0kb` without a file.
    attached_file_size: String,
    /// Null if the message shows a profile.
    #[oai(nullable)]
    message: Option<String>,
    /// The same as `message`, for clients of the older revision.
    #[oai(nullable)]
    message_body: Option<String>,
    updated_at: String,
    created_at: String,
    /// Path of the file on this server. It grants access without a token, as long as the caller may read the file.
    #[oai(nullable)]
    attached_file: Option<String>,
    /// Absolute URL of the file, for clients of the older revision.
    #[oai(nullable)]
    attached_file_url: Option<String>,
    /// `text`, `file` or `user_profile`.
    message_type: String,
    #[oai(nullable)]
    attached_file_name: Option<String>,
    thread: i64,
    /// The uuid of the user whose profile is shown.
    #[oai(nullable)]
    attached_profile: Option<String>,
}

impl Message {
    /// The message as `reader` sees it.
    pub(super) fn of(
        message: &Stored,
        reader: PartnerId,
        app: &AppContext,
        sender: Option<&Account>,
        receiver: Option<&Account>,
    ) -> Self {
        let content = Content::of(message);
        let file = content.file();
        let profile = match content {
            Content::Profile(user) => Some(user.to_string()),
            Content::Text | Content::File(_) => None,
        };
        let text = profile.is_none().then(|| content::text(message, reader).into_owned());
        Self {
            id: message.id.0,
            sender: sender.map(User::from),
            receiver: receiver.map(User::from),
            attached_file_size: content::size(file),
            message: text.clone(),
            message_body: text,
            updated_at: time(message.deleted_at.or(message.edited_at).unwrap_or(message.created_at)),
            created_at: time(message.created_at),
            attached_file: file.map(|file| content::address(file, reader)),
            attached_file_url: file.map(|file| content::url(file, reader, app)),
            message_type: content.name().into(),
            attached_file_name: file.map(|file| file.name.clone()),
            thread: message.conversation.0,
            attached_profile: profile,
        }
    }
}
