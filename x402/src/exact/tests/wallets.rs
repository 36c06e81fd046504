//! Signatures that no key made: what is refused before the chain is asked, and what its answers lead to.

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolValue;
use serde_json::json;

use super::super::authorization::ERC6492_SUFFIX;
use super::{fixture, tampered};
use crate::chain::{ChainError, WalletAnswer};
use crate::exact::{Checked, ClaimedElsewhere, OnChainError, VerifiedPayment, check, prove, verify_on_chain};
use crate::fixture::{NOW, Node, now_or_never};
use crate::limit::SIGNATURE_BYTES_MAX;
use crate::reason::Reason;
use crate::refusal::Refusal;

const FACTORY: Address = Address::repeat_byte(0xfa);

fn wrapped(factory: Address, calldata: &[u8], inner: &[u8]) -> Vec<u8> {
    let content = (factory, Bytes::copy_from_slice(calldata), Bytes::copy_from_slice(inner)).abi_encode_params();
    [content, ERC6492_SUFFIX.to_vec()].concat()
}

fn checked(signature: &[u8]) -> Result<Checked, Refusal> {
    let payload = tampered("/payload/signature", json!(format!("0x{}", hex::encode(signature))));
    let requirements = fixture::requirements();
    check(&payload, &requirements, &fixture::assets(&requirements), NOW)
}

fn proved(node: &Node, signature: &[u8], factories: &[Address]) -> Result<VerifiedPayment, OnChainError> {
    match checked(signature)? {
        Checked::ByKey(_) => panic!("no key made this"),
        Checked::ByWallet(unproved) => now_or_never(prove(node, unproved, factories)),
    }
}

fn reason(node: &Node, signature: &[u8], factories: &[Address]) -> Reason {
    proved(node, signature, factories).unwrap_err().reason()
}

fn contract() -> Node {
    Node { payer_code: &[0xfe], ..Node::good() }
}

#[test]
fn a_wrapper_that_cannot_be_meant_is_refused_before_the_chain_is_asked() {
    let good = wrapped(FACTORY, b"make", b"signature");
    let nested = wrapped(FACTORY, b"make", &good);
    let mut shifted = good.clone();
    shifted[63] = 0xff;
    let mut dirty = good.clone();
    dirty[0] = 1;
    for (name, signature) in [
        ("empty", ERC6492_SUFFIX.to_vec()),
        ("cut", good[33..].to_vec()),
        ("offset beyond the end", shifted),
        ("an address of 32 bytes", dirty),
        ("no factory", wrapped(Address::ZERO, b"make", b"signature")),
        ("nested", nested),
        ("oversized", wrapped(FACTORY, &vec![1; SIGNATURE_BYTES_MAX], b"signature")),
    ] {
        assert_eq!(checked(&signature).unwrap_err().reason, Reason::SignatureFormat, "{name}");
    }
    assert!(matches!(checked(&good), Ok(Checked::ByWallet(_))));
}

#[test]
fn whoever_is_no_contract_gets_the_answer_of_a_wrong_key() {
    for signature in [vec![1; 65], vec![0; 65], vec![1; 64], vec![1; 66], Vec::new(), vec![7; 500]] {
        assert_eq!(reason(&Node::good(), &signature, &[FACTORY]), Reason::Signature, "{} bytes", signature.len());
    }
}

#[test]
fn a_factory_is_called_only_where_an_operator_listed_it() {
    let (node, signature) = (Node::good(), wrapped(FACTORY, b"make", b"signature"));
    assert_eq!(reason(&node, &signature, &[]), Reason::FactoryNotAllowed);
    assert_eq!(reason(&node, &signature, &[Address::repeat_byte(1)]), Reason::FactoryNotAllowed);
    let not_made = Node { wallet: WalletAnswer::NotMade, ..node.clone() };
    assert_eq!(reason(&not_made, &signature, &[FACTORY]), Reason::WalletDeploymentFailed);
    let refused = Node { wallet: WalletAnswer::Refused, ..node.clone() };
    assert_eq!(reason(&refused, &signature, &[FACTORY]), Reason::Signature);
    assert!(proved(&node, &signature, &[FACTORY]).is_ok());
    // It is there: nobody is called to make it, and what it is shown is what was wrapped.
    let payment = proved(&contract(), &signature, &[]).unwrap();
    assert_eq!(payment.call().signature(), b"signature");
}

#[test]
fn a_contract_is_believed_as_far_as_its_word_and_the_simulation_go() {
    let refused = Node { wallet: WalletAnswer::Refused, ..contract() };
    assert_eq!(reason(&refused, &[1; 65], &[]), Reason::Signature);
    let silent = Node { down: true, ..contract() };
    let error = proved(&silent, &[1; 65], &[]).unwrap_err();
    assert!(matches!(error, OnChainError::Chain(ChainError::Unavailable(_))) && error.retryable());

    let payment = proved(&contract(), &[1; 65], &[]).unwrap();
    let asked = |node: &Node| now_or_never(verify_on_chain(node, &payment, FACTORY, ClaimedElsewhere::default()));
    let reverted = |data: &'static [u8]| Err(ChainError::Reverted { reason: "no".into(), data: data.into() });
    let cases = [
        ("used", Node { consumed_latest: true, ..contract() }, Reason::NonceAlreadyUsed),
        ("broke", Node { balance: alloy_primitives::U256::from(9_999), ..contract() }, Reason::InsufficientBalance),
        ("refused by the token", Node { simulation: reverted(b"why"), ..contract() }, Reason::SimulationFailed),
        ("a token without bytes", Node { simulation: reverted(b""), ..contract() }, Reason::Eip3009NotSupported),
    ];
    for (name, node, reason) in cases {
        assert_eq!(asked(&node).unwrap_err().reason(), reason, "{name}");
    }
    assert_eq!(asked(&contract()), Ok(()));
}

#[test]
fn a_key_signs_for_an_account_that_is_delegated_and_for_no_other_code() {
    let requirements = fixture::requirements();
    let by_key = check(&fixture::payload(), &requirements, &fixture::assets(&requirements), NOW).unwrap();
    let Checked::ByKey(payment) = by_key else { panic!("the recorded payment is signed by a key") };
    let asked = |payer_code| {
        let node = Node { payer_code, ..Node::good() };
        now_or_never(verify_on_chain(&node, &payment, FACTORY, ClaimedElsewhere::default()))
    };
    const DELEGATED: [u8; 23] = [0xef, 1, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    const LONGER: [u8; 24] = [0xef, 1, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    for code in [&[0xfe][..], &[0xef, 1, 0], &DELEGATED[..22], &LONGER] {
        assert_eq!(asked(code).unwrap_err().reason(), Reason::UnsupportedPayloadType, "{code:?}");
    }
    assert_eq!(asked(&DELEGATED), Ok(()));
}
