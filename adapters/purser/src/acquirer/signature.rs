//! `t=UNIX_SECONDS,v1=HEX`: HMAC-SHA-256 over time and body, as ACP signs webhooks (2026-04-17, `Merchant-Signature`).

use hmac::{Hmac, Mac};
use sha2::Sha256;

pub const HEADER: &str = "acquirer-signature";
/// How old a notice may be.
const SECONDS_MAX: i64 = 300;

fn mac(secret: &str, at: i64, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{at}.").as_bytes());
    mac.update(body);
    Some(mac)
}

pub fn sign(secret: &str, at: i64, body: &[u8]) -> Option<String> {
    Some(format!("t={at},v1={}", hex::encode(mac(secret, at, body)?.finalize().into_bytes())))
}

/// Whether it is one of this secret's, and of now.
pub fn is_good(secret: &str, header: &str, body: &[u8], now: i64) -> bool {
    let parts = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1="));
    let Some((at, given)) = parts.and_then(|(at, given)| Some((at.parse::<i64>().ok()?, hex::decode(given).ok()?)))
    else {
        return false;
    };
    let is_near = now.checked_sub(at).is_some_and(|age| age.unsigned_abs() <= SECONDS_MAX.unsigned_abs());
    is_near && mac(secret, at, body).is_some_and(|mac| mac.verify_slice(&given).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_just_now_is_good() {
        let header = sign("secret", 1_000, b"body").unwrap();
        for (secret, header, body, now) in [
            ("another", header.as_str(), b"body".as_slice(), 1_000),
            ("secret", &header, b"other", 1_000),
            ("secret", &header, b"body", 1_301),
            ("secret", &header, b"body", 699),
            ("secret", "", b"body", 1_000),
            ("secret", "t=1000,v1=", b"body", 1_000),
            ("secret", "t=1000,v1=zz", b"body", 1_000),
            ("secret", &header.replace("t=1000", "t=1001"), b"body", 1_000),
            ("secret", &header[..header.len() - 2], b"body", 1_000),
            ("secret", "t=99999999999999999999,v1=00", b"body", 1_000),
        ] {
            assert!(!is_good(secret, header, body, now), "{secret} {header} {now}");
        }
        assert!(is_good("secret", &header, b"body", 1_300));
        assert!(is_good("secret", &header.replace("v1=", "V1=").replace("V1=", "v1=").to_string(), b"body", 1_000));
    }
}
