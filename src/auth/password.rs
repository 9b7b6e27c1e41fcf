use std::sync::{Arc, LazyLock};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use sha2::{Sha256, Sha512};
use storage::PasswordHash;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::{Result, internal};

/// Hashing of passwords: off the async threads, and at most as many at a time as there are cores.
pub struct Passwords(Arc<Semaphore>);

/// What came of checking a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub right: bool,
    /// The password is right and its hash is not of the kind that new ones get.
    pub outdated: bool,
}

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))))
    }
}

impl Passwords {
    /// Hashes a new password with argon2id.
    pub async fn hash(&self, password: &str) -> Result<PasswordHash> {
        let password = password.to_owned();
        self.run(move || argon2id(&password)).await?.map(PasswordHash).map_err(|error| internal(error.to_string()))
    }

    /// Checks a password. Without a hash, for a login that does not exist, it takes as long and is wrong.
    pub async fn verify(&self, password: &str, hash: Option<&PasswordHash>) -> Result<Verdict> {
        static NOBODYS: LazyLock<String> =
            LazyLock::new(|| argon2id("nobody has this password").expect("argon2's defaults are valid"));
        let password = password.to_owned();
        let hash = hash.map(|hash| hash.0.clone());
        self.run(move || match hash {
            Some(hash) => {
                let right = verify(&password, &hash);
                Verdict { right, outdated: right && !hash.starts_with("$argon2id$") }
            }
            None => {
                verify(&password, &NOBODYS);
                Verdict { right: false, outdated: false }
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = Arc::clone(&self.0).acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work itself: it goes on even if the caller is cancelled.
            let _permit = permit;
            work()
        });
        done.await.map_err(internal)
    }
}

fn argon2id(password: &str) -> argon2::password_hash::Result<String> {
    let hash: phc::PasswordHash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// Understands argon2 as PHC string, passlib's `$pbkdf2-sha512$` (Odoo) and `$pbkdf2-sha256$`, Django's
/// `pbkdf2_sha256$`, and plain bcrypt. What it does not understand is nobody's password.
fn verify(password: &str, hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return phc::PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    }
    if let Some(rest) = hash.strip_prefix("$pbkdf2-sha512$") {
        return passlib(rest).is_some_and(|hash| hash.is_of::<64>(password, pbkdf2::pbkdf2_hmac::<Sha512>));
    }
    if let Some(rest) = hash.strip_prefix("$pbkdf2-sha256$") {
        return passlib(rest).is_some_and(|hash| hash.is_of::<32>(password, pbkdf2::pbkdf2_hmac::<Sha256>));
    }
    if let Some(rest) = hash.strip_prefix("pbkdf2_sha256$") {
        return django(rest).is_some_and(|hash| hash.is_of::<32>(password, pbkdf2::pbkdf2_hmac::<Sha256>));
    }
    if hash.starts_with("$2") {
        return bcrypt::verify(password, hash).unwrap_or(false);
    }
    false
}

struct Pbkdf2 {
    rounds: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Pbkdf2 {
    fn is_of<const N: usize>(&self, password: &str, derive: impl Fn(&[u8], &[u8], u32, &mut [u8])) -> bool {
        let mut derived = [0; N];
        derive(password.as_bytes(), &self.salt, self.rounds, &mut derived);
        derived.ct_eq(&self.hash).into()
    }
}

/// `rounds$salt$hash`, both in base64 without padding and with `.` for `+`.
fn passlib(text: &str) -> Option<Pbkdf2> {
    let decode = |text: &str| STANDARD_NO_PAD.decode(text.replace('.', "+")).ok();
    let (rounds, salt, hash) = parts(text)?;
    Some(Pbkdf2 { rounds, salt: decode(salt)?, hash: decode(hash)? })
}

/// `rounds$salt$hash`: the salt is text, the hash is in padded base64.
fn django(text: &str) -> Option<Pbkdf2> {
    let (rounds, salt, hash) = parts(text)?;
    Some(Pbkdf2 { rounds, salt: salt.as_bytes().to_vec(), hash: STANDARD.decode(hash).ok()? })
}

fn parts(text: &str) -> Option<(u32, &str, &str)> {
    let mut parts = text.split('$');
    let parsed = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::verify;

    /// Made with passlib 1.7.4, Django 5.2.19 and bcrypt 4.0.
    const KNOWN: [(&str, &str); 5] = [
        (
            "123456",
            "$pbkdf2-sha512$25000$w1ir1ToHIOT8n5MyppQS4g$.aR9UHk1pr4VKQhWE5AFAVSJ.IH0cL0iqBAGspIOAhcXQm0UGdtouPxtypawiEM2Pa61BLGAsEce/lrj7KcK/Q",
        ),
        (
            "pässwörd ☃",
            "$pbkdf2-sha512$1000$BGCMUerd.7/33tu7dw4BgA$eGnZ9aQoRHThezkfvr6SvDiEY9hJ7H1XAThnthGJHRPGplpWAabQDFwLNv6rIv6Oz2FSIPvr0XWk/An.p30OEg",
        ),
        ("123456", "$pbkdf2-sha256$1000$y5kTAuC8957zXusdY.x9zw$.504P2ymbKL05DCMlJ.Z3c8CIPdvsiChL6LBjrPft9g"),
        ("123456", "pbkdf2_sha256$1000$seasalt$wxsI9J+cuhi3pYmUMv3D1TyYQ5enFJPYcR+hMgJj7UU="),
        ("123456", "$2b$04$r2ZToELUG5XBpGi3vnZadOTRJQCyEruYdaA8VfoITqf.bMsvKMmfa"),
    ];

    #[test]
    fn hashes_from_elsewhere_are_verified() {
        for (password, hash) in KNOWN {
            assert!(verify(password, hash), "{hash}");
            assert!(!verify(&format!("{password}x"), hash), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_is_nobodys_password() {
        for hash in ["", "x", "$", "$argon2id$", "$pbkdf2-sha512$1$a", "pbkdf2_sha256$x$y$z", "$2b$", "123456"] {
            assert!(!verify("123456", hash), "{hash}");
            assert!(!verify("", hash), "{hash}");
        }
    }
}
