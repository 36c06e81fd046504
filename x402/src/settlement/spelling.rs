//! The name of an authorization as text.

use std::fmt;
use std::str::FromStr;

use crate::batch_settlement::CallKind;
use crate::refusal::echo;

use super::{ClaimKey, NonceSpace};

/// `eip155:N/erc20:0x…/0x…/0x…`: asset, payer, nonce, in lower case; behind it, where the token does not count the nonce for a
/// transfer, which right it is of: `/permit2`.
impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/erc20:{:#x}/{:#x}/{:#x}", self.network, self.token, self.payer, self.nonce)?;
        match self.space {
            NonceSpace::Eip3009 => Ok(()),
            NonceSpace::Permit2 => f.write_str("/permit2"),
            NonceSpace::Escrow(kind) => write!(f, "/escrow/{}", kind.as_str()),
            NonceSpace::Cancel => f.write_str("/cancel"),
            NonceSpace::Voucher => f.write_str("/voucher"),
            NonceSpace::Held => f.write_str("/held"),
            NonceSpace::Charged => f.write_str("/charged"),
            NonceSpace::Gas => f.write_str("/gas"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a payment is named `eip155:N/erc20:0x…/0x…/0x…` (asset, payer, nonce; `/permit2` and the like behind it); this is `{0}`"
)]
pub struct ParseClaimKeyError(String);

/// The one spelling that is written.
impl FromStr for ClaimKey {
    type Err = ParseClaimKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = read(text).filter(|key| key.to_string() == text);
        found.ok_or_else(|| ParseClaimKeyError(echo(text)))
    }
}

fn read(text: &str) -> Option<ClaimKey> {
    let mut parts = text.splitn(5, '/');
    let network = parts.next()?.parse().ok()?;
    let token = parts.next()?.strip_prefix("erc20:")?.parse().ok()?;
    let payer = parts.next()?.parse().ok()?;
    let nonce = parts.next()?.parse().ok()?;
    Some(ClaimKey { space: space(parts.next())?, network, token, payer, nonce })
}

fn space(text: Option<&str>) -> Option<NonceSpace> {
    Some(match text {
        None => NonceSpace::Eip3009,
        Some("permit2") => NonceSpace::Permit2,
        Some("cancel") => NonceSpace::Cancel,
        Some("voucher") => NonceSpace::Voucher,
        Some("held") => NonceSpace::Held,
        Some("charged") => NonceSpace::Charged,
        Some("gas") => NonceSpace::Gas,
        Some(other) => {
            let named = other.strip_prefix("escrow/")?;
            NonceSpace::Escrow(CallKind::ALL.into_iter().find(|kind| kind.as_str() == named)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};

    use super::*;
    use crate::network::Network;

    fn key(space: NonceSpace) -> ClaimKey {
        let (token, payer) = (Address::repeat_byte(0xab), Address::repeat_byte(2));
        ClaimKey { space, network: Network::new(8453).unwrap(), token, payer, nonce: B256::repeat_byte(3) }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let calls = CallKind::ALL.into_iter().map(NonceSpace::Escrow);
        let others = [
            NonceSpace::Eip3009,
            NonceSpace::Permit2,
            NonceSpace::Cancel,
            NonceSpace::Voucher,
            NonceSpace::Held,
            NonceSpace::Charged,
            NonceSpace::Gas,
        ];
        for key in calls.chain(others).map(key) {
            assert_eq!(key.to_string().parse(), Ok(key), "{key}");
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        let plain = key(NonceSpace::Eip3009).to_string();
        let wrong = [
            String::new(),
            "eip155:8453".to_owned(),
            plain.to_uppercase(),
            plain.replacen("0xab", "0xAB", 1),
            plain.replacen("erc20:0x", "erc20:", 1),
            plain.replacen("erc20", "erc721", 1),
            plain.replacen("eip155:8453", "eip155:0", 1),
            plain.replacen("eip155", "solana", 1),
            format!("{plain}/"),
            format!("{plain}/eip3009"),
            format!("{plain}/escrow"),
            format!("{plain}/escrow/nothing"),
            format!("{plain}/permit2/upto"),
            format!(" {plain}"),
            plain[..plain.len() - 1].to_owned(),
            plain.rsplit_once('/').unwrap().0.to_owned(),
        ];
        for text in wrong {
            assert!(text.parse::<ClaimKey>().is_err(), "{text}");
        }
    }
}
