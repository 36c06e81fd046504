//! A chain whose process died stands again as it was, or not at all.

use std::path::{Path, PathBuf};

use serde_json::json;
use x402::chain::{At, Chain};

use super::*;
use crate::devnet::DevnetError;

fn config(data: &Path) -> DevnetConfig {
    let clock: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(|| START + 1_000);
    DevnetConfig { data: Some(data.to_owned()), clock, ..DevnetConfig::default() }
}

/// A chain with a payment, an empty block, a set balance, a leap in time and a block taken back; then it dies.
async fn lived(folder: &Path) -> PathBuf {
    let path = folder.join("chain.log");
    let stage = Stage::with(DevnetConfig { finalized_lag_blocks: 8, ..config(&path) });
    stage.settle(&payment(1)).await;
    stage.devnet.mine(1);
    stage.result("anvil_setBalance", json!([PAYEE.address, "0x2a"]));
    stage.devnet.increase_time(500).unwrap();
    stage.devnet.mine(2);
    stage.result("anvil_rollback", json!([1]));
    path
}

fn refused(path: &Path) -> DevnetError {
    Devnet::new(config(path)).map(|_| ()).unwrap_err()
}

/// The file, line by line, bent and written back.
fn bend(path: &Path, bend: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    bend(&mut lines);
    std::fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[tokio::test]
async fn the_same_chain_stands_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain.log");
    let stage = Stage::with(config(&path));
    let sent = stage.settle(&payment(1)).await;
    stage.result("anvil_setBalance", json!([PAYEE.address, "0x2a"]));
    stage.devnet.increase_time(500).unwrap();
    stage.devnet.mine(2);
    let (head, receipt) = (stage.chain.block(At::Latest).await.unwrap(), stage.chain.receipt(sent.transaction).await);
    drop(stage);

    let devnet = Devnet::new(config(&path)).unwrap();
    let chain = RpcChain::in_process(devnet.clone(), RpcConfig::default());
    assert_eq!(chain.block(At::Latest).await.unwrap(), head);
    assert_eq!(chain.receipt(sent.transaction).await, receipt);
    assert_eq!(chain.balance_of(token::ADDRESS, PAYEE.address, At::Latest).await.unwrap(), U256::from(250));
    assert_eq!(chain.native_balance(PAYEE.address).await.unwrap(), U256::from(42));
    let used = chain.authorization_consumed(token::ADDRESS, PAYER.address, B256::repeat_byte(1), At::Latest);
    assert!(used.await.unwrap(), "a replay after the restart would pay again");
    devnet.mine(1);
    let next = chain.block(At::Latest).await.unwrap();
    assert_eq!(next.number, head.number + 1);
    assert!(next.timestamp >= head.timestamp, "time went back from {} to {}", head.timestamp, next.timestamp);
}

#[tokio::test]
async fn blocks_that_were_taken_back_stay_so_whatever_counts_as_final_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = lived(folder.path()).await;
    let number = |devnet: &Devnet| {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] });
        let answer: Value = serde_json::from_slice(&devnet.dispatch(request.to_string().as_bytes()).unwrap()).unwrap();
        answer["result"].as_str().unwrap().to_owned()
    };
    // Minting, an empty block, the payment, an empty block, two more, one of them taken back.
    assert_eq!(number(&Devnet::new(config(&path)).unwrap()), "0x5");
}

#[tokio::test]
async fn a_line_that_was_cut_short_is_forgotten_and_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = lived(folder.path()).await;
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], b"{\"block\":{\"number\":6,\"ti"].concat()).unwrap();
    let devnet = Devnet::new(config(&path)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    devnet.mine(1);
    drop(devnet);
    Devnet::new(config(&path)).unwrap();
}

#[tokio::test]
async fn two_processes_never_write_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain.log");
    let first = Devnet::new(config(&path)).unwrap();
    assert!(matches!(refused(&path), DevnetError::DataInUse(_)));
    drop(first);
    Devnet::new(config(&path)).unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_this_chain_is_refused_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = lived(folder.path()).await;
    let whole = std::fs::read(&path).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let paying = text.lines().enumerate().filter(|(_, line)| line.contains("transactions")).last().unwrap().0;
    type Bend = Box<dyn FnOnce(&mut Vec<String>)>;
    let cases: [(&str, Bend); 6] = [
        ("chain 31337 was expected", Box::new(|lines| lines[0] = lines[0].replace("31337", "8453"))),
        ("does not begin with a genesis", Box::new(|lines| drop(lines.remove(0)))),
        ("a second genesis", Box::new(|lines| lines.push(lines[0].clone()))),
        ("block 3 was expected", Box::new(move |lines| drop(lines.remove(paying)))),
        (
            "came out otherwise",
            Box::new(move |lines| {
                let digit = lines[paying].find("\"hash\":\"0x").unwrap() + 10;
                let other = if lines[paying].as_bytes()[digit] == b'0' { "1" } else { "0" };
                lines[paying].replace_range(digit..=digit, other);
            }),
        ),
        ("unknown variant", Box::new(|lines| lines.push("{\"miracle\":1}".to_owned()))),
    ];
    for (expected, bending) in cases {
        std::fs::write(&path, &whole).unwrap();
        bend(&path, bending);
        let error = refused(&path);
        assert_eq!(error.code(), "devnet_data_broken", "{expected}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    assert!(matches!(refused(folder.path()), DevnetError::DataUnusable(_)), "a folder is no file");
}
