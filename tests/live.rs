//! The facts of a public network, as `init` writes them down, against the network itself. A program of its own, which only
//! `tests/run --live NETWORK` builds and runs: the suite asks nobody outside.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "harness/process.rs"]
#[allow(dead_code, reason = "shared with the suite, which uses all of it")]
mod process;

use process::{run, stdout};

fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[test]
fn a_public_network_is_what_init_says() {
    let network = std::env::var("PURSER_LIVE").expect("PURSER_LIVE names a network that init knows");
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().display().to_string(), folder.path().join("purser.toml").display().to_string());
    let mut init = vec!["init", "--dir", &dir, "--network", &network];
    let url = std::env::var("PURSER_LIVE_RPC_URL").unwrap_or_default();
    if !url.is_empty() {
        init.extend(["--rpc-url", &url]);
    }
    for args in [&init[..], &["migrate", "--config", &file]] {
        let output = run(args, &[]);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let said = stdout(&run(&["doctor", "--config", &file], &[]));
    println!("{said}");
    for line in ["PASS keys", "PASS database", "PASS node 1: chain ", "PASS clock", "PASS asset "] {
        assert!(said.contains(line), "{line} is missing");
    }
    assert!(!said.contains("FAIL asset"), "the table is not what the chain says");
    assert!(said.contains("FAIL wallet of main") && said.contains("holds nothing"), "a fresh wallet was asked about");
}
