//! Revoking tokens (RFC 7009): all that descend from one log-in end together.

use std::net::IpAddr;

use storage::{Fact, Topic, UserId};
use uuid::Uuid;

use super::{Refused, Token, issue::key};
use crate::{
    auth::{
        Auth, Error, Result,
        audit::{self, Action, Actor},
    },
    clock,
};

/// Outcome of a revocation, or of a log-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The token lets nobody in, whatever it was before.
    Done,
    /// It is of another service, which alone can revoke it.
    NotOurs,
}

impl Revocation {
    /// The sentence for [`Revocation::NotOurs`].
    pub const NOT_OURS: &str = "The token was made by another service, which alone can revoke it.";
}

impl Auth {
    /// Ends all tokens of the log-in from which this one comes, a refresh token or an access token: here at once, at other nodes
    /// as soon as they hear of it.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] without any key, and those of the store.
    pub async fn revoke(&self, token: &str, from: IpAddr) -> Result<Revocation> {
        if !self.takes_tokens() {
            return Err(Error::NotConfigured("tokens.secret"));
        }
        let storage = &self.0.storage;
        let found = match storage.refresh_token(key(&Token::new(token.to_owned()))).await? {
            Some(refresh) => Some((refresh.user, refresh.family)),
            None => match self.0.tokens.family(token).await {
                Ok(Some(family)) => storage.user_of_family(family).await?.map(|user| (user.id, family)),
                Ok(None) => return Ok(Revocation::NotOurs),
                // It lets nobody in.
                Err(Error::Refused(_)) => None,
                Err(error) => return Err(error),
            },
        };
        if let Some((user, family)) = found {
            self.end_family(user, family, from).await?;
        }
        Ok(Revocation::Done)
    }

    /// Ends a family of tokens on all nodes; one that has ended stays so.
    pub(in crate::auth) async fn end_family(&self, user: UserId, family: Uuid, from: IpAddr) -> Result<()> {
        let entry = audit::entry(Actor::User(user), Some(from), Action::SignOut, Some("tokens".into()), audit::OK);
        self.transaction(|mut tx| async {
            let user = tx.lock_user(user).await?.ok_or(Refused::UnknownUser)?;
            tx.delete_family(family).await?;
            tx.record(Topic::Partner(user.partner.id), Fact::TokensRevoked { family }, clock::now());
            tx.insert_audit(&entry).await?;
            self.0.announce.committed(tx.commit().await?).await;
            self.0.lives.end_family(family);
            Ok(())
        })
        .await?;
        audit::log(&entry);
        Ok(())
    }
}
