use async_trait::async_trait;
use uuid::Uuid;

use crate::{PartnerId, Result, Timestamp, UserId};

/// A person or company one can talk to. May have a user account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    pub id: PartnerId,
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub mobile: Option<String>,
}

/// A partner, and the account of that partner if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub partner: Partner,
    pub user: Option<UserId>,
}

/// What a user may do beyond talking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    User,
    /// Answers support conversations.
    Agent,
    /// Administers the workspace.
    Admin,
}

impl Role {
    /// The word in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::Admin => "admin",
        }
    }

    /// The reverse of [`Role::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::User, Self::Agent, Self::Admin].into_iter().find(|role| role.as_str() == word)
    }
}

/// A password's hash in any of the formats that can be verified. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl PasswordHash {
    /// The algorithm with its parameters: all but the salt and the hash, which stand behind the last two `$`, and in bcrypt's
    /// (`$2b$12$...`) behind the last one. `None` for what is no hash.
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

/// A login.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub id: UserId,
    pub uuid: Uuid,
    /// `None` for who signs in with tokens alone.
    pub login: Option<String>,
    pub password: Option<PasswordHash>,
    pub partner: Partner,
    pub role: Role,
    pub active: bool,
    /// As Odoo writes it, for example `en_US`.
    pub language: String,
    /// A name of the IANA database, for example `Asia/Bangkok`.
    pub time_zone: String,
    /// Fields of single dialects, which no code here interprets.
    pub profile: serde_json::Value,
    pub created_at: Timestamp,
    /// The id in the host application.
    pub external_id: Option<String>,
    /// Whether it may change and delete others' messages without being an admin.
    pub can_moderate: bool,
    /// A text for clients; never fetched.
    pub picture_url: Option<String>,
    /// Claims of tokens that were issued earlier change nothing.
    pub claims_as_of: Option<Timestamp>,
    /// Tokens that were issued earlier are revoked.
    pub tokens_not_before: Option<Timestamp>,
    pub banned_until: Option<Timestamp>,
    pub muted_until: Option<Timestamp>,
    pub erased_at: Option<Timestamp>,
}

impl User {
    /// The login as clients are shown it: empty for who has none.
    pub fn login_text(&self) -> &str {
        self.login.as_deref().unwrap_or_default()
    }

    /// This user as others see it in a conversation.
    pub fn person(&self) -> Person {
        Person { partner: self.partner.clone(), user: Some(self.id) }
    }
}

/// A partner to be stored. Without an id it gets the next of the sequence; with one, the sequence continues above it.
#[derive(Clone, Debug)]
pub struct NewPartner {
    pub id: Option<PartnerId>,
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub mobile: Option<String>,
}

/// A user to be stored together with its partner. The uid is drawn before the partner's id.
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

/// What to change of a user; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub password: Option<PasswordHash>,
    pub active: Option<bool>,
    /// `Some(None)` takes it away.
    pub external_id: Option<Option<String>>,
    pub can_moderate: Option<bool>,
}

#[async_trait]
pub trait Users {
    async fn user(&self, id: UserId) -> Result<Option<User>>;
    /// Logins are compared exactly, as Odoo compares them.
    async fn user_by_login(&self, login: &str) -> Result<Option<User>>;
    async fn user_by_uuid(&self, uuid: Uuid) -> Result<Option<User>>;
    /// External ids are compared byte by byte.
    async fn user_by_external_id(&self, id: &str) -> Result<Option<User>>;
    /// Whether any user has an external id.
    async fn has_external_ids(&self) -> Result<bool>;
    /// At most `limit` kinds of hashes that active users have, each once: [`PasswordHash::kind`].
    async fn password_kinds(&self, limit: usize) -> Result<Vec<String>>;
    /// All users, deactivated ones included, by rising uid, after `after`.
    async fn users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>>;
    /// The users with these ids, deactivated ones included, in no particular order; unknown ids are absent.
    async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<User>>;
    /// All partners, those of deactivated users included, by rising id, after `after`.
    async fn people_after(&self, after: Option<PartnerId>, limit: usize) -> Result<Vec<Person>>;
    /// The partners with these ids, in no particular order; unknown ids are absent.
    async fn people(&self, partners: &[PartnerId]) -> Result<Vec<Person>>;
    /// The partners of these users, in no particular order; unknown ids are absent.
    async fn people_of_users(&self, users: &[UserId]) -> Result<Vec<Person>>;
    /// Partners whose name, email or phone contains `query`, as [`crate::fold()`] reads both, by rising name (its bytes, not a
    /// language's order), then id. Partners of deactivated users are absent. Those of whom a store does not know yet how they
    /// fold are searched as it did before.
    async fn search_people(&self, query: &str, limit: usize) -> Result<Vec<Person>>;
    /// Folds the texts of at most `limit` people whom an earlier version has stored; gives of how many.
    async fn fold_people(&self, limit: usize) -> Result<u64>;
}

#[async_trait]
pub trait WriteUsers {
    async fn insert_partner(&mut self, new: NewPartner) -> Result<Partner>;
    /// Fails with `Conflict("users_login")` if the login is taken, `Conflict("users_uuid")` if the uuid is,
    /// `Conflict("users_external_id")` if the external id is.
    async fn insert_user(&mut self, new: NewUser) -> Result<User>;
    /// The user as it stays until the transaction ends: whoever wants to change it waits. Before any other lock.
    async fn lock_user(&mut self, id: UserId) -> Result<Option<User>>;
    /// Gives the user as it is afterwards; `None` if there is none. Fails with `Conflict("users_external_id")` if another has
    /// the external id.
    async fn update_user(&mut self, id: UserId, change: UserChange) -> Result<Option<User>>;
}
