//! Devices, each of which has one connection at a time.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use storage::{Connecting, Device, Fact, Timestamp, Topic};

use super::{Chat, Error, Result, storable};
use crate::{auth::Caller, clock};

/// How long a device's name may be. It is part of a key, which a store can only find while it is short.
const LONGEST_NAME: usize = 256;

impl Chat {
    /// Gives the caller's device a new connection. Whoever holds the one it had learns it from its feed.
    pub async fn connect_device(&self, caller: &Caller, name: &str) -> Result<Device> {
        storable("device", name)?;
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(Error::Invalid { field: "device", reason: format!("must have 1 to {LONGEST_NAME} bytes").into() });
        }
        let (connection, now) = (connection_name(), clock::now());
        self.transaction(|mut tx| async {
            let new =
                Connecting { user: caller.user, device: name, connection: &connection, at: now, expires_at: self.until(now) };
            let device = tx.connect_device(new).await?;
            if self.0.rules.devices > 0 {
                tx.forget_devices_beyond(self.0.rules.devices, caller.user).await?;
            }
            let fact = Fact::DeviceConnected { device: name.to_owned(), connection: connection.clone() };
            tx.record(Topic::Partner(caller.partner), fact, now);
            self.0.announce.committed(tx.commit().await?).await;
            Ok(device)
        })
        .await
    }

    /// Notes that a connection is used, from when on it lasts anew. Gives whether it still did.
    pub fn use_device(&self, device: &mut Device) -> bool {
        let now = clock::now();
        let lasts = now < device.expires_at;
        if lasts {
            (device.updated_at, device.expires_at) = (now, self.until(now));
        }
        lasts
    }

    /// Whether a connection was not used for too long.
    pub fn is_device_over(&self, device: &Device) -> bool {
        clock::now() >= device.expires_at
    }

    /// Brings to the store when a connection was used.
    pub async fn keep_device(&self, device: &Device) -> Result<()> {
        let Device { user, name, connection, updated_at, expires_at, .. } = device;
        let used = Connecting { user: *user, device: name, connection, at: *updated_at, expires_at: *expires_at };
        Ok(self.0.storage.touch_device(used).await?)
    }

    fn until(&self, now: Timestamp) -> Timestamp {
        now + Duration::min(self.0.rules.support.connection, Duration::from_secs(365 * 86_400))
    }
}

/// Drawn at random, in the form that API Gateway gives them.
fn connection_name() -> String {
    let mut bytes = [0; 11];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    STANDARD.encode(bytes)
}
