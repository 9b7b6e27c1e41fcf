//! Settings, in order of precedence: command-line flags, environment, file, defaults. Checked as a whole at the start.

mod addresses;
mod bounds;
mod concierge;
mod cors;
mod limits;
mod session;
mod tokens;
mod uploads;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::TimeDelta;
use config::{Config as Sources, ConfigError, Environment, File, FileFormat};
use serde::Deserialize;
use url::Url;

pub use addresses::{BusSettings, Secret, Store};
pub use bounds::{BOUNDS, Bound};
pub use concierge::{ConciergeSettings, NumbersInEvents};
pub use cors::CorsSettings;
pub use limits::{AddressLimits, LimitSettings, UserLimits};
pub use session::{SameSite, SessionSettings, is_same_site};
pub use tokens::{TokenSettings, UserClaimKind};
pub use uploads::UploadSettings;

use crate::{
    blobs,
    chat::{PresenceRules, RetentionRules as Kept, Rules, SupportRules},
    networks::Networks,
    telemetry::LogSettings,
};

/// All settings. `tests/settings.rs` renders them, with the doc comments of all fields, as `deploy/SETTINGS.md`; links in these
/// comments are relative to that file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address and port to serve on; port 0 takes a free one.
    pub listen: String,
    /// Directory of the store and its files, for a `storage` that names none. Empty means systemd's `StateDirectory`, or else
    /// `dragoman-data` in the working directory.
    pub data: String,
    /// Store: `sqlite:<file>`, `postgres://user:password@host/database`, or `memory:`, which loses everything at the end of the
    /// program. Empty means the SQLite file `dragoman.db` in `data`.
    pub storage: Secret,
    /// Name of the workspace, which Odoo clients call database and send as `db`.
    pub database: String,
    /// Loads the demo data into an empty store.
    pub demo: bool,
    /// Public URL of this server, which clients are told; with `https`, cookies are `Secure`. Empty means `http://` and the
    /// listening address.
    pub base_url: String,
    /// Bus for notifications between nodes: `local` for a single node, `postgres`, `nats://user:password@host` or `tls://...`.
    pub bus: BusSettings,
    pub nats: NatsSettings,
    /// Object store: `file:<directory>`, `s3://<bucket>/<prefix>` (credentials, region and endpoint as `AWS_...` in the
    /// environment) or `memory:`. Empty means the directory `dragoman-files`, beside the database file with SQLite, else in the
    /// working directory; or, for a store in memory, a temporary directory that is removed at the end of the program.
    pub files: String,
    /// Addresses and networks (`10.0.0.0/8`) of reverse proxies whose `X-Forwarded-For` is believed. [The
    /// guide](GUIDE.md#clients-behind-a-proxy) describes how the header is read.
    pub proxies: Networks,
    pub cors: CorsSettings,
    pub session: SessionSettings,
    pub tokens: TokenSettings,
    pub odoo: OdooSettings,
    pub messaging: MessagingSettings,
    pub messages: MessageSettings,
    pub im_chat: ImChatSettings,
    pub uploads: UploadSettings,
    pub conversations: ConversationsSettings,
    pub concierge: ConciergeSettings,
    pub desk: DeskSettings,
    pub presence: PresenceSettings,
    pub retention: RetentionSettings,
    pub limits: LimitSettings,
    pub sockets: SocketSettings,
    pub postgres: PostgresSettings,
    pub log: LogSettings,
}

/// NATS, for a `bus` of `nats://...` or `tls://...`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// Subject of the workspace's notifications. Nodes of another database are ignored even with the same subject.
    pub subject: String,
    /// File with a user's JWT and key.
    pub credentials: Option<PathBuf>,
    /// File with certificates of authorities to trust besides the well-known ones.
    pub authorities: Option<PathBuf>,
}

/// Messages, in all dialects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageSettings {
    /// Idempotency window: a repeat with the same client key and content within this time is a retry, which stores nothing.
    pub retry_seconds: u64,
}

/// Odoo's own protocol.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OdooSettings {
    /// Version of Odoo that clients are told; with `9.0c` some log in with the session routes only.
    pub server_version: String,
    /// True if anybody may ask for the name of the workspace.
    pub list_databases: bool,
}

/// Dialect `messaging`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessagingSettings {
    /// Meaning of `author_id`: the author's `partner` or `user` id.
    pub author_id: PartnerOrUser,
    /// Preferred meaning of an ambiguous id in `partner_ids`: a `user` or a `partner`.
    pub preferred_id: PartnerOrUser,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartnerOrUser {
    Partner,
    User,
}

/// Dialect `im_chat`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImChatSettings {
    /// Longest wait of a poll of the bus; also how far back a poll with `last` 0 begins.
    pub poll_seconds: u64,
}

/// Dialect `conversations`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversationsSettings {
    /// Paths of its sockets besides `/conversations/` and `/ws/conversations/`. With `/chat`, `/chat/<id>/` is the socket of one
    /// conversation, and `/chat/` the socket of all. HTTP routes below such a path stay.
    pub paths: Vec<String>,
}

/// Support desk: the agents of support sessions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeskSettings {
    /// Time after which the sessions of an absent agent return to the queue. An agent is absent without an open socket or a
    /// request, in any dialect, on any node. Absence is detected within a minute.
    pub absence_seconds: u64,
}

/// Presence of partners: online, away, offline.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceSettings {
    /// Time for which a partner is online after its last request.
    pub online_seconds: u64,
    /// Time for which a partner is online after its client has closed its last socket, if it has nothing else. A lost connection
    /// counts as a poll.
    pub clean_close_seconds: u64,
    /// Time for which a partner is online after its last poll of the bus; must be greater than `im_chat.poll_seconds`. Also, up
    /// to 30 s, the time after which a node without heartbeats counts as gone.
    pub poll_seconds: u64,
    /// Idle time after which an online partner is away, in dialects whose clients report activity.
    pub away_seconds: u64,
}

impl PresenceSettings {
    pub fn rules(&self) -> PresenceRules {
        PresenceRules {
            request: Duration::from_secs(self.online_seconds),
            clean_close: Duration::from_secs(self.clean_close_seconds),
            poll: Duration::from_secs(self.poll_seconds),
            active: Duration::from_secs(self.away_seconds),
        }
    }
}

/// Retention of data, and the tasks that delete it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Retention of the event log, which clients that were away catch up from; at least a day.
    pub log_seconds: u64,
    /// Retention of a file that was uploaded and never sent.
    pub unsent_attachments_seconds: u64,
    /// Retention of the audit trail, in days.
    pub audit_days: u64,
    /// Period of the task that deletes expired data, ended sessions included.
    pub every_seconds: u64,
    /// Age from which an orphan is deleted: an object in `files` that nothing in the store names. Must be greater than
    /// `limits.body_seconds`.
    pub orphans_seconds: u64,
    /// Period of the orphan sweep, which lists `files`. The first one is a period after the start. There is none if `storage` or
    /// `files` is `memory:`.
    pub sweep_every_seconds: u64,
}

/// WebSockets, in all dialects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketSettings {
    /// Open sockets of one user on one node.
    pub per_user: usize,
    /// Longest delay before a refused socket (4003, 4004) is closed, so that its client does not reconnect at once. The delay
    /// begins with the fourth refusal of one address within a minute: 1 s, then 2, 4, 8. A minute without a refusal resets it. 0
    /// for no delay.
    pub refused_seconds: u64,
    /// Size limit of a frame or message of a client; a larger one closes its socket. Also the rate limit of a socket's input, in
    /// bytes per second.
    pub message_bytes: usize,
    /// Burst of frames that are read of a client.
    pub frames_burst: u32,
    /// Rate of frames that are read of a client. Reading slows down beyond it (back-pressure): nothing is lost.
    pub frames_per_second: u32,
    /// Ping interval; a connection without any input for three times as long is closed.
    pub ping_seconds: u64,
    /// Capacity of a client's send queue in frames, plus one batch; further events wait in the event log.
    pub queued_frames: usize,
    /// Capacity of a client's send queue in bytes, plus one batch.
    pub queued_bytes: usize,
    /// Read buffer of a socket, which each open socket holds.
    pub read_buffer_bytes: usize,
    /// Time within which all sockets are closed at the stop.
    pub drain_seconds: u64,
}

/// PostgreSQL, for a `storage` of `postgres://...`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// Connection pool of one node. All nodes together must stay below the `max_connections` of PostgreSQL.
    pub max_connections: u32,
    /// Longest wait of a request for a connection.
    pub acquire_milliseconds: u64,
    /// Statement time-out.
    pub statement_milliseconds: u64,
}

/// Command-line flags, which override all other sources.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub listen: Option<String>,
    pub data: Option<String>,
    pub storage: Option<String>,
    pub files: Option<String>,
    pub database: Option<String>,
    pub demo: bool,
    pub log_format: Option<String>,
}

/// Settings that are lists; in the environment, commas separate their elements.
const LISTS: [(&str, &str); 5] = [
    ("DRAGOMAN__CONCIERGE__PATHS", "concierge.paths"),
    ("DRAGOMAN__CONVERSATIONS__PATHS", "conversations.paths"),
    ("DRAGOMAN__CORS__ORIGINS", "cors.origins"),
    ("DRAGOMAN__PROXIES", "proxies"),
    ("DRAGOMAN__UPLOADS__TYPES", "uploads.types"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    No,
    Only,
}

/// Settings of the environment. Only lists are parsed here: a database called `007` must not become a number.
fn environment(lists: Lists) -> Environment {
    let variables = std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let is_list = |key: &str| LISTS.iter().any(|(list, _)| list.eq_ignore_ascii_case(key));
    let variables = variables.filter(|(key, _)| is_list(key) == (lists == Lists::Only)).collect();
    let environment = Environment::with_prefix("DRAGOMAN").prefix_separator("__").separator("__").source(Some(variables));
    match lists {
        Lists::No => environment,
        Lists::Only => {
            let parsed = environment.try_parsing(true).list_separator(",");
            LISTS.iter().fold(parsed, |environment, (_, key)| environment.with_list_parse_key(key))
        }
    }
}

const DEFAULTS: &str = include_str!("defaults.toml");
const FILE: &str = "dragoman.toml";
/// Database file in the directory `data`.
const DATABASE_FILE: &str = "dragoman.db";

impl Config {
    /// Reads all sources and checks the result. The error is one line that names the setting.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, String> {
        let path = file.unwrap_or(Path::new(FILE));
        let file = match file {
            Some(path) => File::from(path).format(FileFormat::Toml),
            None => File::new(FILE, FileFormat::Toml).required(false),
        };
        let sources = Sources::builder()
            .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
            .add_source(file)
            .add_source(environment(Lists::No))
            .add_source(environment(Lists::Only));
        let one_line = |error: ConfigError| error.to_string().replace('\n', " ");
        let named =
            |error| std::fs::read_to_string(path).ok().as_deref().and_then(bounds::overflow).unwrap_or_else(|| one_line(error));
        let merged = Self::merge(sources, flags).map_err(named)?;
        bounds::check(&merged)?;
        merged.try_deserialize::<Self>().map_err(one_line)?.with_data_directory().checked()
    }

    /// The defaults alone.
    pub fn load_defaults() -> Result<Self, ConfigError> {
        let defaults = Sources::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        Self::merge(defaults, &Flags::default())?.try_deserialize()
    }

    fn merge(sources: config::ConfigBuilder<config::builder::DefaultState>, flags: &Flags) -> Result<Sources, ConfigError> {
        sources
            .set_override_option("listen", flags.listen.clone())?
            .set_override_option("data", flags.data.clone())?
            .set_override_option("storage", flags.storage.clone())?
            .set_override_option("files", flags.files.clone())?
            .set_override_option("database", flags.database.clone())?
            .set_override_option("demo", flags.demo.then_some(true))?
            .set_override_option("log.format", flags.log_format.clone())?
            .build()
    }

    /// Fills in the store that an empty `storage` means.
    fn with_data_directory(mut self) -> Self {
        if self.data.is_empty() {
            // systemd separates several directories by colons.
            let given = std::env::var("STATE_DIRECTORY").unwrap_or_default();
            let first = given.split(':').next().unwrap_or_default();
            self.data = if first.is_empty() { "dragoman-data" } else { first }.into();
        }
        if self.storage.0.is_empty() {
            self.storage = Secret(format!("{}{}", Store::SQLITE, Path::new(&self.data).join(DATABASE_FILE).display()));
        }
        self
    }

    /// The store that `storage` names.
    pub fn store(&self) -> Store<'_> {
        Store::at(&self.storage.0)
    }

    /// True if store and files outlive the program.
    pub fn is_persistent(&self) -> bool {
        self.store() != Store::Memory && self.files != "memory:"
    }

    /// Retention periods.
    fn retention(&self) -> Kept {
        Kept {
            log: Duration::from_secs(self.retention.log_seconds),
            unsent_attachments: Duration::from_secs(self.retention.unsent_attachments_seconds),
            unnamed_uploads: Duration::from_secs(self.uploads.unnamed_seconds),
            sessions: Duration::from_secs(self.session.lifetime_seconds),
            audit: Duration::from_secs(self.retention.audit_days.saturating_mul(bounds::DAY)),
            every: Duration::from_secs(self.retention.every_seconds),
            orphans: Duration::from_secs(self.retention.orphans_seconds),
            sweep_every: self.is_persistent().then(|| Duration::from_secs(self.retention.sweep_every_seconds)),
        }
    }

    fn support(&self) -> SupportRules {
        SupportRules {
            initiator_timeout: Duration::from_secs(self.concierge.silence_seconds),
            connection_timeout: Duration::from_secs(self.concierge.connection_seconds),
            agent_timeout: Duration::from_secs(self.desk.absence_seconds),
            open_sessions: self.concierge.open_sessions_per_tenant,
        }
    }

    /// Rules of the chat service.
    pub fn rules(&self) -> Rules {
        Rules {
            polls_per_user: self.limits.waiting_polls_per_user,
            sockets_per_user: self.sockets.per_user,
            participants: self.limits.participants,
            upload_bytes: self.limits.upload_bytes,
            uploads: self.uploads.rules(),
            presence: self.presence.rules(),
            retention: self.retention(),
            support: self.support(),
            upload_quota: self.limits.user.upload_quota(),
            rates: self.limits.user.rates(),
            devices: self.limits.user.devices,
            idempotency_window: TimeDelta::try_seconds(self.messages.retry_seconds.cast_signed()).unwrap_or(TimeDelta::MAX),
            message_bytes: self.limits.message_bytes,
            recent_events: self.limits.recent_events,
            ring_bytes: self.limits.ring_bytes,
        }
    }

    fn checked(self) -> Result<Self, String> {
        match self.store() {
            Store::Memory | Store::Sqlite(_) if matches!(self.bus, BusSettings::Postgres) => {
                return Err("bus cannot be postgres while storage is not".into());
            }
            Store::Sqlite(_) if !matches!(self.bus, BusSettings::Local) => {
                return Err("bus must be local with a storage of sqlite:, which has one server".into());
            }
            store => store.check().map_err(|must| format!("storage {must}"))?,
        }
        if self.nats.subject.is_empty() || self.nats.subject.contains([' ', '*', '>']) {
            return Err("nats.subject must be a subject without wildcards".into());
        }
        if self.database.is_empty() {
            return Err("database must not be empty".into());
        }
        if !self.base_url.is_empty() && !is_web_address(&self.base_url) {
            return Err("base_url must be an http or https address".into());
        }
        self.cors.check()?;
        self.session.check(&self.base_url)?;
        self.tokens.check()?;
        if let Some(path) = self.concierge.paths.iter().find(|path| !is_socket_path(path)) {
            return Err(format!("concierge.paths must hold paths such as /uat, each of letters, digits, - and _, not {path}"));
        }
        if let Some(path) = self.conversations.paths.iter().find(|path| !self.can_lead_to_conversations(path)) {
            return Err(format!(
                "conversations.paths must hold paths such as /chat, of letters, digits, - and _ between slashes, that are no \
                 other dialect's, not {path}"
            ));
        }
        let files = self.files.split(':').next().unwrap_or_default();
        if !["", "file", "memory", "s3"].contains(&files) {
            return Err("files must be file:<directory>, s3://<bucket>/<prefix> or memory:".into());
        }
        self.uploads.check()?;
        self.limits.check()?;
        if files == "s3" && self.limits.bodies_bytes / 8 < blobs::BUCKET_PART_BYTES as u64 {
            return Err(
                "limits.bodies_bytes must be at least 40 MiB with a bucket: a user may have an eighth of it, and a part of a \
                        file is 5 MiB"
                    .into(),
            );
        }
        if self.retention.orphans_seconds <= self.limits.body_seconds {
            return Err(
                "retention.orphans_seconds must be greater than limits.body_seconds: files of uploads in progress would be deleted".into(),
            );
        }
        if self.presence.poll_seconds <= self.im_chat.poll_seconds {
            return Err("presence.poll_seconds must be greater than im_chat.poll_seconds: polling users would go offline".into());
        }
        Ok(self)
    }
}

impl Config {
    /// True for a path of words that is no other socket's. HTTP routes below it stay.
    fn can_lead_to_conversations(&self, path: &str) -> bool {
        let is_taken = SOCKET_PATHS.contains(&path) || self.concierge.paths.iter().any(|other| other == path);
        path.strip_prefix('/').is_some_and(|words| words.split('/').all(is_word)) && !is_taken
    }
}

fn is_web_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()))
}

/// True for a path of one word that no other route uses.
fn is_socket_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|word| is_word(word) && !RESERVED_WORDS.contains(&word))
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Socket paths that the settings cannot change.
pub const SOCKET_PATHS: [&str; 2] = ["/concierge", "/ws/chat/room"];

/// First words of paths that other routes use.
const RESERVED_WORDS: [&str; 8] = ["asyncapi", "concierge", "conversations", "docs", "healthz", "jsonrpc", "metrics", "readyz"];
