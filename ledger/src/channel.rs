//! Payments out of a channel, on the payer's side (x402, scheme `batch-settlement`): money that lies in an escrow for one
//! payee, and a voucher a request over all that may be claimed so far.
//!
//! Each payment is a step of its channel, numbered from 0. What names it is the first half of the channel's name and that
//! number, so a step is claimed once, as any authorization is. How the channel stands at a step is written where other
//! payments have their transaction: no transaction pays for one.

use std::fmt;
use std::str::FromStr;

use crate::id::RailReference;
use crate::money::Amount;
use crate::rejection::Fault;
use crate::spend::{Authorization, Spend, SpendState};

/// Of a channel's name in the nonce of a step.
const NAME_BYTES: usize = 16;

/// What names a step.
pub fn step_nonce(channel: [u8; 32], number: u64) -> [u8; 32] {
    let mut nonce = channel;
    nonce[NAME_BYTES..].copy_from_slice(&u128::from(number).to_be_bytes());
    nonce
}

/// Which step it is; nothing of what is no voucher of ours.
pub fn number_of(authorization: &Authorization) -> Option<u64> {
    let (_, number) = authorization.nonce.split_first_chunk::<NAME_BYTES>()?;
    let number = u128::from_be_bytes(number.try_into().ok()?);
    u64::try_from(number).ok().filter(|_| authorization.is_drawn())
}

/// The step of the same channel that has this number.
pub fn sibling(authorization: &Authorization, number: u64) -> Authorization {
    Authorization { nonce: step_nonce(authorization.nonce, number), ..authorization.clone() }
}

/// Whether both are of one channel.
pub fn is_same(one: &Authorization, other: &Authorization) -> bool {
    one.is_drawn() && sibling(one, 0) == sibling(other, 0)
}

/// How a channel stands at one of its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Charged by all steps before it.
    pub before: Amount,
    /// What its payee said that it charged for it; nothing while there is no word.
    pub charged: Option<Amount>,
    /// The most that any voucher of the channel lets be claimed, this one's among them once it is signed.
    pub highest: Amount,
}

impl Step {
    /// As the spend has it.
    pub fn of(spend: &Spend) -> Result<Self, Fault> {
        let text = spend.transaction.as_ref().map(RailReference::as_str).unwrap_or_default();
        text.parse().map_err(|()| Fault::Broken(format!("spend {} is a step of a channel and says `{text}`", spend.id)))
    }

    /// Charged by all steps up to this one.
    pub fn after(&self) -> Option<Amount> {
        self.before.checked_add(self.charged.unwrap_or(Amount::ZERO))
    }

    /// What the voucher of this step is signed over, for so much at most.
    pub fn signed(&self, most: Amount) -> Option<Amount> {
        self.before.checked_add(most)
    }

    /// Nothing will be charged for it that is not known.
    pub const fn is_over(&self, state: SpendState) -> bool {
        self.charged.is_some() || matches!(state, SpendState::Voided | SpendState::Expired | SpendState::Released)
    }

    pub fn reference(&self) -> Result<RailReference, Fault> {
        self.to_string().parse().map_err(|_| Fault::Broken(format!("`{self}` is no reference")))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel:{}:", self.before)?;
        match self.charged {
            Some(charged) => write!(f, "{charged}:{}", self.highest),
            None => write!(f, "-:{}", self.highest),
        }
    }
}

impl FromStr for Step {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.strip_prefix("channel:").ok_or(())?.split(':');
        let mut next = || parts.next().ok_or(());
        let (before, charged, highest) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(());
        }
        let amount = |text: &str| text.parse::<Amount>().map_err(|_| ());
        let charged = if charged == "-" { None } else { Some(amount(charged)?) };
        Ok(Self { before: amount(before)?, charged, highest: amount(highest)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_channel_stands_is_read_as_it_was_written_and_in_no_other_spelling() {
        let amount = Amount::new;
        for (step, text) in [
            (Step::default(), "channel:0:-:0"),
            (Step { before: amount(7), charged: Some(Amount::ZERO), highest: amount(9) }, "channel:7:0:9"),
            (Step { before: Amount::MAX, charged: None, highest: Amount::MAX }, &{
                format!("channel:{max}:-:{max}", max = u128::MAX)
            }),
        ] {
            assert_eq!((step.to_string().as_str(), text.parse()), (text, Ok(step)));
            assert_eq!(step.reference().unwrap().as_str(), text);
        }
        for wrong in [
            "",
            "channel",
            "channel:1:2",
            "channel:1:2:3:4",
            "0x12",
            "channel:01:-:1",
            "channel:1:--:1",
            "channel:-:1:1",
        ] {
            assert_eq!(wrong.parse::<Step>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn steps_of_one_channel_are_told_from_each_other_and_from_those_of_others() {
        let of = |network: &str, first: u8, number| Authorization {
            network: network.to_owned(),
            asset: "eip155:1/erc20:0x01".parse().unwrap(),
            payer: "0x02".to_owned(),
            nonce: step_nonce([first; 32], number),
        };
        let drawn = "eip155:1/voucher/upto";
        let step = of(drawn, 1, 3);
        assert_eq!((number_of(&step), &sibling(&step, 4)), (Some(3), &of(drawn, 1, 4)));
        assert!(is_same(&step, &of(drawn, 1, u64::MAX)));
        for other in [of(drawn, 2, 3), of("eip155:2/voucher/upto", 1, 3), of("eip155:1/voucher", 1, 3)] {
            assert!(!is_same(&step, &other), "{other:?}");
        }
        assert!(!is_same(&of("eip155:1", 1, 3), &of("eip155:1", 1, 3)));
        assert_eq!(number_of(&of("eip155:1/voucher", 1, 3)), None, "what a seller claims");
        assert_eq!(number_of(&Authorization { nonce: [1; 32], ..step }), None, "no number of a step");
    }
}
