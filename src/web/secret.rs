//! Secrets: the passwords of users, and the random ones of logins and tokens. Of each only what can't be turned back is
//! kept.

use std::sync::LazyLock;

use argon2::password_hash::rand_core::{OsRng, RngCore};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::archive::state::people::Digest;

/// What a token begins with, so that scanners find one that was published by mistake.
const TOKEN_PREFIX: &str = "tarsier_";
/// What OWASP asks of Argon2id: KiB of memory, rounds, lanes.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// A password that is nobody's, for names that are nobody's: looking for them takes as long as for others.
static NOBODYS: LazyLock<String> = LazyLock::new(|| hash_password(&random()));

/// 256 random bits as text.
pub fn random() -> String {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A new token's secret.
pub fn random_token() -> String {
    format!("{TOKEN_PREFIX}{}", random())
}

/// What is kept of a random secret. It has 256 bits of its own, so that there is nothing to guess and no salt needed.
pub fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

/// The Argon2id hash of a password, as a PHC string. Takes some 20 MB and tens of milliseconds.
pub fn hash_password(password: &str) -> String {
    let salt = SaltString::generate(&mut OsRng);
    match argon2().hash_password(password.as_bytes(), &salt) {
        Ok(hash) => hash.to_string(),
        // Longer than 4 GB, which no request is. A text that is no hash lets nobody in.
        Err(error) => {
            tracing::error!(%error, "a password cannot be hashed");
            String::new()
        }
    }
}

/// Is this the password with this hash? Without a hash the answer is no, after as much work.
pub fn is_password(password: &str, hash: Option<&str>) -> bool {
    let parsed = PasswordHash::new(hash.unwrap_or(NOBODYS.as_str()));
    let is_right = parsed.is_ok_and(|parsed| argon2().verify_password(password.as_bytes(), &parsed).is_ok());
    is_right && hash.is_some()
}

fn argon2() -> Argon2<'static> {
    let (memory, rounds, lanes) = COST;
    let params = Params::new(memory, rounds, lanes, None).unwrap_or(Params::DEFAULT);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hash = hash_password("correct horse");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hash_password("correct horse"), "salted");
        assert!(is_password("correct horse", Some(&hash)));
        assert!(!is_password("correct horse ", Some(&hash)));
        assert!(!is_password("", Some("")));
        assert!(!is_password("correct horse", None));
    }

    #[test]
    fn random_secrets_are() {
        let secrets: BTreeSet<String> = (0..100).map(|_| random_token()).collect();
        assert_eq!(secrets.len(), 100);
        assert!(secrets.iter().all(|secret| secret.len() == TOKEN_PREFIX.len() + 43));
        assert_eq!(digest("a")[..4], [0xca, 0x97, 0x81, 0x12]);
    }
}
