//! Methods of both models of people: search, read, and `fields_get`.

use std::{cmp::Ordering, collections::HashMap};

use serde_json::{Map, Value, json};
use storage::{PartnerId, UserId};

use super::{
    domain::Domain,
    fields::{Field, FieldPath, FieldValue, PersonModel, RecordView},
};
use crate::{
    auth::Caller,
    chat::Contact,
    dialects::odoo::error::{fault, user_error, value_error},
    events::PresenceState,
    web::{
        AppContext,
        jsonrpc::{Fault, arguments::Arguments},
    },
};

/// Most records per call; larger results must be read in pages.
const MAX_RECORDS: usize = 10_000;

/// Methods that both models have.
#[derive(Clone, Copy)]
pub(super) enum Method {
    Read,
    Search,
    SearchCount,
    SearchRead,
    NameGet,
    NameSearch,
    FieldsGet,
}

impl Method {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "read" => Self::Read,
            "search" => Self::Search,
            "search_count" => Self::SearchCount,
            "search_read" => Self::SearchRead,
            "name_get" => Self::NameGet,
            "name_search" => Self::NameSearch,
            "fields_get" => Self::FieldsGet,
            _ => return None,
        })
    }
}

/// Calls a method on a model.
pub(super) async fn call(
    app: &AppContext,
    caller: &Caller,
    side: PersonModel,
    method: Method,
    arguments: Arguments,
) -> Result<Value, Fault> {
    match method {
        Method::Read => {
            let [wanted, fields, load] = arguments.bind("read", 1, ["ids", "fields", "load"])?;
            let reading = FieldSelection::parse(side, fields, load)?;
            let found = by_id(app, side, &ids(wanted)?).await?;
            reading.rows(app, side, &found).await
        }
        Method::Search => {
            let names = ["domain", "offset", "limit", "order"];
            let [domain, offset, limit, order] = arguments.bind("search", 1, names)?;
            let found = select(app, caller, side, RecordSearch::parse(side, domain, offset, limit, order)?).await?;
            Ok(found.iter().map(|contact| id(side, contact)).collect())
        }
        Method::SearchCount => {
            let [domain, limit] = arguments.bind("search_count", 1, ["domain", "limit"])?;
            let counted = count(app, caller, side, &Domain::parse(side, domain)?).await?;
            Ok(counted.min(size(limit, "limit")?.unwrap_or(usize::MAX)).into())
        }
        Method::SearchRead => {
            let names = ["domain", "fields", "offset", "limit", "order", "load"];
            let [domain, fields, offset, limit, order, load] = arguments.bind("search_read", 0, names)?;
            let reading = FieldSelection::parse(side, fields, load)?;
            let found = select(app, caller, side, RecordSearch::parse(side, domain, offset, limit, order)?).await?;
            reading.rows(app, side, &found).await
        }
        Method::NameGet => {
            let [wanted] = arguments.bind("name_get", 1, ["ids"])?;
            Ok(names(side, &by_id(app, side, &ids(wanted)?).await?))
        }
        Method::NameSearch => {
            let [name, domain, operator, limit] = arguments.bind("name_search", 0, ["name", "args", "operator", "limit"])?;
            let operator = operator.unwrap_or_else(|| "ilike".into());
            let mut terms = match domain {
                Some(Value::Array(terms)) => terms,
                _ => Vec::new(),
            };
            terms.push(json!(["name", operator, name.unwrap_or_default()]));
            let limit = limit.unwrap_or_else(|| 100.into());
            let found =
                select(app, caller, side, RecordSearch::parse(side, Some(terms.into()), None, Some(limit), None)?).await?;
            Ok(names(side, &found))
        }
        Method::FieldsGet => {
            let [wanted, attributes] = arguments.bind("fields_get", 0, ["allfields", "attributes"])?;
            let (wanted, attributes) = (list(wanted), list(attributes));
            let asked = |field: &&Field| wanted.as_ref().is_none_or(|names| names.iter().any(|name| name == field.name));
            let described = Field::all(side).filter(asked);
            Ok(described.map(|field| (field.name, field.description(attributes.as_deref()))).collect())
        }
    }
}

/// A search: domain, order, offset and limit.
pub(super) struct RecordSearch {
    domain: Domain,
    order: SortOrder,
    offset: usize,
    limit: Option<usize>,
}

impl RecordSearch {
    pub(super) fn parse(
        side: PersonModel,
        domain: Option<Value>,
        offset: Option<Value>,
        limit: Option<Value>,
        order: Option<Value>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            domain: Domain::parse(side, domain)?,
            order: SortOrder::parse(side, order)?,
            offset: size(offset, "offset")?.unwrap_or(0),
            limit: size(limit, "limit")?,
        })
    }
}

/// Fields to sort by, each with `true` for descending.
struct SortOrder(Vec<(FieldPath, bool)>);

impl SortOrder {
    fn parse(side: PersonModel, order: Option<Value>) -> Result<Self, Fault> {
        let default = match side {
            PersonModel::User => "name, login",
            PersonModel::Partner => "name, id desc",
        };
        let order = order.as_ref().and_then(Value::as_str).filter(|order| !order.trim().is_empty()).unwrap_or(default);
        let mut terms = Vec::new();
        // More terms than fields cannot change the order.
        for term in order.split(',').take(Field::all(side).count()) {
            let mut words = term.split_whitespace();
            let (field, direction, rest) = (words.next(), words.next(), words.next());
            let down = match (direction.map(str::to_ascii_lowercase).as_deref(), rest) {
                (None | Some("asc"), None) => false,
                (Some("desc"), None) => true,
                _ => return Err(bad_order()),
            };
            terms.push((FieldPath::parse(side, field.ok_or_else(bad_order)?)?, down));
        }
        Ok(Self(terms))
    }

    fn key(&self, contact: &Contact) -> Vec<FieldValue> {
        self.0.iter().map(|(path, _)| path.value(contact)).collect()
    }

    fn compare(&self, a: &[FieldValue], b: &[FieldValue]) -> Ordering {
        let terms = self.0.iter().zip(a.iter().zip(b));
        let mut compared = terms.map(|((_, down), (a, b))| if *down { b.compare(a) } else { a.compare(b) });
        compared.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }
}

fn bad_order() -> Fault {
    user_error(
        "Invalid \"order\" specified. A valid \"order\" specification is a comma-separated list of valid field names \
         (optionally followed by asc/desc for the direction)"
            .into(),
    )
}

/// Runs a search. Memory is bounded: at most twice the records up to `offset` + `limit` (at least 1,000) are held.
pub(super) async fn select(
    app: &AppContext,
    caller: &Caller,
    side: PersonModel,
    search: RecordSearch,
) -> Result<Vec<Contact>, Fault> {
    let RecordSearch { domain, order, offset, limit } = search;
    let keep = limit.map_or(usize::MAX, |limit| offset.saturating_add(limit)).min(MAX_RECORDS + 1);
    let mut kept: Vec<(Vec<FieldValue>, Contact)> = Vec::new();
    let settle = |kept: &mut Vec<(Vec<FieldValue>, Contact)>| {
        // The sort is stable: ties stay in the order of rising ids.
        kept.sort_by(|(a, _), (b, _)| order.compare(a, b));
        kept.truncate(keep);
    };
    walk(app, caller, side, &domain, |contact| {
        kept.push((order.key(&contact), contact));
        if kept.len() >= keep.saturating_mul(2).max(1_000) {
            settle(&mut kept);
        }
    })
    .await?;
    settle(&mut kept);
    if kept.len() > MAX_RECORDS {
        return Err(user_error(format!("More than {MAX_RECORDS} records at a time cannot be searched; narrow the domain.")));
    }
    Ok(kept.into_iter().skip(offset).map(|(_, contact)| contact).collect())
}

async fn count(app: &AppContext, caller: &Caller, side: PersonModel, domain: &Domain) -> Result<usize, Fault> {
    let mut counted = 0;
    walk(app, caller, side, domain, |_| counted += 1).await?;
    Ok(counted)
}

async fn walk(
    app: &AppContext,
    caller: &Caller,
    side: PersonModel,
    domain: &Domain,
    mut visit: impl FnMut(Contact) + Send,
) -> Result<(), Fault> {
    let matching = |contact: Contact| {
        if domain.matches(&contact) {
            visit(contact);
        }
    };
    let (deactivated, terms) = (domain.deactivated(), domain.terms());
    let walked = match side {
        PersonModel::User => app.chat.walk_users(caller, deactivated, terms, matching).await,
        PersonModel::Partner => app.chat.walk_contacts(caller, deactivated, terms, matching).await,
    };
    walked.map_err(|error| fault(&error))
}

/// Reads people by id, in the order asked for; unknown ids are left out.
async fn by_id(app: &AppContext, side: PersonModel, ids: &[i64]) -> Result<Vec<Contact>, Fault> {
    if ids.len() > MAX_RECORDS {
        return Err(user_error(format!("More than {MAX_RECORDS} records at a time cannot be read.")));
    }
    let found = match side {
        PersonModel::User => app.chat.users_by_id(&ids.iter().copied().map(UserId).collect::<Vec<_>>()).await,
        PersonModel::Partner => app.chat.contacts_by_id(&ids.iter().copied().map(PartnerId).collect::<Vec<_>>()).await,
    };
    let found = found.map_err(|error| fault(&error))?;
    let mut found: HashMap<_, _> = found.into_iter().map(|contact| (id(side, &contact), contact)).collect();
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// Fields to read, and the form of references: with names or as mere ids.
struct FieldSelection {
    fields: Vec<&'static Field>,
    with_names: bool,
}

impl FieldSelection {
    fn parse(side: PersonModel, fields: Option<Value>, load: Option<Value>) -> Result<Self, Fault> {
        let mut chosen = Vec::new();
        for name in list(fields).unwrap_or_default() {
            let name = name.as_str().ok_or_else(|| value_error("fields must be a list of names".into()))?;
            let field = Field::named(side, name)?;
            if !chosen.iter().any(|known: &&Field| known.name == field.name) {
                chosen.push(field);
            }
        }
        if chosen.is_empty() {
            chosen.extend(Field::all(side));
        }
        let with_names = load.is_none_or(|load| load == "_classic_read");
        Ok(Self { fields: chosen, with_names })
    }

    async fn rows(&self, app: &AppContext, side: PersonModel, contacts: &[Contact]) -> Result<Value, Fault> {
        let statuses = self.statuses(app, contacts).await?;
        let row = |(contact, status): (&Contact, Option<PresenceState>)| {
            let view = RecordView { side, contact, status };
            let mut row = Map::from_iter([("id".to_owned(), id(side, contact).into())]);
            for field in &self.fields {
                row.insert(field.name.into(), field.value(view).into_json(self.with_names));
            }
            Value::Object(row)
        };
        Ok(contacts.iter().zip(statuses).map(row).collect())
    }

    async fn statuses(&self, app: &AppContext, contacts: &[Contact]) -> Result<Vec<Option<PresenceState>>, Fault> {
        if !self.fields.iter().any(|field| field.is_status()) {
            return Ok(vec![None; contacts.len()]);
        }
        let people = contacts.iter().map(Contact::person).collect();
        let presences = app.chat.presence(people).await.map_err(|error| fault(&error))?;
        Ok(presences.into_iter().map(|presence| Some(presence.status)).collect())
    }
}

fn id(side: PersonModel, contact: &Contact) -> i64 {
    RecordView { side, contact, status: None }.id()
}

fn names(side: PersonModel, contacts: &[Contact]) -> Value {
    contacts.iter().map(|contact| json!([id(side, contact), contact.partner.name])).collect()
}

/// List parameter; `None` if missing or empty, which both mean everything.
fn list(value: Option<Value>) -> Option<Vec<Value>> {
    match value {
        Some(Value::Array(items)) if !items.is_empty() => Some(items),
        _ => None,
    }
}

/// Ids from a list or a single number.
fn ids(value: Option<Value>) -> Result<Vec<i64>, Fault> {
    let number = |value: &Value| value.as_i64().ok_or_else(|| value_error("ids must be whole numbers".into()));
    match value {
        None | Some(Value::Null | Value::Bool(false)) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(number).collect(),
        Some(one) => Ok(vec![number(&one)?]),
    }
}

/// Count parameter; `None`, for no limit, if missing or 0.
fn size(value: Option<Value>, name: &str) -> Result<Option<usize>, Fault> {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => Ok(None),
        Some(value) => {
            let number = value.as_u64().ok_or_else(|| value_error(format!("{name} must be a whole number, 0 or greater")))?;
            Ok(usize::try_from(number).ok().filter(|number| *number > 0))
        }
    }
}
