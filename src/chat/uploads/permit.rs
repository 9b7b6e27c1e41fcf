use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What an address of ours for putting a file holds. Whoever has it may use it.
pub struct Permit {
    pub name: String,
    pub mimetype: String,
    /// Seconds since 1970.
    pub expires: i64,
    /// Hexadecimal.
    pub signature: String,
}

/// What permits are signed with; the same on all nodes, and after every start.
pub(in crate::chat) struct Key(Hmac<Sha256>);

impl Key {
    pub(in crate::chat) fn new(secret: &str) -> Self {
        Self(Hmac::new_from_slice(secret.as_bytes()).expect("a key may have any length"))
    }

    pub(super) fn permit(&self, name: String, mimetype: String, expires: i64) -> Permit {
        let signature = hex::encode(self.mac(&name, &mimetype, expires).finalize().into_bytes());
        Permit { name, mimetype, expires, signature }
    }

    /// Takes a time that says nothing of where a wrong signature differs.
    pub(super) fn fits(&self, permit: &Permit) -> bool {
        let signature = hex::decode(&permit.signature).unwrap_or_default();
        self.mac(&permit.name, &permit.mimetype, permit.expires).verify_slice(&signature).is_ok()
    }

    /// No part of what we sign holds a line's end, so no other parts make the same text.
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
