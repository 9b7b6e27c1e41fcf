//! Administration from the command line: users, groups, pictures and access tokens.
//! Running servers learn of a change from the event log.

use storage::{
    ActorKind, Fact, Group, NewAuditEntry, NewPartner, NewUser, PasswordHash, Role, Storage, Topic, User, UserChange, UserId,
};
use uuid::Uuid;

use crate::{
    auth::{self, PASSWORD_CHARACTERS, Token, Tokens},
    chat::{self, check_email, check_external_id, check_login, check_name},
    clock,
    transaction::{Retryable, transaction},
};

/// Largest picture of a user. Clients load one for each user that they show.
pub const PICTURE_BYTES: usize = 256 * 1024;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Page size for reading all users.
const PAGE: usize = 500;

/// A user to be added.
pub struct NewAccount {
    pub login: String,
    pub name: String,
    pub email: Option<String>,
    pub role: Role,
    pub password: String,
}

/// Reason for which a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("no user with the login {0}")]
    NoSuchUser(String),
    #[error("the login {0} is taken")]
    LoginTaken(String),
    #[error("{0} has the external id {1}: remove it first")]
    HasExternalId(String, String),
    #[error("the external id {0} belongs to another user")]
    ExternalIdTaken(String),
    #[error("no group with the name {0}")]
    NoSuchGroup(String),
    #[error("the group {0} already exists")]
    GroupTaken(String),
    #[error("a picture must be a PNG of at most {PICTURE_BYTES} bytes")]
    InvalidPicture,
    /// An invalid login, name, e-mail address or external id.
    #[error("the {0}")]
    Text(chat::Error),
    #[error("the password must have {PASSWORD_CHARACTERS} characters or more")]
    ShortPassword,
    #[error("password not hashed")]
    Password(#[source] auth::Error),
    #[error("token not issued")]
    Token(#[source] auth::Error),
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

impl Retryable for AdminError {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_contention())
    }
}

/// Adds a user with a partner of its own.
pub async fn add_user(storage: &dyn Storage, new: NewAccount) -> Result<User, AdminError> {
    check_login(&new.login).map_err(AdminError::Text)?;
    check_name(&new.name).map_err(AdminError::Text)?;
    new.email.as_deref().map_or(Ok(()), check_email).map_err(AdminError::Text)?;
    let password = hash(&new.password).await?;
    transaction(storage, |mut tx| async {
        let added = tx
            .insert_user(NewUser {
                id: None,
                uuid: Uuid::new_v4(),
                login: Some(new.login.clone()),
                password: Some(password.clone()),
                external_id: None,
                partner: NewPartner { id: None, name: new.name.clone(), email: new.email.clone(), phone: None, mobile: None },
                role: new.role,
                language: "en_US".into(),
                time_zone: "UTC".into(),
                profile: serde_json::json!({}),
                created_at: clock::now(),
            })
            .await;
        let user = match added {
            Err(storage::Error::Conflict("users_login")) => return Err(AdminError::LoginTaken(new.login.clone())),
            added => added?,
        };
        tx.insert_audit(&entry("user_add", user.id)).await?;
        tx.commit().await?;
        Ok(user)
    })
    .await
}

/// All users in ascending order of uid.
pub async fn all_users(storage: &dyn Storage) -> Result<Vec<User>, AdminError> {
    let mut all = Vec::new();
    for_each_page(storage, |page| all.extend(page)).await?;
    Ok(all)
}

/// Logins of other users that differ from that of `user` only in case or in Unicode composition. The server compares logins
/// exactly, so each of them belongs to another user, but people may overlook the difference.
pub async fn lookalike_logins(storage: &dyn Storage, user: &User) -> Result<Vec<String>, AdminError> {
    let folded = storage::fold(user.login_text());
    let is_twin = |other: &User| other.id != user.id && storage::fold(other.login_text()) == folded;
    let mut twins = Vec::new();
    for_each_page(storage, |page| twins.extend(page.into_iter().filter(is_twin).filter_map(|other| other.login))).await?;
    Ok(twins)
}

async fn for_each_page(storage: &dyn Storage, mut on_page: impl FnMut(Vec<User>)) -> Result<(), AdminError> {
    let mut last = None;
    loop {
        let page = storage.users(last, PAGE).await?;
        let is_last = page.len() < PAGE;
        last = page.last().map(|user| user.id);
        on_page(page);
        if is_last {
            return Ok(());
        }
    }
}

/// Sets a password and revokes the user's sessions and refresh tokens. Returns the user.
pub async fn set_password(storage: &dyn Storage, login: &str, password: &str) -> Result<User, AdminError> {
    let password = hash(password).await?;
    let change = UserChange { password: Some(password), ..UserChange::default() };
    self::change(storage, login, "password_change", change, CredentialFate::Revoked).await
}

/// Deactivates a user and revokes its sessions and refresh tokens.
pub async fn deactivate(storage: &dyn Storage, login: &str) -> Result<(), AdminError> {
    let inactive = UserChange { active: Some(false), ..UserChange::default() };
    change(storage, login, "user_deactivate", inactive, CredentialFate::Revoked).await.map(drop)
}

/// Reactivates a user, who can log in again. Sessions, tokens and memberships of support sessions that the deactivation ended
/// stay ended; everything else is as before. Leaves an active user and its sessions alone. Returns true if the user was
/// deactivated.
pub async fn activate(storage: &dyn Storage, login: &str) -> Result<bool, AdminError> {
    if user(storage, login).await?.active {
        return Ok(false);
    }
    let active = UserChange { active: Some(true), ..UserChange::default() };
    change(storage, login, "user_activate", active, CredentialFate::Kept).await?;
    Ok(true)
}

/// Changes of `user edit`; `None` leaves a property as it is.
#[derive(Clone, Debug, Default)]
pub struct UserEdit {
    /// Permission to edit and delete messages of others.
    pub moderator: Option<bool>,
    /// Id of the user in the host application; `Some(None)` removes it.
    pub external_id: Option<Option<String>>,
}

/// Changes a user: all properties or none. An external id can be set only for a user without one; otherwise another person would
/// gain access as this user.
pub async fn edit(storage: &dyn Storage, login: &str, UserEdit { moderator, external_id }: UserEdit) -> Result<(), AdminError> {
    if let Some(Some(id)) = &external_id {
        check_external_id(id).map_err(AdminError::Text)?;
    }
    // Revoked, since a session or token may come from a token with the external id that is removed.
    let access = if matches!(external_id, Some(None)) { CredentialFate::Revoked } else { CredentialFate::Kept };
    let edit = UserChange { can_moderate: moderator, external_id, ..UserChange::default() };
    change(storage, login, "user_edit", edit, access).await.map(drop)
}

/// Issues an access token for a user without a password check.
pub async fn issue_token(storage: &dyn Storage, tokens: &Tokens, login: &str) -> Result<Token, AdminError> {
    let user = user(storage, login).await?;
    let entry = entry("token_issue", user.id);
    let (issued, _) = tokens.issue(storage, &user, auth::Error::Denied, &entry).await.map_err(AdminError::Token)?;
    Ok(issued.access)
}

/// Sets the picture of a user.
pub async fn set_picture(storage: &dyn Storage, login: &str, png: &[u8]) -> Result<(), AdminError> {
    if !png.starts_with(PNG) || png.len() > PICTURE_BYTES {
        return Err(AdminError::InvalidPicture);
    }
    let user = user(storage, login).await?;
    transaction(storage, |mut tx| async {
        tx.set_picture(user.id, png, clock::now()).await?;
        tx.commit().await?;
        Ok(())
    })
    .await
}

/// Adds a group without members.
pub async fn add_group(storage: &dyn Storage, name: &str) -> Result<Group, AdminError> {
    check_name(name).map_err(AdminError::Text)?;
    transaction(storage, |mut tx| async {
        let group = match tx.insert_group(None, name).await {
            Err(storage::Error::Conflict("groups_name")) => return Err(AdminError::GroupTaken(name.to_owned())),
            added => added?,
        };
        tx.commit().await?;
        Ok(group)
    })
    .await
}

/// Adds and removes members of a group by login: all of them, or none if a login is unknown. Returns the members after the change
/// in ascending order of uid.
pub async fn change_members(
    storage: &dyn Storage,
    name: &str,
    add: &[String],
    remove: &[String],
) -> Result<Vec<User>, AdminError> {
    let group = storage.group_by_name(name).await?.ok_or_else(|| AdminError::NoSuchGroup(name.to_owned()))?;
    let (add, remove) = (uids(storage, add).await?, uids(storage, remove).await?);
    if !add.is_empty() || !remove.is_empty() {
        transaction(storage, |mut tx| async {
            tx.insert_group_members(group.id, &add).await?;
            tx.delete_group_members(group.id, &remove).await?;
            tx.commit().await?;
            Ok::<_, AdminError>(())
        })
        .await?;
    }
    let mut members = storage.users_by_id(&storage.group_members(group.id).await?).await?;
    members.sort_unstable_by_key(|user| user.id);
    Ok(members)
}

/// Hash of a new password; fails if the password is too short.
async fn hash(password: &str) -> Result<PasswordHash, AdminError> {
    if password.chars().count() < PASSWORD_CHARACTERS {
        return Err(AdminError::ShortPassword);
    }
    auth::hash_password(password).await.map_err(AdminError::Password)
}

async fn uids(storage: &dyn Storage, logins: &[String]) -> Result<Vec<UserId>, AdminError> {
    let mut uids = Vec::with_capacity(logins.len());
    for login in logins {
        uids.push(user(storage, login).await?.id);
    }
    Ok(uids)
}

async fn user(storage: &dyn Storage, login: &str) -> Result<User, AdminError> {
    storage.user_by_login(login).await?.ok_or_else(|| AdminError::NoSuchUser(login.to_owned()))
}

/// Fate of a user's sessions and refresh tokens when the user is changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CredentialFate {
    Kept,
    Revoked,
}

/// Audit entry for an operator's change of a user.
fn entry(action: &str, user: UserId) -> NewAuditEntry {
    NewAuditEntry {
        at: clock::now(),
        actor: ActorKind::Operator,
        actor_id: None,
        address: None,
        action: action.into(),
        object: Some(format!("user {user}")),
        outcome: "ok".into(),
        correlation: None,
    }
}

/// Changes a user and returns the user after the change.
async fn change(
    storage: &dyn Storage,
    login: &str,
    action: &str,
    change: UserChange,
    access: CredentialFate,
) -> Result<User, AdminError> {
    let unknown = || AdminError::NoSuchUser(login.to_owned());
    let id = user(storage, login).await?.id;
    transaction(storage, |mut tx| async {
        let before = tx.lock_user(id).await?.ok_or_else(unknown)?;
        if let (Some(Some(new)), Some(old)) = (&change.external_id, before.external_id)
            && *new != old
        {
            return Err(AdminError::HasExternalId(login.to_owned(), old));
        }
        let changed = match tx.update_user(id, change.clone()).await {
            Err(storage::Error::Conflict("users_external_id")) => {
                return Err(AdminError::ExternalIdTaken(change.external_id.clone().flatten().unwrap_or_default()));
            }
            changed => changed?.ok_or_else(unknown)?,
        };
        if access == CredentialFate::Revoked {
            tx.delete_sessions_of(id).await?;
            tx.delete_refresh_tokens_of(id).await?;
        }
        tx.insert_audit(&entry(action, id)).await?;
        tx.record(Topic::Partner(changed.partner.id), Fact::UserChanged { user: id }, clock::now());
        tx.commit().await?;
        Ok(changed)
    })
    .await
}
