//! Argon2 hashing (RFC 9106) with a pool of memory: fresh memory costs 5,000 page faults per hash.

use std::time::{Duration, Instant};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use parking_lot::Mutex;

use crate::auth::{Result, internal};

const SALT_BYTES: usize = 16;

/// Idle time after which the memory of a hash (19 MiB) is freed.
pub(super) const IDLE: Duration = Duration::from_secs(10);

/// Argon2 hasher with a pool of memory.
#[derive(Default)]
pub(super) struct Argon2id {
    /// Pool with at most one entry per concurrent hash, the most recently used last.
    pool: Mutex<Vec<PooledMemory>>,
}

struct PooledMemory {
    blocks: Vec<Block>,
    used: Instant,
}

impl Argon2id {
    /// Frees memory that was not used for [`IDLE`].
    pub(super) fn free_idle(&self) {
        self.pool.lock().retain(|kept| kept.used.elapsed() < IDLE);
    }

    /// PHC string of a new password.
    pub(super) fn hash(&self, password: &str) -> Result<String> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).expect("the operating system has randomness");
        let argon2 = Argon2::default();
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        self.derive(&argon2, password, &salt, &mut output).map_err(|error| internal(error.to_string()))?;
        let params = ParamsString::try_from(argon2.params()).map_err(|error| internal(error.to_string()))?;
        let hash = PasswordHash {
            algorithm: Algorithm::default().ident(),
            version: Some(Version::default().into()),
            params,
            salt: Some(Salt::new(&salt).expect("16 bytes are a valid salt length")),
            hash: Some(Output::new(&output).expect("32 bytes are a valid output length")),
        };
        Ok(hash.to_string())
    }

    /// True if the password matches. Compares in constant time; no password matches a text that is no PHC string of Argon2.
    pub(super) fn is_of(&self, password: &str, hash: &str) -> bool {
        self.derived_again(password, hash).is_some_and(|(derived, stored)| derived == stored)
    }

    fn derived_again(&self, password: &str, hash: &str) -> Option<(Output, Output)> {
        let hash = PasswordHash::new(hash).ok()?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
        let argon2 = Argon2::new(algorithm, version, Params::try_from(&hash).ok()?);
        let stored = hash.hash?;
        let mut derived = [0; Output::MAX_LENGTH];
        let derived = &mut derived[..stored.len()];
        self.derive(&argon2, password, &hash.salt?, derived).ok()?;
        Some((Output::new(derived).ok()?, stored))
    }

    fn derive(&self, argon2: &Argon2<'_>, password: &str, salt: &[u8], output: &mut [u8]) -> argon2::Result<()> {
        if argon2.params().block_count() > Params::DEFAULT.block_count() {
            // An imported hash may need more memory, which is not pooled.
            return argon2.hash_password_into(password.as_bytes(), salt, output);
        }
        let kept = self.pool.lock().pop();
        let mut blocks = kept.map_or_else(|| vec![Block::default(); Params::DEFAULT.block_count()], |kept| kept.blocks);
        let derived = argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, &mut blocks);
        self.pool.lock().push(PooledMemory { blocks, used: Instant::now() });
        derived
    }
}
