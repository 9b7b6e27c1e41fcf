//! Tells whether what was heard is what was sent.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

/// What became of a message.
#[derive(Clone, Debug)]
pub struct Sent {
    writer: usize,
    conversation: i64,
    body: String,
    /// `None` if it was refused.
    pub id: Option<i64>,
}

impl Sent {
    pub fn acknowledged(writer: usize, conversation: i64, body: &str, id: i64) -> Self {
        Self { writer, conversation, body: body.to_owned(), id: Some(id) }
    }

    pub fn refused(writer: usize, conversation: i64, body: &str) -> Self {
        Self { writer, conversation, body: body.to_owned(), id: None }
    }
}

/// A message as a poller got it.
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

/// Everything wrong with what one poller has heard, by conversation, given all that was sent, each writer's in the order
/// of its sending. A message whose fate the writer never learnt may be heard.
pub fn faults(sent: &[Sent], heard: &HashMap<i64, Vec<Heard>>) -> Vec<String> {
    let mut faults = Vec::new();
    for (conversation, heard) in heard {
        for pair in heard.windows(2).filter(|pair| pair[0].id >= pair[1].id) {
            faults.push(format!("{conversation}: {:?} comes after {:?}", pair[1], pair[0]));
        }
        let mut bodies = HashSet::new();
        for message in heard.iter().filter(|message| !bodies.insert(&message.body)) {
            faults.push(format!("{conversation}: {message:?} comes twice"));
        }
    }
    let at: HashMap<_, _> =
        heard.iter().flat_map(|(at, all)| all.iter().map(move |heard| ((*at, &heard.body), heard.id))).collect();
    let mut newest: BTreeMap<(usize, i64), i64> = BTreeMap::new();
    for sent in sent {
        let heard = at.get(&(sent.conversation, &sent.body));
        match (sent.id, heard) {
            (None, None) => {}
            (None, Some(_)) => faults.push(format!("{sent:?} was refused, and heard")),
            (Some(_), None) => faults.push(format!("{sent:?} was acknowledged, and not heard")),
            (Some(id), Some(heard)) if id != *heard => faults.push(format!("{sent:?} is heard as {heard}")),
            (Some(id), Some(_)) => {
                let before = newest.insert((sent.writer, sent.conversation), id);
                if before.is_some_and(|before| before >= id) {
                    faults.push(format!("{sent:?} was sent later, and stands earlier"));
                }
            }
        }
    }
    faults
}

/// Two writers in two conversations, heard as it should be.
fn flawless() -> (Vec<Sent>, HashMap<i64, Vec<Heard>>) {
    let sent = [(1, 7, "a", 10), (2, 7, "b", 12), (1, 8, "c", 11), (1, 7, "d", 14)];
    let sent = sent.map(|(writer, conversation, body, id)| Sent::acknowledged(writer, conversation, body, id));
    let heard = |all: &[(i64, &str)]| all.iter().map(|(id, body)| Heard { id: *id, body: (*body).into() }).collect();
    (sent.to_vec(), HashMap::from([(7, heard(&[(10, "a"), (12, "b"), (14, "d")])), (8, heard(&[(11, "c")]))]))
}

/// What is wrong after `spoil` was at work.
fn after(spoil: impl FnOnce(&mut Vec<Sent>, &mut Vec<Heard>)) -> Vec<String> {
    let (mut sent, mut heard) = flawless();
    spoil(&mut sent, heard.get_mut(&7).expect("it is there"));
    faults(&sent, &heard)
}

#[test]
fn what_is_as_it_should_be_has_no_fault() {
    assert_eq!(after(|_, _| {}), Vec::<String>::new());
    assert_eq!(after(|sent, _| sent.push(Sent::refused(1, 7, "e"))), Vec::<String>::new());
    let unsure = Heard { id: 15, body: "nobody knows whether it was stored".into() };
    assert_eq!(after(|_, heard| heard.push(unsure)), Vec::<String>::new());
}

#[test]
fn every_fault_is_found() {
    assert_ne!(after(|_, heard| drop(heard.remove(1))), Vec::<String>::new(), "one dropped");
    assert_ne!(after(|_, heard| heard.insert(1, heard[1].clone())), Vec::<String>::new(), "one doubled");
    let again = Heard { id: 15, body: "b".into() };
    assert_ne!(after(|_, heard| heard.push(again)), Vec::<String>::new(), "one stored twice");
    assert_ne!(after(|_, heard| heard.swap(0, 1)), Vec::<String>::new(), "two swapped");
    assert_ne!(after(|_, heard| heard[2].id = 13), Vec::<String>::new(), "another id than was acknowledged");
    let swapped = |sent: &mut Vec<Sent>, heard: &mut Vec<Heard>| {
        sent[0].id = Some(14);
        sent[3].id = Some(10);
        (heard[0].body, heard[2].body) = ("d".into(), "a".into());
    };
    assert_ne!(after(swapped), Vec::<String>::new(), "two of one writer stored in the other order");
    assert_ne!(after(|sent, _| sent[1].id = None), Vec::<String>::new(), "a refused one stored");
}
