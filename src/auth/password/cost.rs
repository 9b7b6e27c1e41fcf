//! Cost of the most expensive password hash in the store. The answer to a wrong password takes as long for every account, so that
//! timing does not reveal which accounts exist, or were imported.

use std::time::{Duration, Instant};

use argon2::Params;
use parking_lot::Mutex;
use sha2::{Sha256, Sha512};

use super::argon2id::Argon2id;

/// Upper limit of the time that a wrong password takes. A hash with extreme parameters takes longer.
const LONGEST: Duration = Duration::from_secs(10);
/// Weight of the newest measurement in the moving average.
const WEIGHT: f64 = 0.2;
/// Rounds of PBKDF2, and the cost of bcrypt, for measuring an algorithm of which no hash was checked yet: some milliseconds.
const ROUNDS: u32 = 10_000;
const BCRYPT_COST: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Argon2,
    Pbkdf2Sha512,
    Pbkdf2Sha256,
    Bcrypt,
}

const ALGORITHMS: usize = 4;

/// Work of checking a hash: blocks times passes of Argon2, rounds of PBKDF2, 2^cost of bcrypt.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    algorithm: Algorithm,
    units: f64,
}

impl Work {
    /// Parses a kind of hash, as [`storage::PasswordHash::kind`] returns it.
    fn of(kind: &str) -> Option<Self> {
        let (rest, parameters) = kind.rsplit_once('$')?;
        let rounds = || parameters.parse::<u32>().ok().map(f64::from);
        let (algorithm, units) = match rest {
            "$pbkdf2-sha512" => (Algorithm::Pbkdf2Sha512, rounds()?),
            "$pbkdf2-sha256" | "pbkdf2_sha256" => (Algorithm::Pbkdf2Sha256, rounds()?),
            argon2 if argon2.starts_with("$argon2") => {
                let parameter = |name| parameters.split(',').find_map(|pair| pair.strip_prefix(name)?.parse::<u32>().ok());
                (Algorithm::Argon2, f64::from(parameter("m=")?) * f64::from(parameter("t=")?))
            }
            bcrypt if bcrypt.starts_with("$2") => (Algorithm::Bcrypt, rounds()?.min(31.0).exp2()),
            _ => return None,
        };
        Some(Self { algorithm, units })
    }

    /// Work for a new password, and for an unknown login.
    fn own() -> Self {
        let units = f64::from(Params::DEFAULT_M_COST) * f64::from(Params::DEFAULT_T_COST);
        Self { algorithm: Algorithm::Argon2, units }
    }
}

/// Costs of the hashes in the store on this machine. Each check updates them as well, since hashes also enter the store by other
/// ways than the server.
#[derive(Default)]
pub(super) struct Costs(Mutex<[AlgorithmCost; ALGORITHMS]>);

#[derive(Clone, Copy, Default)]
struct AlgorithmCost {
    /// Most units of any hash.
    units: f64,
    /// Moving average; 0 until it was measured.
    seconds_per_unit: f64,
}

impl Costs {
    /// Time to check the most expensive hash.
    pub(super) fn dearest(&self) -> Duration {
        let seconds = self.0.lock().iter().map(|known| known.units * known.seconds_per_unit).fold(0.0, f64::max);
        Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
    }

    /// Updates the costs from the check of a hash of this kind.
    pub(super) fn checked(&self, kind: Option<&str>, time: Duration) {
        let Some(Work { algorithm, units }) = kind.and_then(Work::of).filter(|work| work.units > 0.0) else { return };
        let known = &mut self.0.lock()[algorithm as usize];
        let seconds = time.as_secs_f64() / units;
        let is_first = known.seconds_per_unit == 0.0;
        known.seconds_per_unit = if is_first { seconds } else { seconds * WEIGHT + known.seconds_per_unit * (1.0 - WEIGHT) };
        known.units = known.units.max(units);
    }

    /// Replaces the kinds in the store. Blocks the thread while it measures algorithms that were not used yet.
    pub(super) fn set_kinds(&self, kinds: &[String], argon2id: &Argon2id) {
        let mut most = [0.0_f64; ALGORITHMS];
        for work in kinds.iter().filter_map(|kind| Work::of(kind)).chain([Work::own()]) {
            let most = &mut most[work.algorithm as usize];
            *most = most.max(work.units);
        }
        let all = [Algorithm::Argon2, Algorithm::Pbkdf2Sha512, Algorithm::Pbkdf2Sha256, Algorithm::Bcrypt];
        for algorithm in all.into_iter().filter(|algorithm| most[*algorithm as usize] > 0.0) {
            let is_measured = self.0.lock()[algorithm as usize].seconds_per_unit > 0.0;
            let measured = if is_measured { 0.0 } else { measure(algorithm, argon2id) };
            let known = &mut self.0.lock()[algorithm as usize];
            if known.seconds_per_unit == 0.0 {
                known.seconds_per_unit = measured;
            }
        }
        self.0.lock().iter_mut().zip(most).for_each(|(known, most)| known.units = most);
    }
}

/// Measures the seconds per unit of work.
fn measure(algorithm: Algorithm, argon2id: &Argon2id) -> f64 {
    let begun = Instant::now();
    let units = match algorithm {
        Algorithm::Argon2 => {
            let _ = argon2id.hash("measured");
            Work::own().units
        }
        Algorithm::Pbkdf2Sha512 => {
            pbkdf2::pbkdf2_hmac::<Sha512>(b"measured", b"measured", ROUNDS, &mut [0; 64]);
            f64::from(ROUNDS)
        }
        Algorithm::Pbkdf2Sha256 => {
            pbkdf2::pbkdf2_hmac::<Sha256>(b"measured", b"measured", ROUNDS, &mut [0; 32]);
            f64::from(ROUNDS)
        }
        Algorithm::Bcrypt => {
            let _ = bcrypt::hash_with_salt("measured", BCRYPT_COST, [0; 16]);
            f64::from(BCRYPT_COST).exp2()
        }
    };
    begun.elapsed().as_secs_f64() / units
}

#[cfg(test)]
mod tests {
    use storage::PasswordHash;

    use super::*;

    fn work(hash: &str) -> Option<(Algorithm, f64)> {
        let work = Work::of(PasswordHash(hash.to_owned()).kind()?)?;
        Some((work.algorithm, work.units))
    }

    #[test]
    fn the_work_is_read_from_the_hash() {
        for (hash, expected) in [
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", Some((Algorithm::Argon2, 38_912.0))),
            ("$argon2i$v=19$m=512,t=3,p=4$c2FsdA$aGFzaA", Some((Algorithm::Argon2, 1_536.0))),
            ("$pbkdf2-sha512$600000$c2FsdA$aGFzaA", Some((Algorithm::Pbkdf2Sha512, 600_000.0))),
            ("$pbkdf2-sha256$1000$c2FsdA$aGFzaA", Some((Algorithm::Pbkdf2Sha256, 1_000.0))),
            ("pbkdf2_sha256$720000$seasalt$aGFzaA=", Some((Algorithm::Pbkdf2Sha256, 720_000.0))),
            ("$2b$12$r2ZToELUG5XBpGi3vnZadOTRJQCyEruYdaA8VfoITqf.bMsvKMmfa", Some((Algorithm::Bcrypt, 4_096.0))),
            ("123456", None),
            ("$pbkdf2-sha512$x", None),
            ("$2b$", None),
            ("$argon2id$m=1$a$b", None),
        ] {
            assert_eq!(work(hash), expected, "{hash}");
        }
    }

    #[test]
    fn the_dearest_is_that_of_the_store_and_of_what_was_checked_since() {
        let (costs, argon2id) = (Costs::default(), Argon2id::default());
        costs.set_kinds(&[], &argon2id);
        let own = costs.dearest();
        assert!(own > Duration::ZERO, "a new password's");
        costs.checked(Some("$pbkdf2-sha512$1000"), own * 10);
        assert!(costs.dearest() >= own * 9, "what was checked");
        costs.set_kinds(&["$pbkdf2-sha512$2000".into(), "$2b$04".into()], &argon2id);
        assert!(costs.dearest() >= own * 18, "twice the rounds take twice the time");
        costs.set_kinds(&[], &argon2id);
        assert!(costs.dearest() < own * 9, "what is no longer in the store does not count");
        costs.checked(Some("pbkdf2_sha256$1"), Duration::from_secs(3_600));
        assert_eq!(costs.dearest(), LONGEST);
    }
}
