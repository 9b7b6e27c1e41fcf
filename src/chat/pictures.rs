use storage::{Conversation, Picture, UserId};

use super::{Chat, Result};

impl Chat {
    /// The picture of a user who takes part in a conversation, as a PNG.
    pub async fn picture(&self, of: &Conversation, user: UserId) -> Result<Option<Picture>> {
        let people = self.0.storage.people_in(&[of.id]).await?;
        if people.iter().all(|(_, person)| person.user != Some(user)) {
            return Ok(None);
        }
        Ok(self.0.storage.picture(user).await?)
    }
}
