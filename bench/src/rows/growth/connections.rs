//! Growth of costs with open sockets.

use crate::{
    Result,
    children::Server,
    load::{self, Listeners},
    report::{Curve, Growth},
    requests::{CONNECTIONS, DemoThreads, send},
    rows::Benchmark,
};

/// Numbers of open sockets.
const SOCKETS: [u32; 3] = [100, 1_000, 10_000];

/// A server with idle sockets, which count the messages they receive.
struct IdleSockets {
    server: Server,
    threads: DemoThreads,
    _idle: Listeners,
}

impl Benchmark<'_> {
    /// Measures that idle sockets cost nothing but memory. Each size has a server of its own, so that all can be
    /// measured in turns.
    pub(crate) async fn growth_of_connections(&self) -> Result<()> {
        let mut growth = Growth {
            key: "growth-connections".into(),
            over: "idle sockets".into(),
            sizes: self.sizes(SOCKETS),
            curves: vec![
                Curve::flat("`notifications/count`, of 32 connections together"),
                Curve::flat("one `message/send`, elsewhere"),
            ],
        };
        let mut crowded = Vec::new();
        for size in &mut growth.sizes {
            // The limit of open files holds for all sizes together.
            *size = u32::try_from(load::connections_limit(*size as usize + 2_000)? - 2_000)?;
            let server = Server::dragoman(&self.program, "memory:")?;
            let house = DemoThreads::create(&server).await?;
            // Another thread than the one with the sends, with the same participants.
            let path = format!("/conversations/{}/", house.thread - 1);
            let doors: Vec<_> = house.readers.iter().map(|reader| (path.clone(), reader.clone())).collect();
            let idle = Listeners::new(load::open_sockets(server.address, &doors, *size as usize).await?, b"chat_message");
            crowded.push(IdleSockets { server, threads: house, _idle: idle });
        }
        for _ in 0..self.growth_rounds() {
            growth.round();
            for IdleSockets { server, threads: house, .. } in &crowded {
                let per_second = load::throughput(server.address, &house.count, self.turn_duration() / 2).await?;
                growth.curves[0].add(1e6 * CONNECTIONS as f64 / per_second);
                let send = [send(&house.author, house.thread)];
                growth.curves[1].add(load::latency(server.address, &send, 2 * self.growth_times()).await?);
            }
        }
        self.finish_growth(growth)
    }
}
