//! Token revocation (RFC 7009): ends all tokens that descend from one log-in.

use std::net::IpAddr;

use storage::{Fact, Topic, UserId};
use uuid::Uuid;

use super::{Token, TokenError, issue::key};
use crate::{
    auth::{
        Auth, Error, Result, SignInOrigin,
        audit::{self, AuditAction, AuditActor},
    },
    clock,
};

/// Outcome of a revocation, or of a log-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The token is revoked, or was invalid before.
    Done,
    /// Only the other service that issued the token can revoke it.
    Foreign,
}

impl Revocation {
    /// Message for [`Revocation::Foreign`].
    pub const NOT_OURS: &str = "The token was made by another service, which alone can revoke it.";
}

impl Auth {
    /// Revokes all tokens of the log-in from which this refresh or access token comes: on this node at once, on other nodes
    /// through the event log. Idempotent.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] without any key; [`Error::NoShare`] if the user has too many requests at once.
    ///
    /// # Cancel safety
    /// Dropped before the commit, nothing is revoked; dropped during it, all or nothing.
    pub async fn revoke(&self, token: &str, from: SignInOrigin<'_>) -> Result<Revocation> {
        if !self.takes_tokens() {
            return Err(Error::NotConfigured("tokens.secret"));
        }
        let storage = &self.0.storage;
        let found = match storage.refresh_token(key(&Token::new(token.to_owned()))).await? {
            Some(refresh) => Some((refresh.user, refresh.family)),
            None => match self.0.tokens.family(token).await {
                Ok(Some(family)) => storage.user_of_family(family).await?.map(|user| (user.id, family)),
                Ok(None) => return Ok(Revocation::Foreign),
                // Invalid already.
                Err(Error::InvalidToken(_)) => None,
                Err(error) => return Err(error),
            },
        };
        if let Some((user, family)) = found {
            from.account.transfer_to(user).await?;
            self.end_family(user, family, from.address).await?;
        }
        Ok(Revocation::Done)
    }

    /// Revokes a token family on all nodes. Idempotent.
    pub(in crate::auth) async fn end_family(&self, user: UserId, family: Uuid, from: IpAddr) -> Result<()> {
        let entry = audit::entry(AuditActor::User(user), Some(from), AuditAction::SignOut, Some("tokens".into()), audit::OK);
        self.transaction(|mut tx| async {
            let user = tx.lock_user(user).await?.ok_or(TokenError::UnknownUser)?;
            tx.delete_family(family).await?;
            tx.record(Topic::Partner(user.partner.id), Fact::TokensRevoked { family }, clock::now());
            tx.insert_audit(&entry).await?;
            self.0.publisher.commit(tx).await?;
            self.0.revocations.end_family(family);
            Ok(())
        })
        .await?;
        audit::log(&entry);
        Ok(())
    }
}
