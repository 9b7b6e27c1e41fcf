//! PostgreSQL statements of users and partners.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    NewPartner, NewUser, Partner, PartnerId, PasswordHash, Person, Result, Role, User, UserChange, UserId, Users, WriteUsers,
    columns::{person_columns, user_columns},
    fold::{fold, fold_person},
    postgres::{Postgres, PostgresTx, get, limit, word},
};

const USER: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id WHERE account.id = $1"
);
const LOCK_USER: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id WHERE account.id = $1
      FOR NO KEY UPDATE OF account"
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
const HAS_EXTERNAL_IDS: &str = "SELECT EXISTS (SELECT FROM users WHERE external_id IS NOT NULL)";
/// SQL form of [`PasswordHash::kind`].
const PASSWORD_KINDS: &str = r"SELECT DISTINCT
        regexp_replace(password_hash, CASE WHEN starts_with(password_hash, '$2') THEN '\$[^$]*$' ELSE '\$[^$]*\$[^$]*$' END, '')
            AS kind
    FROM users
    WHERE active AND password_hash ~ CASE WHEN starts_with(password_hash, '$2') THEN '\$[^$]*\$' ELSE '\$[^$]*\$' END
    LIMIT $1";
const USERS: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id
      WHERE account.id > $1 ORDER BY account.id LIMIT $2"
);
const USERS_BY_ID: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id WHERE account.id = ANY ($1)"
);
const PEOPLE_AFTER: &str = concat!(
    "SELECT ",
    person_columns!(),
    " FROM partners person LEFT JOIN users account ON account.partner_id = person.id
      WHERE person.id > $1 ORDER BY person.id LIMIT $2"
);
const PEOPLE: &str = concat!(
    "SELECT ",
    person_columns!(),
    " FROM partners person LEFT JOIN users account ON account.partner_id = person.id WHERE person.id = ANY ($1)"
);
const PEOPLE_OF_USERS: &str = concat!(
    "SELECT ",
    person_columns!(),
    " FROM users account JOIN partners person ON person.id = account.partner_id WHERE account.id = ANY ($1)"
);
/// First `$3` ids of the people that match `$condition`.
macro_rules! found {
    ($condition:literal) => {
        concat!(
            "(SELECT person.id FROM partners person LEFT JOIN users account ON account.partner_id = person.id
              WHERE account.active IS NOT FALSE AND ",
            $condition,
            r#" ORDER BY left(person.name, 255) COLLATE "C", person.name COLLATE "C", person.id LIMIT $3)"#
        )
    };
}
/// Two subqueries, each with an index of its own. The second compares with `strpos`, without wildcards.
const SEARCH_PEOPLE: &str = concat!(
    "SELECT ",
    person_columns!(),
    " FROM (",
    found!("person.folded LIKE $1"),
    " UNION ALL ",
    found!(
        "person.folded IS NULL AND (strpos(lower(person.name), lower($2)) > 0
            OR strpos(lower(person.email), lower($2)) > 0 OR strpos(lower(person.phone), lower($2)) > 0)"
    ),
    r#") found JOIN partners person ON person.id = found.id LEFT JOIN users account ON account.partner_id = person.id
      ORDER BY person.name COLLATE "C", person.id LIMIT $3"#
);

const INSERT_PARTNER: &str = "INSERT INTO partners (id, name, email, phone, mobile, folded)
    VALUES (coalesce($1, nextval('people_id')), $2, $3, $4, $5, $6) RETURNING id";
/// Draws the partner's id from a row that depends on the uid, so the uid is drawn first.
const INSERT_USER: &str = "WITH uid AS MATERIALIZED (
        SELECT coalesce($1, nextval('people_id')) AS id
    ), partner AS (
        INSERT INTO partners (id, name, email, phone, mobile, folded)
        SELECT coalesce($2, nextval('people_id')), $3, $4, $5, $6, $16 FROM uid RETURNING id
    )
    INSERT INTO users (id, uuid, login, password_hash, partner_id, role, active, language, time_zone, profile, created_at,
        external_id)
    SELECT uid.id, $7, $8, $9, partner.id, $10, true, $11, $12, $13::text::json, $14, $15 FROM uid, partner
    RETURNING id, partner_id";
/// Advances the sequence beyond an id that was not drawn from it.
const PASS_OVER: &str = "SELECT setval('people_id', $1) FROM people_id WHERE last_value < $1 OR NOT is_called";
const UPDATE_USER: &str = concat!(
    "UPDATE users account SET password_hash = coalesce($2, password_hash), active = coalesce($3, active),
        external_id = CASE WHEN $4 THEN $5 ELSE external_id END, can_moderate = coalesce($6, can_moderate)
     FROM partners person WHERE account.id = $1 AND person.id = account.partner_id RETURNING ",
    user_columns!()
);

fn partner(row: &PgRow) -> sqlx::Result<Partner> {
    Ok(Partner {
        id: PartnerId(get(row, "partner_id")?),
        name: get(row, "partner_name")?,
        email: get(row, "email")?,
        phone: get(row, "phone")?,
        mobile: get(row, "mobile")?,
    })
}

pub(crate) fn person(row: &PgRow) -> sqlx::Result<Person> {
    Ok(Person { partner: partner(row)?, user: get::<Option<i64>, _>(row, "user_id")?.map(UserId) })
}

pub(crate) fn user(row: &PgRow) -> Result<User> {
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
        created_at: get(row, "user_created_at")?,
        external_id: get(row, "user_external_id")?,
        can_moderate: get(row, "can_moderate")?,
        picture_url: get(row, "picture_url")?,
        claims_as_of: get(row, "claims_as_of")?,
        tokens_not_before: get(row, "tokens_not_before")?,
        banned_until: get(row, "banned_until")?,
        muted_until: get(row, "user_muted_until")?,
        erased_at: get(row, "erased_at")?,
    })
}

/// `LIKE` pattern for a substring of the folded text, with wildcards escaped.
fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in fold(text).chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "%"
}

fn people(rows: &[PgRow]) -> Result<Vec<Person>> {
    Ok(rows.iter().map(person).collect::<sqlx::Result<_>>()?)
}

#[async_trait]
impl Users for Postgres {
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
        Ok(get(&self.only_row(sqlx::query(HAS_EXTERNAL_IDS)).await?, 0)?)
    }

    async fn password_kinds(&self, most: usize) -> Result<Vec<String>> {
        let kinds = self.rows(sqlx::query(PASSWORD_KINDS).bind(limit(most))).await?;
        kinds.iter().map(|row| Ok(get(row, "kind")?)).collect()
    }

    async fn users(&self, after: Option<UserId>, rows: usize) -> Result<Vec<User>> {
        let after = after.map_or(i64::MIN, |id| id.0);
        self.rows(sqlx::query(USERS).bind(after).bind(limit(rows))).await?.iter().map(user).collect()
    }

    async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<User>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.rows(sqlx::query(USERS_BY_ID).bind(ids)).await?.iter().map(user).collect()
    }

    async fn people_after(&self, after: Option<PartnerId>, rows: usize) -> Result<Vec<Person>> {
        let after = after.map_or(i64::MIN, |id| id.0);
        people(&self.rows(sqlx::query(PEOPLE_AFTER).bind(after).bind(limit(rows))).await?)
    }

    async fn people(&self, partners: &[PartnerId]) -> Result<Vec<Person>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = partners.iter().map(|id| id.0).collect();
        people(&self.rows(sqlx::query(PEOPLE).bind(ids)).await?)
    }

    async fn people_of_users(&self, users: &[UserId]) -> Result<Vec<Person>> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = users.iter().map(|id| id.0).collect();
        people(&self.rows(sqlx::query(PEOPLE_OF_USERS).bind(ids)).await?)
    }

    async fn search_people(&self, query: &str, rows: usize) -> Result<Vec<Person>> {
        // Not prepared: the planner must see the text, whose frequency decides which index is better.
        let search = sqlx::query(SEARCH_PEOPLE).persistent(false).bind(containing(query)).bind(query).bind(limit(rows));
        people(&self.rows(search).await?)
    }

    async fn fold_people(&self, people: usize) -> Result<u64> {
        self.backfill_folded(people).await
    }
}

#[async_trait]
impl WriteUsers for PostgresTx {
    async fn insert_partner(&mut self, new: NewPartner) -> Result<Partner> {
        let given = new.id.map(|id| id.0);
        let NewPartner { name, email, phone, mobile, .. } = &new;
        let folded = fold_person(name, email.as_deref(), phone.as_deref());
        let insert = sqlx::query(INSERT_PARTNER).bind(given).bind(name).bind(email).bind(phone).bind(mobile).bind(folded);
        let id = PartnerId(get(&self.only_row(insert).await?, "id")?);
        if let Some(given) = given {
            self.rows(sqlx::query(PASS_OVER).bind(given)).await?;
        }
        Ok(new.stored(id))
    }

    async fn insert_user(&mut self, new: NewUser) -> Result<User> {
        let given = (new.id.map(|id| id.0), new.partner.id.map(|id| id.0));
        let folded = fold_person(&new.partner.name, new.partner.email.as_deref(), new.partner.phone.as_deref());
        let insert = sqlx::query(INSERT_USER)
            .bind(given.0)
            .bind(given.1)
            .bind(&new.partner.name)
            .bind(&new.partner.email)
            .bind(&new.partner.phone)
            .bind(&new.partner.mobile)
            .bind(new.uuid)
            .bind(&new.login)
            .bind(new.password.as_ref().map(|hash| hash.0.as_str()))
            .bind(new.role.as_str())
            .bind(&new.language)
            .bind(&new.time_zone)
            .bind(new.profile.to_string())
            .bind(new.created_at)
            .bind(&new.external_id)
            .bind(folded);
        let row = self.only_row(insert).await?;
        if let Some(given) = given.0.max(given.1) {
            self.rows(sqlx::query(PASS_OVER).bind(given)).await?;
        }
        Ok(new.stored(UserId(get(&row, "id")?), PartnerId(get(&row, "partner_id")?)))
    }

    async fn lock_user(&mut self, id: UserId) -> Result<Option<User>> {
        self.row(sqlx::query(LOCK_USER).bind(id.0)).await?.as_ref().map(user).transpose()
    }

    async fn update_user(&mut self, id: UserId, change: UserChange) -> Result<Option<User>> {
        let password = change.password.map(|hash| hash.0);
        let update = sqlx::query(UPDATE_USER)
            .bind(id.0)
            .bind(password)
            .bind(change.active)
            .bind(change.external_id.is_some())
            .bind(change.external_id.flatten())
            .bind(change.can_moderate);
        self.row(update).await?.as_ref().map(user).transpose()
    }
}
