//! Signed URLs for uploads: an HMAC-SHA-256 over method, expiry, name and media type.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The parameters of a signed upload URL. They are a bearer credential.
pub struct Permit {
    pub name: String,
    pub mimetype: String,
    /// Expiry, in seconds since 1970.
    pub expires: i64,
    /// Hexadecimal.
    pub signature: String,
}

/// The signing key. All nodes share it, and it outlives restarts.
pub(in crate::chat) struct Key(Hmac<Sha256>);

impl Key {
    pub(in crate::chat) fn new(secret: &str) -> Self {
        Self(Hmac::new_from_slice(secret.as_bytes()).expect("a key may have any length"))
    }

    pub(super) fn permit(&self, name: String, mimetype: String, expires: i64) -> Permit {
        let signature = hex::encode(self.mac(&name, &mimetype, expires).finalize().into_bytes());
        Permit { name, mimetype, expires, signature }
    }

    /// Verifies the signature in constant time.
    pub(super) fn fits(&self, permit: &Permit) -> bool {
        let signature = hex::decode(&permit.signature).unwrap_or_default();
        self.mac(&permit.name, &permit.mimetype, permit.expires).verify_slice(&signature).is_ok()
    }

    /// The MAC of the parameters, separated by line feeds. No parameter contains one, so the encoding is unambiguous.
    fn mac(&self, name: &str, mimetype: &str, expires: i64) -> Hmac<Sha256> {
        self.0.clone().chain_update(format!("PUT\n{expires}\n{name}\n{mimetype}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Permit};

    #[test]
    fn a_permit_fits_only_as_it_was_signed() {
        let key = Key::new("secret");
        let permit = || key.permit("chat-images/a.png".into(), "image/png".into(), 7);
        assert!(key.fits(&permit()));
        assert!(!Key::new("another").fits(&permit()));
        let others = [
            Permit { name: "chat-images/b.png".into(), ..permit() },
            Permit { mimetype: "text/html".into(), ..permit() },
            Permit { expires: 8, ..permit() },
            Permit { signature: String::new(), ..permit() },
            Permit { signature: "not hexadecimal".into(), ..permit() },
            Permit { signature: permit().signature[2..].into(), ..permit() },
        ];
        for (number, other) in others.iter().enumerate() {
            assert!(!key.fits(other), "{number}");
        }
    }
}
