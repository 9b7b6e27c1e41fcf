//! Users (accounts) and partners (people and companies), with search by folded text.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{PartnerId, Result, Timestamp, UserId};

/// Person or company that can take part in conversations. May have a user account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    pub id: PartnerId,
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub mobile: Option<String>,
}

/// Partner with its account, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub partner: Partner,
    pub user: Option<UserId>,
}

/// Role of a user in the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    User,
    /// Support agent: answers support conversations.
    Agent,
    /// Administrator of the workspace.
    Admin,
}

impl Role {
    /// Text form in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::Admin => "admin",
        }
    }

    /// Parses the result of [`Role::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::User, Self::Agent, Self::Admin].into_iter().find(|role| role.as_str() == word)
    }
}

/// Password hash in any supported format. Its `Debug` output hides the value.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl PasswordHash {
    /// Returns the algorithm with its parameters: all but the salt and the hash, which follow the last two `$`, or in bcrypt
    /// (`$2b$12$...`) the last one. `None` if the text is no hash.
    pub fn kind(&self) -> Option<&str> {
        let (rest, _) = self.0.rsplit_once('$')?;
        if rest.starts_with("$2") { Some(rest) } else { Some(rest.rsplit_once('$')?.0) }
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// User account.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub id: UserId,
    pub uuid: Uuid,
    /// Login name; `None` for accounts that sign in with tokens alone.
    pub login: Option<String>,
    pub password: Option<PasswordHash>,
    pub partner: Partner,
    pub role: Role,
    pub active: bool,
    /// Language in Odoo's form, for example `en_US`.
    pub language: String,
    /// Name in the IANA time zone database, for example `Asia/Bangkok`.
    pub time_zone: String,
    /// Fields of single dialects. No code here interprets them.
    pub profile: serde_json::Value,
    pub created_at: Timestamp,
    /// The user's id in the host application.
    pub external_id: Option<String>,
    /// True if the user may change and delete messages of others without being an admin.
    pub can_moderate: bool,
    /// URL for clients; the server never fetches it.
    pub picture_url: Option<String>,
    /// Time of the newest applied token claims. Claims of tokens issued earlier change nothing.
    pub claims_as_of: Option<Timestamp>,
    /// Revocation time: tokens issued earlier are revoked.
    pub tokens_not_before: Option<Timestamp>,
    pub banned_until: Option<Timestamp>,
    pub muted_until: Option<Timestamp>,
    pub erased_at: Option<Timestamp>,
}

impl User {
    /// Login as shown to clients: empty if there is none.
    pub fn login_text(&self) -> &str {
        self.login.as_deref().unwrap_or_default()
    }

    /// Converts to the form that other participants see.
    pub fn person(&self) -> Person {
        Person { partner: self.partner.clone(), user: Some(self.id) }
    }
}

/// Partner to be stored. Without an id it gets the next of the sequence; with one, the sequence continues above it.
#[derive(Clone, Debug)]
pub struct NewPartner {
    pub id: Option<PartnerId>,
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub mobile: Option<String>,
}

impl NewPartner {
    /// The partner as stored.
    pub(crate) fn stored(self, id: PartnerId) -> Partner {
        let Self { id: _, name, email, phone, mobile } = self;
        Partner { id, name, email, phone, mobile }
    }
}

/// User to be stored together with its partner. The uid is drawn before the partner's id.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: Option<UserId>,
    pub uuid: Uuid,
    pub login: Option<String>,
    pub password: Option<PasswordHash>,
    pub external_id: Option<String>,
    pub partner: NewPartner,
    pub role: Role,
    pub language: String,
    pub time_zone: String,
    pub profile: serde_json::Value,
    pub created_at: Timestamp,
}

impl NewUser {
    /// The user as stored.
    pub(crate) fn stored(self, id: UserId, partner: PartnerId) -> User {
        User {
            id,
            uuid: self.uuid,
            login: self.login,
            password: self.password,
            partner: self.partner.stored(partner),
            role: self.role,
            active: true,
            language: self.language,
            time_zone: self.time_zone,
            profile: self.profile,
            created_at: self.created_at,
            external_id: self.external_id,
            can_moderate: false,
            picture_url: None,
            claims_as_of: None,
            tokens_not_before: None,
            banned_until: None,
            muted_until: None,
            erased_at: None,
        }
    }
}

/// Changes of a user; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub password: Option<PasswordHash>,
    pub active: Option<bool>,
    /// `Some(None)` removes the id.
    pub external_id: Option<Option<String>>,
    pub can_moderate: Option<bool>,
}

/// Queries of users and partners. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Users {
    async fn user(&self, id: UserId) -> Result<Option<User>>;
    /// Finds a user by login, compared exactly as Odoo compares it.
    async fn user_by_login(&self, login: &str) -> Result<Option<User>>;
    async fn user_by_uuid(&self, uuid: Uuid) -> Result<Option<User>>;
    /// Finds a user by its id in the host application, compared byte by byte.
    async fn user_by_external_id(&self, id: &str) -> Result<Option<User>>;
    /// True if any user has an external id.
    async fn has_external_ids(&self) -> Result<bool>;
    /// Distinct hash kinds of active users ([`PasswordHash::kind`]), at most `limit`.
    async fn password_kinds(&self, limit: usize) -> Result<Vec<String>>;
    /// Keyset page of all users, deactivated ones included, by rising uid, after `after`.
    async fn users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>>;
    /// Users with these ids, deactivated ones included, in no particular order; unknown ids are absent.
    async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<User>>;
    /// Keyset page of all partners, those of deactivated users included, by rising id, after `after`.
    async fn people_after(&self, after: Option<PartnerId>, limit: usize) -> Result<Vec<Person>>;
    /// Partners with these ids, in no particular order; unknown ids are absent.
    async fn people(&self, partners: &[PartnerId]) -> Result<Vec<Person>>;
    /// Partners of these users, in no particular order; unknown ids are absent.
    async fn people_of_users(&self, users: &[UserId]) -> Result<Vec<Person>>;
    /// Searches partners whose name, email or phone contains `query`, compared with case folding ([`crate::fold()`]), by rising
    /// name (bytes, not a language's order), then id. Partners of deactivated users are absent. Rows of an earlier version
    /// without folded text are compared in lower case.
    async fn search_people(&self, query: &str, limit: usize) -> Result<Vec<Person>>;
    /// Backfills the folded text of at most `limit` partners stored by an earlier version. Returns the number of rows tried; 0
    /// once all are folded.
    async fn fold_people(&self, limit: usize) -> Result<u64>;
}

/// Writes of users and partners. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteUsers {
    async fn insert_partner(&mut self, new: NewPartner) -> Result<Partner>;
    /// Stores a user with its partner.
    ///
    /// # Errors
    /// `Conflict("users_login")` if the login is taken, `Conflict("users_uuid")` if the uuid is, `Conflict("users_external_id")`
    /// if the external id is.
    async fn insert_user(&mut self, new: NewUser) -> Result<User>;
    /// Locks a user until the transaction ends; concurrent changes wait. Comes before all locks but the workspace's.
    async fn lock_user(&mut self, id: UserId) -> Result<Option<User>>;
    /// Changes a user and returns its new state; `None` if there is none.
    ///
    /// # Errors
    /// `Conflict("users_external_id")` if another user has the external id.
    async fn update_user(&mut self, id: UserId, change: UserChange) -> Result<Option<User>>;
}
