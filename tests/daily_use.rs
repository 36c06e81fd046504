//! What somebody who works with it every day relies on: a dev service that is the same tomorrow.

use std::path::Path;
use std::process::Command;

use crate::harness::process::{Service, purser, run, stdout};
use crate::harness::text;

fn kept(data: &Path) -> Service {
    Service::start(&["dev", "--json", "--data", data.to_str().unwrap()], &[])
}

fn pay(dev: &Service, key: &str) -> String {
    let command = dev.line["pay"]["command"].as_array().expect("a command");
    let url = text(&dev.line["paid"], "url");
    let fill = |part: &serde_json::Value| part.as_str().unwrap().replace("{url}", url).replace("{key}", key);
    let args: Vec<String> = command.iter().skip(1).map(fill).collect();
    let output = run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    stdout(&output)
}

fn sqlite(database: &str, question: &str) -> String {
    stdout(&Command::new("sqlite3").args(["-readonly", database, question]).output().expect("the sqlite3 shell"))
}

const SPENDS: &str = "SELECT count(*), sum(state = 'settled') FROM spend WHERE tenant = 'home'";

#[test]
fn a_kept_service_is_the_same_after_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = kept(folder.path());
    let (before, bought) = (dev.line.clone(), pay(&dev, "one"));
    dev.kill();

    let mut again = kept(folder.path());
    for path in [
        "/url",
        "/chain/rpc_url",
        "/mandate/id",
        "/mandate/token",
        "/agent/key",
        "/merchant/jwks",
        "/database",
        "/service_file",
        "/pay/command",
    ] {
        assert_eq!(before.pointer(path), again.line.pointer(path), "{path}");
    }
    assert_eq!(pay(&again, "one"), bought, "the same key is the same purchase, over a restart");
    let database = text(&again.line, "database").to_owned();
    assert_eq!(sqlite(&database, SPENDS).trim(), "1|1", "nothing was paid a second time");
    pay(&again, "two");
    assert_eq!(sqlite(&database, SPENDS).trim(), "2|2");
    assert!(again.stop().is_some());
    let opened = "SELECT count(*) FROM transfer WHERE code = 'fund' AND tenant = 'home'";
    assert_eq!(sqlite(&database, opened).trim(), "1", "the wallet is filled once");
}

#[test]
fn two_services_never_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dev = kept(folder.path());
    let output = run(&["dev", "--json", "--data", folder.path().to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("runs in") && said.contains("already"), "{said}");
    assert!(!pay(&dev, "one").is_empty(), "the first one goes on");
}

#[test]
fn a_port_that_was_promised_is_not_silently_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = kept(folder.path());
    let port = text(&dev.line, "url").rsplit_once(':').unwrap().1.to_owned();
    dev.stop().expect("it stops");
    let _squatter = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free now");
    let output = run(&["dev", "--json", "--data", folder.path().to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&port));
}

#[test]
fn a_folder_that_was_tampered_with_is_refused_and_named() {
    for (file, content) in
        [("master.key", "short"), ("dev.json", "{\"port\":\"x\"}"), ("chain.log", "{\"miracle\":1}\n")]
    {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), content).unwrap();
        let output = run(&["dev", "--json", "--data", folder.path().to_str().unwrap()], &[]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{file}");
        assert!(!output.stderr.is_empty(), "{file}");
    }
}

/// As the readme has it: one shell runs the service, another asks it.
#[test]
fn another_shell_gets_the_exports_and_pays_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let dev = kept(folder.path());
    let script = r#"
        set -eu
        eval "$("$1" dev --data "$2" --env)"
        "$1" pay "$PURSER_PAID_URL" --mandate "$PURSER_MANDATE" --idempotency-key shell --service "$PURSER_SERVICE"
        "$1" pay "$PURSER_PAID_URL" --mandate "$PURSER_MANDATE" --idempotency-key shell
    "#;
    let shell = Command::new("sh").args(["-c", script, "sh"]).arg(purser()).arg(folder.path()).output().expect("sh");
    let said = stdout(&shell);
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    assert_eq!(said.matches(text(&dev.line["paid"], "marker")).count(), 2, "{said}");
    assert_eq!(sqlite(text(&dev.line, "database"), SPENDS).trim(), "1|1");
}
