//! SQLite statements of devices.

use async_trait::async_trait;

use crate::{
    Device, DeviceConnection, Devices, Result, Timestamp, UserId, WriteDevices,
    sqlite::{Sqlite, SqliteTx, get, limit, micros, time},
};

const TOUCH: &str = "UPDATE devices SET updated_at = max(updated_at, $4), expires_at = max(expires_at, $5)
    WHERE user_id = $1 AND name = $2 AND connection = $3";
const RECONNECT: &str = "UPDATE devices SET connection = $3, updated_at = $4, expires_at = $5
    WHERE user_id = $1 AND name = $2 RETURNING id, created_at";
const CONNECT: &str = "INSERT INTO devices (id, user_id, name, connection, created_at, updated_at, expires_at)
    VALUES ($6, $1, $2, $3, $4, $4, $5) RETURNING id, created_at";
const FORGET_BEYOND: &str = "DELETE FROM devices WHERE id IN (
        SELECT id FROM devices WHERE user_id = $1 ORDER BY updated_at DESC, id DESC LIMIT -1 OFFSET $2
    ) RETURNING id";
/// Scan of the few devices: an index on `expires_at` would be written at each use of a device.
const FORGET: &str = "DELETE FROM devices WHERE id IN (SELECT id FROM devices WHERE expires_at < $1 LIMIT +$2) RETURNING id";

#[async_trait]
impl Devices for Sqlite {
    async fn touch_device(&self, used: DeviceConnection<'_>) -> Result<()> {
        let DeviceConnection { user, device, connection, at, expires_at } = used;
        let touch = sqlx::query(TOUCH).bind(user.0).bind(device).bind(connection).bind(micros(at)).bind(micros(expires_at));
        self.write(touch).await.map(drop)
    }

    async fn forget_devices(&self, before: Timestamp, most: usize) -> Result<u64> {
        let gone = self.write_in_steps(most, |step| sqlx::query(FORGET).bind(micros(before)).bind(step)).await?;
        Ok(gone.len() as u64)
    }
}

#[async_trait]
impl WriteDevices for SqliteTx {
    async fn connect_device(&mut self, new: DeviceConnection<'_>) -> Result<Device> {
        let DeviceConnection { user, device, connection, at, expires_at } = new;
        let of = |statement| {
            sqlx::query(statement).bind(user.0).bind(device).bind(connection).bind(micros(at)).bind(micros(expires_at))
        };
        let row = match self.row(of(RECONNECT)).await? {
            Some(row) => row,
            None => {
                let id = self.draw("devices_id", 1).await?;
                self.only_row(of(CONNECT).bind(id)).await?
            }
        };
        Ok(Device {
            id: get(&row, "id")?,
            user,
            name: device.to_owned(),
            connection: connection.to_owned(),
            created_at: time(&row, "created_at")?,
            updated_at: at,
            expires_at,
        })
    }

    async fn forget_devices_beyond(&mut self, most: usize, user: UserId) -> Result<u64> {
        Ok(self.rows(sqlx::query(FORGET_BEYOND).bind(user.0).bind(limit(most))).await?.len() as u64)
    }
}
