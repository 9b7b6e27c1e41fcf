//! The server from outside: the real program, through its real door, on every backend.

#![allow(unreachable_pub, reason = "a test binary has no public items; `pub` says what a module offers")]

mod architecture;
mod openapi;
mod operation;
mod support;

/// Writes each test once and runs it against a server on every backend: the list of backends stands here.
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
                async fn postgres() {
                    check($crate::support::Backend::postgres().await).await;
                }
            }
        )+
    };
}
pub(crate) use on_every_backend;
