use async_trait::async_trait;

use super::{Postgres, PostgresTx, get};
use crate::{Pictures, Result, UserId, WritePictures};

const PICTURE: &str = "SELECT png FROM pictures WHERE user_id = $1";
const SET_PICTURE: &str = "INSERT INTO pictures (user_id, png) VALUES ($1, $2)
    ON CONFLICT (user_id) DO UPDATE SET png = excluded.png";

#[async_trait]
impl Pictures for Postgres {
    async fn picture(&self, user: UserId) -> Result<Option<Vec<u8>>> {
        let row = self.row(sqlx::query(PICTURE).bind(user.0)).await?;
        Ok(row.map(|row| get(&row, "png")).transpose()?)
    }
}

#[async_trait]
impl WritePictures for PostgresTx {
    async fn set_picture(&mut self, user: UserId, png: &[u8]) -> Result<()> {
        self.rows(sqlx::query(SET_PICTURE).bind(user.0).bind(png)).await.map(drop)
    }
}
