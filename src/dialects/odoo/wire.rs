//! Wire types of the session routes and of model calls.

use std::collections::BTreeMap;

use poem_openapi::{
    Object,
    types::{Example, MaybeUndefined},
};
use serde::Serialize;
use serde_json::{Value, json};
use storage::Role;

use crate::{
    auth::{Caller, SessionId},
    web::AppContext,
};

/// Credentials of a log-in.
#[derive(Object)]
#[oai(example)]
pub(super) struct Credentials {
    /// The name of the workspace.
    pub db: MaybeUndefined<String>,
    pub login: MaybeUndefined<String>,
    pub password: MaybeUndefined<String>,
}

impl Example for Credentials {
    fn example() -> Self {
        let text = |text: &str| MaybeUndefined::Value(text.to_owned());
        Self { db: text("odoo2"), login: text("admin@gmail.com"), password: text("123456") }
    }
}

/// The logged-in user, and the settings that an Odoo client reads at start. Fields without a meaning for a chat have the values
/// of a fresh Odoo.
#[derive(Debug, Object, Serialize)]
pub(super) struct SessionInfo {
    pub uid: i64,
    /// True if the user is an administrator of the workspace.
    pub is_system: bool,
    /// The same as `is_system`.
    pub is_admin: bool,
    pub is_public: bool,
    pub is_internal_user: bool,
    pub user_context: UserContext,
    /// The name of the workspace.
    pub db: String,
    pub user_settings: UserSettings,
    pub server_version: String,
    /// Major, minor, micro, level, serial, edition; for example `[17, 0, 0, "final", 0, ""]`.
    pub server_version_info: Vec<Value>,
    pub support_url: String,
    pub name: String,
    /// The login.
    pub username: String,
    pub partner_display_name: String,
    pub partner_id: i64,
    pub company_id: i64,
    #[oai(rename = "web.base.url")]
    #[serde(rename = "web.base.url")]
    pub web_base_url: String,
    pub active_ids_limit: u32,
    pub profile_session: Value,
    pub profile_collectors: Value,
    pub profile_params: Value,
    /// In bytes.
    pub max_file_upload_size: u64,
    pub home_action_id: bool,
    pub cache_hashes: BTreeMap<String, String>,
    pub currencies: Value,
    pub bundle_params: BundleParams,
    pub user_companies: UserCompanies,
    pub show_effect: bool,
    pub display_switch_company_menu: bool,
    /// `[uid]`.
    pub user_id: Vec<i64>,
    pub websocket_worker_version: String,
    pub notification_type: String,
    pub odoobot_initialized: bool,
    /// The session's id, for clients of Odoo 12 and before, which read it here and not from the cookie. Empty if the caller uses
    /// a token.
    pub session_id: String,
}

impl SessionInfo {
    pub(super) fn new(app: &AppContext, caller: &Caller, session: Option<&SessionId>) -> Self {
        let version = VersionInfo::of(&app.config.odoo.server_version);
        let uid = caller.user.0;
        let administers = caller.role == Role::Admin;
        let company = Company { id: 1, name: "My Company".into(), sequence: 0, child_ids: Vec::new(), parent_id: false };
        let no_hash = || "0".repeat(40);
        Self {
            uid,
            is_system: administers,
            is_admin: administers,
            is_public: false,
            is_internal_user: true,
            user_context: UserContext::of(caller),
            db: app.config.database.clone(),
            user_settings: UserSettings::of(uid),
            websocket_worker_version: format!("{}-1", version.server_serie),
            server_version: version.server_version,
            server_version_info: version.server_version_info,
            support_url: app.base_url.to_string(),
            name: caller.name.clone(),
            username: caller.login.clone(),
            partner_display_name: caller.name.clone(),
            partner_id: caller.partner.0,
            company_id: company.id,
            web_base_url: app.base_url.to_string(),
            active_ids_limit: 20_000,
            profile_session: Value::Null,
            profile_collectors: Value::Null,
            profile_params: Value::Null,
            max_file_upload_size: app.config.limits.upload_bytes,
            home_action_id: false,
            cache_hashes: BTreeMap::from([("translations".into(), no_hash()), ("load_menus".into(), no_hash())]),
            currencies: json!({"1": {"symbol": "$", "position": "before", "digits": [69, 2]}}),
            bundle_params: BundleParams { lang: caller.language.clone() },
            user_companies: UserCompanies {
                current_company: company.id,
                allowed_companies: BTreeMap::from([(company.id.to_string(), company)]),
                disallowed_ancestor_companies: BTreeMap::new(),
            },
            show_effect: true,
            display_switch_company_menu: false,
            user_id: vec![uid],
            notification_type: "email".into(),
            odoobot_initialized: false,
            session_id: session.map(SessionId::expose).unwrap_or_default().into(),
        }
    }
}

/// The user's context, which clients send back as `context`.
#[derive(Debug, Object, Serialize)]
pub(super) struct UserContext {
    pub lang: String,
    pub tz: String,
    pub uid: i64,
}

impl UserContext {
    pub(super) fn of(caller: &Caller) -> Self {
        Self { lang: caller.language.clone(), tz: caller.time_zone.clone(), uid: caller.user.0 }
    }
}

/// Settings of Odoo's own chat windows; constant on this server.
#[derive(Debug, Object, Serialize)]
pub(super) struct UserSettings {
    pub id: i64,
    pub user_id: RecordId,
    pub is_discuss_sidebar_category_channel_open: bool,
    pub is_discuss_sidebar_category_chat_open: bool,
    pub push_to_talk_key: bool,
    pub use_push_to_talk: bool,
    pub voice_active_duration: u32,
    pub volume_settings_ids: Value,
}

impl UserSettings {
    fn of(uid: i64) -> Self {
        Self {
            id: uid,
            user_id: RecordId { id: uid },
            is_discuss_sidebar_category_channel_open: true,
            is_discuss_sidebar_category_chat_open: true,
            push_to_talk_key: false,
            use_push_to_talk: false,
            voice_active_duration: 200,
            volume_settings_ids: json!([["ADD", []]]),
        }
    }
}

/// A record by its id alone.
#[derive(Debug, Object, Serialize)]
pub(super) struct RecordId {
    pub id: i64,
}

/// The language of translations.
#[derive(Debug, Object, Serialize)]
pub(super) struct BundleParams {
    pub lang: String,
}

/// The user's companies: exactly one.
#[derive(Debug, Object, Serialize)]
pub(super) struct UserCompanies {
    pub current_company: i64,
    pub allowed_companies: BTreeMap<String, Company>,
    pub disallowed_ancestor_companies: BTreeMap<String, Company>,
}

/// A company.
#[derive(Debug, Object, Serialize)]
pub(super) struct Company {
    pub id: i64,
    pub name: String,
    pub sequence: i64,
    pub child_ids: Vec<i64>,
    pub parent_id: bool,
}

/// The Odoo version that this server reports.
#[derive(Debug, Object, Serialize)]
pub(super) struct VersionInfo {
    pub server_version: String,
    /// Major, minor, micro, level, serial, edition; for example `[17, 0, 0, "final", 0, ""]`.
    pub server_version_info: Vec<Value>,
    pub server_serie: String,
    pub protocol_version: u32,
}

impl VersionInfo {
    /// Parses the setting: `9.0c` is 9, 0 and edition `c`; in `saas~16.3` the major number is a text.
    pub(super) fn of(setting: &str) -> Self {
        let (major, rest) = setting.split_once('.').unwrap_or((setting, ""));
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (minor, edition) = rest.split_at(digits);
        let number = |text: &str| text.parse::<u32>().map_or_else(|_| text.into(), Value::from);
        let minor = if minor.is_empty() { "0" } else { minor };
        let edition = edition.trim_start_matches('+');
        Self {
            server_version: setting.into(),
            server_version_info: vec![number(major), number(minor), 0.into(), "final".into(), 0.into(), edition.into()],
            server_serie: format!("{major}.{minor}"),
            protocol_version: 1,
        }
    }
}

/// The version in the form of Odoo 18 and later.
#[derive(Debug, Object, Serialize)]
pub(super) struct WebVersion {
    pub version: String,
    pub version_info: Vec<Value>,
}

impl From<VersionInfo> for WebVersion {
    fn from(info: VersionInfo) -> Self {
        Self { version: info.server_version, version_info: info.server_version_info }
    }
}

/// Health of the server; always `pass` in a response.
#[derive(Debug, Object, Serialize)]
pub(super) struct WebHealth {
    pub status: String,
}

impl WebHealth {
    pub(super) fn pass() -> Self {
        Self { status: "pass".into() }
    }
}

/// A call of a service's function, as sent by Odoo's RPC clients.
#[derive(Object)]
#[oai(example)]
pub(super) struct ServiceCall {
    /// `common`, `db` or `object`.
    pub service: Option<String>,
    /// For example `version`, `login`, `execute_kw`.
    pub method: Option<String>,
    pub args: Option<Vec<Value>>,
}

impl Example for ServiceCall {
    fn example() -> Self {
        let args = json!(["odoo2", 2, "123456", "res.users", "read", [[2]], {"fields": ["name", "login", "partner_id"]}]);
        let args = args.as_array().cloned();
        Self { service: Some("object".into()), method: Some("execute_kw".into()), args }
    }
}

/// A call of a model's method, as sent by Odoo's web client.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct ModelCall {
    /// `res.users` or `res.partner`.
    pub model: Option<String>,
    /// For example `read`, `search_read`, `fields_get`.
    pub method: Option<String>,
    /// The positional arguments.
    pub args: Option<Vec<Value>>,
    /// The keyword arguments; an object.
    pub kwargs: Option<Value>,
}

impl Example for ModelCall {
    fn example() -> Self {
        Self {
            model: Some("res.partner".into()),
            method: Some("search_read".into()),
            args: Some(vec![json!([["name", "ilike", "john"]])]),
            kwargs: Some(json!({"fields": ["name", "email", "im_status"], "limit": 10})),
        }
    }
}
