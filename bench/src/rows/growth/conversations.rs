//! Growth of costs with the conversations of a user.

use crate::{
    Result,
    children::Server,
    http, load,
    report::{Curve, Growth},
    requests::{count, read, send, session},
    rows::Benchmark,
};

/// Numbers of conversations of a person.
const CONVERSATIONS: [u32; 4] = [10, 100, 1_000, 10_000];
/// The other member of each conversation.
const OTHER: i64 = 75;

impl Benchmark<'_> {
    /// Numbers of conversations of the persons from 71 on.
    pub(crate) fn conversations(&self) -> Vec<u32> {
        self.sizes(CONVERSATIONS)
    }

    pub(crate) async fn growth_of_conversations(&self, ours: &Server) -> Result<()> {
        let mut growth = Growth {
            key: "growth-conversations".into(),
            over: "conversations of a user".into(),
            sizes: self.conversations(),
            curves: vec![
                Curve::growing("`notifications/count`, after a message", "adds up the conversations of its caller"),
                Curve::growing("`threads`", "gives all of them, as clients of this dialect expect"),
                Curve::growing("`poll/updates`, until it tells of a message", "tells `unread_count`, in all of them"),
                Curve::flat("`poll/messages`, until it tells of a message"),
                Curve::flat("`message/send`"),
                Curve::flat("`message/read`, of one message"),
            ],
        };
        let threads = |reader: &str| http::call("/api/messaging/threads", reader, "{}");
        let updates = |reader: &str, timeout: u32| {
            http::call("/api/messaging/poll/updates", reader, &format!(r#"{{"timeout":{timeout}}}"#))
        };
        let times = self.growth_times();
        for _ in 0..self.growth_rounds() {
            growth.round();
            for (person, conversations) in (71..).zip(growth.sizes.clone()) {
                // A conversation in the middle, so that it is neither the first nor the last of anything.
                let (reader, conversation) = (session(person), 100_000 * person + i64::from(conversations / 2));
                let said = send(&session(OTHER), conversation);
                let polls = u32::try_from(times / 4)?;
                let counted = load::latency_after_send(ours.address, &said, &|_| count(&reader), times).await?;
                let listed = load::latency(ours.address, &[threads(&reader)], times / 10).await?;
                // The first poll returns at once with all earlier updates.
                load::latency(ours.address, &[updates(&reader, 0)], 1).await?;
                let told = load::delivery(ours.address, &|_| updates(&reader, 60), &said, polls).await?;
                let poll = |last: &str| crate::requests::poll(&reader, conversation, last);
                let heard = load::delivery(ours.address, &poll, &said, polls).await?;
                let sent = load::latency(ours.address, &[send(&reader, conversation)], times).await?;
                let marked = load::latency_after_send(ours.address, &said, &|message| read(&reader, message), times).await?;
                let taken = [counted, listed, told.total, heard.total, sent, marked];
                for (curve, taken) in growth.curves.iter_mut().zip(taken) {
                    curve.add(taken);
                }
            }
        }
        self.finish_growth(growth)
    }
}
