//! Growth of costs with the messages in a conversation.

use crate::{
    Result,
    children::Server,
    database::Databases,
    load,
    report::{Curve, Growth},
    requests::{count, page, read, send, session},
    rows::Benchmark,
};

/// Numbers of messages in a conversation.
const MESSAGES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The author of the messages.
const WRITER: i64 = 1;

impl Benchmark<'_> {
    /// Sizes of the conversations from 1500 on, whose readers are the persons from 65 on.
    pub(crate) fn histories(&self) -> Vec<u32> {
        self.sizes(MESSAGES)
    }

    pub(crate) async fn growth_of_histories(&self, ours: &Server, databases: &Databases) -> Result<()> {
        let mut growth = Growth {
            key: "growth-history".into(),
            over: "messages in a conversation".into(),
            sizes: self.histories(),
            curves: vec![
                Curve::flat("`messages`, the newest 50"),
                Curve::flat("`messages`, 50 in the middle, by offset"),
                Curve::flat("`messages`, 50 in the middle, by id"),
                Curve::flat("`message/send`"),
                Curve::flat("`message/read`, of one message"),
                Curve::flat("`notifications/count`, after a message"),
            ],
        };
        let mut requests = Vec::new();
        for ((conversation, person), messages) in (1500..).zip(65..).zip(growth.sizes.iter().map(|size| i64::from(*size))) {
            let (reader, middle) = (session(person), databases.message(conversation, messages / 2).await?);
            let pages = [
                page(&reader, conversation, r#""offset":0"#),
                page(&reader, conversation, &format!(r#""offset":{}"#, messages / 2)),
                page(&reader, conversation, &format!(r#""before_id":{middle}"#)),
            ];
            requests.push((pages, send(&reader, conversation), send(&session(WRITER), conversation), reader));
        }
        for (_, _, said, reader) in &requests {
            // Marks the whole history as read once: afterwards each `message/read` marks one message.
            load::latency_after_send(ours.address, said, &|message| read(reader, message), 1).await?;
        }
        for _ in 0..self.growth_rounds() {
            growth.round();
            for (pages, own, said, reader) in &requests {
                for (curve, page) in growth.curves.iter_mut().zip(pages) {
                    curve.add(load::latency(ours.address, std::slice::from_ref(page), self.growth_times()).await?);
                }
                let sent = load::latency(ours.address, std::slice::from_ref(own), self.growth_times()).await?;
                growth.curves[3].add(sent);
                let mark = |message: &str| read(reader, message);
                growth.curves[4].add(load::latency_after_send(ours.address, said, &mark, self.growth_times()).await?);
                let count = |_: &str| count(reader);
                growth.curves[5].add(load::latency_after_send(ours.address, said, &count, self.growth_times()).await?);
            }
        }
        self.finish_growth(growth)
    }
}
