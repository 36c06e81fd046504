//! Where a caller comes from: the software that it runs, and who vouches for it. Both can be stopped as a whole.

use std::fmt;
use std::str::FromStr;

use crate::codec::{Canon, DecodeError, Reader};
use crate::id::{Digest, ParseIdError, TEXT_BYTES_MAX};

/// What an agent's software is, as its deployer digests it. Registered, not proved: it finds accidents, not attackers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build(pub Digest);

/// An outside issuer of tokens, in its normal form: scheme, host and path in the URL standard's spelling, without user,
/// query, fragment, default port or slash at its end. What a token has in `iss` may end in a slash; a stop means both. A
/// SPIFFE trust domain is one, too: `spiffe://` and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issuer(String);

impl Issuer {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Build {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseIdError::Build { found: text.chars().count() };
        let digits = text.strip_prefix("sha256:").ok_or_else(bad)?;
        digits.parse().map(Self).map_err(|_| bad())
    }
}

impl FromStr for Issuer {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseIdError::Issuer { found: text.chars().count() };
        let (default_port, rest) = match text.split_once("://") {
            Some(("spiffe", name)) if is_plain_host(name, b"-._") && text.len() <= TEXT_BYTES_MAX => {
                return Ok(Self(text.to_owned()));
            }
            Some(("https", rest)) => ("443", rest),
            Some(("http", rest)) => ("80", rest),
            _ => return Err(bad()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_port =
            |port: &str| port != default_port && port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
        let is_path = path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'?' | b'#' | b'\\'));
        let is_normal = is_host(host) && port.is_none_or(is_port) && is_path && !path.ends_with('/');
        if is_normal && text.len() <= TEXT_BYTES_MAX { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

/// A name or an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.map_or_else(|| is_plain_host(host, b"-._"), |address| is_plain_host(address, b":."))
}

fn is_plain_host(text: &str, others: &[u8]) -> bool {
    let fits = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || others.contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

impl Canon for Build {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Canon::read(input).map(Self)
    }
}

impl serde::Serialize for Build {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Build {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Canon for Issuer {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let text = String::read(input)?;
        text.parse().map_err(|_| DecodeError::Value { what: "an issuer", found: text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn a_build_has_one_spelling() {
        let digits = "0a".repeat(32);
        for text in [
            String::new(),
            "sha256:".into(),
            digits.clone(),
            format!("sha512:{digits}"),
            format!("SHA256:{digits}"),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{}", &digits[1..]),
            format!("sha256:{digits}0"),
            format!("sha256: {digits}"),
            format!("sha256:{}", "zz".repeat(32)),
        ] {
            assert_eq!(text.parse::<Build>(), Err(ParseIdError::Build { found: text.chars().count() }), "{text}");
        }
        let build: Build = format!("sha256:{digits}").parse().unwrap();
        assert_eq!(build.to_string(), format!("sha256:{digits}"));
        assert_eq!(decode::<Build>(&encode(&build)), Ok(build));
    }

    #[test]
    fn an_issuer_has_one_spelling() {
        for text in [
            "",
            "idp.example",
            "https://",
            "https:///a",
            "HTTPS://idp.example",
            "https://Idp.example",
            "https://idp.example/",
            "https://idp.example/a/",
            "https://ann@idp.example",
            "https://ann:secret@idp.example",
            "https://:secret@idp.example",
            "https://idp.example:443",
            "http://idp.example:80/a",
            "https://idp.example:0443",
            "https://idp.example:",
            "https://idp.example:99999",
            "https://idp.example?a=b",
            "https://idp.example/a#b",
            "https://idp.example/a b",
            "https://idp.example\\a",
            "https://[::1",
            "https://[]",
            "https://bücher.example",
            "ftp://idp.example",
            "did:web:idp.example",
            "spiffe://",
            "spiffe://Idp.example",
            "spiffe://idp.example/",
            "spiffe://idp.example/workload",
            "spiffe://idp.example:443",
            " https://idp.example",
            &format!("https://idp.example/{}", "a".repeat(TEXT_BYTES_MAX)),
        ] {
            assert!(text.parse::<Issuer>().is_err(), "{text}");
        }
        for text in [
            "https://idp.example",
            "https://idp.example/Tenant/v2.0",
            "http://127.0.0.1:8080",
            "https://[::1]:8443/a",
            "http://[::1]",
            "http://idp.example:443",
            "https://xn--bcher-kva.example",
            "spiffe://idp.example",
        ] {
            let issuer: Issuer = text.parse().unwrap();
            assert_eq!(issuer.as_str(), text);
            assert_eq!(decode::<Issuer>(&encode(&issuer)), Ok(issuer));
        }
    }
}
