//! What an administrator does from the command line, beside running servers: those hear of it through the log.

use storage::{Fact, Group, NewPartner, NewUser, Role, Storage, Topic, User, UserChange, UserId};
use uuid::Uuid;

use crate::{
    auth::{self, Token, Tokens},
    chat::{LOGIN_BYTES, NAME_CHARACTERS, is_longer},
    clock,
};

/// How large a picture may be: clients load one for everybody they show.
pub const PICTURE_BYTES: usize = 256 * 1024;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// How many users are read at a time.
const PAGE: usize = 500;

/// A user to be added.
pub struct NewAccount {
    pub login: String,
    pub name: String,
    pub email: Option<String>,
    pub role: Role,
    pub password: String,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no user with the login {0}")]
    NoSuchUser(String),
    #[error("the login {0} is taken")]
    LoginTaken(String),
    #[error("there is no group with the name {0}")]
    NoSuchGroup(String),
    #[error("there is a group {0} already")]
    GroupTaken(String),
    #[error("a picture must be a PNG of at most {PICTURE_BYTES} bytes")]
    NoPicture,
    #[error("{0} must not be empty nor contain a NUL character")]
    Unusable(&'static str),
    #[error("the login must not be longer than {LOGIN_BYTES} bytes")]
    LongLogin,
    #[error("the name must not be longer than {NAME_CHARACTERS} characters")]
    LongName,
    #[error("the password could not be hashed")]
    Password(#[source] auth::Error),
    #[error("there is no token for this user")]
    Token(#[source] auth::Error),
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// Adds a user with a partner of its own.
pub async fn add_user(storage: &dyn Storage, new: NewAccount) -> Result<User, Error> {
    for (field, text) in [("login", &new.login), ("name", &new.name)] {
        if text.trim().is_empty() || text.contains('\0') {
            return Err(Error::Unusable(field));
        }
    }
    if new.login.len() > LOGIN_BYTES {
        return Err(Error::LongLogin);
    }
    must_be_short(&new.name)?;
    let password = auth::hash_password(&new.password).await.map_err(Error::Password)?;
    let mut tx = storage.begin().await?;
    let added = tx
        .insert_user(NewUser {
            id: None,
            uuid: Uuid::new_v4(),
            login: Some(new.login.clone()),
            password: Some(password),
            external_id: None,
            partner: NewPartner { id: None, name: new.name, email: new.email, phone: None, mobile: None },
            role: new.role,
            language: "en_US".into(),
            time_zone: "UTC".into(),
            profile: serde_json::json!({}),
            created_at: clock::now(),
        })
        .await;
    let user = match added {
        Err(storage::Error::Conflict("users_login")) => return Err(Error::LoginTaken(new.login)),
        added => added?,
    };
    tx.commit().await?;
    Ok(user)
}

/// Everybody, by rising uid.
pub async fn all_users(storage: &dyn Storage) -> Result<Vec<User>, Error> {
    let mut all: Vec<User> = Vec::new();
    loop {
        let page = storage.users(all.last().map(|user| user.id), PAGE).await?;
        let last = page.len() < PAGE;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// Sets a password; whoever is logged in with the old one is no longer.
pub async fn set_password(storage: &dyn Storage, login: &str, password: &str) -> Result<(), Error> {
    let password = auth::hash_password(password).await.map_err(Error::Password)?;
    change(storage, login, UserChange { password: Some(password), ..UserChange::default() }).await
}

/// Deactivates a user and ends its sessions.
pub async fn deactivate(storage: &dyn Storage, login: &str) -> Result<(), Error> {
    change(storage, login, UserChange { active: Some(false), ..UserChange::default() }).await
}

/// Lets a user change and delete others' messages, or no longer.
pub async fn set_moderator(storage: &dyn Storage, login: &str, can_moderate: bool) -> Result<(), Error> {
    let user = user(storage, login).await?;
    let mut tx = storage.begin().await?;
    tx.update_user(user.id, UserChange { can_moderate: Some(can_moderate), ..UserChange::default() }).await?;
    tx.record(Topic::Partner(user.partner.id), Fact::UserChanged { user: user.id }, clock::now());
    tx.commit().await?;
    Ok(())
}

/// An access token for a user, who needs no password for it.
pub async fn issue_token(storage: &dyn Storage, tokens: &Tokens, login: &str) -> Result<Token, Error> {
    let user = user(storage, login).await?;
    let (issued, _) = tokens.issue(storage, &user, auth::Error::Denied).await.map_err(Error::Token)?;
    Ok(issued.access)
}

/// Gives a user a picture.
pub async fn set_picture(storage: &dyn Storage, login: &str, png: &[u8]) -> Result<(), Error> {
    if !png.starts_with(PNG) || png.len() > PICTURE_BYTES {
        return Err(Error::NoPicture);
    }
    let user = user(storage, login).await?;
    let mut tx = storage.begin().await?;
    tx.set_picture(user.id, png).await?;
    tx.commit().await?;
    Ok(())
}

/// Adds a group without members.
pub async fn add_group(storage: &dyn Storage, name: &str) -> Result<Group, Error> {
    if name.trim().is_empty() || name.contains('\0') {
        return Err(Error::Unusable("name"));
    }
    must_be_short(name)?;
    let mut tx = storage.begin().await?;
    let group = match tx.insert_group(None, name).await {
        Err(storage::Error::Conflict("groups_name")) => return Err(Error::GroupTaken(name.to_owned())),
        added => added?,
    };
    tx.commit().await?;
    Ok(group)
}

/// Adds and removes members of a group by their logins: all of them, or, if one is unknown, none. Gives the members that
/// it has then, by rising uid.
pub async fn change_members(storage: &dyn Storage, name: &str, add: &[String], remove: &[String]) -> Result<Vec<User>, Error> {
    let group = storage.group_by_name(name).await?.ok_or_else(|| Error::NoSuchGroup(name.to_owned()))?;
    let (add, remove) = (uids(storage, add).await?, uids(storage, remove).await?);
    if !add.is_empty() || !remove.is_empty() {
        let mut tx = storage.begin().await?;
        tx.insert_group_members(group.id, &add).await?;
        tx.delete_group_members(group.id, &remove).await?;
        tx.commit().await?;
    }
    let mut members = storage.users_by_id(&storage.group_members(group.id).await?).await?;
    members.sort_unstable_by_key(|user| user.id);
    Ok(members)
}

fn must_be_short(name: &str) -> Result<(), Error> {
    if is_longer(name, NAME_CHARACTERS) { Err(Error::LongName) } else { Ok(()) }
}

async fn uids(storage: &dyn Storage, logins: &[String]) -> Result<Vec<UserId>, Error> {
    let mut uids = Vec::with_capacity(logins.len());
    for login in logins {
        uids.push(user(storage, login).await?.id);
    }
    Ok(uids)
}

async fn user(storage: &dyn Storage, login: &str) -> Result<User, Error> {
    storage.user_by_login(login).await?.ok_or_else(|| Error::NoSuchUser(login.to_owned()))
}

/// Changes a user and revokes what it came in with.
async fn change(storage: &dyn Storage, login: &str, change: UserChange) -> Result<(), Error> {
    let user = user(storage, login).await?;
    let now = clock::now();
    let mut tx = storage.begin().await?;
    tx.update_user(user.id, change).await?;
    tx.delete_sessions_of(user.id).await?;
    tx.delete_refresh_tokens_of(user.id).await?;
    tx.record(Topic::Partner(user.partner.id), Fact::UserChanged { user: user.id }, now);
    tx.commit().await?;
    Ok(())
}
