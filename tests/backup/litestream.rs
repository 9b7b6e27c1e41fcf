//! Test with Litestream, which replicates a database file continuously.

use std::process::Stdio;

use tokio::process::Command;

use super::{Place, messages, say};
use crate::support::{Backend, JOHN, run_to_its_end, until};

/// Messages that were acknowledged before the last replication are there after a restoration on another machine.
#[tokio::test]
async fn a_replica_of_litestream_is_restored() {
    let litestream = std::env::var("DRAGOMAN_TEST_LITESTREAM").expect("run the tests with .ci/test, which installs Litestream");
    let place = Place::new(Backend::sqlite());
    let mut server = place.server().start().await;
    let john = server.log_in(JOHN).await;
    say(&john, "first").await;
    let file = |name: &str| place.directory.path().join(name).display().to_string();
    let database = place.backend.url().strip_prefix("sqlite:").unwrap();
    let (socket, settings, replica, copy) = (file("socket"), file("litestream.yml"), file("replica"), file("copy.db"));
    let text = format!(
        "socket: {{enabled: true, path: {socket}}}\ndbs: [{{path: {database}, replica: {{type: file, path: {replica}}}}}]\n"
    );
    std::fs::write(&settings, text).unwrap();
    let mut replicating = Command::new(&litestream)
        .args(["replicate", "-config", &settings])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("Litestream", async || std::fs::exists(&socket).unwrap().then_some(())).await;
    for number in 0..200 {
        say(&john, &format!("message {number}")).await;
    }
    let before = messages(&john).await;
    run_to_its_end(Command::new(&litestream).args(["sync", "-wait", "-socket", &socket, database])).await;
    server.kill().await;
    replicating.kill().await.unwrap();

    run_to_its_end(Command::new(&litestream).args(["restore", "-config", &settings, "-o", &copy, database])).await;
    let other = Place { backend: Backend::sqlite(), ..place };
    other.restore(copy.as_ref()).await;
    let mut server = other.start().await;
    let john = server.client().with_session(john.session());
    assert_eq!(messages(&john).await, before);
    assert!(say(&john, "here").await > *before.keys().next_back().unwrap() + 1_000);
    server.stop().await;
}
