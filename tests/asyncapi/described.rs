//! Validator of frames against a dialect's AsyncAPI document.

use std::{cell::RefCell, collections::BTreeSet};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::support::{Server, Socket};

/// Validators of all messages in a document, with a record of the messages seen.
pub struct Described {
    messages: Vec<(String, Validator)>,
    met: RefCell<BTreeSet<String>>,
}

impl Described {
    /// Reads a served document strictly: members without a description are not valid.
    pub async fn served(server: &Server, dialect: &str) -> Self {
        let mut document: Value = server.get(&format!("/asyncapi/{dialect}.json")).await.json().await.expect("it is JSON");
        let components = &mut document["components"];
        members(&mut components["schemas"]).for_each(close);
        members(&mut components["messages"]).for_each(|message| close(&mut message["payload"]));
        let components = document["components"].take();
        let validator = |key: &String| {
            let reference = format!("#/components/messages/{key}/payload");
            let schema = json!({"$ref": reference, "components": components});
            jsonschema::options().with_draft(Draft::Draft202012).build(&schema).expect("it is a schema")
        };
        let keys = components["messages"].as_object().expect("there are messages").keys();
        Self { messages: keys.map(|key| (key.clone(), validator(key))).collect(), met: RefCell::default() }
    }

    /// Fails unless the frame is one of the messages of that side, `asked` or `said`.
    #[track_caller]
    fn meets(&self, side: &str, frame: &Value) {
        let own = || self.messages.iter().filter(|(key, _)| key.split('.').next() == Some(side));
        let fitting: Vec<_> = own().filter(|(_, validator)| validator.is_valid(frame)).map(|(key, _)| key.clone()).collect();
        let errors =
            || own().flat_map(|(key, validator)| validator.iter_errors(frame).map(move |error| format!("{key}: {error}")));
        assert!(!fitting.is_empty(), "{frame} is not described:\n{}", errors().collect::<Vec<_>>().join("\n"));
        self.met.borrow_mut().extend(fitting);
    }

    /// Fails unless every message was seen.
    #[track_caller]
    pub fn all_met(&self) {
        let met = self.met.borrow();
        let unmet: Vec<_> = self.messages.iter().map(|(key, _)| key).filter(|key| !met.contains(*key)).collect();
        assert!(unmet.is_empty(), "nobody has said {unmet:?}");
    }
}

/// Forbids members without a description.
fn close(schema: &mut Value) {
    if schema["properties"].is_object() {
        schema["unevaluatedProperties"] = false.into();
    }
    within(schema);
}

fn within(schema: &mut Value) {
    if let Some(of) = schema.get_mut("properties") {
        members(of).for_each(close);
    }
    if let Some(items) = schema.get_mut("items") {
        close(items);
    }
    // The members within a choice belong to the enclosing object.
    for several in ["oneOf", "anyOf", "allOf"] {
        schema.get_mut(several).and_then(Value::as_array_mut).into_iter().flatten().for_each(within);
    }
}

fn members(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    object.as_object_mut().expect("it is an object").values_mut()
}

/// A socket that validates every frame in both directions.
pub struct Talk<'a> {
    socket: Socket,
    described: &'a Described,
}

impl<'a> Talk<'a> {
    pub async fn open(described: &'a Described, address: String) -> Self {
        Self { socket: Socket::open(address).await, described }
    }

    pub async fn say(&mut self, frame: Value) {
        self.described.meets("asked", &frame);
        self.socket.say(frame).await;
    }

    /// Sends a text without validation.
    pub async fn say_wrongly(&mut self, text: &str) {
        self.socket.say_text(text).await;
    }

    /// The next frame for which `wanted` holds.
    pub async fn hear_until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.socket.hear().await;
            self.described.meets("said", &frame);
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Receives all frames that were sent so far.
    pub async fn catch_up(&mut self) {
        for frame in self.socket.heard_so_far().await {
            self.described.meets("said", &frame);
        }
    }

    /// Sends a request of `concierge`. Returns the body of its successful answer.
    pub async fn ask(&mut self, route: &str, body: Value) -> Value {
        self.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
        let mut answer = self.hear_until(|told| told["channel"] == route).await;
        assert_eq!(answer["status"], 200, "{route}: {answer}");
        answer["body"].take()
    }
}
