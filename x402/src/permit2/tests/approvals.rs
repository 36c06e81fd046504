//! Approvals that come along: invalid ones first.

use serde_json::{Value, json};

use super::*;
use crate::permit2::approval::{Approval, EXTENSION, UnsignedApproval};

fn unsigned(change: impl FnOnce(&mut UnsignedApproval)) -> UnsignedApproval {
    let (_, requirements) = recorded(Which::Exact);
    let mut unsigned = UnsignedApproval {
        network: Network::new(31_337).unwrap(),
        owner: key().address(),
        token: requirements.asset.parse().unwrap(),
        value: U256::MAX,
        nonce: 7,
        gas_limit: 70_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
    };
    change(&mut unsigned);
    unsigned
}

fn signed(unsigned: &UnsignedApproval) -> Approval {
    unsigned.signed(key().sign(unsigned.digest()).unwrap())
}

fn sent(info: Value, which: Which) -> Result<VerifiedPayment, Reason> {
    let (mut payload, requirements) = recorded(which);
    payload.extensions = json!({ EXTENSION: info }).as_object().cloned();
    answer(&payload, &requirements).map_err(|refusal| refusal.reason)
}

fn with(approval: &Approval, change: impl FnOnce(&mut Value)) -> Result<VerifiedPayment, Reason> {
    let mut entry = approval.extension();
    change(&mut entry["info"]);
    sent(entry, Which::Exact)
}

fn raw(bytes: &[u8]) -> Result<VerifiedPayment, Reason> {
    with(&signed(&unsigned(|_| ())), |info| info["signedTransaction"] = json!(format!("0x{}", hex::encode(bytes))))
}

/// What is changed of something, and what it is refused with.
type Case<'a, T> = (&'a dyn Fn(&mut T), Reason);

#[test]
fn what_is_said_of_an_approval_must_be_so() {
    let cases: [Case<'_, Value>; 13] = [
        (&|i| i["from"] = json!(OTHER), Reason::ApprovalFrom),
        (&|i| i["from"] = json!("somebody"), Reason::ApprovalFormat),
        (&|i| i["asset"] = json!(OTHER), Reason::ApprovalAsset),
        (&|i| i["spender"] = json!(EXACT_PROXY.to_string()), Reason::ApprovalSpender),
        (&|i| i["amount"] = json!("9999"), Reason::ApprovalCalldata),
        (&|i| i["amount"] = json!("10000"), Reason::ApprovalCalldata),
        (&|i| i["amount"] = json!("0x10"), Reason::ApprovalFormat),
        (&|i| i["signedTransaction"] = json!("02"), Reason::ApprovalFormat),
        (&|i| i["signedTransaction"] = json!(format!("0x{}", "00".repeat(513))), Reason::ApprovalFormat),
        (&|i| i["signedTransaction"] = json!("0x"), Reason::ApprovalUnreadable),
        (&|i| i["version"] = json!("2"), Reason::ApprovalFormat),
        (&|i| *i = json!({"signedTransaction": "0x02"}), Reason::ApprovalFormat),
        (&|i| i["signedTransaction"] = json!(7), Reason::ApprovalFormat),
    ];
    for (change, reason) in cases {
        assert_eq!(with(&signed(&unsigned(|_| ())), change).unwrap_err(), reason);
    }
    let offered = sent(json!({"info": {"description": "d", "version": "1"}}), Which::Exact).unwrap();
    assert_eq!(offered.approval(), None, "the seller's offer of it, echoed");
}

#[test]
fn what_is_signed_must_be_a_plain_approval_of_permit2() {
    let other: Address = OTHER.parse().unwrap();
    let elsewhere = Network::new(8_453).unwrap();
    let cases: [Case<'_, UnsignedApproval>; 6] = [
        (&|u| u.token = other, Reason::ApprovalTarget),
        (&|u| u.network = elsewhere, Reason::ApprovalUnreadable),
        (&|u| u.max_priority_fee_per_gas = u.max_fee_per_gas + 1, Reason::ApprovalUnreadable),
        (&|u| u.gas_limit = 150_001, Reason::ApprovalGas),
        (&|u| u.gas_limit = u64::MAX, Reason::ApprovalGas),
        (&|u| u.value = U256::from(10_001), Reason::ApprovalCalldata),
    ];
    let asset = recorded(Which::Exact).1.asset;
    for (change, reason) in cases {
        let approval = signed(&unsigned(|u| change(u)));
        let found = with(&approval, |info| {
            info["asset"] = json!(asset);
            info["amount"] = json!(U256::MAX.to_string());
        });
        assert_eq!(found.unwrap_err(), reason);
    }
    let wrong = WalletKey::from_hex("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a").unwrap();
    let plain = unsigned(|_| ());
    let stolen = plain.signed(wrong.sign(plain.digest()).unwrap());
    assert_eq!(with(&stolen, |_| ()).unwrap_err(), Reason::ApprovalSigner);
}

/// A transaction with other calldata, an access list, ether, or another form: hand-made, because nothing here makes one.
#[test]
fn no_other_transaction_is_sent_for_anybody() {
    let approval = signed(&unsigned(|_| ()));
    let good = approval.raw.to_vec();
    // The calldata's own header, then selector, spender, amount, and the empty access list.
    let call = good.windows(4).position(|part| part == [0x09, 0x5e, 0xa7, 0xb3]).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases = [
        (changed(0, 1), Reason::ApprovalUnreadable),
        (changed(0, 3), Reason::ApprovalUnreadable),
        (changed(0, 4), Reason::ApprovalUnreadable),
        (changed(0, 0xf8), Reason::ApprovalUnreadable),
        (changed(call, 0xa9), Reason::ApprovalSelector),
        (changed(call + 4, 1), Reason::ApprovalCalldata),
        (changed(call + 16, 1), Reason::ApprovalCallSpender),
        (changed(call + 36, 0), Reason::ApprovalCalldata),
        // Between amount of ether and calldata: the ether, and behind the calldata: the access list.
        (changed(call - 3, 1), Reason::ApprovalUnreadable),
        (changed(call + 68, 0x80), Reason::ApprovalUnreadable),
        ([good.clone(), vec![0]].concat(), Reason::ApprovalUnreadable),
        (good[..good.len() - 1].to_vec(), Reason::ApprovalUnreadable),
        (vec![2], Reason::ApprovalUnreadable),
        (vec![2, 0xc0], Reason::ApprovalUnreadable),
        (vec![2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Reason::ApprovalUnreadable),
    ];
    for (bytes, reason) in cases {
        assert_eq!(raw(&bytes).unwrap_err(), reason, "0x{}", hex::encode(&bytes));
    }
    for length in 0..good.len() {
        assert!(raw(&good[..length]).is_err(), "{length} bytes of it");
    }
    for (at, byte) in good.iter().enumerate() {
        assert!(raw(&changed(at, byte ^ 0x55)).is_err(), "byte {at}");
    }
}

/// Made with viem 2 (`signTransaction` of the same key and fields), so that the two agree to the byte.
#[test]
fn an_approval_is_read_as_it_is_signed() {
    for which in [Which::Exact, Which::Upto] {
        let approval = signed(&unsigned(|_| ()));
        let payment = sent(approval.extension(), which).unwrap();
        assert_eq!(payment.approval(), Some(&approval));
        assert_eq!(approval.cost(), U256::from(210_000_000_000_000_u64));
        assert!(payment.takes_of_an_allowance());
    }
    let zero = signed(&unsigned(|u| (u.nonce, u.value) = (0, U256::from(10_000))));
    assert_eq!(with(&zero, |_| ()).unwrap().approval(), Some(&zero));
    assert_eq!(zero.raw.to_string(), VIEM, "the bytes of viem");
}

const VIEM: &str = "\
    0x02f8b2827a6980843b9aca0084b2d05e0083011170945fbdb2315678afecb367f032d93f642f64180aa380b844095ea7b3\
    000000000000000000000000000000000022d473030f116ddee9f6b43ac78ba3000000000000000000000000000000000000\
    0000000000000000000000002710c080a0900404df3edc60f753b8409cb174e9ec4028a020a786dd20dd5503a2ff599bb4a0\
    7596b1fed3614ea8e2cae9912200cde127b57691d6adc2fdea140b9f75ec48f7\
";
