//! AsyncAPI 3.0 documents for a dialect's WebSocket, with schemas generated from the types that are deserialized and serialized.
//!
//! A document takes the server's side: `receive` operations are the clients' messages, `send` operations the server's.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{session::COOKIE, websocket::Close};

/// Metadata of a dialect's WebSocket.
pub struct DocumentInfo {
    pub dialect: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// URL path of the channel, with parameters as `{...}`.
    pub address: &'static str,
    /// Name and description of each parameter in `address`.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Name and description of each query parameter. The first is the access token.
    pub query: &'static [(&'static str, &'static str)],
    /// The dialect's own close codes, each with its cause. Those in `CLOSES` apply to all dialects.
    pub closes: &'static [(&'static Close, &'static str)],
}

/// Close codes of every dialect, each with its cause.
const CLOSES: &[(&Close, &str)] = &[
    (&Close::GOING_AWAY, "the server stops; come back"),
    (&Close::LOG_RESTARTED, "the database was failed over or restored, and may have lost what was told last; come back"),
    (&Close::SILENT, "three pings were not answered"),
    (&Close::PROTOCOL_ERROR, "what came was not as the protocol has it"),
    (&Close::NO_TEXT, "a text was not UTF-8"),
    (&Close::INTERNAL, "the server failed"),
    (&Close::UNAVAILABLE, "the store cannot be reached"),
    (&Close::NO_MEMORY, "the user's share of `limits.bodies_bytes` is used up"),
    (&Close::NO_TOKENS, "no key to verify tokens with was set"),
    (&Close::NOT_LOGGED_IN, "no token, or none that counts; the token has run out, or the user was deactivated"),
    (&Close::TOO_LARGE, "a message was larger than `sockets.message_bytes`"),
    (&Close::TOO_SLOW, "the client has read too little for `limits.write_seconds`"),
    (&Close::TOO_MANY, "the user has too many sockets"),
];

/// Builder of an AsyncAPI document.
pub struct Document {
    about: DocumentInfo,
    /// Schema generators of client messages (deserialized) and of server messages (serialized).
    received: SchemaGenerator,
    sent: SchemaGenerator,
    messages: Map<String, Value>,
    operations: Map<String, Value>,
}

impl Document {
    pub fn new(about: DocumentInfo) -> Self {
        let settings = || SchemaSettings::draft07().with(|settings| settings.definitions_path = "/components/schemas".into());
        Self {
            about,
            received: settings().for_deserialize().into_generator(),
            sent: settings().for_serialize().into_generator(),
            messages: Map::new(),
            operations: Map::new(),
        }
    }

    /// Describes each variant of an enum, tagged with `tag`, as a client message. The tag's value is the message's title and
    /// selects its examples.
    pub fn received<T: JsonSchema>(&mut self, tag: &str, examples: &[Value]) {
        let schema = self.received_schema::<T>();
        self.variants("asked", &schema, tag, examples);
    }

    /// Describes each variant of an enum as a server message, as `Self::received` does for client messages.
    pub fn sent<T: JsonSchema>(&mut self, tag: &str, examples: &[Value]) {
        let schema = self.sent_schema::<T>();
        self.variants("said", &schema, tag, examples);
    }

    /// JSON Schema of a deserialized type.
    pub fn received_schema<T: JsonSchema>(&mut self) -> Value {
        embeddable(self.received.root_schema_for::<T>())
    }

    /// JSON Schema of a serialized type.
    pub fn sent_schema<T: JsonSchema>(&mut self) -> Value {
        embeddable(self.sent.root_schema_for::<T>())
    }

    fn variants(&mut self, whose: &str, schema: &Value, tag: &str, examples: &[Value]) {
        for variant in schema["oneOf"].as_array().expect("it is the schema of an enum") {
            let name = variant["properties"][tag]["const"].as_str().expect("each variant has its tag");
            let own: Vec<_> = examples.iter().filter(|example| example[tag] == name).cloned().collect();
            self.message(&format!("{whose}.{name}"), name, variant.clone(), &own);
        }
    }

    /// Adds one message. The schema's description becomes the message's summary.
    pub fn message(&mut self, key: &str, title: &str, payload: Value, examples: &[Value]) {
        let summary = payload["description"].as_str().map(joined_lines);
        let mut message = json!({"name": key, "title": title, "payload": payload});
        if let Some(summary) = summary {
            message["summary"] = summary.into();
        }
        if !examples.is_empty() {
            message["examples"] = examples.iter().map(|example| json!({"payload": example})).collect();
        }
        let before = self.messages.insert(key.to_owned(), message);
        assert!(before.is_none(), "two messages are called {key}");
    }

    /// Adds a `receive` operation for a client message, with its possible replies.
    pub fn receive_operation(&mut self, asked: &str, answers: &[&str]) {
        let asked = format!("asked.{asked}");
        let mut operation = self.operation("receive", [asked.clone()]);
        if !answers.is_empty() {
            let answers = answers.iter().map(|answer| format!("said.{answer}"));
            operation["reply"] = json!({"channel": self.channel(), "messages": self.references(answers)});
        }
        self.operations.insert(asked, operation);
    }

    /// Adds a `send` operation for messages that the server sends unasked.
    pub fn send_operation(&mut self, name: &str, said: &[&str]) {
        let operation = self.operation("send", said.iter().map(|said| format!("said.{said}")));
        self.operations.insert(name.to_owned(), operation);
    }

    fn operation(&self, action: &str, messages: impl IntoIterator<Item = String>) -> Value {
        json!({"action": action, "channel": self.channel(), "messages": self.references(messages)})
    }

    fn channel(&self) -> Value {
        json!({"$ref": format!("#/channels/{}", self.about.dialect)})
    }

    fn references(&self, messages: impl IntoIterator<Item = String>) -> Value {
        let reference = |key: String| {
            assert!(self.messages.contains_key(&key), "there is no message {key}");
            json!({"$ref": format!("#/channels/{}/messages/{key}", self.about.dialect)})
        };
        messages.into_iter().map(reference).collect()
    }

    /// Builds the document.
    pub fn finish(mut self) -> Value {
        let named: Map<_, _> =
            self.messages.keys().map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")}))).collect();
        let mut schemas = self.sent.take_definitions(true);
        for (name, schema) in self.received.take_definitions(true) {
            let other = schemas.insert(name.clone(), schema.clone());
            assert!(other.is_none_or(|other| other == schema), "two schemas are called {name}");
        }
        let DocumentInfo { dialect, title, description, address, parameters, query, closes } = self.about;
        let mut channel = json!({
            "address": address,
            "title": title,
            "description": close_codes(closes),
            "messages": named,
            "bindings": {"ws": {"method": "GET", "query": {
                "type": "object",
                "properties": members(query, |meaning| json!({"type": "string", "description": meaning})),
            }}},
        });
        if !parameters.is_empty() {
            channel["parameters"] = members(parameters, |meaning| json!({"description": meaning})).into();
        }
        let (token, _) = query.first().expect("every dialect's query has a token");
        json!({
            "asyncapi": "3.0.0",
            "info": {
                "title": title,
                "version": env!("CARGO_PKG_VERSION"),
                "description": description,
                "license": {"name": "MIT OR Apache-2.0"},
            },
            "defaultContentType": "application/json",
            "servers": {"plain": server("ws", "127.0.0.1:8069"), "secure": server("wss", "chat.example.com")},
            "channels": {dialect: channel},
            "operations": self.operations,
            "components": {"messages": self.messages, "schemas": schemas, "securitySchemes": security(token)},
        })
    }
}

fn server(protocol: &str, host: &str) -> Value {
    let schemes = ["query", "bearer", "subprotocol", "cookie"];
    json!({
        "host": "{host}",
        "protocol": protocol,
        "variables": {"host": {"default": host, "description": "Where the server is"}},
        "security": schemes.map(|scheme| json!({"$ref": format!("#/components/securitySchemes/{scheme}")})),
    })
}

/// Security schemes for the access token and the session cookie. Any one of them is enough.
fn security(token: &str) -> Value {
    json!({
        "query": {"type": "httpApiKey", "in": "query", "name": token, "description": "The access token, in the address"},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token, in a header"},
        "subprotocol": {
            "type": "httpApiKey",
            "in": "header",
            "name": "Sec-WebSocket-Protocol",
            "description": "`bearer, <token>`: for pages, which can set no other header; the server chooses `bearer`",
        },
        "cookie": {
            "type": "httpApiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "A session's cookie, from pages of the server's own origin or of one in `cors.origins`",
        },
    })
}

/// Markdown list of all close codes, in the order of their numbers.
fn close_codes(own: &[(&Close, &str)]) -> String {
    let mut closes: Vec<_> = own.iter().chain(CLOSES).collect();
    closes.sort_by_key(|(close, _)| close.code);
    let lines = closes.iter().map(|(close, when)| format!("- `{}` {}: {when}\n", close.code, close.reason));
    let lines: String = lines.collect();
    format!(
        "A socket is given to everybody who asks for one, and closed at once if it must not be, since browsers hide from a \
         page why none was given. All messages are texts of JSON.\n\nThe server closes with:\n\n{lines}"
    )
}

fn members(named: &[(&str, &str)], member: fn(&str) -> Value) -> Map<String, Value> {
    named.iter().map(|(name, meaning)| ((*name).to_owned(), member(meaning))).collect()
}

/// Strips `$schema`, `title` and `components`, so that a schema can stand inside another document.
fn embeddable(schema: Schema) -> Value {
    let mut schema = schema.to_value();
    if let Some(members) = schema.as_object_mut() {
        for name in ["$schema", "title", "components"] {
            members.remove(name);
        }
    }
    schema
}

/// Joins the lines of a doc comment into one paragraph.
fn joined_lines(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
