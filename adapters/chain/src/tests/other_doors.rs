//! The doors of the test token that the port does not use, and other clients do.

use alloy::primitives::{Address, B256, Bytes, U256, hex};
use alloy::sol_types::SolCall;
use serde_json::json;

use super::*;

alloy::sol! {
    interface Dollar {
        function transfer(address to, uint256 value) external returns (bool);
        function transferFrom(address from, address to, uint256 value) external returns (bool);
        function allowance(address owner, address spender) external view returns (uint256);
        function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
            external;
        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            bytes signature
        ) external;
        function receiveWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            bytes signature
        ) external;
        function cancelAuthorization(address authorizer, bytes32 nonce, bytes signature) external;
    }

    struct ReceiveWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }
    struct Permit {
        address owner;
        address spender;
        uint256 value;
        uint256 nonce;
        uint256 deadline;
    }
}

/// `Err` holds the reason of the revert.
fn send(stage: &Stage, sender: TestAccount, call: &impl SolCall) -> Result<(), String> {
    let input = Bytes::from(call.abi_encode());
    let request = json!([{ "from": sender.address, "to": token::ADDRESS, "data": input }, "latest"]);
    let answer = stage.rpc("eth_call", request);
    if let Some(error) = answer.get("error") {
        return Err(error["message"]
            .as_str()
            .unwrap()
            .trim_start_matches("execution reverted: TestDollar: ")
            .to_owned());
    }
    let nonce = stage.result("eth_getTransactionCount", json!([sender.address, "latest"]));
    let nonce = u64::from_str_radix(nonce.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let hash = stage.result("eth_sendRawTransaction", json!([raw_transaction(sender, nonce, input, |_| ())]));
    assert_eq!(stage.result("eth_getTransactionReceipt", json!([hash]))["status"], json!("0x1"));
    Ok(())
}

fn with_bytes(call: &TransferCall, signature: &[u8]) -> Dollar::transferWithAuthorizationCall {
    Dollar::transferWithAuthorizationCall {
        from: call.from,
        to: call.to,
        value: call.value,
        validAfter: call.valid_after,
        validBefore: call.valid_before,
        nonce: call.nonce,
        signature: signature.to_vec().into(),
    }
}

#[tokio::test]
async fn the_bytes_form_takes_the_same_signature_once() {
    let stage = Stage::new();
    let call = payment(1);
    for bad in [&call.signature[..64], &[call.signature.as_slice(), &[0]].concat(), &[]] {
        let refused = send(&stage, RELAYER, &with_bytes(&call, bad));
        assert_eq!(refused, Err("invalid signature length".to_owned()));
    }
    assert_eq!(send(&stage, RELAYER, &with_bytes(&call, &call.signature)), Ok(()));
    let replay = send(&stage, RELAYER, &with_bytes(&call, &call.signature));
    assert_eq!(replay, Err("authorization is used or canceled".to_owned()));
    assert_eq!(stage.balance(PAYEE.address).await, 250);
}

#[tokio::test]
async fn a_contract_wallet_answers_for_its_signatures() {
    let stage = Stage::new();
    let wallet = Address::repeat_byte(0x77);
    stage.devnet.mint(wallet, U256::from(500)).unwrap();
    let call = TransferCall { from: wallet, ..unsigned(1) };
    let refused = send(&stage, RELAYER, &with_bytes(&call, &[1; 65]));
    assert_eq!(refused, Err("invalid signature 'v' value".to_owned()), "without code it is an account like any other");

    // returns 32 zero bytes; then the magic value of ERC-1271, whatever it is asked
    stage.result("anvil_setCode", json!([wallet, Bytes::from(hex!("60206000f3"))]));
    let refused = send(&stage, RELAYER, &with_bytes(&call, b"anything"));
    assert_eq!(refused, Err("invalid signature".to_owned()));
    stage.result("anvil_setCode", json!([wallet, Bytes::from(hex!("631626ba7e60e01b60005260206000f3"))]));
    assert_eq!(send(&stage, RELAYER, &with_bytes(&call, b"anything")), Ok(()));
    assert_eq!(stage.balance(wallet).await, 250);
}

#[tokio::test]
async fn receiving_is_for_the_payee_alone() {
    let stage = Stage::new();
    let call = unsigned(1);
    let content = ReceiveWithAuthorization {
        from: call.from,
        to: call.to,
        value: call.value,
        validAfter: call.valid_after,
        validBefore: call.valid_before,
        nonce: call.nonce,
    };
    let receive = |signature: [u8; 65]| Dollar::receiveWithAuthorizationCall {
        from: call.from,
        to: call.to,
        value: call.value,
        validAfter: call.valid_after,
        validBefore: call.valid_before,
        nonce: call.nonce,
        signature: signature.to_vec().into(),
    };
    let good = receive(sign(PAYER, &content));
    assert_eq!(send(&stage, RELAYER, &good), Err("caller must be the payee".to_owned()));
    let transfer_signature = payment(1).signature;
    assert_eq!(send(&stage, PAYEE, &receive(transfer_signature)), Err("invalid signature".to_owned()));
    assert_eq!(send(&stage, PAYEE, &good), Ok(()));
    assert_eq!(send(&stage, PAYEE, &good), Err("authorization is used or canceled".to_owned()));
    assert_eq!(stage.balance(PAYEE.address).await, 250);
}

#[tokio::test]
async fn a_used_authorization_cannot_be_canceled_nor_a_canceled_one_canceled_again() {
    let stage = Stage::new();
    let cancel = |nonce: u8| {
        let nonce = B256::repeat_byte(nonce);
        let signature = sign(PAYER, &CancelAuthorization { authorizer: PAYER.address, nonce });
        Dollar::cancelAuthorizationCall { authorizer: PAYER.address, nonce, signature: signature.to_vec().into() }
    };
    stage.settle(&payment(1)).await;
    assert_eq!(send(&stage, PAYEE, &cancel(1)), Err("authorization is used or canceled".to_owned()));
    assert_eq!(send(&stage, PAYEE, &cancel(2)), Ok(()));
    assert_eq!(send(&stage, PAYEE, &cancel(2)), Err("authorization is used or canceled".to_owned()));
    let forged = Dollar::cancelAuthorizationCall { authorizer: PAYEE.address, ..cancel(3) };
    assert_eq!(send(&stage, RELAYER, &forged), Err("invalid signature".to_owned()));
}

#[tokio::test]
async fn a_permit_allows_once_until_its_deadline() {
    let stage = Stage::new();
    let permit = |signer: TestAccount, nonce: u64, deadline: u64| {
        let (owner, spender, value) = (PAYER.address, RELAYER.address, U256::from(100));
        let content = Permit { owner, spender, value, nonce: U256::from(nonce), deadline: U256::from(deadline) };
        let signature = sign(signer, &content);
        Dollar::permitCall {
            owner,
            spender,
            value,
            deadline: U256::from(deadline),
            v: signature[64],
            r: B256::from_slice(&signature[..32]),
            s: B256::from_slice(&signature[32..64]),
        }
    };
    let spend =
        |value: u64| Dollar::transferFromCall { from: PAYER.address, to: PAYEE.address, value: U256::from(value) };
    assert_eq!(send(&stage, RELAYER, &permit(PAYER, 0, START - 1)), Err("permit is expired".to_owned()));
    assert_eq!(send(&stage, RELAYER, &permit(PAYEE, 0, START)), Err("invalid signature".to_owned()));
    assert_eq!(send(&stage, RELAYER, &permit(PAYER, 1, START)), Err("invalid signature".to_owned()));
    assert_eq!(send(&stage, RELAYER, &permit(PAYER, 0, START)), Ok(()));
    assert_eq!(send(&stage, RELAYER, &permit(PAYER, 0, START)), Err("invalid signature".to_owned()));
    assert_eq!(send(&stage, RELAYER, &spend(101)), Err("transfer amount exceeds allowance".to_owned()));
    assert_eq!(send(&stage, RELAYER, &spend(60)), Ok(()));
    assert_eq!(send(&stage, RELAYER, &spend(60)), Err("transfer amount exceeds allowance".to_owned()));
    assert_eq!(stage.balance(PAYEE.address).await, 60);
    let beyond = Dollar::transferCall { to: PAYER.address, value: U256::from(61) };
    assert_eq!(send(&stage, PAYEE, &beyond), Err("transfer amount exceeds balance".to_owned()));
}
