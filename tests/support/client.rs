//! An HTTP client of the JSON-RPC dialects, with one session cookie.

use reqwest::{
    RequestBuilder, StatusCode,
    header::{CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE},
};
use serde_json::{Value, json};

/// A client like Odoo's: it posts JSON-RPC, and keeps one cookie.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    session: Option<String>,
}

/// Any response: status, headers and body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, body: response.text().await.expect("the answer is whole") }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Session id in the first `Set-Cookie`, if there is one.
    pub fn session(&self) -> Option<String> {
        let cookie = self.headers.get(SET_COOKIE)?.to_str().expect("cookies are plain");
        let (name, value) = cookie.split(';').next()?.split_once('=')?;
        (name == "session_id" && !value.is_empty()).then(|| value.to_owned())
    }
}

impl Client {
    pub fn new(base: String) -> Self {
        Self { http: http(), base, session: None }
    }

    pub async fn log_in(&mut self, login: &str, password: &str) -> Value {
        let params = json!({"db": "odoo2", "login": login, "password": password});
        let answer = self.post("/web/session/authenticate", &json!({"jsonrpc": "2.0", "params": params})).await;
        self.session = answer.session();
        assert!(self.session.is_some(), "{login} is let in: {answer:?}");
        answer.json()["result"].clone()
    }

    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    pub fn with_session(mut self, session: Option<&str>) -> Self {
        self.session = session.map(str::to_owned);
        self
    }

    /// A request with the session cookie, and no body yet.
    pub fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.session {
            Some(session) => request.header(COOKIE, format!("session_id={session}")),
            None => request,
        }
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(reqwest::Method::POST, path).header(CONTENT_TYPE, "application/json").body(body.to_string()))
            .await
    }

    /// Makes a call, and returns the whole answer.
    pub async fn call(&self, path: &str, params: Value) -> Value {
        self.post(path, &json!({"jsonrpc": "2.0", "method": "call", "params": params, "id": 1})).await.json()
    }

    /// Makes a call that succeeds, and returns its result.
    pub async fn result(&self, path: &str, params: Value) -> Value {
        let mut answer = self.call(path, params).await;
        assert!(answer.get("error").is_none(), "{path}: {answer}");
        answer["result"].take()
    }

    /// Path of an attachment's download URL for this client.
    pub async fn address_of(&self, attachment: &Value) -> String {
        let info = self.messaging(&format!("attachment/info/{attachment}"), json!({})).await;
        let url = info["url"].as_str().unwrap_or_else(|| panic!("{attachment} is there: {info}"));
        let (_, path) = url.split_once("/api/").expect("it is an address");
        format!("/api/{path}")
    }

    /// Makes a call to the messaging dialect that succeeds, and returns its result.
    pub async fn messaging(&self, route: &str, params: Value) -> Value {
        self.result(&format!("/api/messaging/{route}"), params).await
    }
}

/// A new HTTP client without proxies and redirects.
pub fn http() -> reqwest::Client {
    // Crypto provider: the program's features do not select one, so that reqwest needs it here. One per process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client can be made")
}
