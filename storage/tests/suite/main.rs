//! What every backend does, said once. A test is an async function of an empty store; [`on_every_backend!`] makes a
//! test of each backend from it, for example `rollback_leaves_no_trace::memory`.

// What `.clippy.toml` allows in tests, it allows only in functions marked so themselves.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use storage::{Storage, memory::Memory};

/// No test takes nearly as long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

macro_rules! on_every_backend {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            on_each_of! { $test:
                // The list of backends.
                memory => crate::memory_store(),
            }
        })+
    };
}

macro_rules! on_each_of {
    ($test:ident: $($(#[$condition:meta])* $backend:ident => $store:expr,)+) => {
        $($(#[$condition])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $backend() {
            let store = $store.await;
            tokio::time::timeout(crate::PATIENCE, super::$test(store)).await.expect("the test hangs");
        })+
    };
}

mod atomicity;
mod attachments;
mod conversations;
mod groups;
mod log;
mod messages;
mod ordering;
mod people;
mod presence;
mod sessions;
mod store;
mod unread;
mod users;

async fn memory_store() -> Arc<dyn Storage> {
    Arc::new(Memory::new())
}
