//! The rows about sockets.

use std::time::Duration;

use crate::{
    Result,
    children::Server,
    http::{self, Request},
    load::{self, Listeners, median},
    report::{Mark, Row},
    requests::{Furnished, send},
    rows::Bench,
};

/// How many sockets are told every message.
pub(super) const LISTENERS: usize = 1_000;
/// How many sockets are open for the measure of memory.
const IDLE: usize = 10_000;
/// What frames hold that tell a message, of Dragoman's `conversations` and of the bare handler.
pub(super) const MESSAGE: &[u8] = br#""chat_message""#;

/// What one turn has brought.
pub(super) struct Turn {
    pub(super) per_second: f64,
    /// Of the server's processor time, or of the busiest server's.
    pub(super) busy_per_second: f64,
}

impl Bench<'_> {
    pub(crate) async fn fan_out(&self) -> Result<()> {
        let (ours, limits) = (Server::dragoman(&self.program, "memory:")?, Server::limits(None)?);
        let house = Furnished::by_the_api(&ours).await?;
        let (said, told) = (send(&house.author, house.thread), http::call("/tell", "", "{}"));
        let rows = [
            (1, "fan-out-1", "fan-out to 1,000 sockets, one message at a time", Mark::AtLeast(0.8)),
            (16, "fan-out-16", "fan-out to 1,000 sockets, 16 messages at a time", Mark::AtLeast(0.5)),
        ];
        for (at_once, key, what, mark) in rows {
            let (mut rounds, mut costs) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds() {
                let ours = self.turn(&[(&ours, LISTENERS)], &doors(&house), &said, at_once).await?;
                let limit = self.turn(&[(&limits, LISTENERS)], &[bare()], &told, at_once).await?;
                rounds.push((ours.per_second, limit.per_second));
                costs.push(ours.busy_per_second / limit.busy_per_second);
            }
            let remark = format!("deliveries; per second of the server's processor time {:.2} times as many", median(&costs));
            let limit = "bare sockets, one shared frame, writes gathered".into();
            self.done(Row { key: key.into(), what: what.into(), limit, unit: "/s".into(), mark, rounds, remark })?;
        }
        Ok(())
    }

    /// Sends to everybody's sockets, through each of the servers in turn.
    pub(super) async fn turn(
        &self,
        servers: &[(&Server, usize)],
        doors: &[(String, String)],
        send: &Request,
        at_once: usize,
    ) -> Result<Turn> {
        let mut sockets = Vec::new();
        for (server, count) in servers {
            sockets.extend(load::open(server.address, doors, *count).await?);
        }
        let mut listeners = Listeners::new(sockets, MESSAGE);
        let through: Vec<_> = servers.iter().map(|(server, _)| server.address).collect();
        listeners.deliveries(&through, send, at_once, self.time() / 4).await?;
        let busy = || servers.iter().map(|(server, _)| server.busy()).collect::<Result<Vec<f64>>>();
        let before = busy()?;
        let (delivered, seconds) = listeners.deliveries(&through, send, at_once, self.time()).await?;
        let busiest = busy()?.iter().zip(before).map(|(after, before)| after - before).fold(0.0, f64::max);
        Ok(Turn { per_second: delivered / seconds, busy_per_second: delivered / busiest })
    }

    pub(crate) async fn memory_of_sockets(&self) -> Result<()> {
        let count = load::connections_allowed(IDLE)?;
        let rows = [
            ("memory-conversations", "memory of an idle socket, `conversations`", true),
            ("memory-room", "memory of an idle socket, `room`", false),
        ];
        for (key, what, converses) in rows {
            let mut rounds = Vec::new();
            for _ in 0..if self.cli.quick { 1 } else { 3 } {
                let ours = Server::dragoman(&self.program, "memory:")?;
                let house = Furnished::by_the_api(&ours).await?;
                let rooms = || house.readers.iter().map(|reader| ("/ws/chat/room".to_owned(), reader.clone())).collect();
                let doors = if converses { doors(&house) } else { rooms() };
                let each = held(&ours, &doors, count).await?;
                drop(ours);
                rounds.push((each, held(&Server::limits(None)?, &[bare()], count).await?));
            }
            let (limit, remark) = ("a bare socket with small buffers".into(), format!("{count} sockets"));
            let (key, what, unit) = (key.into(), what.into(), "KiB".into());
            self.done(Row { key, what, limit, unit, mark: Mark::Below(8.0), rounds, remark })?;
        }
        Ok(())
    }
}

/// Where the readers listen to the thread.
pub(super) fn doors(house: &Furnished) -> Vec<(String, String)> {
    let path = format!("/conversations/{}/", house.thread);
    house.readers.iter().map(|reader| (path.clone(), reader.clone())).collect()
}

fn bare() -> (String, String) {
    ("/socket".into(), String::new())
}

/// How many KiB each of so many sockets makes the server hold.
async fn held(server: &Server, doors: &[(String, String)], count: usize) -> Result<f64> {
    let before = server.resident()?;
    let _open = load::open(server.address, doors, count).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok((server.resident()? - before) / count as f64)
}
