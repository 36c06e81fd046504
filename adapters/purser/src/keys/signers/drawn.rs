//! What is signed out of a channel agrees with the book: the step, all that was charged before it, and no more than was held.

use engine::ports::SignError;
use ledger::channel::{Step, number_of, step_nonce};
use ledger::id::Digest;
use ledger::money::Amount;
use ledger::spend::{Spend, SpendState};
use x402::batch_settlement::{Channel, Draw};
use x402::select::Offer;

fn refused(why: impl std::fmt::Display) -> SignError {
    SignError::Refused(why.to_string())
}

/// Of the spend's own channel: payer, payee, token and chain are the channel's and the book's.
fn check_channel(spend: &Spend, offer: &Offer, channel: &Channel) -> Result<(), SignError> {
    let number = number_of(&spend.authorization);
    let number = number.ok_or_else(|| refused(format!("spend {} is no step of a channel", spend.id)))?;
    let network = offer.network();
    let asset = network.asset_id(channel.token).map_err(refused)?;
    let agrees = step_nonce(channel.id(network).0, number) == spend.authorization.nonce
        && network.to_string() == spend.authorization.chain()
        && asset == spend.authorization.asset
        && format!("{:#x}", channel.payer) == spend.authorization.payer
        && channel.payer_authorizer == channel.payer
        && format!("{:#x}", channel.receiver) == spend.pay_to
        && Digest(offer.digest()) == spend.purchase;
    if agrees {
        Ok(())
    } else {
        Err(refused(format!("the channel is not the one of which spend {} is a step", spend.id)))
    }
}

pub(super) fn check_step(spend: &Spend, draw: &Draw<'_>) -> Result<(), SignError> {
    use SpendState::{Committed, Settled, Submitted, Unknown};
    if !matches!(spend.state, Committed | Submitted | Unknown | Settled) {
        return Err(refused(format!("spend {} is {}, committed was expected", spend.id, spend.state)));
    }
    check_channel(spend, draw.offer, &draw.channel)?;
    let step = Step::of(spend).map_err(refused)?;
    // What a settled one was charged says no more what was signed for; the offer does, which the spend names.
    let is_held = spend.money.amount == draw.offer.amount() || spend.state == Settled;
    let is_within = draw.max_claimable().is_some_and(|signed| signed <= step.highest);
    if !is_held || !is_within || step.before != draw.before {
        return Err(refused(format!("the voucher to sign is not the one that spend {} committed", spend.id)));
    }
    match draw.top_up {
        Some(_) if spend.state == Settled => {
            Err(refused(format!("spend {} is settled; no money is put in for it", spend.id)))
        }
        Some(top_up) if i64::try_from(top_up.valid_before).ok() != Some(spend.valid_before) => {
            let (id, valid_before) = (spend.id, spend.valid_before);
            Err(refused(format!("the deposit to sign is not good until {valid_before}, as spend {id} is")))
        }
        _ => Ok(()),
    }
}

/// What was charged in a channel up to its last step: what a request for the rest is signed over. It lets nothing be claimed
/// that was not signed before.
pub(super) fn charged_in(last: &Spend, offer: &Offer, channel: &Channel) -> Result<Amount, SignError> {
    check_channel(last, offer, channel)?;
    let step = Step::of(last).map_err(refused)?;
    let charged = step.after().filter(|charged| *charged <= step.highest);
    charged.ok_or_else(|| refused(format!("the channel of spend {} was charged more than was signed", last.id)))
}
