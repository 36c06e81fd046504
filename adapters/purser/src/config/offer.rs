//! What a tenant's prices have in common, and the offers that come of it.

use std::num::NonZeroU64;

use alloy_primitives::Address;
use ledger::money::Amount;
use x402::auth_capture::{self, Flow};
use x402::network::TransferMethod;
use x402::wire::PaymentRequirements;
use x402::{batch_settlement, permit2, upto};

use super::{ChainConfig, ChannelsConfig, HoldsConfig, PayBy, RouteConfig, SellConfig};
use crate::assembly::{assets, network};
use crate::keys::{Purpose, Ring, Slot};

impl SellConfig {
    /// What every price of the tenant has in common: its token, and who is paid.
    pub fn offer(&self, chain: &ChainConfig) -> Result<Offer, String> {
        let (table, network) = (assets(chain), network(chain));
        let (table, network) = (table.map_err(|error| error.to_string())?, network.map_err(|error| error.to_string())?);
        let token = self.asset.parse().map_err(|_| format!("sell.asset: `{}` is no address", self.asset))?;
        let asset = table.find(network, token).ok_or_else(|| format!("sell.asset: {token} is in no table"))?;
        let pay_to: Address =
            self.pay_to.parse().map_err(|_| format!("sell.pay_to: an address was expected, `{}` came", self.pay_to))?;
        Ok(Offer {
            transfer: asset.transfer,
            common: PaymentRequirements {
                scheme: x402::exact::SCHEME.into(),
                network: network.to_string(),
                amount: String::new(),
                asset: token.to_string(),
                // With its checksum (EIP-55): web3.py, on which the official facilitator in Python stands, takes no other.
                pay_to: pay_to.to_string(),
                max_timeout_seconds: 0,
                extra: Some(serde_json::Map::from_iter([
                    ("name".to_owned(), asset.name.as_str().into()),
                    ("version".to_owned(), asset.version.as_str().into()),
                ])),
                unknown: serde_json::Map::new(),
            },
        })
    }

    /// How channels are kept, and with whose signature; `None` where nothing is sold for vouchers.
    pub(super) fn channel_terms(&self, ring: &Ring, tenant: &str) -> Result<Option<ChannelTerms>, String> {
        if !self.has_channels() {
            return Ok(None);
        }
        let channels = self.channels.clone().unwrap_or_default();
        channels.check()?;
        let authorizer = ring.address(&Slot::new(tenant, Purpose::Channels)).map_err(|error| error.to_string())?;
        Ok(Some(ChannelTerms { authorizer, channels }))
    }

    /// The same of what is held; `None` where nothing is.
    pub(super) fn hold_terms(&self, ring: &Ring, tenant: &str) -> Result<Option<HoldTerms>, String> {
        if !self.has_holds() {
            return Ok(None);
        }
        let holds = self.holds.clone().unwrap_or_default();
        let authorizer = ring.address(&Slot::new(tenant, Purpose::Holds)).map_err(|error| error.to_string())?;
        Ok(Some(HoldTerms { authorizer, holds }))
    }
}

/// Who stands behind an offer, beside its payee.
pub(super) struct ChannelTerms {
    authorizer: Address,
    channels: ChannelsConfig,
}

pub(super) struct HoldTerms {
    authorizer: Address,
    holds: HoldsConfig,
}

impl HoldTerms {
    pub const fn capture_seconds(&self) -> NonZeroU64 {
        self.holds.capture_seconds
    }
}

#[derive(Clone, Copy)]
pub(super) struct Settles<'a> {
    pub account: Option<Address>,
    pub channels: Option<&'a ChannelTerms>,
    pub holds: Option<&'a HoldTerms>,
}

/// An offer that lacks its amount.
pub struct Offer {
    /// What the token can do by itself.
    transfer: TransferMethod,
    common: PaymentRequirements,
}

impl Offer {
    pub fn of(&self, amount: &str, max_timeout_seconds: u64) -> PaymentRequirements {
        PaymentRequirements { amount: amount.to_owned(), max_timeout_seconds, ..self.common.clone() }
    }

    /// In each way that the route takes.
    pub(super) fn all(&self, route: &RouteConfig, settles: Settles<'_>) -> Result<Vec<PaymentRequirements>, String> {
        let usual = match self.transfer {
            TransferMethod::Eip3009 => [PayBy::Eip3009],
            TransferMethod::Permit2 => [PayBy::Permit2],
        };
        let ways = if route.pay_by.is_empty() { &usual[..] } else { &route.pay_by };
        if let Some(twice) = ways.iter().enumerate().find_map(|(place, way)| ways[..place].contains(way).then_some(way))
        {
            return Err(format!("pay_by: each way once was expected, {twice:?} is there twice"));
        }
        ways.iter().map(|way| self.by(*way, route, settles)).collect()
    }

    fn by(&self, way: PayBy, route: &RouteConfig, settles: Settles<'_>) -> Result<PaymentRequirements, String> {
        let mut offer = self.of(&route.amount, route.max_timeout_seconds);
        let extra = offer.extra.get_or_insert_default();
        match way {
            PayBy::Eip3009 if self.transfer == TransferMethod::Permit2 => {
                return Err("pay_by: a token with EIP-3009 was expected, this one moves by Permit2 only".into());
            }
            PayBy::Eip3009 => {}
            PayBy::Permit2 => {
                extra.insert("assetTransferMethod".into(), permit2::METHOD.into());
            }
            PayBy::BatchSettlement => {
                let terms =
                    settles.channels.ok_or("pay_by: batch_settlement needs a key for channels, none is there")?;
                if self.transfer == TransferMethod::Permit2 {
                    return Err("pay_by: a token with EIP-3009 was expected, this one moves by Permit2 only".into());
                }
                if route.payment_identifier.is_some() {
                    return Err(
                        "payment_identifier: none was expected, since a voucher is a purchase of its own".into()
                    );
                }
                let price: Amount = route.amount.parse().map_err(|error| format!("amount: {error}"))?;
                let deposit = u128::from(terms.channels.deposit_prices.get()).checked_mul(price.get());
                let deposit = deposit.ok_or("deposit_prices: a deposit below 2^128 was expected")?;
                extra.insert("receiverAuthorizer".into(), terms.authorizer.to_string().into());
                extra.insert("withdrawDelay".into(), terms.channels.withdraw_delay_seconds.into());
                extra.insert("minDeposit".into(), deposit.to_string().into());
                offer.scheme = batch_settlement::SCHEME.into();
            }
            PayBy::AuthCapture => self.held(Flow::Escrow, route, settles, &mut offer)?,
            PayBy::AuthCharge => self.held(Flow::Authorization, route, settles, &mut offer)?,
            PayBy::Upto => {
                let settles = settles.account.ok_or("pay_by: upto needs sell.facilitator_address, none is there")?;
                extra.insert("assetTransferMethod".into(), permit2::METHOD.into());
                extra.insert(upto::FACILITATOR.into(), settles.to_string().into());
                offer.scheme = upto::SCHEME.into();
            }
        }
        Ok(offer)
    }

    /// The deadlines are written into each 402.
    fn held(
        &self,
        flow: Flow,
        route: &RouteConfig,
        settles: Settles<'_>,
        offer: &mut PaymentRequirements,
    ) -> Result<(), String> {
        let terms = settles.holds.ok_or("pay_by: auth_capture needs a key for holds, none is there")?;
        let operator = settles.account.ok_or("pay_by: auth_capture needs sell.facilitator_address, none is there")?;
        if self.transfer == TransferMethod::Permit2 {
            return Err("pay_by: a token with EIP-3009 was expected, this one moves by Permit2 only".into());
        }
        if route.payment_identifier.is_some() {
            return Err("payment_identifier: none was expected, since each demand has deadlines of its own".into());
        }
        terms.holds.check(route.max_timeout_seconds)?;
        let extra = offer.extra.get_or_insert_default();
        for (name, value) in [
            ("paymentFlow", flow.as_str().into()),
            ("captureAuthorizer", operator.to_string().into()),
            ("authCaptureEscrow", auth_capture::ESCROW.to_string().into()),
            ("receiverAuthorizer", terms.authorizer.to_string().into()),
            ("feeRecipient", Address::ZERO.to_string().into()),
            ("minFeeBps", 0.into()),
            ("maxFeeBps", 0.into()),
            ("captureDeadline", 0.into()),
            ("refundDeadline", 0.into()),
        ] {
            extra.insert(name.to_owned(), value);
        }
        offer.scheme = auth_capture::SCHEME.into();
        Ok(())
    }
}
