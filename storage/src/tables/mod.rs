//! The tables of the SQL backends, described once, and the access to them that a verbatim copy of a store needs. A test compares
//! the description with the schemas of both databases.

mod copy;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

pub use copy::{Comparison, OnRows, TableDigest, copy, import_log};

use crate::{Result, Storage, Workspace};

/// Table, with the columns of its primary key first.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [Column],
    /// Number of columns of the primary key.
    pub keys: usize,
}

/// Column of a table.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
}

/// Type of a column. SQLite stores integers, texts and bytes; PostgreSQL has a type for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Integer,
    /// An integer of 32 bits.
    Small,
    Boolean,
    /// Microseconds since 1970.
    Time,
    Text,
    /// JSON text, byte for byte as it was stored.
    Json,
    Uuid,
    Bytes,
}

/// Value in its canonical form, which is that of SQLite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Values of a row, one for each column of the description.
pub type TableRow = Vec<Value>;

macro_rules! tables {
    ($($table:ident [$($key:ident $key_kind:ident),+] $($column:ident $kind:ident),*;)+) => {
        &[$(Table {
            name: stringify!($table),
            columns: &[
                $(Column { name: stringify!($key), kind: ColumnKind::$key_kind },)+
                $(Column { name: stringify!($column), kind: ColumnKind::$kind },)*
            ],
            keys: [$(stringify!($key)),+].len(),
        }),+]
    };
}

/// All tables that hold data, each after those to which it refers, with the primary key in brackets. Not among them:
/// - `nodes` and `attendances`: leases of running servers, of which there is none while a store is copied.
/// - `commits` and `events.mark` of PostgreSQL: they find a commit of this database whose answer was lost.
/// - Generated columns, the index of people of SQLite, and the migrations: the target's own.
pub const TABLES: &[Table] = tables! {
    sequences [name Text] value Integer;
    workspace [key Text] value Text;
    partners [id Integer] name Text, email Text, phone Text, mobile Text, folded Text;
    users [id Integer] uuid Uuid, login Text, password_hash Text, partner_id Integer, role Text, active Boolean, language Text,
        time_zone Text, created_at Time, external_id Text, can_moderate Boolean, picture_url Text, claims_as_of Time,
        tokens_not_before Time, banned_until Time, muted_until Time, erased_at Time, profile Json;
    pictures [user_id Integer] set_at Time, png Bytes;
    groups [id Integer] name Text;
    group_members [group_id Integer, user_id Integer];
    book_entries [owner_id Integer, user_id Integer];
    sessions [key Bytes] user_id Integer, created_at Time, last_used_at Time, told Integer, token_expires_at Time,
        token_family Uuid, is_cursor Boolean;
    refresh_tokens [key Bytes] family Uuid, user_id Integer, expires_at Time, used_at Time, grace_from Time;
    devices [id Integer] user_id Integer, name Text, connection Text, created_at Time, updated_at Time, expires_at Time;
    presences [partner_id Integer] set_status Text, last_seen Time, there_until Time, idle_from Time;
    audit [id Integer] at Time, actor_kind Text, actor_id Text, address Text, action Text, object Text, outcome Text,
        correlation Text;
    conversations [id Integer] uuid Uuid, kind Text, thread_type Text, created_at Time, group_id Integer, last_seq Integer,
        last_message_id Integer, last_message_at Time, left_seen_seq Integer, key Text, closed_at Time, external_id Text,
        began_direct Boolean, version Integer, name Text;
    conversation_documents [conversation_id Integer, model Text, record_id Integer];
    participants [conversation_id Integer, partner_id Integer] joined_at Time, window_state Text, shelf Text, read_seq Integer,
        seen_seq Integer, own_after Integer, last_own_id Integer, visible_from_seq Integer, role Text, muted_until Time;
    left_reads [conversation_id Integer, visible_from_seq Integer] seen_seq Integer;
    support_sessions [conversation_id Integer] initiator_id Integer, initiator_pinged_at Time, joiner_id Integer,
        joiner_pinged_at Time;
    support_seen [conversation_id Integer, by_initiator Boolean, seq Integer] at Time;
    messages [id Integer] conversation_id Integer, seq Integer, author_id Integer, message_type Text, has_attachments Boolean,
        client_key Text, client_hash Bytes, external_id Text, reply_to_id Integer, support_side Text, held Boolean,
        created_at Time, edited_at Time, edited_by Integer, deleted_at Time, deleted_by Integer, has_reactions Boolean,
        changed_after Integer, body Text, metadata Json;
    attachments [id Integer] object Text, mimetype Text, size_bytes Integer, access_token Text, owner_id Integer,
        created_at Time, sent Boolean, sha256 Bytes, width Small, height Small, duration_milliseconds Integer, name Text;
    message_attachments [message_id Integer, place Small] attachment_id Integer;
    reactions [message_id Integer, content Text, partner_id Integer] at Time;
    uploads [name Text] partner_id Integer, owner_id Integer, mimetype Text, limit_bytes Integer, expires_at Time, kept Boolean,
        object Text, content_type Text, size_bytes Integer, put_at Time, width Small, height Small;
    upload_mentions [name Text, message_id Integer];
    log_head [singleton Boolean] position Integer;
    events [position Integer] conversation_id Integer, partner_id Integer, at Time, message_id Integer, seq Integer, fact Json;
    memberships [conversation_id Integer, partner_id Integer, from_position Integer] until_position Integer,
        visible_from_seq Integer;
};

/// Tables of the event log.
pub const LOG: [&str; 3] = ["log_head", "events", "memberships"];
/// Tables with rows in a store that nobody has used yet, which may also hold secrets of a server that was started once.
const NEVER_EMPTY: [&str; 3] = ["sequences", "workspace", "log_head"];

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) const WORKSPACE: &str = "SELECT value FROM workspace WHERE key = 'workspace'";
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) const SET_WORKSPACE: &str = "INSERT INTO workspace (key, value) VALUES ('workspace', $1)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

impl Table {
    /// The table of this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn named(name: &str) -> &'static Self {
        TABLES.iter().find(|table| table.name == name).expect("only described tables are named")
    }

    /// Tables that are empty in a store that nobody has used yet.
    pub fn of_users() -> impl Iterator<Item = &'static Self> {
        TABLES.iter().filter(|table| !NEVER_EMPTY.contains(&table.name))
    }

    pub fn key(&self) -> &'static [Column] {
        &self.columns[..self.keys]
    }

    /// Condition of the rows that are copied. The workspace row is not: it says whether the copy is complete.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn condition(&self) -> &'static str {
        if self.name == "workspace" { " WHERE key <> 'workspace'" } else { "" }
    }

    /// Names of all columns, quoted.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn column_names(&self) -> String {
        self.columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
    }
}

impl Value {
    /// Size in memory, roughly.
    fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Null | Self::Integer(_) => 0,
                Self::Text(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
            }
    }
}

/// Store that can be copied to another one, table by table, while no server uses either.
///
/// # Errors
/// Those of [`Storage`].
///
/// # Cancel safety
/// A dropped call leaves nothing behind, except a schema.
#[async_trait]
pub trait Copyable: Storage {
    /// Refuses a store that a server uses, and one that takes no writes. A file is locked until the store is closed.
    ///
    /// # Errors
    /// `Unavailable` if a server uses it, or it takes no writes.
    async fn require_no_server(&self) -> Result<()>;
    /// Refuses a store whose tables this user may not fill. Whoever may write a file may do so.
    ///
    /// # Errors
    /// `Internal` if the tables belong to others.
    async fn require_owner(&self) -> Result<()> {
        Ok(())
    }
    /// True if the schema is that of this program.
    async fn has_current_schema(&self) -> Result<bool>;
    /// Makes the schema that of this program.
    async fn make_schema_current(&self) -> Result<()>;
    /// Name of a table with rows in it; `None` if the store is as good as new.
    async fn occupied_table(&self) -> Result<Option<&'static str>>;
    /// Opens the tables for a reader that sees one state of the store. Nobody else writes until the tables are closed.
    ///
    /// # Errors
    /// `Unavailable` if a server or a command uses the store.
    async fn open_source(&self) -> Result<Box<dyn Tables>>;
    /// Opens the tables for the only writer.
    ///
    /// # Errors
    /// `Unavailable` if a server or another copy uses the store.
    async fn open_target(&self) -> Result<Box<dyn Tables>>;
}

/// Tables of a store on a connection of their own. Dropping those of a source changes nothing in it.
///
/// # Errors
/// Those of [`Storage`].
///
/// # Cancel safety
/// After a dropped call, drop the tables, too.
#[async_trait]
pub trait Tables: Send {
    /// Tables in the order in which this store takes their rows.
    fn order(&self) -> Vec<&'static Table>;
    /// Rows of a table in the order of its key, as they come from the database.
    fn rows<'a>(&'a mut self, table: &'static Table) -> BoxStream<'a, Result<TableRow>>;
    async fn count(&mut self, table: &'static Table) -> Result<u64>;
    /// Deletes all rows of some tables, in one transaction.
    async fn clear(&mut self, tables: &[&'static Table]) -> Result<()>;
    /// Inserts rows in one transaction, without the effects that rows of a server would have.
    async fn insert(&mut self, table: &'static Table, rows: Vec<TableRow>) -> Result<()>;
    async fn workspace(&mut self) -> Result<Workspace>;
    /// Replaces the workspace row. In a source, [`Tables::close`] commits it.
    async fn set_workspace(&mut self, workspace: &Workspace) -> Result<()>;
    /// Commits and closes the connection.
    async fn close(self: Box<Self>) -> Result<()>;
}
