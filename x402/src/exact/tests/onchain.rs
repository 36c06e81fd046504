//! The chain half of verification, against a chain that answers what the test says.

use alloy_primitives::{Address, U256};
use ledger::money::Amount;

use super::answer;
use crate::chain::ChainError;
use crate::exact::{ClaimedElsewhere, OnChainError, verify_on_chain};
use crate::fixture::{self, Node, now_or_never};
use crate::reason::Reason;
use crate::settlement::NonceSpace;

fn asked(node: &Node, elsewhere: u128) -> Result<(), OnChainError> {
    let payment = answer(&fixture::payload(), &fixture::requirements()).unwrap();
    let claimed = ClaimedElsewhere::default().and(NonceSpace::Eip3009, Amount::new(elsewhere)).unwrap();
    now_or_never(verify_on_chain(node, &payment, Address::repeat_byte(9), claimed))
}

fn reverted() -> ChainError {
    ChainError::Reverted { reason: "no".to_owned(), data: Default::default() }
}

#[test]
fn what_the_chain_contradicts_is_refused() {
    let good = Node::good();
    let cases = [
        ("another chain", Node { chain_id: 1, ..good.clone() }, Reason::NetworkMismatch),
        ("no token there", Node { token_has_code: false, ..good.clone() }, Reason::AssetNotDeployed),
        ("a contract pays", Node { payer_code: &[0xfe], ..good.clone() }, Reason::UnsupportedPayloadType),
        // the token answers a used nonce without a revert: the simulation alone would pass
        ("nonce used", Node { consumed_latest: true, ..good.clone() }, Reason::NonceAlreadyUsed),
        ("balance", Node { balance: U256::from(9_999), ..good.clone() }, Reason::InsufficientBalance),
        ("revert", Node { simulation: Err(reverted()), ..good.clone() }, Reason::SimulationFailed),
        (
            "name",
            Node { simulation: Err(reverted()), token_name: "USDC".to_owned(), ..good.clone() },
            Reason::TokenNameMismatch,
        ),
        (
            "version",
            Node { simulation: Err(reverted()), token_version: "1".to_owned(), ..good.clone() },
            Reason::TokenVersionMismatch,
        ),
    ];
    for (name, node, reason) in cases {
        assert_eq!(asked(&node, 0).unwrap_err().reason(), reason, "{name}");
    }
}

#[test]
fn a_silent_node_accepts_nothing_and_may_be_asked_again() {
    let node = Node { down: true, ..Node::good() };
    let error = asked(&node, 0).unwrap_err();
    assert!(matches!(error, OnChainError::Chain(ChainError::Unavailable(_))));
    assert!(error.retryable());
    let node = Node { simulation: Err(ChainError::Unavailable("gone".to_owned())), ..Node::good() };
    assert_eq!(asked(&node, 0).unwrap_err().reason(), Reason::UnexpectedVerifyError);
}

#[test]
fn authorizations_are_counted_together() {
    let node = Node { balance: U256::from(25_000), ..Node::good() };
    assert_eq!(asked(&node, 15_001).unwrap_err().reason(), Reason::InsufficientBalance);
    assert_eq!(asked(&node, u128::MAX).unwrap_err().reason(), Reason::InsufficientBalance);
    assert_eq!(asked(&node, 15_000), Ok(()));
}
