//! Profile pictures of users.

use async_trait::async_trait;

use crate::{Result, Timestamp, UserId};

/// Profile picture of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Bytes of a PNG file.
    pub png: Vec<u8>,
    pub set_at: Timestamp,
}

/// Query of pictures. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Pictures {
    async fn picture(&self, user: UserId) -> Result<Option<Picture>>;
}

/// Writes of pictures. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WritePictures {
    /// Sets the picture of an existing user, in place of its earlier one.
    async fn set_picture(&mut self, user: UserId, png: &[u8], at: Timestamp) -> Result<()>;
}
