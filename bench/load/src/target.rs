//! The server as a remote endpoint: its URL, HTTP requests, and logging in.

use std::{borrow::Cow, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use reqwest::{
    RequestBuilder, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE},
};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::{Result, accounts::Account};

/// Idle time-out of pooled connections, below that of any server or proxy.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Failure of a request or a socket.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// Refused by the server, without any effect.
    Refused(String),
    /// Refused as unauthenticated.
    Unauthorized(String),
    /// Broken off: it is unknown if the request took effect.
    Broken(Cow<'static, str>),
}

impl RequestError {
    /// The error kind under which the report counts it.
    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::Refused(kind) | Self::Unauthorized(kind) => kind,
            Self::Broken(kind) => kind,
        }
    }

    /// A malformed answer.
    pub(crate) fn malformed() -> Self {
        Self::Broken("strange answer".into())
    }
}

impl From<reqwest::Error> for RequestError {
    fn from(error: reqwest::Error) -> Self {
        Self::Broken(match () {
            () if error.is_timeout() => "timed out".into(),
            () if error.is_connect() => "not connected".into(),
            () => "broken off".into(),
        })
    }
}

/// The server's address, TLS configuration and time-out.
pub(crate) struct Target {
    base: Url,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) is_https: bool,
    pub(crate) timeout: Duration,
    workspace: String,
}

impl Target {
    pub(crate) fn new(base: Url, database: &str, patience: Duration, authorities: Option<&Path>) -> Result<Self> {
        let is_https = match base.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err("the address begins with http:// or https://".into()),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let mut tls = if is_https {
            let authorities = authorities.map(CertificateDer::pem_file_iter).transpose()?.into_iter().flatten();
            let verifier = Verifier::new_with_extra_roots(authorities.collect::<Result<Vec<_>, _>>()?, provider)?;
            tls.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        } else {
            tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        };
        // Session resumption is off: each virtual user pays for a full TLS handshake, as separate machines would.
        tls.resumption = Resumption::disabled();
        let host = base.host_str().ok_or("the address has a host")?.trim_matches(['[', ']']).to_owned();
        let port = base.port_or_known_default().ok_or("the address has a port")?;
        Ok(Self { base, host, port, tls: Arc::new(tls), is_https, timeout: patience, workspace: database.to_owned() })
    }

    /// True if all addresses of the host name are loopback addresses.
    pub(crate) async fn is_loopback(&self) -> Result<bool> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        Ok(addresses.iter().all(|address| address.ip().is_loopback()))
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }
}

/// HTTP connections of one virtual user: two or three, as browsers have.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    target: Arc<Target>,
}

impl Http {
    pub(crate) fn new(target: &Arc<Target>) -> Result<Self, RequestError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(ClientConfig::clone(&target.tls))
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .connect_timeout(target.timeout)
            .build()?;
        Ok(Self { client, target: Arc::clone(target) })
    }

    /// Sends a request, and returns the status, the JSON body and the session cookie that the answer sets.
    async fn exchange(
        &self,
        request: RequestBuilder,
        wait: Duration,
    ) -> Result<(StatusCode, Value, Option<String>), RequestError> {
        let response = request.timeout(self.target.timeout + wait).send().await?;
        let status = response.status();
        let cookies = response.headers().get_all(SET_COOKIE).into_iter().filter_map(|cookie| cookie.to_str().ok());
        let session =
            cookies.filter_map(|cookie| cookie.strip_prefix("session_id=")?.split(';').next()).next().map(str::to_owned);
        let body = response.bytes().await?;
        match status {
            StatusCode::UNAUTHORIZED => Err(RequestError::Unauthorized("status 401".into())),
            // A proxy's time-out leaves the outcome unknown, too.
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                Err(RequestError::Broken(format!("status {}", status.as_u16()).into()))
            }
            status if !status.is_success() => Err(RequestError::Refused(format!("status {}", status.as_u16()))),
            status => Ok((status, serde_json::from_slice(&body).map_err(|_| RequestError::malformed())?, session)),
        }
    }

    fn post(&self, path: &str, session: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(self.target.url(path)).header(CONTENT_TYPE, "application/json").body(body.to_string());
        if session.is_empty() { request } else { request.header(COOKIE, format!("session_id={session}")) }
    }

    async fn rpc(
        &self,
        path: &str,
        session: &str,
        params: Value,
        wait: Duration,
    ) -> Result<(Value, Option<String>), RequestError> {
        let body = json!({"jsonrpc": "2.0", "method": "call", "params": params, "id": 1});
        let (_, mut answer, session) = self.exchange(self.post(path, session, &body), wait).await?;
        match answer.get("error") {
            None => Ok((answer["result"].take(), session)),
            Some(error) if error["code"] == 100 => Err(RequestError::Unauthorized("session expired".into())),
            Some(error) => {
                Err(RequestError::Refused(error["data"]["name"].as_str().unwrap_or("an error without a name").to_owned()))
            }
        }
    }

    /// Result of a JSON-RPC call. `wait` extends the time-out, for long polls.
    pub(crate) async fn call(&self, path: &str, session: &str, params: Value, wait: Duration) -> Result<Value, RequestError> {
        let (result, _) = self.rpc(path, session, params, wait).await?;
        // An error within a successful result: how the addon refuses.
        match result.get("error").and_then(Value::as_str) {
            Some(refusal) => Err(RequestError::Refused(refusal.to_owned())),
            None => Ok(result),
        }
    }

    /// Body of a GET request with this bearer token.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Result<Value, RequestError> {
        let request = self.client.get(self.target.url(path)).header(AUTHORIZATION, format!("Bearer {token}"));
        Ok(self.exchange(request, Duration::ZERO).await?.1)
    }
}

/// Credentials of a virtual user after its login.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) uid: i64,
    pub(crate) uuid: String,
    /// Session cookie; empty with a bearer token only.
    pub(crate) session: String,
    /// Bearer token; empty with a cookie only.
    pub(crate) token: String,
    pub(crate) renew_at: Instant,
}

impl Credentials {
    /// Logs in with a password for a session cookie, as Odoo's clients do.
    pub(crate) async fn by_cookie(http: &Http, account: &Account) -> Result<Self, RequestError> {
        let params = json!({"db": http.target.workspace, "login": account.login, "password": account.password});
        let (info, session) = http.rpc("/web/session/authenticate", "", params, Duration::ZERO).await?;
        let uid = info["uid"].as_i64().ok_or_else(RequestError::malformed)?;
        let session = session.ok_or_else(RequestError::malformed)?;
        // Each use extends a session.
        let good_until = Instant::now() + Duration::from_secs(86_400);
        Ok(Self { uid, uuid: String::new(), session, token: String::new(), renew_at: good_until })
    }

    pub(crate) async fn by_token(http: &Http, account: &Account) -> Result<Self, RequestError> {
        let body = json!({"login": account.login, "password": account.password});
        Self::from_tokens(http, http.post("/auth/token", "", &body)).await
    }

    /// Adds a bearer token to a session, for the dialects that need one.
    pub(crate) async fn with_token(self, http: &Http) -> Result<Self, RequestError> {
        let pass = Self::from_tokens(http, http.post("/auth/token", &self.session, &json!({}))).await?;
        Ok(Self { session: self.session, ..pass })
    }

    async fn from_tokens(http: &Http, request: RequestBuilder) -> Result<Self, RequestError> {
        let (_, tokens, _) = http.exchange(request, Duration::ZERO).await?;
        let token = tokens["access"].as_str().ok_or_else(RequestError::malformed)?.to_owned();
        let seconds = tokens["expires_in"].as_u64().ok_or_else(RequestError::malformed)?;
        let holder = http.get("/auth/token", &token).await?;
        let uid = holder["uid"].as_i64().ok_or_else(RequestError::malformed)?;
        let uuid = holder["uuid"].as_str().ok_or_else(RequestError::malformed)?.to_owned();
        // Renewal before expiry, so that no request fails with an expired token.
        let good_until = Instant::now() + Duration::from_secs(seconds).mul_f64(0.9);
        Ok(Self { uid, uuid, session: String::new(), token, renew_at: good_until })
    }
}
