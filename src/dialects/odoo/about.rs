//! Public information about the server: databases, version and health.

use poem_openapi::{OpenApi, payload::Json};

use super::{
    Tag,
    wire::{VersionInfo, WebHealth, WebVersion},
};
use crate::web::{
    AppContext,
    jsonrpc::{Call, Fault, NoJsonRpcParams, Reply},
};

pub(super) struct AboutApi(pub(super) AppContext);

/// Database names to log in to; access is denied unless a setting allows to list them.
pub(super) fn databases(app: &AppContext) -> Result<Vec<String>, Fault> {
    if !app.config.odoo.list_databases {
        return Err(Fault::access_denied());
    }
    Ok(vec![app.config.database.clone()])
}

/// The Odoo version that this server reports.
pub(super) fn version(app: &AppContext) -> VersionInfo {
    VersionInfo::of(&app.config.odoo.server_version)
}

/// Version and health of the server.
#[OpenApi(tag = "Tag::Odoo")]
impl AboutApi {
    /// List the databases to log in to
    ///
    /// There is exactly one, the workspace. A setting may forbid to list it.
    #[oai(path = "/web/database/list", method = "post", operation_id = "database_list")]
    async fn database_list(&self, call: Call<NoJsonRpcParams>) -> Reply<Vec<String>> {
        call.unauthenticated(async |_| Ok(databases(&self.0)?)).await
    }

    /// Get the version
    #[oai(path = "/web/webclient/version_info", method = "post", operation_id = "webclient_version_info")]
    async fn version_info(&self, call: Call<NoJsonRpcParams>) -> Reply<VersionInfo> {
        call.unauthenticated(async |_| Ok(version(&self.0))).await
    }

    /// Get the version, without an envelope
    #[oai(path = "/web/version", method = "get", operation_id = "web_version")]
    async fn version(&self) -> Json<WebVersion> {
        Json(version(&self.0).into())
    }

    /// Get the health of the web server
    #[oai(path = "/web/health", method = "get", operation_id = "web_health")]
    async fn web_health(&self) -> Json<WebHealth> {
        Json(WebHealth::pass())
    }

    /// Get the health of the WebSocket server
    #[oai(path = "/websocket/health", method = "get", operation_id = "websocket_health")]
    async fn websocket_health(&self) -> Json<WebHealth> {
        Json(WebHealth::pass())
    }

    /// Get the health of the long polling server
    #[oai(path = "/longpolling/health", method = "get", operation_id = "longpolling_health")]
    async fn longpolling_health(&self) -> Json<WebHealth> {
        Json(WebHealth::pass())
    }
}
