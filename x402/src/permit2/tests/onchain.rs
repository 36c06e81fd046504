use super::*;
use crate::chain::ChainError;
use crate::exact::{ClaimedElsewhere, OnChainError, verify_on_chain};
use crate::fixture::{Node, now_or_never};
use crate::settlement::NonceSpace;

fn asked(node: &Node, by_transfer: u128, by_permit: u128) -> Result<(), Reason> {
    let (payload, requirements) = recorded(Which::Exact);
    let payment = answer(&payload, &requirements).unwrap();
    let amount = ledger::money::Amount::new;
    let claimed = ClaimedElsewhere::default().and(NonceSpace::Eip3009, amount(by_transfer)).unwrap();
    let claimed = claimed.and(NonceSpace::Permit2, amount(by_permit)).unwrap();
    now_or_never(verify_on_chain(node, &payment, Address::ZERO, claimed)).map_err(|error| match error {
        OnChainError::Refused(refusal) => refusal.reason,
        OnChainError::Chain(_) => Reason::UnexpectedVerifyError,
    })
}

#[test]
fn the_chain_is_asked_for_what_a_signature_cannot_say() {
    let good = Node::good();
    let reverted = Err(ChainError::Reverted { reason: "InvalidNonce()".into(), data: [].into() });
    let cases = [
        (Node { chain_id: 1, ..good.clone() }, Reason::NetworkMismatch),
        (Node { token_has_code: false, ..good.clone() }, Reason::AssetNotDeployed),
        (Node { payer_code: &[0xfe], ..good.clone() }, Reason::UnsupportedPayloadType),
        (Node { consumed_latest: true, ..good.clone() }, Reason::Permit2NonceUsed),
        (Node { balance: U256::from(9_999), ..good.clone() }, Reason::Permit2InsufficientBalance),
        (Node { allowance: U256::from(9_999), ..good.clone() }, Reason::Permit2AllowanceRequired),
        (Node { proxies_have_code: false, ..good.clone() }, Reason::Permit2ProxyNotDeployed),
        (Node { simulation: reverted, ..good.clone() }, Reason::Permit2SimulationFailed),
        (Node { down: true, ..good.clone() }, Reason::UnexpectedVerifyError),
    ];
    for (node, reason) in cases {
        assert_eq!(asked(&node, 0, 0), Err(reason));
    }
    assert_eq!(asked(&good, 1, 0), Err(Reason::Permit2InsufficientBalance), "what others claim is not there");
    assert_eq!(asked(&good, 0, 1), Err(Reason::Permit2InsufficientBalance));
    assert_eq!(asked(&good, 0, 0), Ok(()));
    let rich = Node { balance: U256::from(1_000_000), allowance: U256::from(20_000), ..good };
    assert_eq!(
        asked(&rich, 0, 10_001),
        Err(Reason::Permit2AllowanceRequired),
        "what other permits claim is not allowed"
    );
    assert_eq!(asked(&rich, 10_001, 10_000), Ok(()), "a transfer needs no allowance");
}
