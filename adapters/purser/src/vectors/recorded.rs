//! Payments that the official SDKs of x402 made (`fixtures/x402`), each with the requirements that it was made for: it
//! verifies, at a time within its window, and its recorded header reads as the same payment.

use serde_json::Value;
use x402::auth_capture;
use x402::batch_settlement;
use x402::exact::Checked;
use x402::network::{Asset, AssetTable, NetworkNames, TransferMethod};
use x402::scheme;
use x402::wire::{PaymentPayload, PaymentRequirements, read_header, v1};

use super::Line;

/// Name, payload, requirements, and the header where one was recorded.
const PAYMENTS: [(&str, &str, &str, &str); 7] = [
    ("exact", "/paymentPayload", "/paymentRequirements", "/PAYMENT-SIGNATURE"),
    ("settled", "/settledExample/paymentPayload", "/settledExample/paymentPayload/accepted", ""),
    ("permit2", "/exact_permit2_py/p", "/exact_permit2_py/rq", ""),
    ("upto", "/upto_py/p", "/upto_py/uq", ""),
    ("permit2", "/permit2", "/permit2Requirements", ""),
    ("batch-settlement", "/deposit", "/requirements", ""),
    ("auth-capture", "/authCapturePayload", "/authCaptureRequirements", ""),
];

/// The lines of a file of recorded payments; none where it is no such file.
pub(super) fn run(file: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    for (id, payload, requirements, header) in PAYMENTS {
        if let (Some(payload), Some(requirements)) = (file.pointer(payload), file.pointer(requirements)) {
            lines.push(Line::valid(
                id,
                newer(payload, requirements, file.pointer(header).filter(|_| !header.is_empty())),
            ));
        }
    }
    if let (Some(header), Some(requirements)) = (file.get("X-PAYMENT"), file.get("requirements")) {
        lines.push(Line::valid("version_one", older(header, requirements)));
    }
    lines
}

fn newer(payload: &Value, requirements: &Value, header: Option<&Value>) -> Result<(), String> {
    let mut payload = payload.clone();
    // One was recorded as the client's own method makes it, which leaves this to its caller.
    if payload.get("accepted").is_none() {
        payload["accepted"] = requirements.clone();
    }
    let payload: PaymentPayload = serde_json::from_value(payload).map_err(|error| error.to_string())?;
    let requirements = serde_json::from_value(requirements.clone()).map_err(|error| error.to_string())?;
    if let Some(header) = header {
        let read: PaymentPayload =
            read_header(header.as_str().unwrap_or_default().as_bytes()).map_err(|error| error.code())?;
        if read != payload {
            return Err("another payment in the header".to_owned());
        }
    }
    verify(&payload, &requirements)
}

fn older(header: &Value, requirements: &Value) -> Result<(), String> {
    let requirements: v1::PaymentRequirements =
        serde_json::from_value(requirements.clone()).map_err(|error| error.to_string())?;
    let payload: v1::PaymentPayload =
        read_header(header.as_str().unwrap_or_default().as_bytes()).map_err(|error| error.code())?;
    let names = NetworkNames::trusted();
    let requirements = requirements.upgraded(&names);
    verify(&payload.upgraded(&requirements, &names), &requirements)
}

fn verify(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<(), String> {
    let refused = |refusal: x402::refusal::Refusal| refusal.code().to_owned();
    let (signed, _) = scheme::claimed(payload, requirements).map_err(refused)?;
    let valid_before = u64::try_from(signed.valid_before()).map_err(|_| "valid_before_beyond_time")?;
    let now = valid_before.saturating_sub(requirements.max_timeout_seconds);
    scheme::check_charge(payload, requirements, &assets(requirements)?, now)
        .and_then(Checked::by_key)
        .map(drop)
        .map_err(refused)
}

/// The trusted table, and the local chain's token as the requirements state it.
fn assets(requirements: &PaymentRequirements) -> Result<AssetTable, String> {
    let terms = match requirements.scheme.as_str() {
        batch_settlement::SCHEME => batch_settlement::terms(requirements),
        auth_capture::SCHEME => auth_capture::terms(requirements),
        _ => scheme::terms(requirements),
    };
    let terms = terms.map_err(|refusal| refusal.code().to_owned())?;
    let mut table = AssetTable::trusted();
    if table.find(terms.network, terms.token).is_none() {
        let (name, version) = (terms.domain.name, terms.domain.version);
        let (network, address, transfer) = (terms.network, terms.token, TransferMethod::Eip3009);
        let asset = Asset { network, address, name, version, decimals: 6, transfer };
        table.add(asset).map_err(|error| error.code().to_owned())?;
    }
    Ok(table)
}
