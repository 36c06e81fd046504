//! What the signature of a payment costs, against the bare cryptography that no verifier can do without.

use alloy_primitives::{Address, B256};
use serde_json::{Value, json};
use x402::exact::{self, EvmSignature, WalletKey};
use x402::network::{Asset, AssetTable, Network, TransferMethod};
use x402::select::{Wallet, select};
use x402::wire::{PaymentRequired, PaymentRequirements, ResourceInfo};

use super::{Better, Row, interleave};

const ROUNDS: usize = 31;
const NOW: i64 = 1_795_000_000;

pub fn x402() -> Result<Vec<Row>, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let network = Network::new(31_337).ok_or("no network")?;
    let (name, version) = ("USD Coin".to_owned(), "2".to_owned());
    let address = Address::repeat_byte(0x55);
    let mut assets = AssetTable::trusted();
    let row = Asset { network, address, name, version, decimals: 6, transfer: TransferMethod::Eip3009 };
    assets.add(row).map_err(|error| say(&error))?;
    let requirements = PaymentRequirements {
        scheme: "exact".into(),
        network: network.to_string(),
        amount: "10000".into(),
        asset: address.to_string(),
        pay_to: Address::repeat_byte(0x66).to_string(),
        max_timeout_seconds: 60,
        extra: json!({ "name": "USD Coin", "version": "2" }).as_object().cloned(),
        unknown: serde_json::Map::new(),
    };
    let required = PaymentRequired::new(ResourceInfo::new("https://a/b"), vec![requirements.clone()], None);
    let wallet = WalletKey::from_bytes(&[3; 32]).map_err(|error| say(&error))?;
    let now = u64::try_from(NOW).map_err(|error| say(&error))?;
    let offer = select(&required, "GET", Wallet::new(&assets)).map_err(|error| say(&error))?;
    let unsigned = offer.authorize(wallet.address(), B256::repeat_byte(9), 0, now + 50).map_err(|error| say(&error))?;
    let payload = unsigned.sign(&wallet).map_err(|error| say(&error))?;
    let digest = unsigned.digest();
    let signature: EvmSignature = wallet.sign(digest).map_err(|error| say(&error))?;
    let mut ours =
        || exact::verify(&payload, &requirements, &assets, now).map(|_| ()).map_err(|error| error.to_string());
    let mut peer = || signature.recover(digest).map(|_| ()).map_err(|error| error.to_string());
    let (ours, peer) = interleave(ROUNDS, &mut ours, &mut peer)?;
    Ok(vec![Row {
        name: "exact_stateless",
        ours,
        peer: Some(peer),
        peer_is: "one secp256k1 key recovery",
        rounds: ROUNDS,
        more: Value::Null,
        rate: false,
        better: Better::Lower,
    }])
}
