//! Fields of people, as users (`res.users`) and as partners (`res.partner`). This table is an allow-list: no other field can be
//! read or searched, and it has no secret.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use crate::{
    chat::Contact,
    dialects::odoo::error::value_error,
    events::PresenceState,
    web::{jsonrpc::Fault, odoo_time},
};

/// Model of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PersonModel {
    User,
    Partner,
}

impl PersonModel {
    pub(super) fn model(self) -> &'static str {
        match self {
            Self::User => "res.users",
            Self::Partner => "res.partner",
        }
    }
}

/// A person as a record of a model.
#[derive(Clone, Copy)]
pub(super) struct RecordView<'a> {
    pub(super) side: PersonModel,
    pub(super) contact: &'a Contact,
    /// Presence status; `None` unless it is asked for.
    pub(super) status: Option<PresenceState>,
}

/// Value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FieldValue {
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

impl FieldValue {
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
enum FieldType {
    Integer,
    Char,
    Boolean,
    Datetime,
    Selection(&'static [(&'static str, &'static str)]),
    Many2one(PersonModel),
    One2many(PersonModel),
}

impl FieldType {
    fn name(self) -> &'static str {
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
pub(super) fn status_name(status: PresenceState) -> &'static str {
    match status {
        PresenceState::Online => "online",
        PresenceState::Away => "away",
        PresenceState::Offline => "offline",
    }
}

/// A field of the table.
pub(super) struct Field {
    pub(super) name: &'static str,
    label: &'static str,
    kind: FieldType,
    /// The only model with this field; `None` if both have it.
    only: Option<PersonModel>,
    value: fn(RecordView<'_>) -> FieldValue,
}

const STATUSES: &[(&str, &str)] = &[("online", "Online"), ("away", "Away"), ("offline", "Offline")];

const FIELDS: [Field; 15] = [
    Field::new("id", "ID", FieldType::Integer, |view| FieldValue::Int(view.id())),
    Field::new("name", "Name", FieldType::Char, |view| FieldValue::text(Some(&view.contact.partner.name))),
    Field::new("display_name", "Display Name", FieldType::Char, |view| FieldValue::text(Some(&view.contact.partner.name))),
    Field::new("login", "Login", FieldType::Char, |view| {
        FieldValue::text(view.contact.user.as_ref().and_then(|user| user.login.as_deref()))
    })
    .only(PersonModel::User),
    Field::new("email", "Email", FieldType::Char, |view| FieldValue::text(view.contact.partner.email.as_deref())),
    Field::new("phone", "Phone", FieldType::Char, |view| FieldValue::text(view.contact.partner.phone.as_deref())),
    Field::new("mobile", "Mobile", FieldType::Char, |view| FieldValue::text(view.contact.partner.mobile.as_deref())),
    Field::new("partner_id", "Related Partner", FieldType::Many2one(PersonModel::Partner), |view| {
        FieldValue::One(view.contact.partner.id.0, view.contact.partner.name.clone())
    })
    .only(PersonModel::User),
    Field::new("user_ids", "Users", FieldType::One2many(PersonModel::User), |view| {
        // Deactivated users are not referred to, as everywhere in Odoo.
        FieldValue::Many(view.contact.user.iter().filter(|user| user.active).map(|user| user.id.0).collect())
    })
    .only(PersonModel::Partner),
    Field::new("parent_id", "Related Company", FieldType::Many2one(PersonModel::Partner), |_| FieldValue::Unset),
    Field::new("lang", "Language", FieldType::Char, |view| {
        FieldValue::text(view.contact.user.as_ref().map(|user| user.language.as_str()))
    }),
    Field::new("tz", "Timezone", FieldType::Char, |view| {
        FieldValue::text(view.contact.user.as_ref().map(|user| user.time_zone.as_str()))
    }),
    Field::new("im_status", "IM Status", FieldType::Selection(STATUSES), |view| FieldValue::text(view.status.map(status_name))),
    Field::new("active", "Active", FieldType::Boolean, |view| FieldValue::Flag(view.contact.is_active())),
    Field::new("create_date", "Created on", FieldType::Datetime, |view| {
        view.contact.user.as_ref().map_or(FieldValue::Unset, |user| FieldValue::Text(odoo_time(user.created_at)))
    }),
];

impl RecordView<'_> {
    pub(super) fn id(self) -> i64 {
        match (self.side, &self.contact.user) {
            (PersonModel::User, Some(user)) => user.id.0,
            (PersonModel::User, None) | (PersonModel::Partner, _) => self.contact.partner.id.0,
        }
    }
}

impl Field {
    const fn new(name: &'static str, label: &'static str, kind: FieldType, value: fn(RecordView<'_>) -> FieldValue) -> Self {
        Self { name, label, kind, only: None, value }
    }

    const fn only(self, side: PersonModel) -> Self {
        Self { only: Some(side), ..self }
    }

    pub(super) fn all(side: PersonModel) -> impl Iterator<Item = &'static Self> {
        FIELDS.iter().filter(move |field| field.only.is_none_or(|only| only == side))
    }

    /// Finds a field by name; fails with the message of Odoo's `read`.
    pub(super) fn named(side: PersonModel, name: &str) -> Result<&'static Self, Fault> {
        let unknown = || value_error(format!("Invalid field '{name}' on model '{}'", side.model()));
        Self::all(side).find(|field| field.name == name).ok_or_else(unknown)
    }

    pub(super) fn value(&self, view: RecordView<'_>) -> FieldValue {
        (self.value)(view)
    }

    /// True for the presence status. It is not stored, so searches cannot filter or sort by it.
    pub(super) fn is_status(&self) -> bool {
        matches!(self.kind, FieldType::Selection(_))
    }

    /// Description for `fields_get`, limited to the attributes asked for.
    pub(super) fn description(&self, attributes: Option<&[Value]>) -> Value {
        let stored = !self.is_status();
        let mut all = Map::from_iter([
            ("type".to_owned(), self.kind.name().into()),
            ("name".to_owned(), self.name.into()),
            ("string".to_owned(), self.label.into()),
            ("required".to_owned(), matches!(self.name, "name" | "login" | "partner_id").into()),
            ("readonly".to_owned(), true.into()),
            ("store".to_owned(), stored.into()),
            ("searchable".to_owned(), stored.into()),
            ("sortable".to_owned(), stored.into()),
        ]);
        match self.kind {
            FieldType::Many2one(to) | FieldType::One2many(to) => {
                all.insert("relation".into(), to.model().into());
                all.insert("domain".into(), json!([]));
                all.insert("context".into(), json!({}));
            }
            FieldType::Selection(choices) => {
                all.insert("selection".into(), json!(choices));
            }
            FieldType::Integer | FieldType::Char | FieldType::Boolean | FieldType::Datetime => {}
        }
        if let Some(attributes) = attributes {
            all.retain(|name, _| attributes.iter().any(|wanted| wanted == name.as_str()));
        }
        Value::Object(all)
    }
}

/// Field path in a search: a field of the model itself, or of the record that it refers to, as in `partner_id.email`.
#[derive(Clone, Copy)]
pub(super) struct FieldPath {
    side: PersonModel,
    field: &'static Field,
}

impl FieldPath {
    pub(super) fn parse(side: PersonModel, path: &str) -> Result<Self, Fault> {
        let (side, name) = match path.split_once('.') {
            Some((reference, name)) => match Field::named(side, reference)?.kind {
                FieldType::One2many(to) => (to, name),
                // A person's company is never set, so paths through it are refused.
                FieldType::Many2one(to) if reference != "parent_id" => (to, name),
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

    pub(super) fn is_same(self, other: Self) -> bool {
        self.side == other.side && self.field.name == other.field.name
    }

    pub(super) fn is(self, name: &str) -> bool {
        self.field.name == name
    }

    pub(super) fn value(self, contact: &Contact) -> FieldValue {
        if self.side == PersonModel::User && contact.user.is_none() {
            return FieldValue::Unset;
        }
        self.field.value(RecordView { side: self.side, contact, status: None })
    }
}
