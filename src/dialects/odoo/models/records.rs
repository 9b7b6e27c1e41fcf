//! Methods of both models of people: search, read, and `fields_get`.

use std::{cmp::Ordering, collections::BTreeMap, ops::ControlFlow};

use serde::Serialize;
use serde_json::{Map, Value, json, value::to_raw_value};
use storage::{PartnerId, UserId};

use super::{
    domain::Domain,
    fields::{Field, FieldPath, FieldValue, PersonModel, RecordView},
};
use crate::{
    auth::Caller,
    chat::{Contact, Error, LISTED_PEOPLE, people_bytes},
    dialects::odoo::error::{fault, user_error, value_error},
    events::PresenceState,
    shares::Account,
    web::{
        AppContext,
        jsonrpc::{Fault, arguments::Arguments, model::MethodResult},
    },
};

/// Memory of an ordinary field of a person, in bytes: to sort by it, or as JSON that is copied into the response.
const FIELD_BYTES: usize = 64;
/// Items of a list between two charges of what is written.
const CHARGED_ITEMS: usize = 100;

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
    account: &Account,
    side: PersonModel,
    method: Method,
    arguments: Arguments,
) -> Result<MethodResult, Fault> {
    match method {
        Method::Read => {
            let [wanted, fields, load] = arguments.bind("read", 1, ["ids", "fields", "load"])?;
            let reading = FieldSelection::parse(side, fields, load)?;
            let found = by_id(app, caller, account, side, &ids(wanted)?, reading.fields.len()).await?;
            reading.rows(app, account, side, &found).await
        }
        Method::Search => {
            let names = ["domain", "offset", "limit", "order"];
            let [domain, offset, limit, order] = arguments.bind("search", 1, names)?;
            let search = RecordSearch::parse(side, domain, offset, limit, order)?;
            let found = select(app, caller, account, side, search, 1).await?;
            list(account, found.iter().map(|contact| id(side, contact))).await
        }
        Method::SearchCount => {
            let [domain, limit] = arguments.bind("search_count", 1, ["domain", "limit"])?;
            let counted = count(app, caller, side, &Domain::parse(side, domain)?).await?;
            Ok(Value::from(counted.min(size(limit, "limit")?.unwrap_or(usize::MAX))).into())
        }
        Method::SearchRead => {
            let names = ["domain", "fields", "offset", "limit", "order", "load"];
            let [domain, fields, offset, limit, order, load] = arguments.bind("search_read", 0, names)?;
            let reading = FieldSelection::parse(side, fields, load)?;
            let search = RecordSearch::parse(side, domain, offset, limit, order)?;
            let found = select(app, caller, account, side, search, reading.fields.len()).await?;
            reading.rows(app, account, side, &found).await
        }
        Method::NameGet => {
            let [wanted] = arguments.bind("name_get", 1, ["ids"])?;
            names(account, side, &by_id(app, caller, account, side, &ids(wanted)?, 1).await?).await
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
            let search = RecordSearch::parse(side, Some(terms.into()), None, Some(limit), None)?;
            names(account, side, &select(app, caller, account, side, search, 1).await?).await
        }
        Method::FieldsGet => {
            let [wanted, attributes] = arguments.bind("fields_get", 0, ["allfields", "attributes"])?;
            let (wanted, attributes) = (items(wanted), items(attributes));
            let asked = |field: &&Field| wanted.as_ref().is_none_or(|names| names.iter().any(|name| name == field.name));
            let described = Field::all(side).filter(asked);
            let described = described.map(|field| (field.name, field.description(attributes.as_deref())));
            Ok(described.collect::<Value>().into())
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

    fn key(&self, side: PersonModel, contact: &Contact) -> SortKey {
        let values = self.0.iter().map(|(path, down)| (path.value(contact), *down)).collect();
        SortKey { values, id: id(side, contact) }
    }
}

/// Place of a record in an order. Ties stay in the order of rising ids.
struct SortKey {
    /// Each with `true` for descending.
    values: Vec<(FieldValue, bool)>,
    id: i64,
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let values = self.values.iter().zip(&other.values);
        let mut compared = values.map(|((a, down), (b, _))| if *down { b.compare(a) } else { a.compare(b) });
        compared.find(|ordering| ordering.is_ne()).unwrap_or_else(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SortKey {}

fn bad_order() -> Fault {
    user_error(
        "Invalid \"order\" specified. A valid \"order\" specification is a comma-separated list of valid field names \
         (optionally followed by asc/desc for the direction)"
            .into(),
    )
}

/// Runs a search whose result has so many fields. Holds no more records than `offset` + `limit`; the reservation grows with them, for
/// them and their result. Sorts one by one, so that no other task waits for a sort of all.
pub(super) async fn select(
    app: &AppContext,
    caller: &Caller,
    account: &Account,
    side: PersonModel,
    search: RecordSearch,
    fields: usize,
) -> Result<Vec<Contact>, Fault> {
    let RecordSearch { domain, order, offset, limit } = search;
    let keep = limit.map_or(usize::MAX, |limit| offset.saturating_add(limit)).min(LISTED_PEOPLE + 1);
    let fields = fields + order.0.len();
    reserve(account, keep.min(CHARGED_ITEMS), fields).await?;
    let (mut kept, mut charged) = (BTreeMap::new(), Ok(()));
    walk(app, caller, side, &domain, |contact| {
        kept.insert(order.key(side, &contact), Box::new(contact));
        if kept.len() > keep {
            kept.pop_last();
        }
        if kept.len().is_multiple_of(CHARGED_ITEMS) {
            charged = account.raise(list_bytes(kept.len() + CHARGED_ITEMS, fields));
        }
        if charged.is_err() || kept.len() > LISTED_PEOPLE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await?;
    charged.map_err(Fault::refused)?;
    if kept.len() > LISTED_PEOPLE {
        return Err(user_error(format!("More than {LISTED_PEOPLE} records at a time cannot be searched; narrow the domain.")));
    }
    Ok(kept.into_values().skip(offset).map(|contact| *contact).collect())
}

async fn count(app: &AppContext, caller: &Caller, side: PersonModel, domain: &Domain) -> Result<usize, Fault> {
    let mut counted = 0;
    walk(app, caller, side, domain, |_| {
        counted += 1;
        ControlFlow::Continue(())
    })
    .await?;
    Ok(counted)
}

async fn walk(
    app: &AppContext,
    caller: &Caller,
    side: PersonModel,
    domain: &Domain,
    mut visit: impl FnMut(Contact) -> ControlFlow<()> + Send,
) -> Result<(), Fault> {
    let matching = |contact: Contact| if domain.matches(&contact) { visit(contact) } else { ControlFlow::Continue(()) };
    let (deactivated, terms) = (domain.deactivated(), domain.terms());
    let walked = match side {
        PersonModel::User => app.chat.walk_users(caller, deactivated, terms, matching).await,
        PersonModel::Partner => app.chat.walk_contacts(caller, deactivated, terms, matching).await,
    };
    walked.map_err(|error| fault(&error))
}

/// Reads people by id, for a result with so many fields: in the order asked for, each once; unknown ids are left out.
async fn by_id(
    app: &AppContext,
    caller: &Caller,
    account: &Account,
    side: PersonModel,
    ids: &[i64],
    fields: usize,
) -> Result<Vec<Contact>, Fault> {
    let ids = app.chat.admit_look_up(caller, "ids", ids).map_err(|error| match error {
        Error::Invalid { .. } => user_error(format!("More than {LISTED_PEOPLE} records at a time cannot be read.")),
        error => fault(&error),
    })?;
    reserve(account, ids.len(), fields).await?;
    let found = match side {
        PersonModel::User => app.chat.users_by_id(&ids.into_iter().map(UserId).collect::<Vec<_>>()).await,
        PersonModel::Partner => app.chat.contacts_by_id(&ids.into_iter().map(PartnerId).collect::<Vec<_>>()).await,
    };
    found.map_err(|error| fault(&error))
}

/// Reserves the memory for people with so many fields each.
async fn reserve(account: &Account, people: usize, fields: usize) -> Result<(), Fault> {
    account.reserve(list_bytes(people, fields)).await.map_err(Fault::refused)
}

fn list_bytes(people: usize, fields: usize) -> usize {
    people_bytes(people) + people * fields * FIELD_BYTES
}

/// Makes a list with one item for each person, and runs other tasks meanwhile. Texts longer than those reserved for are charged as
/// they are written: twice, since they are copied into the response.
pub(super) async fn list<T: Serialize + Send>(
    account: &Account,
    items: impl ExactSizeIterator<Item = T> + Send,
) -> Result<MethodResult, Fault> {
    let (mut list, mut bytes) = (Vec::with_capacity(items.len()), people_bytes(items.len()));
    for item in items {
        let item = to_raw_value(&item).expect("records have text keys only");
        bytes += 2 * item.get().len();
        list.push(item);
        if list.len().is_multiple_of(CHARGED_ITEMS) {
            account.raise(bytes).map_err(Fault::refused)?;
        }
        tokio::task::consume_budget().await;
    }
    Ok(MethodResult::List(list))
}

/// Fields to read, and the form of references: with names or as mere ids.
struct FieldSelection {
    fields: Vec<&'static Field>,
    with_names: bool,
}

impl FieldSelection {
    fn parse(side: PersonModel, fields: Option<Value>, load: Option<Value>) -> Result<Self, Fault> {
        let mut chosen = Vec::new();
        for name in items(fields).unwrap_or_default() {
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

    async fn rows(
        &self,
        app: &AppContext,
        account: &Account,
        side: PersonModel,
        contacts: &[Contact],
    ) -> Result<MethodResult, Fault> {
        let statuses = self.statuses(app, contacts).await?;
        let row = |(contact, status): (&Contact, Option<PresenceState>)| {
            let view = RecordView { side, contact, status };
            let mut row = Map::from_iter([("id".to_owned(), id(side, contact).into())]);
            for field in &self.fields {
                row.insert(field.name.into(), field.value(view).into_json(self.with_names));
            }
            Value::Object(row)
        };
        list(account, contacts.iter().zip(statuses).map(row)).await
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

async fn names(account: &Account, side: PersonModel, contacts: &[Contact]) -> Result<MethodResult, Fault> {
    list(account, contacts.iter().map(|contact| (id(side, contact), &contact.partner.name))).await
}

/// List parameter; `None` if missing or empty, which both mean everything.
fn items(value: Option<Value>) -> Option<Vec<Value>> {
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
