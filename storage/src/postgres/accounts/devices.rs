//! PostgreSQL statements of devices.

use async_trait::async_trait;

use crate::{
    Device, DeviceConnection, Devices, Result, Timestamp, UserId, WriteDevices,
    postgres::{Postgres, PostgresTx, alone, get, limit},
};

const TOUCH: &str = "UPDATE devices SET updated_at = greatest(updated_at, $4), expires_at = greatest(expires_at, $5)
    WHERE user_id = $1 AND name = $2 AND connection = $3";
const CONNECT: &str = "INSERT INTO devices (user_id, name, connection, created_at, updated_at, expires_at)
    VALUES ($1, $2, $3, $4, $4, $5)
    ON CONFLICT ON CONSTRAINT devices_of_user DO UPDATE
        SET connection = excluded.connection, updated_at = excluded.updated_at, expires_at = excluded.expires_at
    RETURNING id, created_at";
const FORGET_BEYOND: &str = "DELETE FROM devices WHERE id IN (
        SELECT d.id FROM devices d WHERE d.user_id = $1 ORDER BY d.updated_at DESC, d.id DESC OFFSET $2
    ) RETURNING id";

/// Sequential scan of the few devices: an index on `expires_at` would be written at each use of a device.
const FORGET: &str = concat!(
    "DELETE FROM devices WHERE id IN (
        SELECT d.id FROM devices d WHERE d.expires_at < $1 AND ",
    alone!("devices"),
    " LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING id"
);

#[async_trait]
impl Devices for Postgres {
    async fn touch_device(&self, used: DeviceConnection<'_>) -> Result<()> {
        let DeviceConnection { user, device, connection, at, expires_at } = used;
        let touch = sqlx::query(TOUCH).bind(user.0).bind(device).bind(connection).bind(at).bind(expires_at);
        self.rows(touch).await.map(drop)
    }

    async fn forget_devices(&self, before: Timestamp, most: usize) -> Result<u64> {
        Ok(self.rows(sqlx::query(FORGET).bind(before).bind(limit(most))).await?.len() as u64)
    }
}

#[async_trait]
impl WriteDevices for PostgresTx {
    async fn connect_device(&mut self, new: DeviceConnection<'_>) -> Result<Device> {
        let DeviceConnection { user, device, connection, at, expires_at } = new;
        let connect = sqlx::query(CONNECT).bind(user.0).bind(device).bind(connection).bind(at).bind(expires_at);
        let row = self.only_row(connect).await?;
        Ok(Device {
            id: get(&row, "id")?,
            user,
            name: device.to_owned(),
            connection: connection.to_owned(),
            created_at: get(&row, "created_at")?,
            updated_at: at,
            expires_at,
        })
    }

    async fn forget_devices_beyond(&mut self, most: usize, user: UserId) -> Result<u64> {
        Ok(self.rows(sqlx::query(FORGET_BEYOND).bind(user.0).bind(limit(most))).await?.len() as u64)
    }
}
