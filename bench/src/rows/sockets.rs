//! The rows about sockets: fan-out, and memory of idle ones.

use std::time::Duration;

use crate::{
    Result,
    children::Server,
    http::{self, Request},
    load::{self, Listeners, median},
    report::{Row, RowTarget},
    requests::{DemoThreads, send},
    rows::Benchmark,
};

/// Number of sockets that receive every message.
pub(super) const LISTENERS: usize = 1_000;
/// Number of idle sockets for the memory measurement.
const IDLE: usize = 10_000;
/// Pattern in each message frame of `conversations` and of the bare handler.
pub(super) const MESSAGE: &[u8] = br#""chat_message""#;

/// Result of one turn.
pub(super) struct Turn {
    pub(super) per_second: f64,
    /// Per second of processor time of the server, or of the busiest one.
    pub(super) per_busy_second: f64,
}

impl Benchmark<'_> {
    pub(crate) async fn fan_out(&self) -> Result<()> {
        let (ours, limits) = (Server::dragoman(&self.program, "memory:")?, Server::limits(None)?);
        let house = DemoThreads::create(&ours).await?;
        let (said, told) = (send(&house.author, house.thread), http::call("/tell", "", "{}"));
        let rows = [
            (1, "fan-out-1", "fan-out to 1,000 sockets, one message at a time", RowTarget::AtLeast(0.8)),
            (16, "fan-out-16", "fan-out to 1,000 sockets, 16 messages at a time", RowTarget::AtLeast(0.5)),
        ];
        for (at_once, key, what, mark) in rows {
            let (mut rounds, mut costs) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds() {
                let ours = self.turn(&[(&ours, LISTENERS)], &reader_sockets(&house), &said, at_once).await?;
                let limit = self.turn(&[(&limits, LISTENERS)], &[bare_socket()], &told, at_once).await?;
                rounds.push((ours.per_second, limit.per_second));
                costs.push(ours.per_busy_second / limit.per_busy_second);
            }
            let remark = format!("deliveries; per second of the server's processor time {:.2} times as many", median(&costs));
            let limit = "bare sockets, one shared frame, writes gathered".into();
            self.finish_row(Row { key: key.into(), what: what.into(), limit, unit: "/s".into(), mark, rounds, remark })?;
        }
        Ok(())
    }

    /// Measures fan-out to all sockets, with sends through each of the servers in turn.
    pub(super) async fn turn(
        &self,
        servers: &[(&Server, usize)],
        doors: &[(String, String)],
        send: &Request,
        at_once: usize,
    ) -> Result<Turn> {
        let mut sockets = Vec::new();
        for (server, count) in servers {
            sockets.extend(load::open_sockets(server.address, doors, *count).await?);
        }
        let mut listeners = Listeners::new(sockets, MESSAGE);
        let through: Vec<_> = servers.iter().map(|(server, _)| server.address).collect();
        listeners.fan_out(&through, send, at_once, self.turn_duration() / 4).await?;
        let busy = || servers.iter().map(|(server, _)| server.processor_seconds()).collect::<Result<Vec<f64>>>();
        let before = busy()?;
        let (delivered, seconds) = listeners.fan_out(&through, send, at_once, self.turn_duration()).await?;
        let busiest = busy()?.iter().zip(before).map(|(after, before)| after - before).fold(0.0, f64::max);
        Ok(Turn { per_second: delivered / seconds, per_busy_second: delivered / busiest })
    }

    pub(crate) async fn memory_of_sockets(&self) -> Result<()> {
        let count = load::connections_limit(IDLE)?;
        let rows = [
            ("memory-conversations", "memory of an idle socket, `conversations`", true),
            ("memory-room", "memory of an idle socket, `room`", false),
        ];
        for (key, what, converses) in rows {
            let mut rounds = Vec::new();
            for _ in 0..if self.cli.quick { 1 } else { 3 } {
                let ours = Server::dragoman(&self.program, "memory:")?;
                let house = DemoThreads::create(&ours).await?;
                let rooms = || house.readers.iter().map(|reader| ("/ws/chat/room".to_owned(), reader.clone())).collect();
                let doors = if converses { reader_sockets(&house) } else { rooms() };
                let each = memory_per_socket(&ours, &doors, count).await?;
                drop(ours);
                rounds.push((each, memory_per_socket(&Server::limits(None)?, &[bare_socket()], count).await?));
            }
            let (limit, remark) = ("a bare socket with small buffers".into(), format!("{count} sockets"));
            let (key, what, unit) = (key.into(), what.into(), "KiB".into());
            self.finish_row(Row { key, what, limit, unit, mark: RowTarget::Below(8.0), rounds, remark })?;
        }
        Ok(())
    }
}

/// Paths and sessions of the readers' sockets in the thread.
pub(super) fn reader_sockets(house: &DemoThreads) -> Vec<(String, String)> {
    let path = format!("/conversations/{}/", house.thread);
    house.readers.iter().map(|reader| (path.clone(), reader.clone())).collect()
}

fn bare_socket() -> (String, String) {
    ("/socket".into(), String::new())
}

/// Memory of one socket in the server, in KiB, as the average of this many.
async fn memory_per_socket(server: &Server, doors: &[(String, String)], count: usize) -> Result<f64> {
    let before = server.resident()?;
    let _open = load::open_sockets(server.address, doors, count).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok((server.resident()? - before) / count as f64)
}
