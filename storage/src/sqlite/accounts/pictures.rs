//! SQLite statements of profile pictures.

use async_trait::async_trait;

use crate::{
    Picture, Pictures, Result, Timestamp, UserId, WritePictures,
    sqlite::{Sqlite, SqliteTx, get, micros, time},
};

const PICTURE: &str = "SELECT png, set_at FROM pictures WHERE user_id = $1";
const SET_PICTURE: &str = "INSERT INTO pictures (user_id, png, set_at) VALUES ($1, $2, $3)
    ON CONFLICT (user_id) DO UPDATE SET png = excluded.png, set_at = excluded.set_at";

#[async_trait]
impl Pictures for Sqlite {
    async fn picture(&self, user: UserId) -> Result<Option<Picture>> {
        let row = self.row(sqlx::query(PICTURE).bind(user.0)).await?;
        row.map(|row| Ok(Picture { png: get(&row, "png")?, set_at: time(&row, "set_at")? })).transpose()
    }
}

#[async_trait]
impl WritePictures for SqliteTx {
    async fn set_picture(&mut self, user: UserId, png: &[u8], at: Timestamp) -> Result<()> {
        self.rows(sqlx::query(SET_PICTURE).bind(user.0).bind(png).bind(micros(at))).await.map(drop)
    }
}
