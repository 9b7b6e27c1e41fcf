//! Tests of arbitrary frames on sockets (fuzzing): the server may answer or not, and the socket stays open.

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestCaseError};
use serde_json::{Value, json};
use tokio::{runtime::Handle, sync::Mutex};
use tokio_tungstenite::tungstenite::Message;

use super::{CASES, INTERNALS, given, is_well, runner};
use crate::{
    support::{Backend, JOHN, Server, Socket, token},
    with_every_backend,
};

/// A dialect's socket and the vocabulary of its frames.
struct Talk {
    path: &'static str,
    /// The key of the action, and its values.
    actions: (&'static str, &'static [&'static str]),
    names: &'static [&'static str],
    /// Fixed members of every frame, if any: without them few frames would get past the first checks.
    always: &'static str,
}

const ACTIONS: (&str, &[&str]) = (
    "action",
    &[
        "send_message",
        "typing",
        "read",
        "fetch_messages",
        "heartbeat",
        "heartbeat_ack",
        "edit_message",
        "delete_message",
        "reaction",
        "sing",
    ],
);

const NAMES: &[&str] = &[
    "action",
    "conversation_id",
    "content",
    "local_id",
    "is_typing",
    "message_id",
    "message_ids",
    "before_id",
    "after_id",
    "limit",
    "remove",
    "unknown",
    "\\u0000",
];

const TALKS: &[Talk] = &[
    Talk { path: "/conversations/2/", actions: ACTIONS, names: NAMES, always: "" },
    Talk { path: "/conversations/", actions: ACTIONS, names: NAMES, always: "" },
    Talk { path: "/conversations/", actions: ACTIONS, names: NAMES, always: "\"conversation_id\":\"2\"" },
];

/// Any frame.
fn said(talk: &Talk) -> impl Strategy<Value = Message> + use<> {
    let ((naming, actions), always) = (talk.actions, talk.always);
    let member = (select(talk.names), given::value()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let asked = (select(actions), vec(member, 0..6)).prop_map(move |(action, members)| {
        let named = [format!("\"{naming}\":\"{action}\""), always.to_owned()];
        let members: Vec<_> = members.into_iter().chain(named.into_iter().filter(|named| !named.is_empty())).collect();
        format!("{{{}}}", members.join(","))
    });
    let cut =
        (given::value(), any::<prop::sample::Index>()).prop_map(|(text, end)| text.chars().take(end.index(text.len())).collect());
    prop_oneof![
        8 => asked.prop_map(Message::text),
        1 => cut.prop_map(|text: String| Message::text(text)),
        1 => given::value().prop_map(Message::text),
        1 => any::<String>().prop_map(Message::text),
        1 => vec(any::<u8>(), 0..300).prop_map(Message::binary),
    ]
}

async fn attempt(socket: &Mutex<Socket>, message: Message) -> Result<(), TestCaseError> {
    let mut socket = socket.lock().await;
    socket.send(message).await;
    let told = Value::from(socket.heard_so_far().await).to_string();
    match INTERNALS.iter().find(|internal| told.contains(*internal)) {
        None => Ok(()),
        // These frames contain texts of clients, so they may hold anything.
        Some(_)
            if ["chat_message", "message.edited", "messages_fetched", "\"reaction\""].iter().any(|kind| told.contains(kind)) =>
        {
            Ok(())
        }
        Some(internal) => Err(TestCaseError::fail(format!("it is told {internal:?}: {told}"))),
    }
}

with_every_backend! {
    /// Arbitrary bytes, arbitrary JSON, and actions with arbitrary fields.
    async fn everything_that_is_said_is_survived(backend) {
        let server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 10_000_000);
        let mut server = server.set("SOCKETS__MESSAGE_BYTES", 32 * 1024 * 1024).start().await;
        for talk in TALKS {
            let address = server.socket_url(&format!("{}?token={}", talk.path, token(4)));
            let socket = Mutex::new(Socket::open(address).await);
            let handle = Handle::current();
            let outcome = tokio::task::spawn_blocking(move || {
                let outcome = runner(CASES).run(&said(talk), |message| handle.block_on(attempt(&socket, message)));
                outcome.map_err(|error| error.to_string())
            });
            assert_eq!(outcome.await.expect("it ends"), Ok(()));
        }
        is_well(&server, &server.log_in(JOHN).await).await;
        server.stop().await;
    }
}

/// Ten megabytes in place of a short text. The store is in memory.
#[tokio::test]
async fn huge_words_are_survived() {
    let mut server =
        Server::builder(Backend::memory()).with_tokens().set("SOCKETS__MESSAGE_BYTES", 32 * 1024 * 1024).start().await;
    let huge = "x".repeat(10 * 1024 * 1024);
    for talk in TALKS {
        let mut socket = Socket::open(server.socket_url(&format!("{}?token={}", talk.path, token(4)))).await;
        for name in talk.names.iter().filter(|name| !name.starts_with('\\')) {
            let mut frame = json!({talk.actions.0: talk.actions.1[0], "content": "x"});
            frame[name] = huge.as_str().into();
            if *name != "content" {
                socket.say(frame).await;
                socket.heard_so_far().await;
            }
        }
    }
    is_well(&server, &server.log_in(JOHN).await).await;
    server.stop().await;
}
