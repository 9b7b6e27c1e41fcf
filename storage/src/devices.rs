use async_trait::async_trait;

use crate::{Result, Timestamp, UserId};

/// What a user connects with, and its newest connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Stays when the device connects again, unless it was forgotten meanwhile.
    pub id: i64,
    pub user: UserId,
    /// What the device calls itself; one user's devices have different names.
    pub name: String,
    /// Names the newest connection, and no other.
    pub connection: String,
    pub created_at: Timestamp,
    /// When the newest connection was last used.
    pub updated_at: Timestamp,
    /// Until when it lasts if it is not used.
    pub expires_at: Timestamp,
}

/// A connection, and for how long it is to last.
#[derive(Clone, Copy, Debug)]
pub struct Connecting<'a> {
    pub user: UserId,
    pub device: &'a str,
    pub connection: &'a str,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

#[async_trait]
pub trait Devices {
    /// Notes that a connection was used, unless it is no longer the newest of its device.
    async fn touch_device(&self, used: Connecting<'_>) -> Result<()>;
    /// Forgets at most `limit` devices whose connection has lasted until before `before`, and says how many. Does nothing
    /// while another process does the same.
    async fn forget_devices(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

#[async_trait]
pub trait WriteDevices {
    /// Gives a device of the user, who must exist, a new connection in place of the one it had. A device is made when it
    /// connects first.
    async fn connect_device(&mut self, new: Connecting<'_>) -> Result<Device>;
    /// Forgets the devices of a user that were not used for longest, all but so many, and says how many.
    async fn forget_devices_beyond(&mut self, most: usize, user: UserId) -> Result<u64>;
}
