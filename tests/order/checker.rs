//! Checker of message histories: compares the received messages with the sent and the stored ones.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

/// Outcome of one send.
#[derive(Clone, Debug)]
pub struct Sent {
    writer: usize,
    pub conversation: i64,
    body: String,
    /// `None` if it was refused.
    pub id: Option<i64>,
}

impl Sent {
    pub fn acknowledged(writer: usize, conversation: i64, body: &str, id: i64) -> Self {
        Self { writer, conversation, body: body.to_owned(), id: Some(id) }
    }

    pub fn body(&self) -> &str {
        &self.body
    }

    pub fn refused(writer: usize, conversation: i64, body: &str) -> Self {
        Self { writer, conversation, body: body.to_owned(), id: None }
    }
}

/// A message as a poller received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub id: i64,
    pub body: String,
}

impl Heard {
    pub fn read(message: &Value) -> Self {
        let body = message["body"].as_str().expect("a body is a text").to_owned();
        Self { id: message["id"].as_i64().expect("an id is a number"), body }
    }
}

/// Kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Acknowledged but not received.
    Lost,
    /// Received twice, or with another id than the acknowledged one.
    Doubled,
    /// Received out of the order of the ids, or out of its writer's order.
    OutOfOrder,
    /// Answered with an error, but received.
    Refused,
    /// Received but not stored.
    Unstored,
}

/// A fault with its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub what: String,
}

impl Fault {
    fn new(kind: Kind, what: String) -> Self {
        Self { kind, what }
    }
}

/// Faults in one poller's messages by conversation, given everything that was sent, each writer's in the order of sending. A
/// message without a known outcome may be received or not.
pub fn faults(sent: &[Sent], heard: &HashMap<i64, Vec<Heard>>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (conversation, heard) in heard {
        for pair in heard.windows(2).filter(|pair| pair[0].id >= pair[1].id) {
            let what = format!("{conversation}: {:?} comes after {:?}", pair[1], pair[0]);
            faults.push(Fault::new(Kind::OutOfOrder, what));
        }
        let mut bodies = HashSet::new();
        for message in heard.iter().filter(|message| !bodies.insert(&message.body)) {
            faults.push(Fault::new(Kind::Doubled, format!("{conversation}: {message:?} comes twice")));
        }
    }
    let at: HashMap<_, _> =
        heard.iter().flat_map(|(at, all)| all.iter().map(move |heard| ((*at, &heard.body), heard.id))).collect();
    let mut newest: BTreeMap<(usize, i64), i64> = BTreeMap::new();
    for sent in sent {
        let heard = at.get(&(sent.conversation, &sent.body));
        match (sent.id, heard) {
            (None, None) => {}
            (None, Some(_)) => faults.push(Fault::new(Kind::Refused, format!("{sent:?} was refused, and heard"))),
            (Some(_), None) => faults.push(Fault::new(Kind::Lost, format!("{sent:?} was acknowledged, and not heard"))),
            (Some(id), Some(heard)) if id != *heard => {
                faults.push(Fault::new(Kind::Doubled, format!("{sent:?} is heard as {heard}")));
            }
            (Some(id), Some(_)) => {
                let before = newest.insert((sent.writer, sent.conversation), id);
                if before.is_some_and(|before| before >= id) {
                    faults.push(Fault::new(Kind::OutOfOrder, format!("{sent:?} was sent later, and stands earlier")));
                }
            }
        }
    }
    faults
}

/// Differences between a conversation's stored messages and those that one reader received, acknowledged or not.
pub fn differences(stored: &[Heard], heard: &[Heard]) -> Vec<Fault> {
    let missing = |of: &[Heard], from: &[Heard]| {
        let from: HashSet<_> = from.iter().map(|message| (message.id, message.body.clone())).collect();
        of.iter().filter(|message| !from.contains(&(message.id, message.body.clone()))).cloned().collect::<Vec<_>>()
    };
    let lost = missing(stored, heard).into_iter();
    let lost = lost.map(|message| Fault::new(Kind::Lost, format!("{message:?} is stored, and not heard")));
    let unstored = missing(heard, stored).into_iter();
    lost.chain(unstored.map(|message| Fault::new(Kind::Unstored, format!("{message:?} is heard, and not stored")))).collect()
}

/// Maximum of a sequence of ids that must rise.
#[derive(Debug, Default)]
pub struct Rising(i64);

impl Rising {
    /// True if this id is larger than all before it.
    pub fn takes(&mut self, id: i64) -> bool {
        let rises = id > self.0;
        self.0 = self.0.max(id);
        rises
    }
}

/// A history without faults: two writers in two conversations.
fn flawless() -> (Vec<Sent>, HashMap<i64, Vec<Heard>>) {
    let sent = [(1, 7, "a", 10), (2, 7, "b", 12), (1, 8, "c", 11), (1, 7, "d", 14)];
    let sent = sent.map(|(writer, conversation, body, id)| Sent::acknowledged(writer, conversation, body, id));
    let heard = |all: &[(i64, &str)]| all.iter().map(|(id, body)| Heard { id: *id, body: (*body).into() }).collect();
    (sent.to_vec(), HashMap::from([(7, heard(&[(10, "a"), (12, "b"), (14, "d")])), (8, heard(&[(11, "c")]))]))
}

/// Faults of that history after `spoil` has changed it.
fn after(spoil: impl FnOnce(&mut Vec<Sent>, &mut Vec<Heard>)) -> Vec<Kind> {
    let (mut sent, mut heard) = flawless();
    spoil(&mut sent, heard.get_mut(&7).expect("it is there"));
    faults(&sent, &heard).into_iter().map(|fault| fault.kind).collect()
}

#[test]
fn what_is_as_it_should_be_has_no_fault() {
    assert_eq!(after(|_, _| {}), []);
    assert_eq!(after(|sent, _| sent.push(Sent::refused(1, 7, "e"))), []);
    let unsure = Heard { id: 15, body: "nobody knows whether it was stored".into() };
    assert_eq!(after(|_, heard| heard.push(unsure)), []);
}

#[test]
fn every_fault_is_found_and_called_by_its_name() {
    assert_eq!(after(|_, heard| drop(heard.remove(1))), [Kind::Lost], "one dropped");
    assert!(after(|_, heard| heard.insert(1, heard[1].clone())).contains(&Kind::Doubled), "one doubled");
    let again = Heard { id: 15, body: "b".into() };
    assert!(after(|_, heard| heard.push(again)).contains(&Kind::Doubled), "one stored twice");
    assert!(after(|_, heard| heard.swap(0, 1)).contains(&Kind::OutOfOrder), "two swapped");
    assert_eq!(after(|_, heard| heard[2].id = 13), [Kind::Doubled], "another id than was acknowledged");
    let swapped = |sent: &mut Vec<Sent>, heard: &mut Vec<Heard>| {
        sent[0].id = Some(14);
        sent[3].id = Some(10);
        (heard[0].body, heard[2].body) = ("d".into(), "a".into());
    };
    assert_eq!(after(swapped), [Kind::OutOfOrder], "two of one writer stored in the other order");
    assert_eq!(after(|sent, _| sent[1].id = None), [Kind::Refused], "a refused one stored");
    // As after a lost answer: the message may appear under the new text of a retry too, but a refused one may not.
    let told_again = |sent: &mut Vec<Sent>, heard: &mut Vec<Heard>| {
        sent.push(Sent::refused(2, 7, "e"));
        heard.push(Heard { id: 16, body: "e".into() });
    };
    assert_eq!(after(told_again), [Kind::Refused], "one refused while it was stored");
    // As after a reconnect from too early a position.
    assert!(after(|_, heard| heard.extend_from_within(..1)).contains(&Kind::Doubled), "the beginning told again");
}

#[test]
fn what_a_reader_has_not_heard_as_it_is_stored_is_found() {
    let (_, mut heard) = flawless();
    let stored = heard.remove(&7).expect("it is there");
    let kinds = |heard: &[Heard]| differences(&stored, heard).into_iter().map(|fault| fault.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&stored), []);
    assert_eq!(kinds(&stored[1..]), [Kind::Lost], "what nobody was told of is stored all the same");
    let more = Heard { id: 15, body: "e".into() };
    assert_eq!(kinds(&[&stored[..], &[more]].concat()), [Kind::Unstored]);
    let mut other = stored.clone();
    other[1].body = "another text".into();
    assert_eq!(kinds(&other), [Kind::Lost, Kind::Unstored]);
}

#[test]
fn ids_that_do_not_rise_are_found() {
    let takes = |ids: &[i64]| {
        let mut rising = Rising::default();
        ids.iter().map(|id| rising.takes(*id)).collect::<Vec<_>>()
    };
    assert_eq!(takes(&[1, 2, 7]), [true, true, true]);
    assert_eq!(takes(&[5, 5, 3, 4, 6]), [true, false, false, false, true], "neither again nor less, ever after");
}
