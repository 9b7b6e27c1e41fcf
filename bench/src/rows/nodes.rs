//! The rows about two nodes.

use crate::{
    Result,
    children::Server,
    database::Databases,
    load::{self, Listeners},
    report::{Row, RowTarget},
    requests::{send, session},
    rows::{
        Benchmark,
        sockets::{LISTENERS, MESSAGE},
    },
};

/// The conversation that holds all writers.
const ALL_WRITERS: i64 = 1001;

impl Benchmark<'_> {
    pub(super) async fn nodes(&self, databases: &Databases) -> Result<()> {
        let [one, two] = [(); 2].map(|()| Server::node(&self.program, &databases.ours, "postgres"));
        let (one, two) = (one?, two?);
        let (doors, said) = (reader_sockets(), send(&session(1), ALL_WRITERS));
        let rows = [
            ("nodes-1", "two nodes, 500 sockets each, one message at a time", 1),
            // Each node has a group commit of its own: messages that one node gathers into one write to a socket become
            // two with two.
            ("nodes", "two nodes, 500 sockets each, 16 messages at a time", 16),
        ];
        for (key, what, at_once) in rows {
            let mut rounds = Vec::new();
            for _ in 0..self.rounds() {
                let both = self.turn(&[(&one, LISTENERS / 2), (&two, LISTENERS / 2)], &doors, &said, at_once).await?;
                let alone = self.turn(&[(&one, LISTENERS)], &doors, &said, at_once).await?;
                rounds.push((both.per_busy_second, alone.per_busy_second));
            }
            self.finish_row(Row {
                key: key.into(),
                what: what.into(),
                limit: "one node with all 1,000".into(),
                unit: "/s".into(),
                mark: RowTarget::AtLeast(1.7),
                rounds,
                remark: "deliveries per second of the busiest node's processor time".into(),
            })?;
        }
        Ok(())
    }

    /// Measures the latency of a message to a socket of another node, with each bus.
    pub(super) async fn buses(&self, databases: &Databases) -> Result<()> {
        let nats = std::env::var("DRAGOMAN_TEST_NATS").ok();
        for (key, name, bus) in [("bus-postgres", "PostgreSQL", Some("postgres")), ("bus-nats", "NATS", nats.as_deref())] {
            let Some(bus) = bus else { continue };
            let [one, two] = [(); 2].map(|()| Server::node(&self.program, &databases.ours, bus));
            let (one, two) = (one?, two?);
            let said = send(&session(1), ALL_WRITERS);
            let times = if self.cli.quick { 30 } else { 100 };
            let mut rounds = Vec::new();
            for _ in 0..self.rounds() {
                let mut heard = [0.0; 2];
                for (heard, at) in heard.iter_mut().zip([&two, &one]) {
                    let mut listeners = Listeners::new(load::open_sockets(at.address, &reader_sockets(), 1).await?, MESSAGE);
                    *heard = listeners.delivery_latency(one.address, &said, times).await?.1 / 1e3;
                }
                rounds.push((heard[0], heard[1]));
            }
            self.finish_row(Row {
                key: key.into(),
                what: format!("a message to a socket of another node, {name} as the bus").into(),
                limit: "to a socket of the same node".into(),
                unit: "ms".into(),
                mark: RowTarget::Below(50.0),
                rounds,
                remark: "from the request to the frame, one at a time".into(),
            })?;
        }
        Ok(())
    }
}

/// Paths and sessions of all members but the writer.
fn reader_sockets() -> Vec<(String, String)> {
    (2..=32).map(|person| (format!("/conversations/{ALL_WRITERS}/"), session(person))).collect()
}
