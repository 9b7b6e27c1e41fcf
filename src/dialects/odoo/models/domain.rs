//! Search domains: conditions on fields in Polish notation (operators before their operands).

use std::{borrow::Cow, cell::OnceCell, cmp::Ordering, collections::HashSet};

use serde_json::Value;

use super::fields::{FieldPath, FieldValue, PersonModel};
use crate::{
    chat::{Contact, Deactivated},
    dialects::odoo::error::value_error,
    web::jsonrpc::Fault,
};

/// Most items of a domain. Each one costs time for every person searched.
const MAX_ITEMS: usize = 256;

/// A search domain, parsed and checked.
pub(super) struct Domain {
    tokens: Vec<DomainToken>,
    /// Each field that the terms name, once.
    fields: Vec<FieldPath>,
}

enum DomainToken {
    And,
    Or,
    Not,
    /// A constant: Odoo's `(1, '=', 1)` and `(0, '=', 1)`.
    Constant(bool),
    /// A condition on the field at this index of the domain's fields.
    Term(usize, Condition),
}

/// Condition on a field's value.
struct Condition {
    operator: ConditionOperator,
    negated: bool,
}

enum ConditionOperator {
    In(Choices),
    Like(Pattern),
    Compare(FieldValue, fn(Ordering) -> bool),
}

impl Domain {
    /// Parses a list of terms and operators. An empty list matches everybody. Terms without an operator are joined by AND.
    pub(super) fn parse(side: PersonModel, domain: Option<Value>) -> Result<Self, Fault> {
        let items = match domain {
            Some(Value::Array(items)) => items,
            None | Some(Value::Null | Value::Bool(false)) => Vec::new(),
            Some(Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                return Err(malformed("it must be a list"));
            }
        };
        if items.len() > MAX_ITEMS {
            return Err(malformed("it is too long"));
        }
        let mut fields = Vec::new();
        let tokens = items.into_iter().map(|item| DomainToken::parse(side, item, &mut fields)).collect::<Result<Vec<_>, _>>()?;
        let mut operands = 0_usize;
        for token in tokens.iter().rev() {
            operands = operands.checked_sub(token.operands()).ok_or_else(|| malformed("an operator lacks operands"))? + 1;
        }
        Ok(Self { tokens, fields })
    }

    /// Number of terms.
    pub(super) fn terms(&self) -> usize {
        self.tokens.iter().filter(|token| matches!(token, DomainToken::Term(..))).count()
    }

    /// Includes deactivated users only if the domain has a term on `active`.
    pub(super) fn deactivated(&self) -> Deactivated {
        let asks = self.fields.iter().any(|field| field.is("active"));
        if asks { Deactivated::Shown } else { Deactivated::Hidden }
    }

    /// True if the contact satisfies the domain. Evaluates from the end with a stack of operands. Reads each field once, whatever
    /// the number of its terms.
    pub(super) fn matches(&self, contact: &Contact) -> bool {
        let cells: Vec<_> = self.fields.iter().map(|_| OnceCell::new()).collect();
        let mut stack: Vec<bool> = Vec::with_capacity(self.tokens.len());
        for token in self.tokens.iter().rev() {
            let mut pop = || stack.pop().expect("`parse` has counted the operands");
            let value = match token {
                DomainToken::And => pop() & pop(),
                DomainToken::Or => pop() | pop(),
                DomainToken::Not => !pop(),
                DomainToken::Constant(value) => *value,
                DomainToken::Term(field, test) => {
                    test.matches(cells[*field].get_or_init(|| FieldCell::of(self.fields[*field].value(contact))))
                }
            };
            stack.push(value);
        }
        stack.into_iter().all(|value| value)
    }
}

impl DomainToken {
    fn operands(&self) -> usize {
        match self {
            Self::And | Self::Or => 2,
            Self::Not => 1,
            Self::Constant(_) | Self::Term(..) => 0,
        }
    }

    /// Parses an item; adds a field that is new to `fields`.
    fn parse(side: PersonModel, item: Value, fields: &mut Vec<FieldPath>) -> Result<Self, Fault> {
        let leaf = match item {
            Value::String(operator) => {
                return match operator.as_str() {
                    "&" => Ok(Self::And),
                    "|" => Ok(Self::Or),
                    "!" => Ok(Self::Not),
                    _ => Err(malformed("an operator must be '&', '|' or '!'")),
                };
            }
            Value::Array(leaf) => leaf,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(bad_leaf()),
        };
        match <[Value; 3]>::try_from(leaf) {
            Ok([Value::String(path), Value::String(operator), operand]) => {
                let path = FieldPath::parse(side, &path)?;
                if operator == "=?" && is_unset(&operand) {
                    return Ok(Self::Constant(true));
                }
                let known = fields.iter().position(|known| known.is_same(path));
                let field = known.unwrap_or(fields.len());
                if known.is_none() {
                    fields.push(path);
                }
                Ok(Self::Term(field, Condition::parse(&operator, operand)?))
            }
            Ok([Value::Number(left), Value::String(operator), Value::Number(right)]) if operator == "=" => {
                Ok(Self::Constant(left == right))
            }
            Ok(_) | Err(_) => Err(bad_leaf()),
        }
    }
}

impl Condition {
    fn parse(operator: &str, operand: Value) -> Result<Self, Fault> {
        let (operator, negated) = match operator {
            "!=" | "<>" => ("=", true),
            _ => operator.strip_prefix("not ").map_or((operator, false), |operator| (operator, true)),
        };
        let ask = match operator {
            "=" | "==" | "=?" | "in" => ConditionOperator::In(Choices::parse(operand)?),
            "like" => ConditionOperator::Like(Pattern::within(&text(operand)?, LetterCase::Counts)),
            "ilike" => ConditionOperator::Like(Pattern::within(&text(operand)?, LetterCase::Ignored)),
            "=like" => ConditionOperator::Like(Pattern::new(&text(operand)?, LetterCase::Counts)),
            "=ilike" => ConditionOperator::Like(Pattern::new(&text(operand)?, LetterCase::Ignored)),
            "<" if !negated => ConditionOperator::Compare(bound(operand)?, Ordering::is_lt),
            ">" if !negated => ConditionOperator::Compare(bound(operand)?, Ordering::is_gt),
            "<=" if !negated => ConditionOperator::Compare(bound(operand)?, Ordering::is_le),
            ">=" if !negated => ConditionOperator::Compare(bound(operand)?, Ordering::is_ge),
            _ => return Err(value_error("Invalid operator in a domain term".into())),
        };
        Ok(Self { operator: ask, negated })
    }

    fn matches(&self, cell: &FieldCell) -> bool {
        let passes = match &self.operator {
            ConditionOperator::In(choices) => choices.contain(&cell.value),
            ConditionOperator::Like(pattern) => cell.characters(pattern.case).is_some_and(|text| pattern.matches(text)),
            ConditionOperator::Compare(bound, holds) => match (&cell.value, bound) {
                (FieldValue::Int(_), FieldValue::Int(_)) | (FieldValue::Text(_), FieldValue::Text(_)) => {
                    holds(cell.value.compare(bound))
                }
                (FieldValue::One(id, _), FieldValue::Int(_)) => holds(FieldValue::Int(*id).compare(bound)),
                _ => false,
            },
        };
        passes != self.negated
    }
}

/// Significance of upper and lower case in a pattern.
#[derive(Clone, Copy)]
enum LetterCase {
    Counts,
    Ignored,
}

impl LetterCase {
    fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Counts => text.into(),
            Self::Ignored => text.to_lowercase().into(),
        }
    }
}

/// A field of one person, with its characters as patterns compare them, each form made once.
struct FieldCell {
    value: FieldValue,
    exact: OnceCell<Vec<char>>,
    lower: OnceCell<Vec<char>>,
}

impl FieldCell {
    fn of(value: FieldValue) -> Self {
        Self { value, exact: OnceCell::new(), lower: OnceCell::new() }
    }

    /// The characters; `None` if patterns match no such value.
    fn characters(&self, case: LetterCase) -> Option<&[char]> {
        let text = match &self.value {
            FieldValue::Text(text) | FieldValue::One(_, text) => Cow::from(text),
            FieldValue::Int(number) => number.to_string().into(),
            FieldValue::Unset | FieldValue::Flag(_) | FieldValue::Many(_) => return None,
        };
        let form = match case {
            LetterCase::Counts => &self.exact,
            LetterCase::Ignored => &self.lower,
        };
        Some(form.get_or_init(|| case.apply(&text).chars().collect()))
    }
}

/// Values of the operators `in` and `=`.
#[derive(Default)]
struct Choices {
    numbers: HashSet<i64>,
    texts: HashSet<String>,
    yes: bool,
    /// Matches unset fields; `false` or `null` in the domain.
    unset: bool,
}

impl Choices {
    fn parse(operand: Value) -> Result<Self, Fault> {
        let items = match operand {
            Value::Array(items) => items,
            one => vec![one],
        };
        let mut choices = Self { unset: false, ..Self::default() };
        for item in items {
            match item {
                Value::Null | Value::Bool(false) => choices.unset = true,
                Value::Bool(true) => choices.yes = true,
                // A number that is not an integer matches nothing.
                Value::Number(number) => choices.numbers.extend(number.as_i64()),
                Value::String(text) => drop(choices.texts.insert(text)),
                Value::Array(_) | Value::Object(_) => return Err(bad_leaf()),
            }
        }
        Ok(choices)
    }

    fn contain(&self, cell: &FieldValue) -> bool {
        match cell {
            FieldValue::Unset => self.unset,
            FieldValue::Int(number) => self.numbers.contains(number),
            FieldValue::Text(text) => self.texts.contains(text),
            FieldValue::Flag(true) => self.yes,
            FieldValue::Flag(false) => self.unset,
            FieldValue::One(id, name) => self.numbers.contains(id) || self.texts.contains(name),
            FieldValue::Many(ids) if ids.is_empty() => self.unset,
            FieldValue::Many(ids) => ids.iter().any(|id| self.numbers.contains(id)),
        }
    }
}

/// Pattern of SQL's `LIKE`: `%` matches any text, `_` any character, and a backslash escapes the next character.
struct Pattern {
    /// Without an [`PatternPart::AnyText`] after another.
    parts: Vec<PatternPart>,
    case: LetterCase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PatternPart {
    Char(char),
    AnyChar,
    AnyText,
}

impl Pattern {
    fn new(pattern: &str, case: LetterCase) -> Self {
        Self { parts: Self::joined(Self::parts(&case.apply(pattern))), case }
    }

    /// Pattern that matches anywhere in a text.
    fn within(pattern: &str, case: LetterCase) -> Self {
        let mut parts = Self::parts(&case.apply(pattern));
        parts.insert(0, PatternPart::AnyText);
        parts.push(PatternPart::AnyText);
        Self { parts: Self::joined(parts), case }
    }

    fn parts(pattern: &str) -> Vec<PatternPart> {
        let mut parts = Vec::new();
        let mut chars = pattern.chars();
        while let Some(next) = chars.next() {
            parts.push(match next {
                '%' => PatternPart::AnyText,
                '_' => PatternPart::AnyChar,
                '\\' => PatternPart::Char(chars.next().unwrap_or('\\')),
                plain => PatternPart::Char(plain),
            });
        }
        parts
    }

    /// Joins runs of `%`, which match as one does and would take time for every person.
    fn joined(mut parts: Vec<PatternPart>) -> Vec<PatternPart> {
        parts.dedup_by(|next, before| *next == PatternPart::AnyText && *before == PatternPart::AnyText);
        parts
    }

    /// Matches in one pass, backtracking only to the last `%`.
    fn matches(&self, text: &[char]) -> bool {
        let (mut at, mut part) = (0, 0);
        let mut retry = None;
        while at < text.len() {
            match self.parts.get(part) {
                Some(PatternPart::AnyText) => {
                    part += 1;
                    retry = Some((at, part));
                }
                Some(PatternPart::AnyChar) => (at, part) = (at + 1, part + 1),
                Some(PatternPart::Char(wanted)) if *wanted == text[at] => (at, part) = (at + 1, part + 1),
                Some(PatternPart::Char(_)) | None => {
                    let Some((from, after)) = retry else { return false };
                    retry = Some((from + 1, after));
                    (at, part) = (from + 1, after);
                }
            }
        }
        self.parts[part..].iter().all(|part| *part == PatternPart::AnyText)
    }
}

fn is_unset(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

fn text(operand: Value) -> Result<String, Fault> {
    match operand {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(false) => Ok(String::new()),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => Err(bad_leaf()),
    }
}

fn bound(operand: Value) -> Result<FieldValue, Fault> {
    match operand {
        Value::String(text) => Ok(FieldValue::Text(text)),
        Value::Number(number) => number.as_i64().map(FieldValue::Int).ok_or_else(bad_leaf),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(bad_leaf()),
    }
}

fn bad_leaf() -> Fault {
    malformed("a term must be [field, operator, value]")
}

fn malformed(why: &str) -> Fault {
    value_error(format!("Malformed domain: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use storage::{Partner, PartnerId};

    use super::*;

    fn finds(domain: Value) -> bool {
        let partner =
            Partner { id: PartnerId(7), name: "Jane Smith".into(), email: None, phone: Some("12".into()), mobile: None };
        let domain = Domain::parse(PersonModel::Partner, Some(domain)).expect("it is well-formed");
        domain.matches(&Contact { partner, user: None })
    }

    #[test]
    fn operators_stand_before_their_operands() {
        let (yes, no) = (json!(["id", "=", 7]), json!(["id", "=", 8]));
        assert!(finds(json!([])));
        assert!(finds(json!([yes, yes])));
        assert!(!finds(json!([yes, no])));
        assert!(finds(json!(["|", no, yes])));
        assert!(finds(json!(["!", no, "|", "!", yes, "&", yes, yes])));
        assert!(!finds(json!(["!", "|", no, yes])));
    }

    #[test]
    fn terms_ask_what_odoo_asks() {
        assert!(finds(json!([["name", "ilike", "SMITH"], ["name", "not like", "SMITH"]])));
        assert!(finds(json!([["name", "=like", "J_ne%h"], ["name", "=ilike", "jane%"]])));
        assert!(!finds(json!([["name", "=like", "Jane"]])));
        assert!(!finds(json!([["name", "like", "%\\%"]])));
        assert!(finds(json!([["id", "in", [1, 7]], ["id", ">=", 7], ["id", "<", 8]])));
        assert!(finds(json!([["email", "=", false], ["phone", "!=", false], ["email", "not like", "x"]])));
        assert!(finds(json!([["user_ids", "=", false], ["user_ids.login", "=", false], ["active", "=", true]])));
    }

    #[test]
    fn a_person_costs_each_field_once_and_not_the_length_of_a_pattern() {
        let run = "%".repeat(100_000);
        let terms = json!([
            ["name", "ilike", "J"],
            ["name", "not ilike", "x"],
            ["name", "=like", format!("{run}Smith{run}")],
            ["id", "=", 7]
        ]);
        let domain = Domain::parse(PersonModel::Partner, Some(terms.clone())).expect("it is well-formed");
        assert_eq!((domain.terms(), domain.fields.len()), (4, 2));
        let parts = |token: &DomainToken| match token {
            DomainToken::Term(_, Condition { operator: ConditionOperator::Like(pattern), .. }) => pattern.parts.len(),
            _ => 0,
        };
        assert_eq!(domain.tokens.iter().map(parts).max(), Some("%Smith%".len()));
        assert!(finds(terms));
        assert!(finds(json!([["name", "like", "%%"], ["name", "=like", "Jane%%Smith"], ["id", "like", "7"]])));
        let domain = Domain::parse(PersonModel::User, Some(json!(["!", ["name", "=", "x"], ["partner_id.name", "=", "x"]])));
        assert_eq!(domain.expect("it is well-formed").fields.len(), 2, "fields of two models are two");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let nested = json!([[[["id", "=", 1]]]]);
        let long = Value::from(vec![json!("!"); MAX_ITEMS + 1]);
        let bad = [json!("id"), json!(["&"]), json!(["|", ["id", "=", 1]]), json!(["?"]), json!([["id", "="]]), nested, long];
        for domain in bad {
            assert!(Domain::parse(PersonModel::Partner, Some(domain.clone())).is_err(), "{domain}");
        }
        for leaf in
            [json!(["password", "=", "x"]), json!(["im_status", "=", "online"]), json!(["id", "~", 1]), json!(["id", "<", []])]
        {
            assert!(Domain::parse(PersonModel::User, Some(json!([leaf]))).is_err(), "{leaf}");
        }
    }
}
