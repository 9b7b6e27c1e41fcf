//! Tests of the load generator `bench/load`: it covers all dialects, finds a server's faults, and measures latencies without
//! coordinated omission.

use clap::Parser;
use dragoman_load::{Load, Report};
use serde_json::Value;

use crate::{
    support::{Backend, Proxy, Road, Server, until},
    with_every_backend,
};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    load: Load,
}

fn load(url: &str, arguments: &str) -> Load {
    // A time-out that only a lost answer reaches.
    let arguments = ["load", "--url", url, "--patience", "60"].into_iter().chain(arguments.split_whitespace());
    Command::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}")).load
}

/// Runs the load generator with these arguments. Returns its report as JSON.
pub(crate) async fn run_load(url: &str, arguments: &str) -> Value {
    json(&load(url, arguments).run(std::future::pending()).await.expect("they come"))
}

fn json(report: &Report) -> Value {
    eprintln!("{report}");
    serde_json::to_value(report).expect("it can be written")
}

fn sum(report: &Value, name: &str) -> u64 {
    let dialects = report["dialects"].as_object().expect("there are dialects");
    dialects.values().map(|told| told[name].as_u64().unwrap_or_else(|| panic!("{name} of {told}"))).sum()
}

/// Fails unless every dialect was used without a fault.
pub(crate) fn is_flawless(report: &Value) {
    let dialects = report["dialects"].as_object().expect("there are dialects");
    let names: Vec<_> = dialects.keys().map(String::as_str).collect();
    assert_eq!(names, ["concierge", "conversations", "im_chat", "messaging", "room"]);
    for (dialect, told) in dialects {
        let [visitors, said, delivered] = ["visitors", "said", "delivered"].map(|name| told[name].as_u64().unwrap());
        assert!(visitors > 0 && said > 0 && delivered >= said, "{dialect}: {told}");
        assert_eq!(told["acknowledged"], said, "{dialect}: {told}");
        for bad in ["unsaid", "refused", "unconfirmed", "lost", "unheard", "doubled", "out_of_order", "cut_off"] {
            assert_eq!(told[bad], 0, "{dialect}: {bad}: {told}");
        }
        assert_eq!(told["errors"], serde_json::json!({}), "{dialect}");
        assert_eq!(told["arrival"]["count"], visitors, "{dialect}: {told}");
    }
    // In one dialect all may lie outside of the seconds that are measured, on a busy machine.
    for measured in ["acknowledgement", "delivery"] {
        assert!(dialects.values().any(|told| told[measured]["count"].as_u64().unwrap() > 0), "{measured}: {report}");
    }
}

/// Arguments for a busy load: many messages, and frequent reconnects.
pub(crate) const BUSY: &str =
    "--visitors 30 --ramp 1 --duration 4 --messages-per-minute 60 --reconnects-per-hour 1200 --think 0.2 --typing 0.5";

with_every_backend! {
    async fn every_dialect_is_spoken_without_a_fault(backend) {
        let mut server = Server::demo(backend).await;
        let report = run_load(&server.url(""), &format!("--demo {BUSY}")).await;
        is_flawless(&report);
        assert_eq!(report["expected_visitors"], sum(&report, "visitors"), "all have come");
        assert!(sum(&report, "left") > 0, "{report}");
        assert_eq!(report["interrupted"], false);
        server.stop().await;
    }

    /// Coordinated omission: a generator that waits for each answer before its next send does not measure the sends that it
    /// delays. A stall of three seconds would then be four long times among 160, which the 90th percentile does not show.
    async fn a_server_that_stalls_is_seen_to(backend) {
        let mut server = Server::demo(backend).await;
        for dialect in ["messaging", "conversations"] {
            let before = server.metric("dragoman_messages_stored_total").await;
            let proxy = Proxy::to(server.address()).await;
            let arguments = format!(
                "--demo --mix {dialect}=1 --visitors 4 --conversation-size 4 --ramp 0 --duration 8 --messages-per-minute 300 \
                 --typing 0 --reconnects-per-hour 0"
            );
            let url = format!("http://{}", proxy.address());
            let stall = async {
                until("a conversation", async || {
                    let stored = server.metric("dragoman_messages_stored_total").await - before;
                    (stored >= 20.0).then_some(())
                })
                .await;
                proxy.set(Road::Silent);
                tokio::time::sleep(std::time::Duration::from_secs(3)).await;
                proxy.set(Road::Open);
            };
            let (report, ()) = tokio::join!(run_load(&url, &arguments), stall);
            let told = &report["dialects"][dialect];
            for latency in ["acknowledgement", "delivery"] {
                let milliseconds = |of: &str| told[latency][of].as_f64().unwrap();
                assert!(milliseconds("p90") >= 500.0, "a tenth was meant to be said early in the stall: {told}");
                assert!(milliseconds("max") >= 1_500.0, "{told}");
            }
            assert_eq!(told["doubled"], 0, "{told}");
        }
        server.stop().await;
    }
}

/// Server crash: the virtual users reconnect by themselves, catch up in their dialect's way, and retry unanswered sends where
/// the dialect has idempotent retries.
#[tokio::test]
async fn virtual_users_outlive_their_server() {
    let mut server = Server::builder(Backend::postgres().await).with_tokens().start().await;
    let (address, url) = (server.address(), server.url(""));
    let fall = async {
        until("conversations", async || (server.metric("dragoman_messages_stored_total").await >= 60.0).then_some(())).await;
        server.kill().await;
        server.start_again(address).await;
    };
    let arguments = "--demo --visitors 20 --mix messaging=1,im_chat=1,room=1,conversations=1,concierge=1 --ramp 1 --duration 8 \
                     --messages-per-minute 40 --reconnects-per-hour 0";
    let (report, ()) = tokio::join!(run_load(&url, arguments), fall);
    for told in report["dialects"].as_object().expect("there are dialects").values() {
        for bad in ["lost", "unheard", "doubled", "out_of_order"] {
            assert_eq!(told[bad], 0, "{bad}: {told}");
        }
    }
    assert!(sum(&report, "cut_off") > 0, "{report}");
    for dialect in ["room", "conversations", "concierge"] {
        let told = &report["dialects"][dialect];
        assert_eq!(told["comeback"]["count"], told["cut_off"], "whoever was cut off came back: {told}");
    }
    // Idempotent retry: with a key for each message, the client resends until it has an answer.
    for dialect in ["conversations", "concierge"] {
        assert_eq!(report["dialects"][dialect]["unconfirmed"], 0, "{report}");
    }
    server.stop().await;
}

/// Load on a fresh server: `people` writes the file of users and the shell commands that add them.
#[tokio::test]
async fn people_are_made_for_a_fresh_server() {
    #[derive(Parser)]
    struct People {
        #[command(flatten)]
        people: dragoman_load::GenerateAccounts,
    }

    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("people.tsv");
    let program = env!("CARGO_BIN_EXE_dragoman");
    let arguments = ["people", file.to_str().unwrap(), "--count", "12", "--agents", "2", "--program", program];
    let lines =
        People::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}")).people.generate().expect("it is made");
    let mut server = Server::builder(Backend::postgres().await).empty().with_tokens().start().await;
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &lines]).env("DRAGOMAN__STORAGE", server.backend().url());
    crate::support::run_to_its_end(&mut shell).await;
    let report = run_load(&server.url(""), &format!("--people {} {BUSY}", file.display())).await;
    is_flawless(&report);
    server.stop().await;
}

/// Report of a run that its user interrupts.
#[tokio::test]
async fn an_interrupted_run_tells_what_there_is() {
    let mut server = Server::demo(Backend::memory()).await;
    let load = load(&server.url(""), "--demo --visitors 30 --ramp 1 --duration 3600 --messages-per-minute 120");
    let enough = until("a conversation", async || (server.metric("dragoman_messages_stored_total").await >= 110.0).then_some(()));
    let report = json(&load.run(enough).await.expect("they come"));
    assert_eq!(report["interrupted"], true);
    assert!(sum(&report, "acknowledged") >= 100, "{report}");
    for bad in ["lost", "doubled", "unconfirmed"] {
        assert_eq!(sum(&report, bad), 0, "{bad}: {report}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_is_sent_to_a_strangers_server() {
    // Addresses for documentation (RFC 5737, RFC 3849): no host has them, and the generator sends no request.
    for url in ["http://192.0.2.1", "https://[2001:db8::1]:8443"] {
        let refused = load(url, "--demo").run(std::future::pending()).await.err().expect("it is refused");
        assert!(refused.to_string().contains("--yes-this-server-is-mine"), "{refused}");
    }
}
