//! Model test of deletion: deleted texts and files are found nowhere. Random sequences of actions by two authors, with a
//! third user who joins and leaves; then every reader reads everything, in every dialect, on every node, and from every old
//! position of the event log.

mod look;
mod model;
mod stored;
mod world;

use std::sync::Arc;

use proptest::{
    collection::vec,
    prelude::any,
    prop_oneof,
    strategy::{Just, Strategy},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use tokio::{runtime::Handle, sync::Mutex};

use crate::support::{Backend, Bus, Node, Server};
use model::{Action, With};
use world::World;

/// Default count of sequences; `PROPTEST_CASES` overrides it.
const CASES: u32 = 20;
/// Greatest length of a sequence.
const ACTIONS: usize = 12;

fn with() -> impl Strategy<Value = With> {
    prop_oneof![
        3 => any::<u8>().prop_map(With::Nothing),
        3 => Just(With::File),
        1 => any::<u8>().prop_map(With::SameFile),
        1 => any::<bool>().prop_map(With::RoomFile),
        2 => Just(With::Upload),
        1 => any::<u8>().prop_map(With::Quote),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (any::<u8>(), any::<u8>(), with()).prop_map(|(place, who, with)| Action::Post { place, who, with }),
        3 => any::<u8>().prop_map(Action::Edit),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(which, at_desk)| Action::Delete { which, at_desk }),
        1 => any::<u8>().prop_map(Action::EraseFile),
        2 => any::<bool>().prop_map(|group| Action::Join { group }),
        1 => any::<bool>().prop_map(|group| Action::Leave { group }),
    ]
}

/// Deterministic runner: every run has the same cases, so that a failure repeats.
fn runner() -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |cases| cases.parse().expect("PROPTEST_CASES is a number"));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Runs random sequences on these nodes.
async fn nothing_is_found(nodes: Vec<Server>, files: tempfile::TempDir) {
    let world = Arc::new(Mutex::new(World::begin(nodes, files).await));
    let (happening, handle) = (Arc::clone(&world), Handle::current());
    let outcome = tokio::task::spawn_blocking(move || {
        let outcome = runner().run(&vec(action(), 1..=ACTIONS), |actions| {
            let happened = handle.block_on(async { happening.lock().await.happen(&actions).await });
            happened.map_err(TestCaseError::fail)
        });
        outcome.map_err(|error| error.to_string())
    });
    let outcome = outcome.await.expect("it ends");
    assert_eq!(outcome, Ok(()));
    Arc::into_inner(world).expect("nothing happens any more").into_inner().end().await;
}

#[tokio::test]
async fn what_was_taken_back_is_found_nowhere_in_memory() {
    let files = tempfile::tempdir().unwrap();
    // A small ring: old positions are read from the event log, and recent ones from the ring.
    let server = Server::builder(Backend::memory()).with_tokens().set("LIMITS__RECENT_EVENTS", 8);
    let server = server.set("FILES", format!("file:{}", files.path().display())).start().await;
    nothing_is_found(vec![server], files).await;
}

#[tokio::test]
async fn what_was_taken_back_is_found_nowhere_in_a_file() {
    let files = tempfile::tempdir().unwrap();
    // Each retention round ends with a checkpoint.
    let server = Server::builder(Backend::sqlite()).with_tokens().set("LIMITS__RECENT_EVENTS", 8);
    let server = server.set("RETENTION__EVERY_SECONDS", 1).set("FILES", format!("file:{}", files.path().display())).start().await;
    nothing_is_found(vec![server], files).await;
}

/// One node reads events from its ring in memory, the other from the event log.
#[tokio::test]
async fn what_was_taken_back_is_found_nowhere_on_postgres() {
    let (backend, bus, files) = (Backend::postgres().await, Bus::postgres(), tempfile::tempdir().unwrap());
    let mut nodes = Vec::new();
    for recent_events in [16_384, 2] {
        let server = Server::builder(backend.clone()).node(&bus).set("LIMITS__RECENT_EVENTS", recent_events);
        let server = server.set("FILES", format!("file:{}", files.path().display())).start().await;
        server.ready().await;
        nodes.push(server);
    }
    nothing_is_found(nodes, files).await;
}
