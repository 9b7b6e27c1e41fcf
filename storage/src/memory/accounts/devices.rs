//! In-memory devices.

use std::cmp::Reverse;

use async_trait::async_trait;
use imbl::OrdMap;

use crate::{
    Device, DeviceConnection, Devices, Result, Timestamp, UserId, WriteDevices,
    memory::{Memory, MemoryTx, Sequence},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) ids: Sequence,
    rows: OrdMap<(UserId, String), Device>,
}

#[async_trait]
impl Devices for Memory {
    async fn touch_device(&self, used: DeviceConnection<'_>) -> Result<()> {
        let mut tx = self.draft().await?;
        let device = tx.draft.devices.rows.get_mut(&(used.user, used.device.to_owned()));
        if let Some(device) = device.filter(|device| device.connection == used.connection) {
            device.updated_at = device.updated_at.max(used.at);
            device.expires_at = device.expires_at.max(used.expires_at);
        }
        tx.publish();
        Ok(())
    }

    async fn forget_devices(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let mut tx = self.draft().await?;
        let table = &mut tx.draft.devices;
        let over = |(key, device): (&(UserId, String), &Device)| (device.expires_at < before).then(|| key.clone());
        let forgotten: Vec<_> = table.rows.iter().filter_map(over).take(limit).collect();
        for key in &forgotten {
            table.rows.remove(key);
        }
        tx.publish();
        Ok(forgotten.len() as u64)
    }
}

#[async_trait]
impl WriteDevices for MemoryTx {
    async fn connect_device(&mut self, new: DeviceConnection<'_>) -> Result<Device> {
        self.draft.users.expect_user(new.user)?;
        let DeviceConnection { user, device: name, connection, at, expires_at } = new;
        let table = &mut self.draft.devices;
        let known = table.rows.get(&(user, name.to_owned())).map(|device| (device.id, device.created_at));
        let (id, created_at) = known.unwrap_or_else(|| (table.ids.draw(None), at));
        let (name, connection) = (name.to_owned(), connection.to_owned());
        let device = Device { id, user, name, connection, created_at, updated_at: at, expires_at };
        table.rows.insert((user, device.name.clone()), device.clone());
        Ok(device)
    }

    async fn forget_devices_beyond(&mut self, most: usize, user: UserId) -> Result<u64> {
        let rows = &mut self.draft.devices.rows;
        let of_user = rows.range((user, String::new())..).map(|(_, device)| device).take_while(|device| device.user == user);
        let mut devices: Vec<_> = of_user.map(|device| (Reverse((device.updated_at, device.id)), device.name.clone())).collect();
        devices.sort_unstable();
        let oldest: Vec<_> = devices.into_iter().skip(most).collect();
        for (_, name) in &oldest {
            rows.remove(&(user, name.clone()));
        }
        Ok(oldest.len() as u64)
    }
}
