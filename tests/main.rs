//! Integration tests: the real program over its real interfaces, on every backend.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails here fails, and its tasks end with it")]
#![allow(unreachable_pub, reason = "a test binary has no public items; `pub` says what a module offers")]

mod access;
mod across;
mod architecture;
mod asyncapi;
mod backup;
mod bad_input;
mod clients;
mod database_away;
mod database_file;
mod deleted;
mod deploy;
mod dialects;
mod faults;
mod imported;
mod load;
mod load_generator;
mod logs;
mod moving;
mod nodes;
mod odoorpc;
mod openapi;
mod operation;
mod order;
mod orphans;
mod polls;
mod postman;
mod reconnect;
mod reported;
mod retention;
mod rolling;
mod settings;
mod shutdown;
mod sockets;
mod story;
mod support;
mod tokens;
mod upgrade;
mod wire;

/// Runs each test against a demo server on every backend. The list of backends is here.
macro_rules! on_every_backend {
    ($($(#[$meta:meta])* async fn $name:ident($server:ident) $body:block)+) => {
        $(
            mod $name {
                #[allow(unused_imports, reason = "a test may need nothing from its file")]
                use super::*;

                $(#[$meta])*
                async fn check(backend: $crate::support::Backend) {
                    let mut server = $crate::support::Server::demo(backend).await;
                    {
                        let $server = &mut server;
                        $body
                    }
                    server.stop().await;
                }

                #[tokio::test]
                async fn memory() {
                    check($crate::support::Backend::memory()).await;
                }

                #[tokio::test]
                async fn sqlite() {
                    check($crate::support::Backend::sqlite()).await;
                }

                #[tokio::test]
                async fn postgres() {
                    check($crate::support::Backend::postgres().await).await;
                }
            }
        )+
    };
}
pub(crate) use on_every_backend;

/// Like `on_every_backend`, for tests that start their own server with settings of their own.
macro_rules! with_every_backend {
    ($($(#[$meta:meta])* async fn $name:ident($backend:ident) $body:block)+) => {
        $(
            mod $name {
                #[allow(unused_imports, reason = "a test may need nothing from its file")]
                use super::*;

                $(#[$meta])*
                async fn check($backend: $crate::support::Backend) $body

                #[tokio::test]
                async fn memory() {
                    check($crate::support::Backend::memory()).await;
                }

                #[tokio::test]
                async fn sqlite() {
                    check($crate::support::Backend::sqlite()).await;
                }

                #[tokio::test]
                async fn postgres() {
                    check($crate::support::Backend::postgres().await).await;
                }
            }
        )+
    };
}
pub(crate) use with_every_backend;

/// Like `on_every_backend`, with a server that verifies the tests' tokens. The test's sockets are dropped before the stop.
macro_rules! with_tokens_on_every_backend {
    ($($(#[$meta:meta])* async fn $name:ident($server:ident) $body:block)+) => {
        $crate::with_every_backend! {
            $(
                $(#[$meta])*
                async fn $name(backend) {
                    let mut server = $crate::support::Server::with_tokens(backend).await;
                    {
                        let $server = &mut server;
                        $body
                    }
                    server.stop().await;
                }
            )+
        }
    };
}
pub(crate) use with_tokens_on_every_backend;
