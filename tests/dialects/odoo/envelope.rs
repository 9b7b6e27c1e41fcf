//! Tests of the JSON-RPC envelope.

use reqwest::{
    Method,
    header::{ALLOW, CONTENT_TYPE},
};
use serde_json::json;

use super::{AUTHENTICATE, CHECK, VERSION, fault, raw};
use crate::{
    on_every_backend,
    support::{ADMIN, Answer},
};

const THREADS: &str = "/api/messaging/threads";

on_every_backend! {
    /// Request id returned byte for byte: a parser would round large numbers.
    async fn the_id_comes_back_byte_for_byte(server) {
        let client = server.client();
        let thirty_digits = "123456789012345678901234567890";
        for id in ["7", "4.50", "1e3", "-0", thirty_digits, r#""r42-é""#, r#""\u00e9""#, r#"{"a": [1]}"#, "[ ]", "true", "null"] {
            for path in [VERSION, AUTHENTICATE, CHECK] {
                let answer = raw(&client, path, &format!(r#"{{"jsonrpc":"2.0","id":{id},"params":{{}}}}"#)).await;
                assert!(answer.body.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"#)), "{path}: {id} in {}", answer.body);
            }
        }
    }

    /// Missing id: null in the answer, as in Odoo.
    async fn a_missing_id_comes_back_as_null(server) {
        let answer = raw(&server.client(), VERSION, r#"{"params":{}}"#).await;
        assert_eq!(answer.json()["id"], json!(null));
        assert!(answer.json()["result"].is_object());
    }

    /// Duplicate keys: the last wins, at every level.
    async fn of_duplicate_keys_the_last_wins(server) {
        let client = server.log_in(ADMIN).await;
        let body = r#"{"id":1,"id":2,"params":{"thread_id":999999},"params":{"thread_id":999999,"thread_id":1}}"#;
        let answer = raw(&client, "/api/messaging/messages", body).await.json();
        assert_eq!((&answer["id"], &answer["result"]["thread_id"]), (&json!(2), &json!(1)), "{answer}");
    }

    /// Values of `jsonrpc` and `method`: ignored.
    async fn jsonrpc_and_method_may_be_anything(server) {
        let client = server.client();
        for body in [
            r#"{"jsonrpc":"1.0","method":"nonsense","params":{},"id":1}"#,
            r#"{"jsonrpc":null,"method":{"a":1},"params":{},"id":1}"#,
            r#"{"id":1}"#,
            r#"{"id":1,"params":[]}"#,
            r#"{"id":1,"zzz":1,"params":{"zzz":1,"context":{"lang":"de_DE"}}}"#,
        ] {
            let answer = raw(&client, VERSION, body).await.json();
            assert_eq!(answer["result"]["server_version"], "17.0", "{body}: {answer}");
        }
    }

    /// `params` that is no object: Python's error text, as recorded.
    async fn params_that_are_no_object_are_a_type_error(server) {
        let client = server.client();
        let cases = [
            ("null", "'NoneType' object is not iterable"),
            ("[1, 2]", "cannot convert dictionary update sequence element #0 to a sequence"),
            ("3", "'int' object is not iterable"),
            ("4.5", "'float' object is not iterable"),
            ("true", "'bool' object is not iterable"),
        ];
        for (params, message) in cases {
            let answer = raw(&client, VERSION, &format!(r#"{{"id":1,"params":{params}}}"#)).await;
            assert_eq!(answer.status, 200, "{params}");
            let error = &answer.json()["error"];
            assert_eq!((&error["code"], &error["data"]["name"]), (&json!(200), &json!("builtins.TypeError")), "{params}");
            assert_eq!(error["data"]["message"], message, "{params}");
        }
        let error = &raw(&client, VERSION, r#"{"id":1,"params":"x"}"#).await.json()["error"];
        assert_eq!(error["data"]["name"], "builtins.TypeError", "{error}");
    }

    /// Error members: always all, since clients read them without a check.
    async fn an_error_has_all_its_members(server) {
        let client = server.log_in(ADMIN).await;
        let unknown = json!({"model": "res.users", "method": "nosuch", "args": [], "kwargs": {}});
        let errors = [
            fault(&server.client(), CHECK, json!({})).await,
            fault(&client, AUTHENTICATE, json!({})).await,
            fault(&client, "/web/dataset/call_kw", unknown).await,
            fault(&client, "/no/such/route", json!({})).await,
        ];
        for error in errors {
            let data = &error["data"];
            assert!(error["code"].is_u64() && error["message"].is_string(), "{error}");
            assert!(data["name"].is_string() && data["message"].is_string(), "{error}");
            assert!(data["arguments"].is_array() && data["context"].is_object(), "{error}");
        }
    }

    /// `debug`: only a correlation id, which the log has with the cause.
    async fn debug_is_a_correlation_id_and_nothing_else(server) {
        let error = fault(&server.client(), CHECK, json!({})).await;
        let debug = error["data"]["debug"].as_str().unwrap();
        let id = debug.strip_prefix("correlation id ").unwrap();
        assert!(id.len() >= 8 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{debug}");
        let again = fault(&server.client(), CHECK, json!({})).await;
        assert_ne!(again["data"]["debug"], debug);
    }

    /// Malformed call: Odoo's texts, as recorded.
    async fn what_is_no_call_is_a_bad_request(server) {
        let client = server.log_in(ADMIN).await;
        let cases = [
            ("{not json", "Invalid JSON data"),
            ("", "Invalid JSON data"),
            ("{\"params\":{}} x", "Invalid JSON data"),
            ("\u{feff}{\"params\":{}}", "Invalid JSON data"),
            ("null", "Invalid JSON-RPC data"),
            ("\"x\"", "Invalid JSON-RPC data"),
            ("17", "Invalid JSON-RPC data"),
            (r#"[{"id":1,"params":{}},{"id":2,"params":{}}]"#, "Invalid JSON-RPC data"),
        ];
        for (body, text) in cases {
            let answer = raw(&client, THREADS, body).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (400, text), "{body}");
        }
    }

    /// Invalid UTF-8: replaced, as Odoo does.
    async fn bytes_that_are_no_text_are_replaced(server) {
        let client = server.log_in(ADMIN).await;
        let body = b"{\"params\":{\"thread_type\":\"\xff\"}}".to_vec();
        let answer =
            Answer::of(client.request(Method::POST, THREADS).header(CONTENT_TYPE, "application/json").body(body)).await;
        assert_eq!(answer.json()["result"], json!({"threads": []}));
    }

    /// Method not allowed: the answer lists the allowed ones.
    async fn another_method_is_not_allowed(server) {
        let client = server.log_in(ADMIN).await;
        for path in [THREADS, AUTHENTICATE, CHECK, VERSION, "/jsonrpc"] {
            for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
                let answer = Answer::of(client.request(method.clone(), path)).await;
                assert_eq!(answer.status, 405, "{method} {path}");
                assert_eq!(answer.headers[ALLOW], "OPTIONS, POST", "{method} {path}");
            }
        }
    }

    /// Repeated slashes: ignored, since clients join paths carelessly.
    async fn slashes_too_many_make_no_difference(server) {
        let client = server.log_in(ADMIN).await;
        for path in ["/web/session/check/", "//web/session/check", "/web//session///check//"] {
            assert_eq!(client.call(path, json!({})).await, json!({"jsonrpc": "2.0", "id": 1}), "{path}");
        }
    }

    /// Unknown route: a JSON error for JSON requests.
    async fn an_unknown_route_is_a_json_error_for_json(server) {
        let client = server.log_in(ADMIN).await;
        for path in ["/api/messaging/nope", "/nope", "/api/messaging/thread/participants/abc"] {
            let answer = raw(&client, path, r#"{"id":"n1","params":{}}"#).await;
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(answer.headers[CONTENT_TYPE], "application/json; charset=utf-8", "{path}");
            let answer = answer.json();
            assert_eq!(answer["error"]["code"], 404, "{path}");
            assert_eq!(answer["error"]["message"], "404: Not Found", "{path}");
            assert_eq!(answer["error"]["data"]["name"], "werkzeug.exceptions.NotFound", "{path}");
            assert_eq!(answer["id"], "n1", "{path}");
        }
    }

    /// Unknown route with a content type in any case.
    async fn an_unknown_route_knows_json_in_any_case(server) {
        let request = server.client().request(Method::POST, "/nope").header(CONTENT_TYPE, "APPLICATION/JSON; charset=utf-8");
        let answer = Answer::of(request.body(r#"{"id":[1],"params":{}}"#)).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["id"], serde_json::json!([1]));
    }

    /// Unknown route: an HTML page for browsers.
    async fn an_unknown_route_is_a_page_otherwise(server) {
        for request in [server.client().request(Method::GET, "/nope"), server.client().request(Method::POST, "/nope").body("x")] {
            let answer = Answer::of(request).await;
            assert_eq!(answer.status, 404);
            assert_eq!(answer.headers[CONTENT_TYPE], "text/html; charset=utf-8");
            assert!(answer.body.contains("<title>404 Not Found</title>"), "{}", answer.body);
        }
    }
}
