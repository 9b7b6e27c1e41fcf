//! Log-in with a password or a token, and log-out.

use std::{net::IpAddr, sync::Arc};

use storage::{Fact, NewSession, SessionKey, SessionToken, Topic, User, UserChange, UserId};

use super::{
    Auth, Caller, Error, Login, Result, Revocation, SessionId, TokenError,
    audit::{self, AuditAction, AuditActor},
    login_throttle::{AddressAttempt, LockedOut},
    password_queue::QueuePlace,
    revocation::{CacheEpoch, Credential, RevocationHandle},
};
use crate::{auth::LOGIN_BYTES, clock, shares::Account};

/// Limit of failed log-ins with one login, as the metrics name it.
const LOGIN_LIMIT: &str = "failed_logins_per_login";

/// Origin of a sign-in.
#[derive(Clone, Copy)]
pub struct SignInOrigin<'a> {
    pub address: IpAddr,
    /// Account of the request. Until its caller is known, it is that of the address.
    pub account: &'a Account,
}

/// A session before it is stored, already registered for revocation.
struct PendingSession {
    id: SessionId,
    life: Arc<RevocationHandle>,
    epoch: CacheEpoch,
    token: Option<SessionToken>,
}

impl Auth {
    /// Logs in and begins a session. Sessions presented with the request end; if the log-in fails, they stay.
    ///
    /// # Errors
    /// [`Error::Denied`] after a wrong password, for an unknown login, and for a deactivated user, each after the same time;
    /// [`Error::TooManyAttempts`], [`Error::TooManyWaiting`]; [`Error::NoShare`] if the user has too many requests at once.
    ///
    /// # Cancel safety
    /// Dropped before the commit, no session begins; dropped after it, the session exists, and its id is lost. An attempt that is
    /// dropped before its password check has failed does not count.
    pub async fn log_in(
        &self,
        login: &str,
        password: &str,
        from: SignInOrigin<'_>,
        presented: &[SessionId],
    ) -> Result<(SessionId, Arc<Login>)> {
        let user = self.check_login(login, password, from).await?;
        self.begin_session(self.pending_session(user.id, None), &user, from.address, presented, Error::Denied).await
    }

    /// Begins a session for the holder of a token. The session ends when the token expires, or its family is revoked.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] if the token is no longer valid, or the caller has none.
    ///
    /// # Cancel safety
    /// As with [`Auth::log_in`].
    pub async fn session_by_token(
        &self,
        caller: &Caller,
        from: IpAddr,
        presented: &[SessionId],
    ) -> Result<(SessionId, Arc<Login>)> {
        let (Some(life), Some(expires_at)) = (&caller.revocation, caller.expires_at) else {
            return Err(TokenError::Missing.into());
        };
        let beginning = self.pending_session(caller.user, Some(SessionToken { expires_at, family: life.credential().family() }));
        // Read again: another node may have revoked the token, or changed the password.
        let user = self.stored_user(life.credential()).await?;
        self.begin_session(beginning, &user, from, presented, TokenError::Revoked.into()).await
    }

    /// Prepares a session. From now on the user's next change, and the revocation of its token's family, end it.
    fn pending_session(&self, user: UserId, token: Option<SessionToken>) -> PendingSession {
        let id = SessionId::random();
        let (life, epoch) = (self.0.revocations.register(&Credential::Session(id.key())), self.0.revocations.epoch());
        life.bind_user(user, token.and_then(|token| token.family), self.0.revocations.changes());
        PendingSession { id, life, epoch, token }
    }

    /// Begins a session for an authenticated user. Fails with `changed` if the password differs from the one in `user`, or the
    /// user is no longer active.
    async fn begin_session(
        &self,
        PendingSession { id, life, epoch, token }: PendingSession,
        user: &User,
        from: IpAddr,
        presented: &[SessionId],
        changed: Error,
    ) -> Result<(SessionId, Arc<Login>)> {
        let key = id.key();
        let now = clock::now();
        let (user_id, partner) = (user.id, user.partner.id);
        let presented = keys(presented);
        let entry = audit::entry(AuditActor::User(user_id), Some(from), AuditAction::SignIn, Some("session".into()), audit::OK);
        self.transaction(|mut tx| async {
            // The password check took time; the password may have changed meanwhile, or the user been deactivated.
            let unchanged = |now: &User| now.active && now.password == user.password;
            if !tx.lock_user(user_id).await?.as_ref().is_some_and(unchanged) {
                return Err(changed.clone());
            }
            tx.insert_session(NewSession { key, user: user_id, created_at: now, token, is_cursor: false }).await?;
            let mut ended: Vec<_> = tx.delete_sessions(&presented).await?.into_iter().map(|(key, _)| key).collect();
            if self.0.sessions.per_user > 0 {
                ended.extend(tx.delete_sessions_beyond(self.0.sessions.per_user, user_id, false).await?);
            }
            for key in &ended {
                tx.record(Topic::Partner(partner), Fact::SessionEnded { session: hex::encode(key.0) }, now);
            }
            tx.insert_audit(&entry).await?;
            self.0.publisher.commit(tx).await?;
            ended.into_iter().for_each(|key| self.0.revocations.revoke(&Credential::Session(key)));
            Ok(())
        })
        .await?;
        audit::log(&entry);
        // A log-in counts as a heartbeat, and resets a presence that the user has set.
        self.0.storage.set_presence(partner, None, now).await?;
        let expires_at = token.map(|token| token.expires_at);
        let caller = Caller { expires_at, ..Caller::revocable(user.clone(), life, epoch) };
        let login = Arc::new(Login::begun(caller, key, now));
        self.0.sessions.insert(Arc::clone(&login));
        Ok((id, login))
    }

    /// The user with this login and password, without a session.
    ///
    /// # Errors
    /// As [`Auth::log_in`].
    ///
    /// # Cancel safety
    /// An attempt that is dropped before its password check has failed does not count.
    pub async fn user(&self, login: &str, password: &str, from: SignInOrigin<'_>) -> Result<User> {
        let user = self.check_login(login, password, from).await?;
        let (actor, object) = (AuditActor::User(user.id), Some("password".into()));
        let entry = audit::entry(actor, Some(from.address), AuditAction::SignIn, object, audit::OK);
        self.0.trail.write(entry).await;
        Ok(user)
    }

    /// The user with this uid and password, for callers that authenticate each call: only refusals are audited.
    ///
    /// # Errors
    /// As [`Auth::log_in`].
    ///
    /// # Cancel safety
    /// An attempt that is dropped before its password check has failed does not count.
    pub async fn user_by_id(&self, id: UserId, password: &str, from: SignInOrigin<'_>) -> Result<User> {
        let admitted = self.enter_throttle(from).await?;
        let user = self.0.storage.user(id).await?;
        self.check_password(user, &format!("#{id}"), password, from, admitted).await
    }

    /// The user with this login and password; the caller has yet to audit the sign-in.
    pub(super) async fn check_login(&self, login: &str, password: &str, from: SignInOrigin<'_>) -> Result<User> {
        let admitted = self.enter_throttle(from).await?;
        // No account has such a login, and PostgreSQL refuses to search for a NUL.
        let is_no_login = login.len() > LOGIN_BYTES || login.contains('\0');
        let user = if is_no_login { None } else { self.0.storage.user_by_login(login).await? };
        self.check_password(user, login, password, from, admitted).await
    }

    async fn enter_throttle(&self, from: SignInOrigin<'_>) -> Result<(QueuePlace, AddressAttempt)> {
        let place = self.0.passwords.place(from.address);
        let place = place.inspect_err(|_| from.account.count_refusal("password_checks_waiting"))?;
        match self.0.throttle.admit_address(from.address).await {
            Ok(arrival) => Ok((place, arrival)),
            Err(locked) => Err(self.locked_out(locked, from, None).await),
        }
    }

    /// Error of a refused attempt; `at` is the name that the client sent, and its user if known. Audits only the first refusal of
    /// a counter within its period, since their number has no bound.
    async fn locked_out(
        &self,
        LockedOut { retry_after, is_first }: LockedOut,
        from: SignInOrigin<'_>,
        at: Option<(&str, Option<UserId>)>,
    ) -> Error {
        from.account.count_refusal(if at.is_none() { "failed_logins_per_address" } else { LOGIN_LIMIT });
        if is_first {
            let (actor, object, counter) = match at {
                None => (AuditActor::Stranger(None), None, "address"),
                Some((name, user)) => (self.0.trail.stranger(name).await, user.map(audit::user), "login"),
            };
            self.0.trail.write(audit::entry(actor, Some(from.address), AuditAction::LockOut, object, counter)).await;
        }
        Error::TooManyAttempts { retry_after }
    }

    /// Checks the password of a user whom the client called `name`, if there is one. The account of the request becomes the user's.
    async fn check_password(
        &self,
        user: Option<User>,
        name: &str,
        password: &str,
        from: SignInOrigin<'_>,
        (place, arrival): (QueuePlace, AddressAttempt),
    ) -> Result<User> {
        let named = user.as_ref().map(|user| user.id);
        let attempt = match self.0.throttle.admit_login(arrival, name, named).await {
            Ok(attempt) => attempt,
            Err(locked) => return Err(self.locked_out(locked, from, Some((name, named))).await),
        };
        if attempt.is_account_locked {
            from.account.count_refusal(LOGIN_LIMIT);
        }
        let why = match &user {
            None => "unknown_login",
            Some(_) if attempt.is_account_locked => "locked_out",
            Some(user) if !user.active => "deactivated",
            Some(user) if user.password.is_none() => "no_password",
            Some(_) => "wrong_password",
        };
        let user = user.filter(|user| user.active && !attempt.is_account_locked);
        let hash = user.as_ref().and_then(|user| user.password.as_ref());
        let turn = place.turn().await;
        let verdict = self.0.passwords.verify(&turn, password, hash).await?;
        let Some(mut user) = user.filter(|_| verdict.right) else {
            attempt.failed();
            // Dropped, so that another check runs during the sleep.
            drop(turn);
            let actor = self.0.trail.stranger(name).await;
            self.0.trail.write(audit::entry(actor, Some(from.address), AuditAction::SignIn, named.map(audit::user), why)).await;
            tokio::time::sleep_until(verdict.refuse_at).await;
            return Err(Error::Denied);
        };
        let renewed = if verdict.outdated { Some(self.0.passwords.hash(&turn, password).await?) } else { None };
        // Dropped, so that other log-ins do not wait for the user's requests.
        drop((turn, attempt));
        from.account.transfer_to(user.id).await?;
        if let Some(renewed) = renewed {
            let is_renewed = self.transaction(|mut tx| async {
                // Not if the password has changed meanwhile.
                if tx.lock_user(user.id).await?.is_none_or(|now| now.password != user.password) {
                    return Ok(false);
                }
                let change = UserChange { password: Some(renewed.clone()), ..UserChange::default() };
                tx.update_user(user.id, change).await?;
                tx.commit().await?;
                Ok(true)
            });
            if is_renewed.await? {
                user.password = Some(renewed);
            }
        }
        Ok(user)
    }

    /// Logs out of all credentials that a request presents, on all nodes: its sessions, and all tokens of the log-in that its
    /// token comes from. Idempotent. Only its own service can revoke a foreign token: [`Revocation::Foreign`] if the request
    /// presents nothing else.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store cannot be reached.
    ///
    /// # Cancel safety
    /// The family and the sessions end in two transactions; dropped in between, the sessions stay.
    pub async fn log_out(&self, login: &Login, presented: &[SessionId], from: IpAddr) -> Result<Revocation> {
        let sign_out = |user, object: &str, outcome| {
            audit::entry(AuditActor::User(user), Some(from), AuditAction::SignOut, Some(object.into()), outcome)
        };
        let family = login.revocation.as_ref().and_then(|life| life.credential().family());
        if let Some(family) = family {
            self.end_family(login.user, family, from).await?;
        }
        let presented = keys(presented);
        let ended = self.transaction(|mut tx| async {
            let ended = tx.delete_sessions(&presented).await?;
            let mut entries = Vec::with_capacity(ended.len());
            for (key, user) in &ended {
                let entry = sign_out(*user, "session", audit::OK);
                tx.record(Topic::Partner(login.partner), Fact::SessionEnded { session: hex::encode(key.0) }, clock::now());
                tx.insert_audit(&entry).await?;
                entries.push(entry);
            }
            self.0.publisher.commit(tx).await?;
            presented.iter().for_each(|key| self.0.revocations.revoke(&Credential::Session(*key)));
            Ok(entries)
        });
        let ended = if presented.is_empty() { Vec::new() } else { ended.await? };
        ended.iter().for_each(audit::log);
        if login.is_by_token() && family.is_none() && ended.is_empty() {
            self.0.trail.write(sign_out(login.user, "token", audit::NOT_OURS)).await;
            return Ok(Revocation::Foreign);
        }
        Ok(Revocation::Done)
    }
}

fn keys(presented: &[SessionId]) -> Vec<SessionKey> {
    presented.iter().map(SessionId::key).collect()
}
