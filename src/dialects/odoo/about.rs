//! What the server says of itself to anybody.

use poem_openapi::{OpenApi, payload::Json};

use super::{
    Tag,
    wire::{VersionInfo, WebHealth, WebVersion},
};
use crate::dialects::{
    House,
    jsonrpc::{Call, Fault, Nothing, Reply},
};

pub(super) struct AboutApi(pub(super) House);

/// The names that clients may log in to; whether they are told is a setting.
pub(super) fn databases(house: &House) -> Result<Vec<String>, Fault> {
    if !house.config.odoo.list_databases {
        return Err(Fault::access_denied());
    }
    Ok(vec![house.config.database.clone()])
}

/// Which Odoo this server is to be taken for.
pub(super) fn version(house: &House) -> VersionInfo {
    VersionInfo::of(&house.config.odoo.server_version)
}

/// The server: its version and its health.
#[OpenApi(tag = "Tag::Odoo")]
impl AboutApi {
    /// The databases to log in to
    ///
    /// There is one, the workspace. A setting may refuse to tell it.
    #[oai(path = "/web/database/list", method = "post", operation_id = "database_list")]
    async fn database_list(&self, call: Call<Nothing>) -> Reply<Vec<String>> {
        call.anybody(async |_| Ok(databases(&self.0)?)).await
    }

    /// The version
    #[oai(path = "/web/webclient/version_info", method = "post", operation_id = "webclient_version_info")]
    async fn version_info(&self, call: Call<Nothing>) -> Reply<VersionInfo> {
        call.anybody(async |_| Ok(version(&self.0))).await
    }

    /// The version, without an envelope
    #[oai(path = "/web/version", method = "get", operation_id = "web_version")]
    async fn version(&self) -> Json<WebVersion> {
        Json(version(&self.0).into())
    }

    /// The health of the web server
    #[oai(path = "/web/health", method = "get", operation_id = "web_health")]
    async fn web_health(&self) -> Json<WebHealth> {
        Json(WebHealth::pass())
    }

    /// The health of the web socket server
    #[oai(path = "/websocket/health", method = "get", operation_id = "websocket_health")]
    async fn websocket_health(&self) -> Json<WebHealth> {
        Json(WebHealth::pass())
    }

    /// The health of the long polling server
    #[oai(path = "/longpolling/health", method = "get", operation_id = "longpolling_health")]
    async fn longpolling_health(&self) -> Json<WebHealth> {
        Json(WebHealth::pass())
    }
}
