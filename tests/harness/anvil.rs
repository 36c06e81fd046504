//! Foundry's node as the chain of a test: with the genesis of ours, so that accounts, contracts and addresses are the same.
//! `PURSER_CHAIN=anvil tests/run …` has every [`super::world::World`] on it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::{Service, run};

pub fn is_wanted() -> bool {
    match std::env::var("PURSER_CHAIN") {
        Ok(name) if name == "anvil" => true,
        Ok(name) if name == "devnet" => false,
        Ok(name) => panic!("PURSER_CHAIN: anvil or devnet was expected, {name} came"),
        Err(_) => false,
    }
}

/// The package for this machine stands beside the one that chooses it.
fn binary() -> PathBuf {
    let packages = std::fs::read_dir(super::node_folder().join("node_modules/@foundry-rs"))
        .expect("tests/run installs @foundry-rs/anvil");
    let binaries = packages.map(|package| package.expect("a package").path().join("bin/anvil"));
    binaries.into_iter().find(|binary| binary.is_file()).expect("the binary of @foundry-rs/anvil for this machine")
}

/// A block for each transaction and one a second beside; final is what lies `lag` blocks back, an even number here.
pub fn start(lag: u32) -> Service {
    let genesis = run(&["chain", "--genesis"], &[]);
    assert!(genesis.status.success(), "{}", String::from_utf8_lossy(&genesis.stderr));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&genesis.stdout).unwrap();
    let address = super::free_address();
    let mut command = Command::new(binary());
    command.args(["--port", &address.port().to_string(), "--chain-id", "31337", "--mixed-mining", "--block-time", "1"]);
    // A final block is two of its epochs old.
    command.args(["--slots-in-an-epoch", &lag.div_ceil(2).to_string(), "--init"]).arg(file.path());
    let child = command.stdout(Stdio::null()).spawn().expect("anvil starts");
    let service = Service::of(child, json!({ "rpc_url": format!("http://{address}") }));
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "anvil does not listen at {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
    service
}

/// What the methods that only our node has are there.
pub fn translated(method: &str, params: Value) -> (String, Value) {
    match method {
        "devnet_mint" => ("eth_sendTransaction".into(), json!([minting(&params)])),
        other => (other.into(), params),
    }
}

/// `mint(address,uint256)` of the test dollar, by its deployer, whose key every such node has.
fn minting(params: &Value) -> Value {
    let part = |index: usize| params[index].as_str().unwrap_or_else(|| panic!("no text in {params}"));
    let (to, amount) = (part(0), part(1));
    let digits = |text: &str| format!("{:0>64}", text.trim_start_matches("0x").to_lowercase());
    let deployer = chain::accounts::DEPLOYER.address;
    json!({ "from": deployer, "to": chain::token::ADDRESS, "data": format!("0x40c10f19{}{}", digits(to), digits(amount)) })
}
