//! SQLite statements of users and partners.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    NewPartner, NewUser, Partner, PartnerId, PasswordHash, Person, Result, Role, User, UserChange, UserId, Users, WriteUsers,
    columns::{person_columns, user_columns},
    fold::fold_person,
    sqlite::{Sqlite, SqliteTx, get, limit, list, micros, optional_time, time, word},
};

const SEQUENCE: &str = "people_id";

const USER: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id WHERE account.id = $1"
);
const USER_BY_LOGIN: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id WHERE account.login = $1"
);
const USER_BY_UUID: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id WHERE account.uuid = $1"
);
const USER_BY_EXTERNAL_ID: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id WHERE account.external_id = $1"
);
const HAS_EXTERNAL_IDS: &str = "SELECT EXISTS (SELECT 1 FROM users WHERE external_id IS NOT NULL)";
/// SQL form of [`PasswordHash::kind`]: a text without all that is no `$` at its end is cut after its last `$`.
const PASSWORD_KINDS: &str = "WITH hashes AS (
        SELECT rtrim(password_hash, replace(password_hash, '$', '')) AS head
        FROM users WHERE active AND password_hash LIKE '%$%'
    ), heads AS (
        SELECT substr(head, 1, length(head) - 1) AS head FROM hashes
    ), kinds AS (
        SELECT CASE WHEN head LIKE '$2%' THEN head || '$' ELSE rtrim(head, replace(head, '$', '')) END AS kind FROM heads
    )
    SELECT DISTINCT substr(kind, 1, length(kind) - 1) AS kind FROM kinds WHERE kind <> '' LIMIT +$1";
const USERS: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id
      WHERE account.id > $1 ORDER BY account.id LIMIT +$2"
);
const USERS_BY_ID: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id
      WHERE account.id IN (SELECT value FROM json_each($1))"
);
const PEOPLE_AFTER: &str = concat!(
    "SELECT ",
    person_columns!(),
    " FROM partners person LEFT JOIN users account ON account.partner_id = person.id
      WHERE person.id > $1 ORDER BY person.id LIMIT +$2"
);
const PEOPLE: &str = concat!(
    "SELECT ",
    person_columns!(),
    " FROM partners person LEFT JOIN users account ON account.partner_id = person.id
      WHERE person.id IN (SELECT value FROM json_each($1))"
);
const PEOPLE_OF_USERS: &str = concat!(
    "SELECT ",
    person_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id
      WHERE account.id IN (SELECT value FROM json_each($1))"
);

const INSERT_PARTNER: &str = "INSERT INTO partners (id, name, email, phone, mobile, folded) VALUES ($1, $2, $3, $4, $5, $6)";
const INSERT_USER: &str = "INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile,
        created_at, external_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const UPDATE_USER: &str = "UPDATE users SET password_hash = coalesce($2, password_hash), active = coalesce($3, active),
        external_id = CASE WHEN $4 THEN $5 ELSE external_id END, can_moderate = coalesce($6, can_moderate)
    WHERE id = $1";

fn partner(row: &SqliteRow) -> Result<Partner> {
    Ok(Partner {
        id: PartnerId(get(row, "partner_id")?),
        name: get(row, "partner_name")?,
        email: get(row, "email")?,
        phone: get(row, "phone")?,
        mobile: get(row, "mobile")?,
    })
}

pub(crate) fn person(row: &SqliteRow) -> Result<Person> {
    Ok(Person { partner: partner(row)?, user: get::<Option<i64>, _>(row, "user_id")?.map(UserId) })
}

pub(crate) fn user(row: &SqliteRow) -> Result<User> {
    Ok(User {
        id: UserId(get(row, "user_id")?),
        uuid: get(row, "user_uuid")?,
        login: get(row, "login")?,
        password: get::<Option<String>, _>(row, "password_hash")?.map(PasswordHash),
        partner: partner(row)?,
        role: word(row, "role", Role::parse)?,
        active: get(row, "active")?,
        language: get(row, "language")?,
        time_zone: get(row, "time_zone")?,
        profile: get::<Json<_>, _>(row, "profile")?.0,
        created_at: time(row, "user_created_at")?,
        external_id: get(row, "user_external_id")?,
        can_moderate: get(row, "can_moderate")?,
        picture_url: get(row, "picture_url")?,
        claims_as_of: optional_time(row, "claims_as_of")?,
        tokens_not_before: optional_time(row, "tokens_not_before")?,
        banned_until: optional_time(row, "banned_until")?,
        muted_until: optional_time(row, "user_muted_until")?,
        erased_at: optional_time(row, "erased_at")?,
    })
}

#[async_trait]
impl Users for Sqlite {
    async fn user(&self, id: UserId) -> Result<Option<User>> {
        self.row(sqlx::query(USER).bind(id.0)).await?.as_ref().map(user).transpose()
    }

    async fn user_by_login(&self, login: &str) -> Result<Option<User>> {
        self.row(sqlx::query(USER_BY_LOGIN).bind(login)).await?.as_ref().map(user).transpose()
    }

    async fn user_by_uuid(&self, uuid: Uuid) -> Result<Option<User>> {
        self.row(sqlx::query(USER_BY_UUID).bind(uuid)).await?.as_ref().map(user).transpose()
    }

    async fn user_by_external_id(&self, id: &str) -> Result<Option<User>> {
        self.row(sqlx::query(USER_BY_EXTERNAL_ID).bind(id)).await?.as_ref().map(user).transpose()
    }

    async fn has_external_ids(&self) -> Result<bool> {
        get(&self.only_row(sqlx::query(HAS_EXTERNAL_IDS)).await?, 0)
    }

    async fn password_kinds(&self, most: usize) -> Result<Vec<String>> {
        let kinds = self.rows(sqlx::query(PASSWORD_KINDS).bind(limit(most))).await?;
        kinds.iter().map(|row| get(row, "kind")).collect()
    }

    async fn users(&self, after: Option<UserId>, rows: usize) -> Result<Vec<User>> {
        let after = after.map_or(i64::MIN, |id| id.0);
        self.rows(sqlx::query(USERS).bind(after).bind(limit(rows))).await?.iter().map(user).collect()
    }

    async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<User>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(USERS_BY_ID).bind(list(ids))).await?.iter().map(user).collect()
    }

    async fn people_after(&self, after: Option<PartnerId>, rows: usize) -> Result<Vec<Person>> {
        let after = after.map_or(i64::MIN, |id| id.0);
        self.rows(sqlx::query(PEOPLE_AFTER).bind(after).bind(limit(rows))).await?.iter().map(person).collect()
    }

    async fn people(&self, partners: &[PartnerId]) -> Result<Vec<Person>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(PEOPLE).bind(list(partners))).await?.iter().map(person).collect()
    }

    async fn people_of_users(&self, users: &[UserId]) -> Result<Vec<Person>> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(PEOPLE_OF_USERS).bind(list(users))).await?.iter().map(person).collect()
    }

    async fn search_people(&self, query: &str, rows: usize) -> Result<Vec<Person>> {
        self.find_people(query, rows).await?.iter().map(person).collect()
    }

    async fn fold_people(&self, people: usize) -> Result<u64> {
        self.backfill_folded(people).await
    }
}

#[async_trait]
impl WriteUsers for SqliteTx {
    async fn insert_partner(&mut self, new: NewPartner) -> Result<Partner> {
        let id = self.draw_unless(new.id.map(|id| id.0), SEQUENCE).await?;
        let NewPartner { name, email, phone, mobile, .. } = &new;
        let folded = fold_person(name, email.as_deref(), phone.as_deref());
        let insert = sqlx::query(INSERT_PARTNER).bind(id).bind(name).bind(email).bind(phone).bind(mobile).bind(folded);
        self.rows(insert).await?;
        Ok(new.stored(PartnerId(id)))
    }

    async fn insert_user(&mut self, new: NewUser) -> Result<User> {
        let id = self.draw_unless(new.id.map(|id| id.0), SEQUENCE).await?;
        let partner = self.insert_partner(new.partner.clone()).await?.id;
        let insert = sqlx::query(INSERT_USER)
            .bind(id)
            .bind(new.uuid)
            .bind(&new.login)
            .bind(new.password.as_ref().map(|hash| hash.0.as_str()))
            .bind(partner.0)
            .bind(new.role.as_str())
            .bind(&new.language)
            .bind(&new.time_zone)
            .bind(new.profile.to_string())
            .bind(micros(new.created_at))
            .bind(&new.external_id);
        self.rows(insert).await?;
        Ok(new.stored(UserId(id), partner))
    }

    async fn lock_user(&mut self, id: UserId) -> Result<Option<User>> {
        self.row(sqlx::query(USER).bind(id.0)).await?.as_ref().map(user).transpose()
    }

    async fn update_user(&mut self, id: UserId, change: UserChange) -> Result<Option<User>> {
        let update = sqlx::query(UPDATE_USER)
            .bind(id.0)
            .bind(change.password.map(|hash| hash.0))
            .bind(change.active)
            .bind(change.external_id.is_some())
            .bind(change.external_id.flatten())
            .bind(change.can_moderate);
        self.rows(update).await?;
        self.lock_user(id).await
    }
}
