//! Growth of costs with the participants of a conversation.

use crate::{
    Result,
    children::Server,
    http,
    load::{self, Listeners},
    report::{Curve, Growth},
    requests::{page, read, send, session},
    rows::Benchmark,
};

/// Numbers of people in a conversation.
const PEOPLE: [u32; 5] = [2, 10, 100, 1_000, 5_000];
/// The first two people, members of all the conversations.
const WRITER: i64 = 10_001;
const READER: i64 = 10_002;

impl Benchmark<'_> {
    /// Sizes of the conversations from 1601 on, whose members are the persons from 10,001 on.
    pub(crate) fn conversation_sizes(&self) -> Vec<u32> {
        self.sizes(PEOPLE)
    }

    pub(crate) async fn growth_of_participants(&self, ours: &Server) -> Result<()> {
        let mut growth = Growth {
            key: "growth-participants".into(),
            over: "participants of a conversation".into(),
            sizes: self.conversation_sizes(),
            curves: vec![
                Curve::flat("`message/send`, nobody listens"),
                Curve::flat("`messages`, the newest 50"),
                Curve::flat("`message/read`, of one message"),
                Curve::growing("`thread/participants`", "gives all of them"),
                Curve::growing("`message/send`, all listen", "frames for all are written on the same cores"),
                Curve::growing("the same, until all are told", "a frame for each"),
            ],
        };
        let people =
            |conversation: i64| http::call(&format!("/api/messaging/thread/participants/{conversation}"), &session(READER), "{}");
        let (times, rounds) = (self.growth_times(), self.growth_rounds());
        // Two passes: the first one needs conversations without subscribers. All sizes take turns within each.
        let mut silent = Vec::new();
        for _ in 0..rounds {
            let mut round = Vec::new();
            for (conversation, _) in (1601..).zip(&growth.sizes) {
                let said = send(&session(WRITER), conversation);
                round.push([
                    load::latency(ours.address, std::slice::from_ref(&said), times).await?,
                    load::latency(ours.address, &[page(&session(READER), conversation, r#""offset":0"#)], times).await?,
                    load::latency_after_send(ours.address, &said, &|message| read(&session(READER), message), times).await?,
                    load::latency(ours.address, &[people(conversation)], times / 10).await?,
                ]);
            }
            silent.push(round);
        }
        let mut listening = Vec::new();
        for (conversation, size) in (1601..).zip(&growth.sizes) {
            let path = format!("/conversations/{conversation}/");
            let mut listeners = Listeners::new(Vec::new(), b"chat_message");
            for person in (WRITER..).take(*size as usize) {
                // Each new subscriber is announced to all others, so the sockets are read from the start on.
                for socket in load::open_sockets(ours.address, &[(path.clone(), session(person))], 1).await? {
                    listeners.add(socket);
                }
            }
            // Events are ordered: a socket that has this message has all announcements before it.
            listeners.delivery_latency(ours.address, &send(&session(WRITER), conversation), 3).await?;
            listening.push(listeners);
        }
        for round in silent {
            growth.round();
            for ((conversation, listeners), alone) in (1601..).zip(&mut listening).zip(round) {
                let (answered, told) =
                    listeners.delivery_latency(ours.address, &send(&session(WRITER), conversation), times / 4).await?;
                for (curve, taken) in growth.curves.iter_mut().zip(alone.into_iter().chain([answered, told])) {
                    curve.add(taken);
                }
            }
        }
        self.finish_growth(growth)
    }
}
