//! Tests of CORS.

use reqwest::{
    Method,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

use super::VERSION;
use crate::{
    support::{Answer, Backend, Server},
    with_every_backend,
};

const OURS: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";

async fn with_origins(backend: Backend) -> Server {
    Server::builder(backend).set("CORS__ORIGINS", format!("{OURS},http://localhost:3000")).start().await
}

async fn preflight(server: &Server, origin: &str) -> Answer {
    let request = server.client().request(Method::OPTIONS, VERSION).header(ORIGIN, origin);
    let request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "POST").header(ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
    Answer::of(request).await
}

async fn call(server: &Server, origin: &str) -> Answer {
    let request = server.client().request(Method::POST, VERSION).header(ORIGIN, origin);
    Answer::of(request.header("Content-Type", "application/json").body("{}")).await
}

with_every_backend! {
    /// Configured origin: allowed with credentials, because of the session cookie.
    async fn a_configured_origin_may_call(backend) {
        let server = with_origins(backend).await;
        for origin in [OURS, "http://localhost:3000"] {
            let answer = call(&server, origin).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.headers[ACCESS_CONTROL_ALLOW_ORIGIN], origin);
            assert_eq!(answer.headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
            assert_eq!(answer.headers[VARY], "Origin");
        }
    }

    /// Preflight: answered without a body.
    async fn its_preflight_is_answered(backend) {
        let answer = preflight(&with_origins(backend).await, OURS).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
        assert_eq!(answer.headers[ACCESS_CONTROL_ALLOW_ORIGIN], OURS);
        assert_eq!(answer.headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert!(answer.headers[ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("POST"));
        assert_eq!(answer.headers[ACCESS_CONTROL_ALLOW_HEADERS], "content-type");
    }

    /// Other origins: no CORS headers, so that browsers withhold the answer.
    async fn any_other_origin_gets_no_leave(backend) {
        let server = with_origins(backend).await;
        for origin in [FOREIGN, "http://app.example", "https://app.example.evil.example", "https://app.example:8443", "null"] {
            for answer in [call(&server, origin).await, preflight(&server, origin).await] {
                assert!(answer.headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_none(), "{origin}: {answer:?}");
            }
            assert_ne!(preflight(&server, origin).await.status, 204, "{origin}");
        }
    }

    /// Default setting: no origin is allowed.
    async fn without_the_setting_no_origin_gets_leave(backend) {
        let server = Server::demo(backend).await;
        assert!(call(&server, OURS).await.headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
    }
}
