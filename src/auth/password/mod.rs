//! Password checks and hashing: off the async threads, in a fair queue, in the same time for known and unknown logins.

mod argon2id;
mod cost;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use sha2::{Sha256, Sha512};
use storage::{PasswordHash, Storage};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use super::{
    Result, internal,
    password_queue::{PasswordQueue, PasswordTurn, QueuePlace},
};
use crate::{lifecycle::Lifecycle, telemetry};
use argon2id::Argon2id;
use cost::Costs;

/// Period of the query for the kinds of password hashes in the store.
const SCAN_INTERVAL: Duration = Duration::from_secs(3_600);
/// Maximum number of kinds that are read.
const KINDS: usize = 1_000;

/// Niceness of a thread that hashes: a tenth of the time of a core that others use fully, see sched(7).
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Password hashing on threads of low priority, at most one per core at a time. Clones share the queue.
#[derive(Clone)]
pub(super) struct Passwords {
    turns: PasswordQueue,
    hashing: Arc<Hashing>,
}

#[derive(Default)]
struct Hashing {
    argon2id: Argon2id,
    costs: Costs,
    /// Hash that is checked for an unknown login.
    nobodys: OnceLock<PasswordHash>,
}

/// Runs hashing work on a thread of its own with a low priority: a flood of log-ins takes the time that others leave. No thread can
/// raise its priority again, so it ends afterwards.
///
/// # Errors
/// `Internal` if no thread can be started.
///
/// # Cancel safety
/// The work goes on.
async fn on_slow_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (answer, answered) = oneshot::channel();
    let hash = move || {
        lower_priority();
        // Nobody waits any more if that fails.
        let _ = answer.send(work());
    };
    let thread = thread::Builder::new().name("password".into());
    thread.spawn(hash).map_err(internal)?;
    answered.await.map_err(internal)
}

/// Lowers the priority of this thread.
fn lower_priority() {
    // On other systems the call concerns the process. An error leaves the priority as it is.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Outcome of a password check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PasswordCheck {
    pub(super) right: bool,
    /// True if the password is right and its hash is not of the kind that new ones get.
    pub(super) outdated: bool,
    /// Time of the answer if the password is wrong: as long after the start of the check as the most expensive hash in the store
    /// takes, for every account.
    pub(super) refuse_at: tokio::time::Instant,
}

impl Passwords {
    /// `waiting`: capacity of the queue.
    pub(super) fn new(waiting: usize) -> Self {
        Self { turns: PasswordQueue::new(waiting), hashing: Arc::default() }
    }

    /// Joins the queue for a password check.
    ///
    /// # Errors
    /// [`Error::TooManyWaiting`](super::Error::TooManyWaiting) if the queue is full, for all or for this network.
    pub(super) fn place(&self, from: IpAddr) -> Result<QueuePlace> {
        self.turns.place(from)
    }

    /// Hashes a new password with argon2id.
    ///
    /// # Cancel safety
    /// The computation goes on, and keeps the turn until it is done.
    pub(super) async fn hash(&self, turn: &PasswordTurn, password: &str) -> Result<PasswordHash> {
        let password = password.to_owned();
        self.run(turn, move |hashing| hashing.argon2id.hash(&password)).await?.map(PasswordHash)
    }

    /// Checks a password. `hash` is `None` for an unknown login: the check fails after the same work as for a new hash.
    ///
    /// # Cancel safety
    /// The computation goes on, and keeps the turn until it is done.
    pub(super) async fn verify(&self, turn: &PasswordTurn, password: &str, hash: Option<&PasswordHash>) -> Result<PasswordCheck> {
        let (password, hash, started) = (password.to_owned(), hash.cloned(), tokio::time::Instant::now());
        self.run(turn, move |hashing| {
            let checked = hash.as_ref().unwrap_or_else(|| hashing.dummy_hash());
            let begun = Instant::now();
            let right = verify(&hashing.argon2id, &password, &checked.0) && hash.is_some();
            hashing.costs.checked(checked.kind(), begun.elapsed());
            let outdated = right && !checked.0.starts_with("$argon2id$");
            PasswordCheck { right, outdated, refuse_at: started + hashing.costs.dearest() }
        })
        .await
    }

    /// Starts the task that finds the most expensive hash, at the start and once an hour, and frees idle hashing memory.
    pub(super) fn watch(&self, storage: Arc<dyn Storage>, lifecycle: &Lifecycle) {
        let (hashing, stop) = (Arc::clone(&self.hashing), lifecycle.clone());
        lifecycle.spawn(async move {
            let (mut look, mut idle) = (tokio::time::interval(SCAN_INTERVAL), tokio::time::interval(argon2id::IDLE / 2));
            loop {
                tokio::select! {
                    _ = look.tick() => hashing.measure_store(&*storage).await,
                    _ = idle.tick() => hashing.argon2id.free_idle(),
                    () = stop.stopping() => return,
                }
            }
        });
    }

    /// Runs hashing work on a thread of low priority.
    ///
    /// # Cancel safety
    /// The work goes on, and keeps the turn until it is done.
    async fn run<T: Send + 'static>(&self, turn: &PasswordTurn, work: impl FnOnce(&Hashing) -> T + Send + 'static) -> Result<T> {
        let (turn, hashing) = (turn.clone(), Arc::clone(&self.hashing));
        // The turn comes back, so that it does not end on that thread, which would keep others waiting for a lock.
        on_slow_thread(move || (work(&hashing), turn)).await.map(|(done, _)| done)
    }
}

impl Hashing {
    /// Finds the most expensive hash in the store.
    async fn measure_store(self: &Arc<Self>, storage: &dyn Storage) {
        match storage.password_kinds(KINDS).await {
            Ok(kinds) => {
                let hashing = Arc::clone(self);
                if let Err(error) = on_slow_thread(move || hashing.costs.set_kinds(&kinds, &hashing.argon2id)).await {
                    telemetry::deferred("password hashes not measured", &error, true);
                }
            }
            Err(error) => telemetry::deferred("password hash kinds unreadable", &error, error.is_transient()),
        }
    }

    fn dummy_hash(&self) -> &PasswordHash {
        let hash = || self.argon2id.hash("nobody has this password").expect("argon2's defaults are valid");
        self.nobodys.get_or_init(|| PasswordHash(hash()))
    }
}

/// Hash of a new password. Blocks the thread.
pub(super) fn hash_blocking(password: &str) -> Result<PasswordHash> {
    Argon2id::default().hash(password).map(PasswordHash)
}

/// Verifies a password against argon2 as PHC string, passlib's `$pbkdf2-sha512$` (Odoo) and `$pbkdf2-sha256$`, Django's
/// `pbkdf2_sha256$`, and plain bcrypt. No password matches any other format.
fn verify(argon2id: &Argon2id, password: &str, hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return argon2id.is_of(password, hash);
    }
    if let Some(rest) = hash.strip_prefix("$pbkdf2-sha512$") {
        return passlib(rest).is_some_and(|hash| hash.matches::<64>(password, pbkdf2::pbkdf2_hmac::<Sha512>));
    }
    if let Some(rest) = hash.strip_prefix("$pbkdf2-sha256$") {
        return passlib(rest).is_some_and(|hash| hash.matches::<32>(password, pbkdf2::pbkdf2_hmac::<Sha256>));
    }
    if let Some(rest) = hash.strip_prefix("pbkdf2_sha256$") {
        return django(rest).is_some_and(|hash| hash.matches::<32>(password, pbkdf2::pbkdf2_hmac::<Sha256>));
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
    fn matches<const N: usize>(&self, password: &str, derive: impl Fn(&[u8], &[u8], u32, &mut [u8])) -> bool {
        let mut derived = [0; N];
        derive(password.as_bytes(), &self.salt, self.rounds, &mut derived);
        derived.ct_eq(&self.hash).into()
    }
}

/// Parses `rounds$salt$hash` of passlib, both in base64 without padding and with `.` for `+`.
fn passlib(text: &str) -> Option<Pbkdf2> {
    let decode = |text: &str| STANDARD_NO_PAD.decode(text.replace('.', "+")).ok();
    let (rounds, salt, hash) = parts(text)?;
    Some(Pbkdf2 { rounds, salt: decode(salt)?, hash: decode(hash)? })
}

/// Parses `rounds$salt$hash` of Django: the salt is text, the hash is in padded base64.
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
    use storage::{NewPartner, NewUser, Role, memory::Memory};

    use super::*;

    /// Verifies with a pool in which another password was hashed before.
    fn verify(password: &str, hash: &str) -> bool {
        let argon2id = Argon2id::default();
        assert!(argon2id.hash("another password").is_ok());
        super::verify(&argon2id, password, hash)
    }

    #[test]
    fn a_new_hash_is_verified() {
        let hash = hash_blocking("123456").expect("it can be hashed").0;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify("123456", &hash));
        assert!(!verify("1234567", &hash));
    }

    /// Hashes of passlib 1.7.4, Django 5.2.19, bcrypt 4.0 and argon2-cffi 25.1: one as this server makes them, one that needs
    /// less memory, one that needs more, and Argon2i.
    const KNOWN: [(&str, &str); 9] = [
        ("123456", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$mZQ6v3FNQ+tg1Y+fmacrCaGhWlVBAbQihJUXRZBET7c"),
        ("123456", "$argon2id$v=19$m=1024,t=3,p=4$c2FsdHNhbHRzYWx0$r7/McqSVbZiTS91RK7CYvQ"),
        ("123456", "$argon2id$v=19$m=32768,t=1,p=2$c2FsdHNhbHRzYWx0$+eF7PoIwKsc2NaeQ4I2f9PpdkBB5BnWgLuEb/Hj9sKs"),
        ("123456", "$argon2i$v=19$m=512,t=2,p=1$c2FsdHNhbHRzYWx0$gbhdcuM4ksZPUFuAwOe+EXT+CQA8XYEV"),
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

    /// Costs of a microsecond a round, and of as much for an own hash as for a million rounds: no hash is measured.
    fn pin(costs: &Costs) {
        costs.checked(hash_blocking("x").expect("it can be hashed").kind(), Duration::from_secs(1));
        costs.checked(Some("$pbkdf2-sha512$1000"), Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_refused_after_the_rounds_of_the_dearest_hash_whatever_the_account() {
        let passwords = Passwords::new(1);
        pin(&passwords.hashing.costs);
        let own = hash_blocking("123456").expect("it can be hashed");
        assert_eq!(passwords.hashing.dummy_hash().kind(), own.kind(), "nobody's hash has the rounds of a new one");
        let [cheap, dear] = [1_000, 20_000].map(|rounds| PasswordHash(format!("$pbkdf2-sha512${rounds}$c2FsdA$aGFzaA")));
        for hash in [Some(&dear), None, Some(&cheap), Some(&own), Some(&PasswordHash("none".into()))] {
            let turn = passwords.place([127, 0, 0, 1].into()).expect("it is free").turn().await;
            let started = tokio::time::Instant::now();
            let check = passwords.verify(&turn, "wrong", hash).await.expect("it is checked");
            assert!(!check.right);
            let wait = check.refuse_at - started;
            assert_eq!(wait, passwords.hashing.costs.dearest(), "{:?}", hash.map(PasswordHash::kind));
            assert!(wait >= Duration::from_millis(20), "{wait:?}");
        }
    }

    #[tokio::test]
    async fn the_dearest_hash_of_the_store_is_known_by_its_rounds() {
        let (storage, hashing) = (Memory::new(), Arc::new(Hashing::default()));
        pin(&hashing.costs);
        assert_eq!(hashing.costs.dearest().as_secs_f64().round(), 1.0, "that of a new hash");
        let mut tx = storage.begin().await.expect("memory is always there");
        let user = NewUser {
            id: None,
            uuid: uuid::Uuid::nil(),
            login: None,
            password: Some(PasswordHash("$pbkdf2-sha512$4000000$c2FsdA$aGFzaA".into())),
            external_id: None,
            partner: NewPartner { id: None, name: "Ann".into(), email: None, phone: None, mobile: None },
            role: Role::User,
            language: String::new(),
            time_zone: String::new(),
            profile: serde_json::Value::Null,
            created_at: crate::clock::now(),
        };
        tx.insert_user(user).await.expect("she is new");
        tx.commit().await.expect("memory is always there");
        hashing.measure_store(&storage).await;
        assert_eq!(hashing.costs.dearest().as_secs_f64().round(), 4.0);
    }
}
