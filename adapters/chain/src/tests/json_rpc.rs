//! Malformed requests never panic and never answer a question that was not asked; well-formed ones get the shapes
//! that clients expect.

use alloy::primitives::B256;
use alloy::sol_types::{SolCall, SolEvent};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::token::Token;

fn dispatch(stage: &Stage, request: &[u8]) -> Value {
    serde_json::from_slice(&stage.devnet.dispatch(request).unwrap()).unwrap()
}

#[test]
fn what_is_not_json_rpc_is_refused() {
    let stage = Stage::new();
    let deep = [vec![b'['; 10_000], vec![b']'; 10_000]].concat();
    let cases: [(&[u8], i64); 15] = [
        (b"", -32700),
        (b"hello", -32700),
        (b"\xff\xfe", -32700),
        (b"{\"jsonrpc\":\"2.0\"", -32700),
        (&deep, -32700),
        (b"[]", -32600),
        (b"null", -32600),
        (b"7", -32600),
        (b"\"eth_chainId\"", -32600),
        (b"{}", -32600),
        (br#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{"a":1}}"#, -32602),
        (br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":"x"}"#, -32602),
    ];
    for (request, code) in cases {
        let answer = dispatch(&stage, request);
        assert_eq!(answer["error"]["code"], json!(code), "{}", String::from_utf8_lossy(request));
    }
    let huge = vec![b' '; crate::limits::REQUEST_BYTES_MAX + 1];
    assert_eq!(dispatch(&stage, &huge)["error"]["code"], json!(-32600));
}

#[test]
fn wrong_parameters_are_refused_by_every_method() {
    let stage = Stage::new();
    let methods = [
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getBlockReceipts",
        "eth_getBalance",
        "eth_getCode",
        "eth_getStorageAt",
        "eth_getTransactionCount",
        "eth_call",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_sendRawTransaction",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getLogs",
        "evm_setAutomine",
        "evm_increaseTime",
        "evm_setNextBlockTimestamp",
        "anvil_setBalance",
        "anvil_setCode",
        "anvil_dropTransaction",
        "devnet_mint",
    ];
    let odd =
        ["x".repeat(10_000), "0x".to_owned(), "0xzz".to_owned(), format!("0x{}", "f".repeat(100)), "-1".to_owned()];
    for method in methods {
        assert_eq!(stage.error(method, json!([])).0, -32602, "{method} without parameters");
        for first in [json!([]), json!({ "to": 7, "address": 7 }), json!(-1), json!(1.5), json!(1e300), json!([[[]]])] {
            if method == "evm_increaseTime" && first == json!(1.5) {
                continue;
            }
            let (code, message) = stage.error(method, json!([first]));
            assert_eq!(code, -32602, "{method} {first}: {message}");
        }
        for text in &odd {
            let answer = stage.rpc(method, json!([text, text, text]));
            assert!(answer.get("error").is_some(), "{method} {text:.20}: {answer}");
        }
    }
}

#[test]
fn unknown_methods_are_unknown() {
    let stage = Stage::new();
    for method in
        ["eth_fillTransaction", "eth_sign", "eth_sendTransaction", "evm_x", "anvil_x", "x", "", "eth_subscribe"]
    {
        assert_eq!(stage.error(method, json!([])).0, -32601, "{method}");
    }
}

#[test]
fn a_batch_answers_each_call_and_no_notification() {
    let stage = Stage::new();
    let answer = dispatch(
        &stage,
        br#"[{"jsonrpc":"2.0","id":"a","method":"eth_chainId"},{"jsonrpc":"2.0","method":"evm_mine"},7,
            {"jsonrpc":"2.0","id":null,"method":"nope"},{"jsonrpc":"2.0","id":2,"method":"eth_blockNumber","params":[]}]"#,
    );
    let ids: Vec<_> = answer.as_array().unwrap().iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, [json!("a"), json!(null), json!(null), json!(2)]);
    assert_eq!(answer[0]["result"], json!("0x7a69"));
    assert_eq!((&answer[1]["error"]["code"], &answer[2]["error"]["code"]), (&json!(-32600), &json!(-32601)));
    assert_eq!(answer[3]["result"], json!("0x3"), "the notification was carried out before");
    assert_eq!(stage.devnet.dispatch(br#"[{"jsonrpc":"2.0","method":"eth_chainId"}]"#), None);
    let long = json!(vec![json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }); 101]).to_string();
    assert_eq!(dispatch(&stage, long.as_bytes())["error"]["code"], json!(-32600));
}

#[tokio::test]
async fn http_bounds_the_request() {
    let (stage, body) = (Stage::new(), r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let devnet = stage.devnet.clone();
    let served = tokio::spawn(async move { devnet.serve(listener, async { stopped.await.unwrap_or(()) }).await });
    let client = alloy::transports::http::reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |body: String| client.post(&url).body(body).send();
    assert_eq!(
        post(body.to_owned()).await.unwrap().text().await.unwrap(),
        r#"{"id":1,"jsonrpc":"2.0","result":"0x7a69"}"#
    );
    assert_eq!(post(" ".repeat(2 << 20)).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(client.get(&url).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);

    let over_http = RpcChain::http(&url, RpcConfig::default()).unwrap();
    assert_eq!(over_http.chain_id().await, Ok(31_337));
    let relayer = LocalRelayer::new(over_http.clone(), &RELAYER.private_key, FeeCaps::default()).unwrap();
    let prepared = relayer.prepare(&payment(1), 0).await.unwrap();
    over_http.broadcast(&prepared.raw).await.unwrap();
    assert!(over_http.receipt(prepared.transaction).await.unwrap().unwrap().success);
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(4), served).await;
    assert!(ended.unwrap().unwrap().is_ok());
}

#[test]
fn blocks_link_to_their_parents_and_name_their_transactions() {
    let stage = Stage::new();
    let genesis = stage.result("eth_getBlockByNumber", json!(["earliest", false]));
    let first = stage.result("eth_getBlockByNumber", json!(["0x1", true]));
    let hashes = stage.result("eth_getBlockByHash", json!([first["hash"], false]));
    assert_eq!(first["parentHash"], genesis["hash"]);
    assert_eq!(first["transactions"][0]["hash"], hashes["transactions"][0]);
    assert_eq!(first["transactions"][0]["blockHash"], first["hash"]);
    for (field, expected) in [("baseFeePerGas", "0x3b9aca00"), ("number", "0x1"), ("gasLimit", "0x1c9c380")] {
        assert_eq!(first[field], json!(expected), "{field}");
    }
    let receipt = stage.result("eth_getTransactionReceipt", json!([hashes["transactions"][0]]));
    for (field, expected) in [("status", "0x1"), ("type", "0x2"), ("effectiveGasPrice", "0x77359400")] {
        assert_eq!(receipt[field], json!(expected), "{field}");
    }
    assert_eq!(receipt["logsBloom"], first["logsBloom"]);
    assert_eq!(receipt["gasUsed"], first["gasUsed"]);
    assert_eq!(stage.result("eth_getBlockReceipts", json!(["0x1"])), json!([receipt]));
    assert_eq!(stage.result("eth_getBlockByNumber", json!(["0xffff", false])), json!(null));
    assert_eq!(stage.result("eth_getBlockByHash", json!([B256::ZERO, false])), json!(null));
}

#[test]
fn logs_are_filtered_by_address_topics_and_range() {
    let stage = Stage::new();
    stage.devnet.mint(PAYEE.address, U256::from(5)).unwrap();
    let transfer = Token::Transfer::SIGNATURE_HASH;
    let (payer, payee) = (PAYER.address.into_word(), PAYEE.address.into_word());
    let count = |filter: Value| stage.result("eth_getLogs", json!([filter])).as_array().unwrap().len();
    assert_eq!(count(json!({ "fromBlock": "0x0" })), 2);
    assert_eq!(count(json!({ "fromBlock": "0x0", "address": token::ADDRESS, "topics": [transfer] })), 2);
    assert_eq!(count(json!({ "fromBlock": "0x0", "topics": [null, null, [payer, payee]] })), 2);
    assert_eq!(count(json!({ "fromBlock": "0x0", "topics": [transfer, null, payee] })), 1);
    assert_eq!(count(json!({ "fromBlock": "0x0", "topics": [payee] })), 0);
    assert_eq!(count(json!({ "fromBlock": "0x0", "topics": [transfer, null, payee, payee] })), 0);
    assert_eq!(count(json!({ "fromBlock": "0x0", "address": [PAYER.address] })), 0);
    assert_eq!(count(json!({ "fromBlock": "0x0", "toBlock": "0x1" })), 1);
    assert_eq!(count(json!({ "fromBlock": "0x64" })), 0);
    let head = stage.result("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(count(json!({ "blockHash": head["hash"] })), 1);
    assert_eq!(stage.error("eth_getLogs", json!([{ "blockHash": B256::ZERO }])).0, -32000);
    assert_eq!(stage.error("eth_getLogs", json!([{ "fromBlock": "0x2", "toBlock": "0x1" }])).0, -32602);
    let many = [B256::ZERO; 5];
    assert_eq!(stage.error("eth_getLogs", json!([{ "topics": many }])).0, -32602);
}

#[test]
fn a_revert_carries_its_reason_and_data() {
    let stage = Stage::new();
    let call = Bytes::from(Token::mintCall { to: PAYER.address, value: U256::ONE }.abi_encode());
    for method in ["eth_call", "eth_estimateGas"] {
        let answer = stage.rpc(method, json!([{ "from": PAYER.address, "to": token::ADDRESS, "data": call }]));
        let error = &answer["error"];
        assert_eq!(error["code"], json!(3));
        assert_eq!(error["message"], json!("execution reverted: TestDollar: caller is not the minter"));
        assert!(error["data"].as_str().unwrap().starts_with("0x08c379a0"), "{error}");
    }
    let overridden = json!([{ "to": token::ADDRESS }, "latest", { PAYER.address.to_string(): { "balance": "0x1" } }]);
    assert_eq!(stage.error("eth_call", overridden).0, -32602);
}

#[test]
fn an_estimate_is_enough_and_not_much_more() {
    let stage = Stage::new();
    assert_eq!(
        stage.result("eth_estimateGas", json!([{ "from": PAYER.address, "to": PAYEE.address, "value": "0x1" }])),
        json!("0x5208")
    );
    let call = Bytes::from(Token::mintCall { to: PAYEE.address, value: U256::ONE }.abi_encode());
    let deployer = crate::accounts::DEPLOYER;
    let request =
        json!([{ "from": deployer.address, "to": token::ADDRESS, "data": call, "maxFeePerGas": "0x77359400" }]);
    let estimate = stage.result("eth_estimateGas", request);
    let gas = u64::from_str_radix(estimate.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let raw = raw_transaction(deployer, 2, call, |tx| tx.gas_limit = gas);
    let hash = stage.result("eth_sendRawTransaction", json!([raw]));
    let receipt = stage.result("eth_getTransactionReceipt", json!([hash]));
    assert_eq!(receipt["status"], json!("0x1"));
    let used = u64::from_str_radix(receipt["gasUsed"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert!(gas - used <= used / 50, "estimated {gas}, used {used}");
}

#[test]
fn fee_history_has_a_row_a_block() {
    let stage = Stage::new();
    let history = stage.result("eth_feeHistory", json!(["0x400", "latest", [25, 50.5]]));
    assert_eq!(history["oldestBlock"], json!("0x0"));
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 4);
    assert_eq!(history["gasUsedRatio"].as_array().unwrap().len(), 3);
    assert_eq!(history["reward"][2], json!(["0x3b9aca00", "0x3b9aca00"]));
    let none = stage.result("eth_feeHistory", json!([0, "latest", null]));
    assert_eq!(none.get("reward"), None);
}

/// alloy's own provider with its fillers, as a client that we did not write.
#[tokio::test]
async fn the_provider_of_alloy_is_at_home() {
    use alloy::network::TransactionBuilder;
    use alloy::providers::{Provider, ProviderBuilder};
    use alloy::rpc::types::TransactionRequest;

    let stage = Stage::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let devnet = stage.devnet.clone();
    tokio::spawn(async move { devnet.serve(listener, std::future::pending()).await });
    let provider = ProviderBuilder::new().wallet(PAYER.signer().unwrap()).connect_http(url.parse().unwrap());
    let request = TransactionRequest::default().with_to(PAYEE.address).with_value(U256::from(7));
    let sent = provider.send_transaction(request).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(receipt.gas_used, 21_000);
    let block = provider.get_block(receipt.block_hash.unwrap().into()).full().await.unwrap().unwrap();
    assert_eq!(block.header.hash, block.header.inner.hash_slow(), "the hash is that of the header");
    assert_eq!(block.transactions.hashes().collect::<Vec<_>>(), [receipt.transaction_hash]);
    let transaction = provider.get_transaction_by_hash(receipt.transaction_hash).await.unwrap().unwrap();
    assert_eq!(transaction.inner.signer(), PAYER.address);
    let history = provider.get_fee_history(2, Default::default(), &[50.0]).await.unwrap();
    assert_eq!(history.base_fee_per_gas.len(), 3);
}
