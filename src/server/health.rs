//! Routes for operators: health, readiness and metrics.

use std::{sync::Arc, time::Duration};

use poem_openapi::{
    ApiResponse, Object, OpenApi, Tags,
    payload::{Json, PlainText},
};
use storage::{Storage, Writability};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    error::chain,
    lifecycle::Lifecycle,
    metrics::{Metrics, ScrapedGauges},
    web::AppContext,
};

/// Time-out of the readiness check for the store.
const PATIENCE: Duration = Duration::from_secs(3);
/// Age up to which the result of that check is used again, and least time between two texts of the metrics.
const FRESH: Duration = Duration::from_millis(250);
/// Time limit of the query for running backups, which a scrape makes.
const BACKUPS: Duration = Duration::from_secs(1);
/// Time without a successful read of the event log after which the node is not ready.
const UNREAD: Duration = Duration::from_secs(5);

#[derive(Tags)]
enum Tag {
    /// For operators of the server.
    Operation,
}

pub(super) struct Operation {
    app: AppContext,
    storage: Arc<dyn Storage>,
    metrics: Metrics,
    requests: Lifecycle,
    /// Fault of the store.
    store_check: SharedCheck<Option<&'static str>>,
    /// Text of the metrics.
    text: SharedCheck<String>,
}

/// Last result of a check, which concurrent callers share, and its time.
struct SharedCheck<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for SharedCheck<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> SharedCheck<T> {
    /// The last result, if it is fresh; else that of `check`, for which later callers wait.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the former result. The next caller in the queue checks.
    async fn result(&self, check: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        if let Some((ended, result)) = &*last
            && ended.elapsed() <= FRESH
        {
            return result.clone();
        }
        let result = check.await;
        *last = Some((Instant::now(), result.clone()));
        result
    }

    /// The result of a check that begins after the call, and so sees all that the caller has seen. Checks begin [`FRESH`] apart;
    /// all callers that wait meanwhile share the next.
    ///
    /// # Cancel safety
    /// As [`Self::result`].
    async fn next_result(&self, check: impl Future<Output = T>) -> T {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((begun, result)) = &*last {
            if *begun >= asked {
                return result.clone();
            }
            sleep_until(*begun + FRESH).await;
        }
        let begun = Instant::now();
        let result = check.await;
        *last = Some((begun, result.clone()));
        result
    }
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
    /// Kind of store: `sqlite`, `postgres`, or `memory`, which loses everything at the end of the program.
    #[oai(skip_serializing_if_is_none)]
    storage: Option<String>,
}

impl Health {
    fn new(reason: Option<&str>, epoch: Option<i64>, storage: Option<&str>) -> Json<Self> {
        let status = if reason.is_none() { "pass" } else { "fail" };
        Json(Self { status: status.into(), reason: reason.map(str::to_owned), epoch, storage: storage.map(str::to_owned) })
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
        Health::new(None, None, None)
    }

    /// Readiness: the store is reachable and writable, the event log is readable, and the bus is reachable
    #[oai(path = "/readyz", method = "get", operation_id = "readyz")]
    async fn readyz(&self) -> Readiness {
        let reason = if self.requests.is_stopping() {
            Some("stopping")
        } else if self.app.chat.is_log_restarting() {
            Some("the event log is being restarted")
        } else {
            self.store_check.result(self.store_fault()).await.or_else(|| self.delivery_fault())
        };
        let health = Health::new(reason, Some(self.app.chat.log_epoch()), Some(self.app.config.store().kind()));
        if reason.is_none() { Readiness::Ready(health) } else { Readiness::NotReady(health) }
    }

    /// Metrics in Prometheus's text format
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(&self) -> PlainText<String> {
        PlainText(self.text.next_result(self.metrics_text()).await)
    }
}

impl Operation {
    pub(super) fn new(app: &AppContext, storage: Arc<dyn Storage>, metrics: &Metrics, requests: &Lifecycle) -> Self {
        let (app, metrics, requests) = (app.clone(), metrics.clone(), requests.clone());
        Self { app, storage, metrics, requests, store_check: SharedCheck::default(), text: SharedCheck::default() }
    }

    async fn metrics_text(&self) -> String {
        // First, since it waits: the others are as of the end.
        let backups_running = self.running_backups().await;
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
            backups_running,
        };
        String::from_utf8(self.metrics.text(&depths)).expect("the Prometheus text format is UTF-8")
    }

    async fn running_backups(&self) -> Option<usize> {
        timeout(BACKUPS, self.app.chat.running_backups()).await.ok()?.ok()
    }

    async fn store_fault(&self) -> Option<&'static str> {
        match timeout(PATIENCE, self.storage.writability()).await {
            Ok(Ok(Writability::Writable)) => None,
            Ok(Ok(Writability::Refused)) => Some("the store takes no writes"),
            Ok(Ok(Writability::Unconfirmed)) => Some("commits are not confirmed"),
            Ok(Err(error)) => {
                tracing::debug!(error = %chain(&error), "not ready");
                Some("the store cannot be reached")
            }
            Err(_) => Some("the store does not answer"),
        }
    }

    /// Fault of the delivery of events.
    fn delivery_fault(&self) -> Option<&'static str> {
        if self.log_unread_for() > UNREAD {
            Some("the log cannot be read")
        } else if !self.app.chat.is_bus_connected() {
            Some("the bus cannot be reached")
        } else {
            None
        }
    }

    fn log_unread_for(&self) -> Duration {
        self.app.chat.event_log_unreadable_for().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::{FutureExt, future::join_all};
    use tokio::{sync::Semaphore, time::advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_check_serves_all_who_wait_for_it_and_those_who_come_soon() {
        let (shared, checks, answered) = (SharedCheck::default(), AtomicUsize::new(0), Semaphore::new(0));
        let ask = || {
            shared.result(async {
                let number = checks.fetch_add(1, Ordering::Relaxed);
                let _permit = answered.acquire().await;
                number
            })
        };
        let mut waiting = Box::pin(join_all((0..100).map(|_| ask())));
        assert!(waiting.as_mut().now_or_never().is_none());
        advance(PATIENCE).await;
        answered.add_permits(1);
        assert_eq!(waiting.await, [0; 100], "however long the check takes");
        advance(FRESH).await;
        assert_eq!(ask().await, 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(ask().await, 1, "that one was too old");
    }

    #[tokio::test(start_paused = true)]
    async fn who_must_see_what_was_before_shares_the_next_check() {
        let (shared, seen, checks) = (SharedCheck::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = || {
            shared.next_result(async {
                checks.fetch_add(1, Ordering::Relaxed);
                let seen = seen.load(Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                seen
            })
        };
        let begun = Instant::now();
        assert_eq!(ask().await, 0);
        let mut waiting = Box::pin(join_all((0..100).map(|_| ask())));
        assert!(waiting.as_mut().now_or_never().is_none());
        seen.store(1, Ordering::Relaxed);
        assert_eq!(waiting.await, [1; 100]);
        assert_eq!((checks.load(Ordering::Relaxed), begun.elapsed()), (2, FRESH + Duration::from_millis(1)));
        seen.store(2, Ordering::Relaxed);
        assert_eq!(ask().await, 2, "not what was before the question");
    }

    #[tokio::test]
    async fn a_check_that_its_caller_gives_up_is_made_by_the_next() {
        let shared = SharedCheck::default();
        let mut first = Box::pin(shared.result(std::future::pending()));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(shared.result(ready(2)));
        assert!(second.as_mut().now_or_never().is_none(), "the first checks");
        drop(first);
        assert_eq!(second.await, 2);
    }
}
