//! Requests to the server, and the sessions that make them.

use crate::{
    Result,
    children::Server,
    http::{self, Connection, Request},
};

/// Number of concurrent connections.
pub(crate) const CONNECTIONS: usize = 32;
/// Larger than the id of any message.
pub(crate) const FROM_NOW_ON: &str = "2147483647";
pub(crate) const BODY: &str = "A message of a usual length, neither short nor long.";

/// The session of a person of `seed.sql`.
pub(crate) fn session(person: i64) -> String {
    format!("{person:040x}")
}

pub(crate) fn count(session: &str) -> Request {
    http::call("/api/messaging/notifications/count", session, "{}")
}

pub(crate) fn send(session: &str, conversation: i64) -> Request {
    let params = format!(r#"{{"thread_id":{conversation},"body":"{BODY}"}}"#);
    http::call("/api/messaging/message/send", session, &params)
}

pub(crate) fn poll(session: &str, conversation: i64, last: &str) -> Request {
    let params = format!(r#"{{"thread_id":{conversation},"last_message_id":{last},"timeout":60}}"#);
    http::call("/api/messaging/poll/messages", session, &params)
}

pub(crate) fn page(session: &str, conversation: i64, before: &str) -> Request {
    let params = format!(r#"{{"thread_id":{conversation},"limit":50,{before}}}"#);
    http::call("/api/messaging/messages", session, &params)
}

pub(crate) fn read(session: &str, message: &str) -> Request {
    http::call("/api/messaging/message/read", session, &format!(r#"{{"message_id":{message}}}"#))
}

/// Requests to a server on memory, with six people and, besides the demo data, ten threads of all of them with five
/// messages each.
pub(crate) struct DemoThreads {
    /// For each connection.
    pub(crate) count: Vec<Vec<Request>>,
    pub(crate) thread: i64,
    pub(crate) author: String,
    pub(crate) readers: Vec<String>,
}

impl DemoThreads {
    pub(crate) async fn create(server: &Server) -> Result<Self> {
        const LOGINS: [&str; 6] = [
            "admin@gmail.com",
            "john@example.com",
            "jane@example.com",
            "bob@example.com",
            "deepak@tis.co.th",
            "concierge@example.com",
        ];
        let mut connection = Connection::open(server.address).await?;
        let mut sessions = Vec::new();
        for login in LOGINS {
            let params = format!(r#"{{"db":"odoo2","login":"{login}","password":"123456"}}"#);
            let answer = connection.exchange(&http::call("/web/session/authenticate", "", &params)).await?;
            let cookie = answer.head.split_once("session_id=").and_then(|(_, cookie)| cookie.split_once(';'));
            sessions.push(cookie.ok_or("no session")?.0.to_owned());
        }
        let create = r#"{"name":"Thread","thread_type":"group","partner_ids":[2,4,6,8,34,32314]}"#;
        let mut thread = 0;
        for _ in 0..10 {
            let create = http::call("/api/messaging/thread/create", &sessions[0], create);
            let id = connection.exchange(&create).await?.number("thread_id");
            thread = id.ok_or("no thread")?.parse()?;
            for _ in 0..5 {
                connection.exchange(&send(&sessions[0], thread)).await?;
            }
        }
        let count = sessions.iter().cycle().take(CONNECTIONS).map(|session| vec![count(session)]).collect();
        let author = sessions.remove(0);
        Ok(Self { count, thread, author, readers: sessions })
    }
}
