//! Profile pictures of users, visible to the participants of a shared conversation.

use storage::{Conversation, Picture, UserId};

use super::{Chat, Result};

impl Chat {
    /// Reads the picture of a participant, as a PNG; `None` if the user has none or does not take part. The caller's own
    /// membership is not checked.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    pub async fn picture(&self, of: &Conversation, user: UserId) -> Result<Option<Picture>> {
        let people = self.0.storage.people_in(&[of.id]).await?;
        if people.iter().all(|(_, person)| person.user != Some(user)) {
            return Ok(None);
        }
        Ok(self.0.storage.picture(user).await?)
    }
}
