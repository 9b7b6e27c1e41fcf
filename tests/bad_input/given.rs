//! Generators of arbitrary requests for the fuzzing test.

use proptest::{collection::vec, prelude::*, sample::select};

use crate::support::Route;

/// Names that some route reads, and some that none does.
const NAMES: &[&str] = &[
    "thread_id",
    "message_id",
    "message_ids",
    "body",
    "name",
    "partner_ids",
    "partner_id",
    "thread_type",
    "limit",
    "offset",
    "before_id",
    "attachment_ids",
    "client_key",
    "reply_to",
    "content",
    "action",
    "query",
    "last_message_id",
    "last_check",
    "timeout",
    "status",
    "db",
    "login",
    "password",
    "refresh",
    "service",
    "method",
    "args",
    "model",
    "kwargs",
    "context",
    "fields",
    "domain",
    "order",
    "uuid",
    "last",
    "last_id",
    "last_ID",
    "channels",
    "options",
    "user_to",
    "doc_id",
    "doc_model",
    "group",
    "state",
    "new_status",
    "user_ids",
    "filename",
    "mimeType",
    "type",
    "parent_partner_id",
    "child_partner_id",
    "message_type",
    "message_content",
    "unknown",
    "",
    "\\u0000",
];

/// JSON values at the edges of parsers: limits of numbers, surrogates, NUL, injections, duplicate keys.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "2",
    "-1",
    "-0",
    "1.0",
    "1.5",
    "1e3",
    "1e400",
    "-1e400",
    "1e-400",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "\"\"",
    "\" \"",
    "\"1\"",
    "\" 2 \"",
    "\"1e3\"",
    "\"0x10\"",
    "\"\\u0000\"",
    "\"a\\u0000b\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"%\"",
    "\"_\\\\\"",
    "\"'; DROP TABLE messages; --\"",
    "\"../../../etc/passwd\"",
    "\"<script>\"",
    "\"chat-images\"",
    "\"image/png\"",
    "\"image/png\\r\\nX: y\"",
    "\"chat\"",
    "\"group\"",
    "\"away\"",
    "\"2001-01-01\"",
    "\"9999-12-31T23:59:59Z\"",
    "\"0000-00-00 00:00:00\"",
    "\"-292278994-01-01T00:00:00Z\"",
    "\"odoo2\"",
    "\"res.users\"",
    "\"res.partner\"",
    "\"search_read\"",
    "\"execute_kw\"",
    "\"object\"",
    "\"im_chat.session\"",
    "\"session_get\"",
    "\"add_user\"",
    "\"folded\"",
    "[[\"odoo2\",\"im_chat.presence\"]]",
    "{\"im_presence\":true,\"bus_inactivity\":-1}",
    "{\"bus_inactivity\":18446744073709551615}",
    "\"common\"",
    "[]",
    "{}",
    "[1,2]",
    "[[]]",
    "[null]",
    "[\"1\",\"x\",{}]",
    "[9223372036854775808,-1]",
    "{\"a\":1,\"a\":2}",
    "[[\"id\",\"=\",1]]",
    "[[\"name\",\"ilike\",\"\\u0000\"]]",
    "[[\"id\"]]",
];

/// Time-outs with which a poll does not wait.
const AT_ONCE: &[&str] = &["0", "-1", "\"0\"", "-1e400", "[]", "{}", "\"x\"", "1.5"];

/// Message types of `/im_chat/post`.
const KINDS: &[&str] = &["message", "typing", "meta", "money4_chat_attach_msg"];

const IN_PATHS: &[&str] = &[
    "1",
    "2",
    "0",
    "-1",
    "987654",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999999",
    "1.5",
    "abc",
    "%00",
    "%ff",
    "%F0%9F%98%80",
    "..%2f..%2fetc",
    "1%3bDROP",
    "%20",
    "+1",
    "null",
    "3fa85f64-5717-4562-b3fc-2c963f66afa6",
];

const CONTENT_TYPES: &[Option<&str>] = &[
    Some("application/json"),
    Some("application/json; charset=latin1"),
    Some("APPLICATION/JSON-RPC"),
    Some("text/plain"),
    Some("application/x-www-form-urlencoded"),
    Some("multipart/form-data"),
    Some("multipart/form-data; boundary=x"),
    Some("multipart/form-data; boundary=\"\""),
    Some("/"),
    Some(";;;"),
    None,
];

/// A request without its route.
#[derive(Clone, Debug)]
pub struct Given {
    in_path: &'static str,
    /// `None` for the type that the route expects.
    content_type: Option<Option<&'static str>>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Bytes(Vec<u8>),
    Json(String),
    Params(Vec<(String, String)>),
    Form(Vec<String>),
}

impl Given {
    pub fn in_path(&self) -> &str {
        self.in_path
    }

    pub fn content_type(&self, form: bool) -> Option<&'static str> {
        let proper = if form { "multipart/form-data; boundary=x" } else { "application/json" };
        self.content_type.unwrap_or(Some(proper))
    }

    /// True if a poll with this input may wait for its time-out.
    pub fn may_wait(&self, route: &Route) -> bool {
        route.is_poll() && (!route.path.starts_with("/api/messaging/") || !matches!(self.body, Body::Params(_)))
    }

    /// The body. `uuid` names a session of im_chat with the caller in it.
    pub fn body(&self, route: &Route, uuid: &str) -> Vec<u8> {
        match &self.body {
            _ if route.method == "GET" => Vec::new(),
            Body::Bytes(bytes) => bytes.clone(),
            Body::Json(text) => text.clone().into_bytes(),
            Body::Params(params) => {
                let mut members = Vec::new();
                if route.path.starts_with("/im_chat/") {
                    // These come first: of duplicate keys the last one counts.
                    let kind = KINDS[params.len() % KINDS.len()];
                    members.push(format!("\"uuid\":\"{uuid}\",\"message_type\":\"{kind}\""));
                }
                members.extend(params.iter().map(|(name, value)| format!("\"{name}\":{value}")));
                if route.is_poll() {
                    let at_once = AT_ONCE[params.len() % AT_ONCE.len()];
                    members.push(format!("\"timeout\":{at_once}"));
                }
                if route.path == "/file-new/get-upload-url" {
                    // This route has no envelope. Its valid defaults come first: of duplicate keys the last one counts.
                    members.insert(0, "\"filename\":\"a.png\",\"mimeType\":\"image/png\",\"type\":\"chat-images\"".into());
                    return format!("{{{}}}", members.join(",")).into_bytes();
                }
                format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"params\":{{{}}}}}", members.join(",")).into_bytes()
            }
            Body::Form(lines) => lines.join("\r\n").into_bytes(),
        }
    }
}

/// Any value in JSON, or nearly so.
pub fn value() -> impl Strategy<Value = String> {
    let plain = prop_oneof![
        8 => select(VALUES).prop_map(str::to_owned),
        1 => proptest::arbitrary::any::<i64>().prop_map(|number| number.to_string()),
        1 => proptest::arbitrary::any::<f64>().prop_map(|number| serde_json::json!(number).to_string()),
        2 => proptest::arbitrary::any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
        1 => (1_usize..20_000).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        1 => (1_usize..20_000).prop_map(|depth| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth)),
        1 => (1_usize..5).prop_map(|size| format!("\"{}\"", "x".repeat(size * 50_000))),
    ];
    plain.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            vec((select(NAMES), inner), 0..4).prop_map(|all| {
                let members: Vec<_> = all.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn body() -> impl Strategy<Value = Body> {
    const LINES: &[&str] = &[
        "--x",
        "--x--",
        "--y",
        "",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"",
        "Content-Disposition: form-data; name=\"thread_id\"",
        "Content-Disposition: form-data; name=\"name\"",
        "Content-Disposition: form-data; name=\"attached_file\"; filename=\"a.txt\"",
        "Content-Disposition: form-data; name=\"receiver\"",
        "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "Content-Disposition: form-data; name=\"file\"; filename=\"../../a\\u0000\"",
        "Content-Disposition: \u{1}",
        "Content-Type: text/html",
        "1",
        "99999999999999999999",
        "\0",
        "<script>",
    ];
    let member = (select(NAMES), value()).prop_map(|(name, value)| (name.to_owned(), value));
    prop_oneof![
        6 => vec(member, 0..6).prop_map(Body::Params),
        2 => value().prop_map(Body::Json),
        1 => (value(), value(), value()).prop_map(|(id, params, again)| {
            Body::Json(format!("{{\"id\":{id},\"params\":{params},\"params\":{again},\"method\":{id}}}"))
        }),
        1 => (value(), proptest::arbitrary::any::<prop::sample::Index>()).prop_map(|(value, end)| {
            let whole = format!("{{\"params\":{value}}}");
            Body::Bytes(whole.as_bytes()[..end.index(whole.len())].to_vec())
        }),
        1 => vec(proptest::arbitrary::any::<u8>(), 0..300).prop_map(Body::Bytes),
        2 => vec(select(LINES).prop_map(str::to_owned), 0..12).prop_map(Body::Form),
    ]
}

/// Any request.
pub fn any() -> impl Strategy<Value = Given> {
    let content_type = prop_oneof![4 => Just(None), 1 => select(CONTENT_TYPES).prop_map(Some)];
    (select(IN_PATHS), content_type, body()).prop_map(|(in_path, content_type, body)| Given { in_path, content_type, body })
}
