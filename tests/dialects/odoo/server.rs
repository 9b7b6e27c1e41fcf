//! Tests of public information about the server.

use serde_json::{Value, json};

use super::{VERSION, fault};
use crate::{
    on_every_backend,
    support::{ADMIN, Server},
    with_every_backend,
};

on_every_backend! {
    /// Version as recorded.
    async fn the_version_is_odoos(server) {
        let expected = json!({
            "server_version": "17.0", "server_version_info": [17, 0, 0, "final", 0, ""], "server_serie": "17.0",
            "protocol_version": 1,
        });
        assert_eq!(server.client().result(VERSION, json!({})).await, expected);
    }

    /// Version by `GET`, without an envelope, as in Odoo 18.
    async fn the_version_can_be_got(server) {
        let version: Value = server.get("/web/version").await.json().await.unwrap();
        assert_eq!(version, json!({"version": "17.0", "version_info": [17, 0, 0, "final", 0, ""]}));
    }

    /// Health check under all three paths.
    async fn health_passes(server) {
        for path in ["/web/health", "/websocket/health", "/longpolling/health"] {
            let answer = server.get(path).await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap(), json!({"status": "pass"}), "{path}");
        }
    }

    /// Database list: one.
    async fn the_databases_are_listed(server) {
        assert_eq!(server.client().result("/web/database/list", json!({})).await, json!(["odoo2"]));
    }

    /// Module names, for clients with a session.
    async fn modules_are_a_list_of_names(server) {
        let modules = server.log_in(ADMIN).await.result("/web/session/modules", json!({})).await;
        let modules = modules.as_array().unwrap();
        assert!(modules.contains(&json!("base")) && modules.iter().all(Value::is_string), "{modules:?}");
    }

    /// Languages: pairs of code and name, before the login as well.
    async fn languages_are_pairs(server) {
        let languages = server.client().result("/web/session/get_lang_list", json!({})).await;
        let languages = languages.as_array().unwrap();
        assert!(languages.iter().any(|pair| pair[0] == "en_US"), "{languages:?}");
        assert!(languages.iter().all(|pair| pair.as_array().is_some_and(|pair| pair.len() == 2)), "{languages:?}");
    }
}

with_every_backend! {
    /// Database list switched off, on both routes.
    async fn listing_databases_can_be_refused(backend) {
        let server = Server::builder(backend).set("ODOO__LIST_DATABASES", false).start().await;
        let call = json!({"service": "db", "method": "list", "args": []});
        for (path, params) in [("/web/database/list", json!({})), ("/jsonrpc", call)] {
            let error = fault(&server.client(), path, params).await;
            assert_eq!(error["data"]["name"], "odoo.exceptions.AccessDenied", "{path}");
        }
    }

    /// Version by setting: with an old one some clients log in through the session routes alone.
    async fn the_version_is_a_setting(backend) {
        let server = Server::builder(backend).set("ODOO__SERVER_VERSION", "9.0c").start().await;
        let version = server.client().result(VERSION, json!({})).await;
        assert_eq!(version["server_version"], "9.0c");
        assert_eq!(version["server_version_info"], json!([9, 0, 0, "final", 0, "c"]));
        assert_eq!(server.client().log_in(ADMIN, crate::support::PASSWORD).await["server_version"], "9.0c");
    }
}
