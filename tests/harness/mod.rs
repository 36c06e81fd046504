//! What the tests stand on: the real binary as a process, the real service in this process, and a client.

pub mod anvil;
pub mod browser;
pub mod channel;
pub mod checkout;
pub mod closing;
#[allow(dead_code, reason = "the store's tests need more of it")]
#[path = "../../adapters/store/src/tests/cluster.rs"]
pub mod cluster;
pub mod front;
pub mod held;
pub mod issuer;
pub mod passkey;
pub mod process;
pub mod proxied;
pub mod relayed;
pub mod rpc_proxy;
pub mod shop;
pub mod vault;
pub mod wallet;
pub mod world;

use std::path::PathBuf;

use serde_json::Value;

/// The repository.
pub fn root() -> PathBuf {
    // Without the `..`: checks look at the parts of paths.
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// A command of the foreign environment, which `tests/run` makes; one that is missing is a failure.
pub fn foreign(name: &str) -> PathBuf {
    let python = std::env::var_os("PURSER_FOREIGN_PYTHON").map(PathBuf::from);
    let command = python.unwrap_or_else(|| root().join("target/foreign/bin/python")).with_file_name(name);
    assert!(command.is_file(), "{} is not there: tests/run installs it", command.display());
    command
}

/// Where the packages for Node are, in `node_modules`.
pub fn node_folder() -> PathBuf {
    let folder = std::env::var_os("PURSER_FOREIGN_NODE").map(PathBuf::from);
    folder.unwrap_or_else(|| root().join("target/foreign/node"))
}

/// An address that nobody listens at, for a program that is told where to listen before it does. Outside the range that
/// the system gives out by itself, so that no other test's connection takes it meanwhile.
pub fn free_address() -> std::net::SocketAddr {
    use std::hash::{BuildHasher, RandomState};
    loop {
        let port = u16::try_from(10_000 + RandomState::new().hash_one(std::process::id()) % 20_000).unwrap();
        if let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// The member of an answer, as text; a missing one fails the test and shows the answer.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}"))
}
