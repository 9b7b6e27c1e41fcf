//! Server assembly: opens the parts, and runs them on a listener until a stop. Only this module names concrete backends.

mod admission;
mod asyncapi;
mod cors;
mod docs;
mod health;
mod malformed;
mod middleware;
mod recovery;
mod security;
mod stores;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use chrono::TimeDelta;
use poem::{Endpoint, EndpointExt, Route};
use poem_openapi::{OpenApi, OpenApiService};
use storage::{Lane, Storage, memory::Memory};
use tokio::net::TcpListener;

use crate::{
    auth::{self, Auth, LoginLimits, Tokens},
    blobs::{Blobs, MARKER},
    bus::{self, Bus},
    chat::{self, Chat, Dependencies},
    clock,
    config::{self, Config, Store},
    demo,
    dialects::{concierge, conversations, im_chat, messaging, odoo, room, tokens, uploads},
    error::chain,
    events,
    lifecycle::Lifecycle,
    metrics::Metrics,
    shares::Shares,
    telemetry,
    web::{AppContext, files, websocket::SocketServer},
};
use health::Operation;
pub use recovery::{open_files, require_files};
pub use stores::{Purpose, begin_restoration, open_copyable, open_for_backup, open_storage};

/// Error that prevents the start.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Deadline of the services at the stop, once all requests have ended.
const SERVICES_LIMIT: Duration = Duration::from_secs(10);

/// Time-out of the object store at the start.
const MARKER_LIMIT: Duration = Duration::from_secs(3);

/// Clock skew from which a warning is logged.
const SKEW: TimeDelta = TimeDelta::seconds(2);

/// Serves on `listener` until `stop` resolves, then lets requests in flight finish. Closes `storage` at the end; `metrics` counts
/// its statements.
pub async fn run(
    config: Config,
    storage: Arc<dyn Storage>,
    metrics: Metrics,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let address = listener.local_addr()?;
    let config = Arc::new(config);
    compare_clocks(storage.as_ref()).await?;
    let (services, requests) = (Lifecycle::default(), Lifecycle::default());
    let files = FileStore::of(&config);
    let blobs = Blobs::open(&files.address, &services).map_err(|error| format!("files: {}", chain(error.as_ref())))?;
    if config.is_persistent() {
        claim_files(&files, &blobs, storage.as_ref()).await?;
    }
    let limits = LoginLimits {
        per_login: config.limits.failed_logins_per_login,
        per_address: config.limits.failed_logins_per_address,
        waiting: config.limits.password_checks_waiting,
    };
    let tokens = open_tokens(&config, &services)?;
    let takes_tokens = tokens.is_configured();
    let alone = matches!(config.bus, config::BusSettings::Local);
    let (publisher, announced) = events::publisher();
    let sessions = config.session.rules(config.limits.user.sessions);
    let (auth, observer) = Auth::start(Arc::clone(&storage), publisher, alone, sessions, tokens, limits, &services);
    let ground = Dependencies {
        storage: Arc::clone(&storage),
        blobs,
        bus: open_bus(&config, &metrics).await?,
        observers: vec![observer],
        commits: announced,
        metrics: metrics.clone(),
        services: services.clone(),
        requests: requests.clone(),
    };
    let chat = Chat::start(ground, config.rules()).await?;
    let base_url = match config.base_url.trim_end_matches('/') {
        "" => {
            if address.ip().is_unspecified() {
                tracing::warn!(
                    "base_url is not set: URLs given to clients begin with http://{address}, which no client can reach"
                );
            }
            format!("http://{address}")
        }
        given => given.to_owned(),
    };
    warn_of_other_sites(&config, &base_url);
    if takes_tokens {
        warn_of_missing_external_ids(&config, storage.as_ref()).await?;
    }
    let shares = Shares::new(config.limits.shares(), &metrics);
    let sockets = SocketServer::new(&chat, &config.sockets, &shares, &metrics, &requests);
    let app = AppContext { auth, chat, config: Arc::clone(&config), sockets, shares, base_url: base_url.into() };
    let endpoint = endpoint(&app, Arc::clone(&storage), &metrics, &requests);

    metrics.store(config.store().kind());
    tracing::info!(%address, database = config.database, storage = config.store().to_string(), "listening");
    let accepting = crate::web::accept::AcceptLoop {
        listener,
        connections: config.limits.connections,
        connections_per_address: config.limits.of_one_address(),
        header_timeout: Duration::from_secs(config.limits.header_seconds),
        body_timeout: Duration::from_secs(config.limits.body_seconds),
        write_timeout: Duration::from_secs(config.limits.write_seconds),
        proxies: config.proxies.clone(),
        metrics,
    };
    accepting.run(endpoint, &requests, stop).await;

    tracing::info!("stopping");
    requests.stop();
    let dropped = requests.finished(Duration::from_secs(config.limits.stop_seconds)).await;
    if dropped > 0 {
        tracing::warn!(dropped, "requests dropped at the shutdown deadline");
    }
    services.stop();
    services.finished(SERVICES_LIMIT).await;
    storage.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Opens the bus between nodes; `None` for a single node.
async fn open_bus(config: &Config, metrics: &Metrics) -> Result<Option<Arc<dyn Bus>>, StartError> {
    Ok(match &config.bus {
        config::BusSettings::Local => None,
        config::BusSettings::Postgres => Some(Arc::new(bus::PostgresBus::new(config.storage.0.clone(), metrics.clone()))),
        config::BusSettings::Nats(address) => {
            let options = bus::NatsOptions {
                url: address.0.clone(),
                subject: config.nats.subject.clone(),
                credentials: config.nats.credentials.clone(),
                authorities: config.nats.authorities.clone(),
            };
            let nats = bus::NatsBus::open(&options).await.map_err(|error| format!("bus: {}", chain(error.as_ref())))?;
            Some(Arc::new(nats))
        }
    })
}

/// OpenAPI service of all HTTP routes. It needs `app` for its types only.
fn api(app: &AppContext, operation: Operation) -> OpenApiService<impl OpenApi, ()> {
    let apis = (
        odoo::api(app, im_chat::MODELS),
        messaging::api(app),
        im_chat::api(app),
        room::api(app),
        tokens::api(app),
        uploads::api(app),
        operation,
    );
    OpenApiService::new(apis, "Dragoman", env!("CARGO_PKG_VERSION"))
        .description(
            "A chat server that speaks the dialects which chat clients already speak. Log in with \
             `/web/session/authenticate` first: its cookie opens every route here but `/auth/session`, which takes a token. The \
             sockets have [a page of their own](/asyncapi).",
        )
        .license(poem_openapi::LicenseObject::new("MIT OR Apache-2.0"))
        .server("/")
}

fn endpoint(
    app: &AppContext,
    storage: Arc<dyn Storage>,
    metrics: &Metrics,
    requests: &Lifecycle,
) -> impl Endpoint<Output = poem::Response> + use<> {
    // A lane of its own, so that `/readyz` does not queue behind requests.
    let storage = storage.lane(Lane::Sessions);
    let operation = Operation::new(app, storage, metrics, requests);
    let api = api(app, operation);
    let document = docs::document(&api.spec());
    let page = docs::page(&api.swagger_ui_html().replacen(&api.spec(), &document, 1));
    let middleware = middleware::Middleware::new(app, metrics, &document);
    let route = Route::new()
        .at("/openapi.json", docs::shared("application/json", document))
        .at("/ws/chat/room", room::sockets(app))
        .at("/docs", page)
        .nest("/", api);
    let route = conversations::sockets(app, asyncapi::at(route));
    let config = Arc::clone(&app.config);
    concierge::sockets(app, route)
        .around(move |endpoint, mut request| {
            conversations::redirect(&config.conversations.paths, &config.concierge.paths, &mut request);
            files::strip_invalid_name(&mut request);
            let middleware = middleware.clone();
            telemetry::with_correlation(async move { Ok::<_, poem::Error>(middleware.call(endpoint, request).await) })
        })
        .map_to_response()
}

/// The OpenAPI document, without a server: for `dragoman openapi`.
pub async fn openapi() -> Result<String, StartError> {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let config = Arc::new(Config::load_defaults()?);
    let idle = Lifecycle::default();
    let limits = LoginLimits { per_login: 1, per_address: 1, waiting: 1 };
    let tokens = Tokens::open(config.tokens.rules(config.limits.user.token_families), &idle)?;
    let (publisher, announced) = events::publisher();
    let sessions = config.session.rules(0);
    let (auth, _) = Auth::start(Arc::clone(&storage), publisher, true, sessions, tokens, limits, &idle);
    let blobs = Blobs::open("memory:", &idle)?;
    let metrics = Metrics::default();
    let ground = Dependencies {
        storage: Arc::clone(&storage),
        blobs,
        bus: None,
        observers: Vec::new(),
        commits: announced,
        metrics: metrics.clone(),
        services: idle.clone(),
        requests: idle.clone(),
    };
    let chat = Chat::start(ground, config.rules()).await?;
    let shares = Shares::new(config.limits.shares(), &metrics);
    let sockets = SocketServer::new(&chat, &config.sockets, &shares, &metrics, &idle);
    let app = AppContext { auth, chat, config, sockets, shares, base_url: "".into() };
    let operation = Operation::new(&app, storage, &metrics, &idle);
    Ok(docs::document(&api(&app, operation).spec()))
}

/// The AsyncAPI document of a dialect's sockets, or those of all dialects by name: for `dragoman asyncapi`.
pub fn asyncapi(dialect: Option<&str>) -> Result<String, StartError> {
    let documents = asyncapi::documents();
    let Some(dialect) = dialect else {
        let all: serde_json::Map<_, _> = documents.into_iter().map(|(name, document)| (name.to_owned(), document)).collect();
        return Ok(serde_json::to_string_pretty(&all)?);
    };
    let known = documents.each_ref().map(|(name, _)| *name).join(", ");
    let found = documents.into_iter().find(|(name, _)| *name == dialect);
    let (_, document) = found.ok_or_else(|| format!("unknown dialect {dialect}: the dialects with sockets are {known}"))?;
    Ok(serde_json::to_string_pretty(&document)?)
}

/// Loads the demo data if the settings ask for it and the store is empty.
pub async fn prepare_demo(config: &Config, storage: &dyn Storage) -> Result<(), StartError> {
    if config.demo && !demo::load(storage).await? && !storage.is_demo().await? {
        tracing::warn!("demo data not loaded: the store holds data; nothing changed");
    }
    if storage.is_demo().await? {
        tracing::warn!("the store holds the demo data: its passwords are public");
    }
    Ok(())
}

/// Logs the command that adds the first user, if there is none yet.
pub async fn hint_first_user(config: &Config, storage: &dyn Storage) -> Result<(), StartError> {
    let option = match config.store() {
        Store::Sqlite(_) => format!(" --storage {}", config.store()),
        Store::Postgres(_) => String::new(),
        // No other process can add one.
        Store::Memory => return Ok(()),
    };
    if storage.users(None, 1).await?.is_empty() {
        tracing::warn!("no users: add the first with `dragoman user add LOGIN --name NAME --role admin{option}`");
    }
    Ok(())
}

/// Warns of clock skew between this node and the database. Timestamps and presence depend on the nodes' clocks.
async fn compare_clocks(storage: &dyn Storage) -> Result<(), StartError> {
    let before = clock::now();
    let there = storage.now(before).await?;
    let after = clock::now();
    let ahead = if there < before { before - there } else { (after - there).min(TimeDelta::zero()) };
    if ahead.abs() > SKEW {
        let milliseconds = ahead.num_milliseconds();
        tracing::warn!(milliseconds, "clock skew between this machine and the database: synchronize both by NTP");
    }
    Ok(())
}

/// Claims the object store for this database: the orphan sweep of another would delete its files. An object store that does not
/// answer does not prevent the start, but delays the first sweep.
async fn claim_files(files: &FileStore, blobs: &Blobs, storage: &dyn Storage) -> Result<(), StartError> {
    let workspace = chat::workspace_uuid(storage).await?;
    let failure = match tokio::time::timeout(MARKER_LIMIT, blobs.claim(workspace)).await {
        Ok(Ok(Some(owner))) if owner == workspace => return Ok(()),
        Ok(Ok(owner)) => {
            let owner = owner.map_or_else(|| "no workspace".to_owned(), |owner| format!("workspace {owner}"));
            let address = &files.address;
            return Err(format!(
                "files: {address} belongs to {owner} by its {MARKER}, but the database is workspace {workspace}: set files to \
                 a location of its own"
            )
            .into());
        }
        Ok(Err(error)) => chain(&error).to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(error = failure, "owner of the files unknown: no orphan sweep until it is known");
    Ok(())
}

/// Opens the verifier and issuer of tokens. The demo generates a secret, which lasts as long as the program.
fn open_tokens(config: &Config, lifecycle: &Lifecycle) -> Result<Tokens, StartError> {
    let mut rules = config.tokens.rules(config.limits.user.token_families);
    if config.demo && rules.secret.is_empty() {
        rules.secret = auth::secret();
    }
    let tokens = Tokens::open(rules, lifecycle)?;
    if !tokens.is_configured() {
        tracing::warn!("tokens.secret is not set, nor another key: dialects that take tokens are disabled");
    }
    Ok(tokens)
}

/// Warns if tokens of other services cannot match any user, as after an upgrade from the first release.
async fn warn_of_missing_external_ids(config: &Config, storage: &dyn Storage) -> Result<(), StartError> {
    if config.tokens.user_claim_names.is_none() && !storage.has_external_ids().await? {
        tracing::warn!(
            "tokens of other services match no user: no user has an external id; link users with `dragoman user edit \
             --external-id`, or set tokens.user_claim_names to the kind of id in the tokens"
        );
    }
    Ok(())
}

/// Warns of allowed origins of other sites, from which browsers send no cookie.
fn warn_of_other_sites(config: &Config, base_url: &str) {
    let is_lax = config.session.same_site == config::SameSite::Lax;
    for origin in config.cors.origins.iter().filter(|origin| is_lax && !config::is_same_site(origin, base_url)) {
        tracing::warn!(
            origin,
            base_url,
            "cors.origins names an origin of another site, from which browsers send no cookie: with https, set session.same_site to none"
        );
    }
}

/// Address of the object store, and a directory to delete at the end.
struct FileStore {
    address: String,
    temporary: Option<PathBuf>,
}

impl FileStore {
    fn of(config: &Config) -> Self {
        let address = if config.files.is_empty() { config.store().default_files() } else { Some(config.files.clone()) };
        if let Some(address) = address {
            return Self { address, temporary: None };
        }
        let directory = std::env::temp_dir().join(format!("dragoman-{}", uuid::Uuid::new_v4().simple()));
        Self { address: format!("file:{}", directory.display()), temporary: Some(directory) }
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        if let Some(directory) = &self.temporary
            && let Err(error) = std::fs::remove_dir_all(directory)
        {
            tracing::warn!(%error, directory = %directory.display(), "temporary files not removed");
        }
    }
}
