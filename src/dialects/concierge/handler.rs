//! WebSocket session of the `concierge` dialect: the life cycle of a device's connection, its requests, and its idle time-out.

use schemars::JsonSchema;
use serde::Serialize;
use storage::{Device, Fact, Timestamp};

use super::{
    CONNECTION, ERROR, IDLE, NO_DEVICE,
    error::ConciergeError,
    own_changes::OwnChanges,
    request::{ConciergeRequest, InvalidRequest},
    wire::{Connection, Encoder, Refusal, answer},
};
use crate::{
    auth::Caller,
    chat::Error,
    error::chain,
    events::FeedBatch,
    shares::Charge,
    web::{
        AppContext,
        websocket::{Close, Frame, FramesOrClose, SocketHandler},
    },
};

/// Session of one connection.
pub(super) struct ConciergeHandler {
    pub(super) app: AppContext,
    pub(super) caller: Caller,
    /// The client's name for its device (`deviceId`).
    name: String,
    device_link: Option<DeviceLink>,
    pub(super) own_changes: OwnChanges,
    /// Last event of a support session that was delivered, for deduplication.
    pub(super) last_of_session: Option<Fact>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Connected<'a> {
    connection: Connection<'a>,
}

/// Database record of the connection.
pub(super) struct DeviceLink {
    pub(super) device: Device,
    /// Time of the last use that is stored.
    stored_at: Timestamp,
    /// True once the event of this connection was delivered. Earlier connection events belong to the ones that it replaced.
    pub(super) is_newest: bool,
}

impl ConciergeHandler {
    pub(super) fn new(app: AppContext, caller: Caller, device: String) -> Self {
        Self { app, caller, name: device, device_link: None, own_changes: OwnChanges::default(), last_of_session: None }
    }

    /// Encoder for answers.
    pub(super) fn encoder(&self) -> Encoder<'_> {
        Encoder {
            reader: self.caller.partner,
            org_id: self.app.config.concierge.org_id,
            numbers_as_text: true,
            base_url: &self.app.base_url,
        }
    }

    pub(super) fn link(&mut self) -> &mut DeviceLink {
        self.device_link.as_mut().expect("a socket greets before anything else")
    }

    pub(super) fn connection(&self) -> Connection<'_> {
        let link = self.device_link.as_ref().expect("a socket greets before anything else");
        self.encoder().connection(&self.caller, &link.device)
    }

    fn connection_frame(&self, status: u16) -> Frame {
        answer(CONNECTION, status, &Connected { connection: self.connection() })
    }

    fn idle_close(&self) -> Close {
        Close { last_frames: vec![self.connection_frame(408)], ..IDLE }
    }
}

impl SocketHandler for ConciergeHandler {
    const DIALECT: &'static str = "concierge";

    async fn on_open(&mut self) -> FramesOrClose {
        let device = self.app.chat.connect_device(&self.caller, &self.name).await.map_err(connect_close)?;
        self.device_link = Some(DeviceLink { stored_at: device.updated_at, device, is_newest: false });
        Ok(vec![self.connection_frame(200)])
    }

    async fn on_message(&mut self, text: &str, charge: &mut Charge) -> FramesOrClose {
        let chat = self.app.chat.clone();
        if !chat.extend_device_connection(&mut self.link().device) {
            return Err(self.idle_close());
        }
        let (channel, failure) = match ConciergeRequest::read(text, charge) {
            Ok(request) => match self.answer(&request).await {
                Ok(frame) => return Ok(frame.into_iter().collect()),
                Err(failure) => (request.route, failure),
            },
            Err(InvalidRequest { channel, failure }) => (channel, failure),
        };
        Ok(vec![answer(&channel, failure.status, &Refusal { message: &failure.message })])
    }

    async fn on_events(&mut self, batch: &FeedBatch) -> FramesOrClose {
        let mut frames = Vec::new();
        for told in &batch.events {
            match self.deliver_event(told).await {
                Ok(said) => frames.extend(said),
                Err(close) => return Err(Close { last_frames: frames.into_iter().chain(close.last_frames).collect(), ..close }),
            }
        }
        Ok(frames)
    }

    async fn on_ping(&mut self) -> FramesOrClose {
        let chat = self.app.chat.clone();
        let link = self.link();
        if chat.is_device_connection_expired(&link.device) {
            return Err(self.idle_close());
        }
        if link.device.updated_at > link.stored_at {
            match chat.store_device_use(&link.device).await {
                Ok(()) => link.stored_at = link.device.updated_at,
                // Retried at the next heartbeat.
                Err(error) => tracing::debug!(error = %chain(&error), "a connection's use could not be stored"),
            }
        }
        Ok(Vec::new())
    }

    fn on_binary(&self) -> Frame {
        answer(ERROR, 400, &Refusal { message: "A frame must be text" })
    }
}

/// Close code and last frame if a device cannot be connected.
fn connect_close(error: Error) -> Close {
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
    let ConciergeError { status, message } = error.into();
    Close { last_frames: vec![answer(CONNECTION, status, &Refusal { message: &message })], ..close }
}
