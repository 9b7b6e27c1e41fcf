//! Devices of users. Each has one connection at a time, which expires without use.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! A dropped read leaves nothing behind. A write dropped before its commit changes nothing; dropped during it, all or nothing.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use storage::{Device, DeviceConnection, Fact, Timestamp, Topic};

use super::{Chat, Error, Result, check_storable};
use crate::{auth::Caller, clock};

/// Size limit of the name of a device, in bytes. It is part of a key, and index keys of stores are limited.
const DEVICE_NAME_BYTES: usize = 256;

impl Chat {
    /// Connects a device of the caller. Its new connection replaces the one before, whose holder receives an event of it. Beyond
    /// the limit of devices per user, the least recently used ones are deleted.
    ///
    /// # Errors
    /// `Invalid` for the name.
    pub async fn connect_device(&self, caller: &Caller, name: &str) -> Result<Device> {
        check_storable("device", name)?;
        if name.is_empty() || name.len() > DEVICE_NAME_BYTES {
            return Err(Error::Invalid { field: "device", reason: format!("must have 1 to {DEVICE_NAME_BYTES} bytes").into() });
        }
        let (connection, now) = (random_connection_id(), clock::now());
        self.transaction(|mut tx| async {
            let new = DeviceConnection {
                user: caller.user,
                device: name,
                connection: &connection,
                at: now,
                expires_at: self.connection_expiry(now),
            };
            let device = tx.connect_device(new).await?;
            if self.0.rules.devices > 0 {
                tx.forget_devices_beyond(self.0.rules.devices, caller.user).await?;
            }
            let fact = Fact::DeviceConnected { device: name.to_owned(), connection: connection.clone() };
            tx.record(Topic::Partner(caller.partner), fact, now);
            self.0.publisher.commit(tx).await?;
            Ok(device)
        })
        .await
    }

    /// Extends a connection that is used; returns false if it has expired.
    pub fn extend_device_connection(&self, device: &mut Device) -> bool {
        let now = clock::now();
        let lasts = now < device.expires_at;
        if lasts {
            (device.updated_at, device.expires_at) = (now, self.connection_expiry(now));
        }
        lasts
    }

    /// True if a connection has expired without use.
    pub fn is_device_connection_expired(&self, device: &Device) -> bool {
        clock::now() >= device.expires_at
    }

    /// Stores the last use of a connection. Idempotent.
    pub async fn store_device_use(&self, device: &Device) -> Result<()> {
        let Device { user, name, connection, updated_at, expires_at, .. } = device;
        let used = DeviceConnection { user: *user, device: name, connection, at: *updated_at, expires_at: *expires_at };
        Ok(self.0.storage.touch_device(used).await?)
    }

    fn connection_expiry(&self, now: Timestamp) -> Timestamp {
        now + Duration::min(self.0.rules.support.connection_timeout, Duration::from_secs(365 * 86_400))
    }
}

/// Draws a random connection id, in the format of API Gateway.
fn random_connection_id() -> String {
    let mut bytes = [0; 11];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    STANDARD.encode(bytes)
}
