//! What this facilitator settles, as `/supported` says it.

use std::collections::BTreeMap;

use ledger::id::TenantId;
use serde_json::{Map, json};
use x402::auth_capture;
use x402::batch_settlement;
use x402::exact;
use x402::identifier;
use x402::permit2::{approval, sponsor};
use x402::upto;
use x402::wire::{SupportedKind, SupportedResponse, X402_VERSION};

use crate::Engine;
use crate::error::EngineError;

impl Engine {
    pub fn facilitator_supported(&self, tenant: &TenantId) -> Result<SupportedResponse, EngineError> {
        let role = self.facilitator_role(tenant)?;
        let kind = |scheme: &str, extra| SupportedKind {
            x402_version: X402_VERSION,
            scheme: scheme.to_owned(),
            network: self.network.to_string(),
            extra,
            unknown: Map::new(),
        };
        // Sellers copy it into their terms, and payers sign it: nobody else can settle then.
        let facilitator = json!(role.relayer.address().to_string());
        let upto = Map::from_iter([(upto::FACILITATOR.to_owned(), facilitator)]);
        // No `receiverAuthorizer`: whoever asked for it could give a seller's unclaimed money back to its payer. Sellers sign.
        let channels = kind(batch_settlement::SCHEME, None);
        // The same there, and for the same reason. No fee terms: none is taken.
        let operator = json!(role.relayer.address().to_string());
        let escrow = json!(auth_capture::ESCROW.to_string());
        let held =
            Map::from_iter([("captureAuthorizer".to_owned(), operator), ("authCaptureEscrow".to_owned(), escrow)]);
        let held = kind(auth_capture::SCHEME, Some(held));
        let kinds = vec![kind(exact::SCHEME, None), kind(upto::SCHEME, Some(upto)), channels, held];
        let signers = BTreeMap::from([(
            "eip155:*".to_owned(),
            role.relayers().map(|relayer| relayer.address().to_string()).collect(),
        )]);
        let extensions = [sponsor::EXTENSION, approval::EXTENSION, identifier::EXTENSION].map(str::to_owned).to_vec();
        Ok(SupportedResponse { kinds, extensions, signers, unknown: Map::new() })
    }
}
