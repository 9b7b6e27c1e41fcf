//! WebSocket session of the `concierge` dialect: the life cycle of a device's connection, its requests, and its idle time-out.

use schemars::JsonSchema;
use serde::Serialize;
use storage::{Device, Fact, Timestamp};

use super::{
    CONNECTION, ERROR, NO_DEVICE, RUN_OUT,
    error::Failure,
    made::Made,
    request::{NoRequest, Request},
    wire::{Connection, Pen, Refusal, answer},
};
use crate::{
    auth::Caller,
    chat::{Batch, Error},
    dialects::{
        House,
        socket::{Close, Frame, Said, Voice},
    },
    telemetry,
};

/// Session of one connection.
pub(super) struct Talk {
    pub(super) house: House,
    pub(super) caller: Caller,
    /// The client's name for its device (`deviceId`).
    name: String,
    link: Option<Link>,
    pub(super) made: Made,
    /// Last event of a support session that was delivered, for deduplication.
    pub(super) last_of_session: Option<Fact>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Connected<'a> {
    connection: Connection<'a>,
}

/// Database record of the connection.
pub(super) struct Link {
    pub(super) device: Device,
    /// Time of the last use that is stored.
    kept_at: Timestamp,
    /// True once the event of this connection was delivered. Earlier connection events belong to the ones that it replaced.
    pub(super) is_newest: bool,
}

impl Talk {
    pub(super) fn new(house: House, caller: Caller, device: String) -> Self {
        Self { house, caller, name: device, link: None, made: Made::default(), last_of_session: None }
    }

    /// Encoder for answers.
    pub(super) fn pen(&self) -> Pen<'_> {
        Pen {
            reader: self.caller.partner,
            org_id: self.house.config.concierge.org_id,
            texts: true,
            base_url: &self.house.base_url,
        }
    }

    pub(super) fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("a socket greets before anything else")
    }

    pub(super) fn connection(&self) -> Connection<'_> {
        let link = self.link.as_ref().expect("a socket greets before anything else");
        self.pen().connection(&self.caller, &link.device)
    }

    fn said_of_connection(&self, status: u16) -> Frame {
        answer(CONNECTION, status, &Connected { connection: self.connection() })
    }

    fn run_out(&self) -> Close {
        Close { last: vec![self.said_of_connection(408)], ..RUN_OUT }
    }
}

impl Voice for Talk {
    const DIALECT: &'static str = "concierge";

    async fn greet(&mut self) -> Said {
        let device = self.house.chat.connect_device(&self.caller, &self.name).await.map_err(not_connected)?;
        self.link = Some(Link { kept_at: device.updated_at, device, is_newest: false });
        Ok(vec![self.said_of_connection(200)])
    }

    async fn hear(&mut self, text: &str) -> Said {
        let chat = self.house.chat.clone();
        if !chat.use_device(&mut self.link().device) {
            return Err(self.run_out());
        }
        let (channel, failure) = match Request::read(text) {
            Ok(request) => match self.answer(&request).await {
                Ok(frame) => return Ok(frame.into_iter().collect()),
                Err(failure) => (request.route, failure),
            },
            Err(NoRequest { channel, failure }) => (channel, failure),
        };
        Ok(vec![answer(&channel, failure.status, &Refusal { message: &failure.message })])
    }

    async fn tell(&mut self, batch: &Batch) -> Said {
        let mut frames = Vec::new();
        for told in &batch.events {
            match self.tell_event(told).await {
                Ok(said) => frames.extend(said),
                Err(close) => return Err(Close { last: frames.into_iter().chain(close.last).collect(), ..close }),
            }
        }
        Ok(frames)
    }

    async fn beat(&mut self) -> Said {
        let chat = self.house.chat.clone();
        let link = self.link();
        if chat.is_device_over(&link.device) {
            return Err(self.run_out());
        }
        if link.device.updated_at > link.kept_at {
            match chat.keep_device(&link.device).await {
                Ok(()) => link.kept_at = link.device.updated_at,
                // Retried at the next heartbeat.
                Err(error) => tracing::debug!(error = %telemetry::chain(&error), "a connection's use could not be stored"),
            }
        }
        Ok(Vec::new())
    }

    fn not_text(&self) -> Frame {
        answer(ERROR, 400, &Refusal { message: "A frame must be text" })
    }
}

/// Close code and last frame if a device cannot be connected.
fn not_connected(error: Error) -> Close {
    let close = match &error {
        Error::Unavailable(_) => Close::UNAVAILABLE,
        Error::Internal(_) => Close::INTERNAL,
        Error::Ended => Close::NOT_LOGGED_IN,
        Error::NotFound(_)
        | Error::Forbidden
        | Error::Invalid { .. }
        | Error::Conflict(_)
        | Error::WrongType { .. }
        | Error::TooLate(_)
        | Error::TooLarge { .. }
        | Error::TooLong { .. }
        | Error::TooFast { .. }
        | Error::TooMany(_) => NO_DEVICE,
    };
    let Failure { status, message } = error.into();
    Close { last: vec![answer(CONNECTION, status, &Refusal { message: &message })], ..close }
}
