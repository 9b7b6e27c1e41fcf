//! Signed URLs for uploads: an HMAC-SHA-256 over method, expiry, name and media type.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The parameters of a signed upload URL. They are a bearer credential.
pub struct SignedUpload {
    pub name: String,
    pub mimetype: String,
    /// Expiry, in seconds since 1970.
    pub expires: i64,
    /// Hexadecimal.
    pub signature: String,
}

/// The signing key. All nodes share it, and it outlives restarts.
pub(in crate::chat) struct UploadSigningKey(Hmac<Sha256>);

impl UploadSigningKey {
    pub(in crate::chat) fn new(secret: &str) -> Self {
        Self(Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length"))
    }

    pub(super) fn sign(&self, name: String, mimetype: String, expires: i64) -> SignedUpload {
        let signature = hex::encode(self.mac(&name, &mimetype, expires).finalize().into_bytes());
        SignedUpload { name, mimetype, expires, signature }
    }

    /// Verifies the signature in constant time.
    pub(super) fn verify(&self, permit: &SignedUpload) -> bool {
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
    use super::{SignedUpload, UploadSigningKey};

    #[test]
    fn a_permit_fits_only_as_it_was_signed() {
        let key = UploadSigningKey::new("secret");
        let permit = || key.sign("chat-images/a.png".into(), "image/png".into(), 7);
        assert!(key.verify(&permit()));
        assert!(!UploadSigningKey::new("another").verify(&permit()));
        let others = [
            SignedUpload { name: "chat-images/b.png".into(), ..permit() },
            SignedUpload { mimetype: "text/html".into(), ..permit() },
            SignedUpload { expires: 8, ..permit() },
            SignedUpload { signature: String::new(), ..permit() },
            SignedUpload { signature: "not hexadecimal".into(), ..permit() },
            SignedUpload { signature: permit().signature[2..].into(), ..permit() },
        ];
        for (number, other) in others.iter().enumerate() {
            assert!(!key.verify(other), "{number}");
        }
    }
}
