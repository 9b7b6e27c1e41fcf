//! Routes for operators: health, readiness and metrics.

use std::{sync::Arc, time::Duration};

use poem::{Endpoint, Response, endpoint::make_sync, http::StatusCode};
use poem_openapi::{
    ApiResponse, Object, OpenApi, Tags,
    payload::{Json, PlainText},
};
use storage::{Storage, Writability};

use crate::{
    error::chain,
    lifecycle::Lifecycle,
    metrics::{Metrics, ScrapedGauges},
    web::AppContext,
};

/// Time-out of the readiness check for the store.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time without a successful read of the event log after which the node is not ready.
const UNREAD: Duration = Duration::from_secs(5);

#[derive(Tags)]
enum Tag {
    /// For operators of the server.
    Operation,
}

pub(super) struct Operation {
    pub(super) app: AppContext,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) metrics: Metrics,
    pub(super) requests: Lifecycle,
}

/// Health of the server.
#[derive(Object)]
struct Health {
    /// `pass`, or `fail` with a reason.
    status: String,
    /// Reason of the failure.
    #[oai(skip_serializing_if_is_none)]
    reason: Option<String>,
    /// Number of restarts of the event log, after the store had lost events.
    #[oai(skip_serializing_if_is_none)]
    epoch: Option<i64>,
}

impl Health {
    fn new(reason: Option<&str>, epoch: Option<i64>) -> Json<Self> {
        let status = if reason.is_none() { "pass" } else { "fail" };
        Json(Self { status: status.into(), reason: reason.map(str::to_owned), epoch })
    }
}

#[derive(ApiResponse)]
enum Readiness {
    /// The server can answer requests.
    #[oai(status = 200)]
    Ready(Json<Health>),
    /// The server lacks a service that requests need.
    #[oai(status = 503)]
    NotReady(Json<Health>),
}

#[derive(ApiResponse)]
enum RootRedirect {
    #[oai(status = 303)]
    SeeOther(#[oai(header = "Location")] String),
}

#[OpenApi(tag = "Tag::Operation")]
impl Operation {
    /// Redirects to the documentation
    #[oai(path = "/", method = "get", operation_id = "front_door", hidden = true)]
    async fn front_door(&self) -> RootRedirect {
        RootRedirect::SeeOther("/docs".into())
    }

    /// Liveness: the server accepts requests
    #[oai(path = "/healthz", method = "get", operation_id = "healthz")]
    async fn healthz(&self) -> Json<Health> {
        Health::new(None, None)
    }

    /// Readiness: the store is reachable and writable, the event log is readable, and the bus is reachable
    #[oai(path = "/readyz", method = "get", operation_id = "readyz")]
    async fn readyz(&self) -> Readiness {
        let reason = if self.requests.is_stopping() {
            Some("stopping")
        } else if self.app.chat.is_log_restarting() {
            Some("the event log is being restarted")
        } else {
            match tokio::time::timeout(PATIENCE, self.storage.writability()).await {
                Ok(Ok(Writability::Refused)) => Some("the store takes no writes"),
                Ok(Ok(Writability::Unconfirmed)) => Some("commits are not confirmed"),
                Ok(Ok(Writability::Writable)) if self.log_unread_for() > UNREAD => Some("the log cannot be read"),
                Ok(Ok(Writability::Writable)) if !self.app.chat.is_bus_connected() => Some("the bus cannot be reached"),
                Ok(Ok(Writability::Writable)) => None,
                Ok(Err(error)) => {
                    tracing::debug!(error = %chain(&error), "not ready");
                    Some("the store cannot be reached")
                }
                Err(_) => Some("the store does not answer"),
            }
        };
        let health = Health::new(reason, Some(self.app.chat.log_epoch()));
        if reason.is_none() { Readiness::Ready(health) } else { Readiness::NotReady(health) }
    }

    /// Metrics in Prometheus's text format
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(&self) -> PlainText<String> {
        let chat = &self.app.chat;
        let depths = ScrapedGauges {
            polls_waiting: chat.polls_waiting(),
            sends_waiting: chat.sends_waiting(),
            marks_waiting: chat.read_marks_waiting(),
            listening: chat.subscriptions(),
            ring_bytes: chat.ring_bytes(),
            log_position: chat.position().0,
            log_unread_for: self.log_unread_for(),
            log_epoch: chat.log_epoch(),
            bodies_bytes: self.app.shares.bodies.used(),
            answers_bytes: self.app.shares.answers.used(),
        };
        PlainText(String::from_utf8(self.metrics.text(&depths)).expect("the Prometheus text format is UTF-8"))
    }
}

impl Operation {
    fn log_unread_for(&self) -> Duration {
        self.app.chat.event_log_unreadable_for().unwrap_or_default()
    }
}

/// Serves the OpenAPI document.
pub(super) fn document(json: String) -> impl Endpoint {
    make_sync(move |_| Response::builder().status(StatusCode::OK).content_type("application/json").body(json.clone()))
}
