//! Devices of users, each with its newest connection and that connection's expiry.

use async_trait::async_trait;

use crate::{Result, Timestamp, UserId};

/// Device of a user, with its newest connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Stable across reconnects, unless the device was forgotten meanwhile.
    pub id: i64,
    pub user: UserId,
    /// Name given by the device, unique among the user's devices.
    pub name: String,
    /// Id of the newest connection. Earlier connections of the device are no longer valid.
    pub connection: String,
    pub created_at: Timestamp,
    /// Time of the last use of the newest connection.
    pub updated_at: Timestamp,
    /// Expiry of the newest connection, unless it is used before (TTL).
    pub expires_at: Timestamp,
}

/// Connection of a device, with its time and expiry.
#[derive(Clone, Copy, Debug)]
pub struct DeviceConnection<'a> {
    pub user: UserId,
    pub device: &'a str,
    pub connection: &'a str,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

/// Expiry of devices. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Devices {
    /// Records the use of a connection, unless it is no longer the newest of its device. Neither time moves back.
    async fn touch_device(&self, used: DeviceConnection<'_>) -> Result<()>;
    /// Forgets at most `limit` devices whose connection expired before `before`. Returns the number of forgotten devices. Does
    /// nothing while another process does the same.
    async fn forget_devices(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

/// Writes of devices. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteDevices {
    /// Connects a device of an existing user: the new connection replaces the one before. Creates the device at its first
    /// connection.
    async fn connect_device(&mut self, new: DeviceConnection<'_>) -> Result<Device>;
    /// Evicts the least recently used devices of a user, all but `most`. Returns the number of forgotten devices.
    async fn forget_devices_beyond(&mut self, most: usize, user: UserId) -> Result<u64>;
}
