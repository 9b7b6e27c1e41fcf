//! Fields of people, as users (`res.users`) and as partners (`res.partner`). This table is an allow-list: no other field can be
//! read or searched, and it has no secret.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use crate::{
    chat::{Contact, Status},
    dialects::{jsonrpc::Fault, odoo::error::value_error, odoo_time},
};

/// Model of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    User,
    Partner,
}

impl Side {
    pub(super) fn model(self) -> &'static str {
        match self {
            Self::User => "res.users",
            Self::Partner => "res.partner",
        }
    }
}

/// A person as a record of a model.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) side: Side,
    pub(super) contact: &'a Contact,
    /// Presence status; `None` unless it is asked for.
    pub(super) status: Option<Status>,
}

/// Value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// `false` on the wire.
    Unset,
    Int(i64),
    Text(String),
    Flag(bool),
    /// Reference to one record of the other model, with its name (many2one).
    One(i64, String),
    /// References to records of the other model (one2many).
    Many(Vec<i64>),
}

impl Cell {
    fn text(text: Option<&str>) -> Self {
        text.filter(|text| !text.is_empty()).map_or(Self::Unset, |text| Self::Text(text.into()))
    }

    /// JSON as `read` returns it. A reference has its name if `with_names`.
    pub(super) fn into_json(self, with_names: bool) -> Value {
        match self {
            Self::Unset => false.into(),
            Self::Int(number) => number.into(),
            Self::Text(text) => text.into(),
            Self::Flag(flag) => flag.into(),
            Self::One(id, name) if with_names => json!([id, name]),
            Self::One(id, _) => id.into(),
            Self::Many(ids) => ids.into(),
        }
    }

    /// Order as in PostgreSQL: unset values come last.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Flag(a), Self::Flag(b)) => a.cmp(b),
            (Self::One(a, name), Self::One(b, other)) => name.cmp(other).then(a.cmp(b)),
            (a, b) => (*a == Self::Unset).cmp(&(*b == Self::Unset)),
        }
    }
}

/// Odoo's field types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Char,
    Boolean,
    Datetime,
    Selection(&'static [(&'static str, &'static str)]),
    Many2one(Side),
    One2many(Side),
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Char => "char",
            Self::Boolean => "boolean",
            Self::Datetime => "datetime",
            Self::Selection(_) => "selection",
            Self::Many2one(_) => "many2one",
            Self::One2many(_) => "one2many",
        }
    }
}

/// Presence status as text.
pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Online => "online",
        Status::Away => "away",
        Status::Offline => "offline",
    }
}

/// A field of the table.
pub(super) struct Field {
    pub(super) name: &'static str,
    label: &'static str,
    kind: Kind,
    /// The only model with this field; `None` if both have it.
    only: Option<Side>,
    value: fn(View<'_>) -> Cell,
}

const STATUSES: &[(&str, &str)] = &[("online", "Online"), ("away", "Away"), ("offline", "Offline")];

const FIELDS: [Field; 15] = [
    Field::new("id", "ID", Kind::Integer, |view| Cell::Int(view.id())),
    Field::new("name", "Name", Kind::Char, |view| Cell::text(Some(&view.contact.partner.name))),
    Field::new("display_name", "Display Name", Kind::Char, |view| Cell::text(Some(&view.contact.partner.name))),
    Field::new("login", "Login", Kind::Char, |view| {
        Cell::text(view.contact.user.as_ref().and_then(|user| user.login.as_deref()))
    })
    .only(Side::User),
    Field::new("email", "Email", Kind::Char, |view| Cell::text(view.contact.partner.email.as_deref())),
    Field::new("phone", "Phone", Kind::Char, |view| Cell::text(view.contact.partner.phone.as_deref())),
    Field::new("mobile", "Mobile", Kind::Char, |view| Cell::text(view.contact.partner.mobile.as_deref())),
    Field::new("partner_id", "Related Partner", Kind::Many2one(Side::Partner), |view| {
        Cell::One(view.contact.partner.id.0, view.contact.partner.name.clone())
    })
    .only(Side::User),
    Field::new("user_ids", "Users", Kind::One2many(Side::User), |view| {
        // Deactivated users are not referred to, as everywhere in Odoo.
        Cell::Many(view.contact.user.iter().filter(|user| user.active).map(|user| user.id.0).collect())
    })
    .only(Side::Partner),
    Field::new("parent_id", "Related Company", Kind::Many2one(Side::Partner), |_| Cell::Unset),
    Field::new("lang", "Language", Kind::Char, |view| Cell::text(view.contact.user.as_ref().map(|user| user.language.as_str()))),
    Field::new("tz", "Timezone", Kind::Char, |view| Cell::text(view.contact.user.as_ref().map(|user| user.time_zone.as_str()))),
    Field::new("im_status", "IM Status", Kind::Selection(STATUSES), |view| Cell::text(view.status.map(status_word))),
    Field::new("active", "Active", Kind::Boolean, |view| Cell::Flag(view.contact.is_active())),
    Field::new("create_date", "Created on", Kind::Datetime, |view| {
        view.contact.user.as_ref().map_or(Cell::Unset, |user| Cell::Text(odoo_time(user.created_at)))
    }),
];

impl View<'_> {
    pub(super) fn id(self) -> i64 {
        match (self.side, &self.contact.user) {
            (Side::User, Some(user)) => user.id.0,
            (Side::User, None) | (Side::Partner, _) => self.contact.partner.id.0,
        }
    }
}

impl Field {
    const fn new(name: &'static str, label: &'static str, kind: Kind, value: fn(View<'_>) -> Cell) -> Self {
        Self { name, label, kind, only: None, value }
    }

    const fn only(self, side: Side) -> Self {
        Self { only: Some(side), ..self }
    }

    pub(super) fn all(side: Side) -> impl Iterator<Item = &'static Self> {
        FIELDS.iter().filter(move |field| field.only.is_none_or(|only| only == side))
    }

    /// Finds a field by name; fails with the message of Odoo's `read`.
    pub(super) fn named(side: Side, name: &str) -> Result<&'static Self, Fault> {
        let unknown = || value_error(format!("Invalid field '{name}' on model '{}'", side.model()));
        Self::all(side).find(|field| field.name == name).ok_or_else(unknown)
    }

    pub(super) fn value(&self, view: View<'_>) -> Cell {
        (self.value)(view)
    }

    /// True for the presence status. It is not stored, so searches cannot filter or sort by it.
    pub(super) fn is_status(&self) -> bool {
        matches!(self.kind, Kind::Selection(_))
    }

    /// Description for `fields_get`, limited to the attributes asked for.
    pub(super) fn description(&self, attributes: Option<&[Value]>) -> Value {
        let stored = !self.is_status();
        let mut all = Map::from_iter([
            ("type".to_owned(), self.kind.word().into()),
            ("name".to_owned(), self.name.into()),
            ("string".to_owned(), self.label.into()),
            ("required".to_owned(), matches!(self.name, "name" | "login" | "partner_id").into()),
            ("readonly".to_owned(), true.into()),
            ("store".to_owned(), stored.into()),
            ("searchable".to_owned(), stored.into()),
            ("sortable".to_owned(), stored.into()),
        ]);
        match self.kind {
            Kind::Many2one(to) | Kind::One2many(to) => {
                all.insert("relation".into(), to.model().into());
                all.insert("domain".into(), json!([]));
                all.insert("context".into(), json!({}));
            }
            Kind::Selection(choices) => {
                all.insert("selection".into(), json!(choices));
            }
            Kind::Integer | Kind::Char | Kind::Boolean | Kind::Datetime => {}
        }
        if let Some(attributes) = attributes {
            all.retain(|name, _| attributes.iter().any(|wanted| wanted == name.as_str()));
        }
        Value::Object(all)
    }
}

/// Field path in a search: a field of the model itself, or of the record that it refers to, as in `partner_id.email`.
#[derive(Clone, Copy)]
pub(super) struct Path {
    side: Side,
    field: &'static Field,
}

impl Path {
    pub(super) fn parse(side: Side, path: &str) -> Result<Self, Fault> {
        let (side, name) = match path.split_once('.') {
            Some((reference, name)) => match Field::named(side, reference)?.kind {
                Kind::One2many(to) => (to, name),
                // A person's company is never set, so paths through it are refused.
                Kind::Many2one(to) if reference != "parent_id" => (to, name),
                _ => return Err(value_error(format!("Invalid field {}.{path}", side.model()))),
            },
            None => (side, path),
        };
        let field = Field::named(side, name)?;
        if field.is_status() {
            return Err(value_error(format!("Non-stored field {}.{name} cannot be searched.", side.model())));
        }
        Ok(Self { side, field })
    }

    pub(super) fn is(self, name: &str) -> bool {
        self.field.name == name
    }

    pub(super) fn value(self, contact: &Contact) -> Cell {
        if self.side == Side::User && contact.user.is_none() {
            return Cell::Unset;
        }
        self.field.value(View { side: self.side, contact, status: None })
    }
}
