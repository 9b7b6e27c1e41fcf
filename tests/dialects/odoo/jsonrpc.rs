//! Tests of `/jsonrpc`, for clients that log in without a cookie.

use serde_json::{Value, json};

use super::fault as fault_of;
use crate::{
    on_every_backend,
    support::{ADMIN, JOHN, PASSWORD, Server},
};

fn params(service: &str, method: &str, args: Value) -> Value {
    json!({"service": service, "method": method, "args": args})
}

async fn result(server: &Server, service: &str, method: &str, args: Value) -> Value {
    server.client().result("/jsonrpc", params(service, method, args)).await
}

/// Returns the name and the message of an error.
async fn fault(server: &Server, service: &str, method: &str, args: Value) -> (String, String) {
    let error = fault_of(&server.client(), "/jsonrpc", params(service, method, args)).await;
    assert_eq!((&error["code"], &error["message"]), (&json!(200), &json!("Odoo Server Error")));
    let text = |key: &str| error["data"][key].as_str().unwrap().to_owned();
    (text("name"), text("message"))
}

/// Calls a method of a model as John.
async fn execute(server: &Server, model: &str, method: &str, args: Value, kwargs: Value) -> Value {
    result(server, "object", "execute_kw", json!(["odoo2", 4, PASSWORD, model, method, args, kwargs])).await
}

on_every_backend! {
    /// Answer as recorded.
    async fn common_version(server) {
        let version = result(server, "common", "version", json!([])).await;
        assert_eq!((&version["server_version"], &version["protocol_version"]), (&json!("17.0"), &json!(1)));
    }

    /// Login by either method name.
    async fn a_login_gives_the_uid(server) {
        assert_eq!(result(server, "common", "login", json!(["odoo2", JOHN, PASSWORD])).await, 4);
        assert_eq!(result(server, "common", "authenticate", json!(["odoo2", JOHN, PASSWORD, {}])).await, 4);
    }

    /// Refused login: `false`, as clients expect.
    async fn a_refused_login_gives_false(server) {
        assert_eq!(result(server, "common", "login", json!(["odoo2", JOHN, "wrong"])).await, false);
        assert_eq!(result(server, "common", "authenticate", json!(["odoo2", "nobody", PASSWORD, {}])).await, false);
    }

    /// Unknown database: the same error as at the session login.
    async fn another_database_does_not_exist(server) {
        let (name, message) = fault(server, "common", "authenticate", json!(["nosuchdb", JOHN, PASSWORD, {}])).await;
        assert_eq!(name, "psycopg2.OperationalError");
        assert!(message.contains("database \"nosuchdb\" does not exist"), "{message}");
    }

    /// Database list and version, before a login.
    async fn db_tells_list_and_version(server) {
        assert_eq!(result(server, "db", "list", json!([])).await, json!(["odoo2"]));
        assert_eq!(result(server, "db", "server_version", json!([])).await, "17.0");
    }

    /// Users, with their partner as an Odoo reference.
    async fn users_can_be_read(server) {
        let kwargs = json!({"fields": ["name", "login", "partner_id", "email"]});
        let users = execute(server, "res.users", "read", json!([[4]]), kwargs).await;
        let john = json!({"id": 4, "name": "John Doe", "login": JOHN, "partner_id": [5, "John Doe"], "email": JOHN});
        assert_eq!(users, json!([john]));
    }

    /// Positional arguments of the older `execute`.
    async fn execute_takes_arguments_by_position(server) {
        let args = json!(["odoo2", 4, PASSWORD, "res.users", "read", [4], ["login"]]);
        assert_eq!(result(server, "object", "execute", args).await, json!([{"id": 4, "login": JOHN}]));
    }

    /// Answer as recorded.
    async fn users_can_be_searched(server) {
        let kwargs = json!({"fields": ["login", "partner_id"], "limit": 3});
        let users = execute(server, "res.users", "search_read", json!([[["id", ">", 0]]]), kwargs).await;
        let users = users.as_array().unwrap();
        assert_eq!(users.len(), 3, "{users:?}");
        assert!(users.iter().all(|user| user.as_object().unwrap().len() == 3), "{users:?}");
    }

    /// Search by name, as an address book does.
    async fn partners_can_be_searched(server) {
        let kwargs = json!({"fields": ["name", "phone"]});
        let partners = execute(server, "res.partner", "search_read", json!([[["name", "ilike", "jane"]]]), kwargs).await;
        assert_eq!(partners, json!([{"id": 7, "name": "Jane Smith", "phone": false}]));
    }

    /// Presence of partners: online after a request.
    async fn partners_tell_their_presence(server) {
        server.log_in(JOHN).await.messaging("notifications/count", json!({})).await;
        let partners = execute(server, "res.partner", "read", json!([[5, 7]]), json!({"fields": ["im_status"]})).await;
        assert_eq!(partners, json!([{"id": 5, "im_status": "online"}, {"id": 7, "im_status": "offline"}]));
    }

    /// User context, which clients send back with every call.
    async fn the_context_is_the_users_own(server) {
        let context = execute(server, "res.users", "context_get", json!([]), json!({})).await;
        assert_eq!((&context["lang"], &context["tz"]), (&json!("en_US"), &json!("UTC")), "{context}");
    }

    /// Secret fields: not listed, not readable.
    async fn nothing_secret_can_be_read(server) {
        let fields = execute(server, "res.users", "fields_get", json!([]), json!({})).await;
        assert!(fields["login"].is_object(), "{fields}");
        for secret in ["password", "password_hash", "new_password", "session"] {
            assert!(fields.get(secret).is_none(), "{secret}");
        }
        let users = execute(server, "res.users", "read", json!([[2]]), json!({})).await;
        assert!(!users.to_string().contains("argon2"), "{users}");
        let call = params(
            "object",
            "execute_kw",
            json!(["odoo2", 4, PASSWORD, "res.users", "read", [[2]], {"fields": ["password", "password_hash"]}]),
        );
        let answer = server.client().call("/jsonrpc", call).await;
        assert!(!answer.to_string().contains("argon2"), "{answer}");
    }

    /// Wrong password: checked with every call.
    async fn a_wrong_password_is_denied(server) {
        for (uid, password) in [(json!(4), "wrong"), (json!(999_999), PASSWORD), (json!("x"), PASSWORD)] {
            let args = json!(["odoo2", uid, password, "res.users", "read", [[4]], {}]);
            let (name, message) = fault(server, "object", "execute_kw", args).await;
            assert_eq!((name.as_str(), message.as_str()), ("odoo.exceptions.AccessDenied", "Access Denied"), "{uid}");
        }
    }

    /// Unknown models and methods: Odoo's texts, as recorded.
    async fn what_is_not_there_is_named(server) {
        let call = |model: &str, method: &str| json!(["odoo2", 2, PASSWORD, model, method, [[2]]]);
        let cases = [
            ("object", "execute_kw", call("no.such.model", "read"), "odoo.exceptions.UserError", "Object no.such.model doesn't exist"),
            (
                "object",
                "execute_kw",
                call("res.users", "nosuch"),
                "builtins.AttributeError",
                "The method 'nosuch' does not exist on the model 'res.users'",
            ),
            (
                "object",
                "execute_kw",
                call("res.users", "_compute_x"),
                "odoo.exceptions.AccessError",
                "Private methods (such as _compute_x) cannot be called remotely.",
            ),
            ("nosuch", "version", json!([]), "builtins.KeyError", "nosuch"),
            ("common", "nosuch", json!([]), "builtins.Exception", "Method not found: nosuch"),
        ];
        for (service, method, args, name, message) in cases {
            assert_eq!(fault(server, service, method, args).await, (name.to_owned(), message.to_owned()));
        }
    }

    /// `call_kw` with a session: the same models.
    async fn call_kw_reads_with_a_session(server) {
        let client = server.log_in(ADMIN).await;
        let params = json!({"model": "res.partner", "method": "read", "args": [[7]], "kwargs": {"fields": ["name"]}});
        assert_eq!(client.result("/web/dataset/call_kw", params.clone()).await, json!([{"id": 7, "name": "Jane Smith"}]));
        let at = client.result("/web/dataset/call_kw/res.partner/read", params.clone()).await;
        assert_eq!(at, json!([{"id": 7, "name": "Jane Smith"}]));
        let error = fault_of(&server.client(), "/web/dataset/call_kw", params).await;
        assert_eq!(error["code"], 100);
    }
}
