//! `purser proxy`: programs that know nothing of x402 pay through it, once, and nobody else does.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::foreign_clients::{beside_the_modules, node_script, python_script};
use crate::harness::process::{run, stdout};
use crate::harness::proxied::{Stage, start};
use crate::harness::{foreign, root, text};

fn lines(output: &Output) -> Vec<Value> {
    let said = stdout(output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// As a shell would have it: `eval "$(purser proxy --env --dir DIR)"`.
fn environment(stage: &Stage) -> Vec<(String, String)> {
    let output = run(&["proxy", "--env", "--dir", stage.dir().to_str().unwrap()], &[]);
    assert!(output.status.success(), "{output:?}");
    let said = stdout(&output);
    let pairs = said.lines().map(|line| line.strip_prefix("export ").unwrap().split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

#[test]
fn from_python_node_and_curl() {
    let stage = Stage::set(&[]);
    let environment = environment(&stage);
    let (http, https) = (stage.front.http.clone(), stage.front.https.clone());
    let paid = [format!("{http}/paid/report"), format!("{https}/paid/report"), format!("{https}/old/paid/note")];
    let plain = [stage.plain(&paid[0]), stage.plain(&paid[1])];
    let mut bought = 0;
    for (mut program, each) in [(python_script("proxied.py"), 2), (node_script("proxied.mjs"), 1)] {
        program.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        let urls = paid.iter();
        let proxied = program.args(urls).envs(environment.clone()).output().unwrap();
        let said = lines(&proxied);
        assert_eq!(said.len(), paid.len() * each);
        for said in &said {
            assert_eq!(said["status"], 200, "{said}");
            assert!(text(said, "body").contains(stage.marker()) && said["receipt"].is_string(), "{said}");
        }
        bought += said.len();
    }
    // In the plain form no program needs to know of the proxy.
    let mut program = python_script("proxied.py");
    let said = lines(&program.args(&plain).output().unwrap());
    bought += said.len();
    let mut node = node_script("proxied.mjs");
    let said_by_node = lines(&node.args(&plain).output().unwrap());
    bought += said_by_node.len();
    for said in said.iter().chain(&said_by_node) {
        assert!(said["status"] == 200 && text(said, "body").contains(stage.marker()), "{said}");
    }
    for (number, url) in paid[..2].iter().chain(&plain).enumerate() {
        let name = format!("Purser-Purchase: curl {number}");
        let mut curl = Command::new("curl");
        let curl = curl.args(["-sS", "-f", "-H", &name, url]);
        if number < 2 {
            curl.envs(environment.clone());
        }
        let output = curl.output().unwrap();
        assert!(stdout(&output).contains(stage.marker()), "{url}: {output:?}");
        bought += 1;
    }
    assert_eq!(stage.prices(), u128::try_from(bought).unwrap(), "each was paid once");
    assert_eq!(stage.shown(), bought);
}

/// A server that answers one request by halves, the second when it is let.
fn halves() -> (String, std::sync::mpsc::Sender<()>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (let_go, may_go) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        lines.map(Result::unwrap).find(String::is_empty).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").unwrap();
        may_go.recv().unwrap();
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").unwrap();
    });
    (url, let_go)
}

#[test]
fn what_costs_nothing_passes_as_it_is() {
    let stage = Stage::set(&[]);
    let base = stage.front.https.clone();
    let client = stage.proxied("");
    let body = "x".repeat(3 * 1024 * 1024);
    let said = stage.send(
        client
            .put(format!("{base}/echo?a=b%20c&d"))
            .header("x-own", "1")
            .header("connection", "x-hop")
            .header("x-hop", "2")
            .header("proxy-connection", "keep-alive")
            .header("te", "trailers")
            .body(body.clone()),
    );
    let echoed: Value = serde_json::from_str(&said.body).unwrap();
    assert_eq!((text(&echoed, "method"), text(&echoed, "uri")), ("PUT", "/echo?a=b%20c&d"));
    assert_eq!(echoed["bytes"], body.len());
    let headers: Vec<(&str, &str)> = echoed["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it[0].as_str().unwrap(), it[1].as_str().unwrap()))
        .collect();
    let has = |name: &str| headers.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
    for hop in ["x-hop", "proxy-connection", "te", "connection", "proxy-authorization"] {
        assert_eq!(has(hop), None, "{headers:?}");
    }
    assert_eq!(has("x-own"), Some("1"));
    assert!(has("via").is_some_and(|via| via.starts_with("1.1 purser-")), "{headers:?}");
    assert_eq!(has("host"), base.strip_prefix("https://"));

    let away = stage.get(&format!("{base}/away"));
    assert_eq!((away.status, away.header("location")), (302, "/paid/report"), "no redirect is followed");
    // What the proxy says, nobody else says; a cookie stays within its host.
    let cookie = stage.get(&format!("{base}/cookie"));
    assert_eq!((cookie.header("set-cookie"), cookie.header("purser-refusal")), ("a=b", ""));
    let plain = stage.send(stage.direct().get(stage.plain(&format!("{base}/cookie"))));
    assert_eq!((plain.status, plain.header("set-cookie")), (200, ""));
    let (halves, let_go) = halves();
    stage.runtime.block_on(async {
        let mut answer = client.get(halves).send().await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "first", "before the second is there");
        let_go.send(()).unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "second");
    });
    // A program that pays by itself is left alone with it.
    for name in ["payment-signature", "x-payment"] {
        let own = stage.send(client.get(format!("{base}/paid/report")).header(name, "bm90aGluZw=="));
        assert!(own.status != 200 && own.header("purser-payment").is_empty(), "{own:?}");
    }
    assert_eq!((stage.shown(), stage.prices()), (2, 0), "shown as they came, and nothing else was");
}

/// Says something to the port that no well-behaved client says, and gives the first line of the answer.
fn raw(stage: &Stage, said: &str) -> String {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", stage.port().parse().unwrap())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(said.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn nobody_else_spends() {
    let stage = Stage::set(&[]);
    let (http, https) = (format!("{}/paid/report", stage.front.http), format!("{}/paid/report", stage.front.https));
    let plain = stage.plain(&http);
    let (port, direct, client) = (stage.port().to_owned(), stage.direct(), stage.proxied(""));

    // A page under a name that leads here; a page under its own name; an old page of ours.
    for host in ["evil.example", &format!("evil.example:{port}"), &format!("127.0.0.1.evil.example:{port}")] {
        let said = stage.send(direct.get(&plain).header("host", host));
        assert_eq!(said.refused(), (421, "host_refused"), "{host}");
    }
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-dest", "image"),
    ] {
        for request in [direct.get(&plain), direct.post(&plain), direct.request(reqwest::Method::OPTIONS, &plain)] {
            assert_eq!(stage.send(request.header(name, value)).refused(), (403, "browser_refused"), "{name}: {value}");
        }
        // A browser that uses the proxy gets the seller's 402, and nothing is paid for it.
        let said = stage.send(client.get(&https).header(name, value));
        assert_eq!(said.refused(), (402, "browser_refused"), "{name}: {value}");
        assert!(!said.header("payment-required").is_empty(), "{said:?}");
    }
    // The proxy itself, by name, by number and by tunnel.
    for url in [format!("http://127.0.0.1:{port}/"), format!("http://localhost:{port}/{http}")] {
        assert_eq!(stage.get(&url).refused(), (508, "loop_refused"), "{url}");
        assert_eq!(stage.send(direct.get(stage.plain(&url))).refused(), (508, "loop_refused"), "{url}");
    }
    for (said, expected) in [
        (format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), " 508 "),
        ("CONNECT /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), " 400 "),
        ("CONNECT user@shop.example:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), " 400 "),
        (format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), " 404 "),
        (format!("GET /ftp://a/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), " 404 "),
        (format!("GET /https://user:pw@a/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), " 400 "),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), " 400 "),
    ] {
        let line = raw(&stage, &said);
        assert!(line.contains(expected), "{said:?}: {line}");
    }
    // What is not passed on.
    let trace = stage.send(client.request(reqwest::Method::TRACE, &http));
    assert_eq!(trace.refused(), (501, "method_refused"));
    let socket = stage.send(client.get(&https).header("connection", "upgrade").header("upgrade", "websocket"));
    assert_eq!(socket.refused(), (501, "upgrade_refused"));
    let misspelt = stage.send(client.get(&https).header("purser-purchace", "a"));
    assert_eq!(misspelt.refused(), (400, "invalid_request"));
    for url in [format!("{}/echo", stage.front.http), format!("{}/echo", stage.front.https)] {
        let long = stage.send(client.post(&url).body(vec![0; 16 * 1024 * 1024 + 1]));
        assert_eq!(long.refused(), (413, "body_too_large"));
    }
    let strange = stage.get(&format!("{}/paid/report", stage.front.stranger));
    assert_eq!(strange.refused(), (502, "seller_certificate_refused"));
    // A payment goes to the origin that asked for it.
    let elsewhere = stage.get(&format!("{}/elsewhere/paid/report", stage.front.https));
    assert_eq!(elsewhere.refused(), (402, "payee_mismatch"));
    assert_eq!(stage.get("http://127.0.0.1:1/").refused(), (502, "seller_unreachable"));
    let elsewhere = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--proxy", stage.url()])
        .args(["--cacert", text(&stage.proxy.line, "ca_file"), "-H", "Host: evil.example", &https])
        .output()
        .unwrap();
    assert_eq!(stdout(&elsewhere), "421", "a tunnel leads where it was asked for");
    assert_eq!((stage.shown(), stage.prices()), (0, 0));
    another_user(&stage, &plain);
    beyond_the_cap(&stage);
}

/// Where the tests may become somebody else.
fn another_user(stage: &Stage, plain: &str) {
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    let mut curl = Command::new("curl");
    curl.args(["-sS", plain]).uid(NOBODY).gid(NOBODY).current_dir("/");
    let Ok(output) = curl.output() else { return };
    assert!(stdout(&output).contains("peer_refused"), "{output:?}");
    assert_eq!(stage.shown(), 0);
}

/// The mandate of `dev` is good for 5.00; an archive costs 2.50.
fn beyond_the_cap(stage: &Stage) {
    let client = stage.proxied("");
    for name in ["one", "two"] {
        let url = format!("{}/paid/archive", stage.front.https);
        stage.send(client.get(url).header("purser-purchase", name)).sold(stage);
    }
    let before = stage.prices();
    for path in ["/paid/report", "/paid/report", "/old/paid/note"] {
        let said = stage.get(&format!("{}{path}", stage.front.https));
        assert_eq!(said.refused(), (402, "amount_exceeds_budget"), "{path}");
        let problem: Value = serde_json::from_str(&said.body).unwrap();
        let demand = if path.starts_with("/old") {
            problem["accepts"].is_array()
        } else {
            said.headers.contains_key("payment-required")
        };
        assert!(demand, "the seller's own demand is kept: {said:?}");
    }
    assert_eq!(stage.prices(), before);
}

#[test]
fn one_purchase_is_paid_once() {
    let stage = Stage::set(&[]);
    let url = format!("{}/paid/report", stage.front.https);
    // At once, and again and again: one purchase.
    let together = stage.runtime.block_on(async {
        let client = stage.proxied("");
        let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(client.get(&url).send())).collect();
        let mut payments = Vec::new();
        for task in tasks {
            let answer = task.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200);
            payments.push(answer.headers()["purser-payment"].to_str().unwrap().to_owned());
        }
        payments
    });
    let again = stage.get(&url);
    again.sold(&stage);
    assert!(together.iter().all(|payment| payment == again.header("purser-payment")), "{together:?}");
    assert_eq!(stage.prices(), 1);
    // The plain form is the same request.
    let plain = stage.send(stage.direct().get(stage.plain(&url)));
    assert_eq!(plain.header("purser-payment"), again.header("purser-payment"));
    // Another URL, another name, another program, another body: other purchases.
    let client = stage.proxied("");
    let mut payments = vec![again.header("purser-payment").to_owned()];
    let others = [
        client.get(format!("{url}?page=2")),
        client.get(&url).header("purser-purchase", "a second one"),
        stage.proxied("research@").get(&url),
        client.get(&url).body("body"),
    ];
    for (number, request) in others.into_iter().enumerate() {
        for request in [request.try_clone().unwrap(), request] {
            let said = stage.send(request);
            said.sold(&stage);
            payments.push(said.header("purser-payment").to_owned());
        }
        payments.dedup();
        assert_eq!((payments.len(), stage.prices()), (number + 2, u128::try_from(number).unwrap() + 2));
    }
    // A seller that takes the money and asks again gets no second payment, however often it is asked.
    let (url, before) = (format!("{}/again/paid/note", stage.front.https), stage.prices());
    let mut seen = Vec::new();
    for _ in 0..3 {
        let said = stage.get(&url);
        assert_eq!((said.status, said.header("purser-payment-state")), (402, "settled"), "{said:?}");
        assert!(!said.header("payment-required").is_empty());
        seen.push(said.header("purser-payment").to_owned());
    }
    seen.dedup();
    assert_eq!((seen.len(), stage.prices()), (1, before + 1));
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn killed_between_payment_and_delivery_it_pays_once() {
    let mut stage = Stage::set(&["--window", "0"]);
    let url = stage.plain(&format!("{}/held/paid/report", stage.front.https));
    let fetch = || Command::new("curl").args(["-sS", "-i", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let first = fetch();
    wait_until("the shop has its money", || stage.prices() == 1);
    stage.proxy.kill();
    let lost = first.wait_with_output().unwrap();
    assert!(!stdout(&lost).contains(stage.marker()), "nothing was delivered: {lost:?}");
    let port = stage.port().to_owned();
    stage.proxy = start(&stage.dev, stage.folder.path(), &port, &["--window", "0"]);
    stage.front.let_go.add_permits(10);
    let second = stdout(&fetch().wait_with_output().unwrap());
    assert!(second.contains(stage.marker()), "{second}");
    assert_eq!((stage.prices(), stage.shown()), (1, 2), "the same payment was shown again");
    // Delivered now, and the window of nothing has passed: whoever asks again buys again.
    let third = stdout(&fetch().wait_with_output().unwrap());
    assert!(third.contains(stage.marker()), "{third}");
    assert_eq!(stage.prices(), 2);
    assert!(stage.proxy.stop().is_some(), "it ends when it is told to");
}

#[test]
fn a_proxy_that_cannot_be_right_does_not_begin() {
    let stage = Stage::set(&[]);
    let (dir, other) = (stage.dir(), stage.folder.path().join("other"));
    let (dir, other) = (dir.to_str().unwrap(), other.to_str().unwrap());
    let (service, mandate) = (text(&stage.dev.line, "service_file"), text(&stage.dev.line["mandate"], "id"));
    let own = text(&stage.proxy.line, "ca_file");
    let nowhere = "0".repeat(64);
    let junk = stage.folder.path().join("junk");
    std::fs::write(&junk, "junk").unwrap();
    let junk = junk.to_str().unwrap();
    let with = |dir, mandate, more: &[&str], env: &[(&str, &str)]| {
        let args = ["proxy", "--json", "--service", service, "--mandate", mandate, "--port", "0", "--dir", dir];
        let output = run(&[&args, more].concat(), env);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (said, expected) in [
        (with(dir, mandate, &[], &[]), "a proxy runs in"),
        (with(other, &nowhere, &[], &[]), "404"),
        (with(other, mandate, &["--port", stage.port()], &[]), "cannot be used multiple times"),
        (with(other, mandate, &["--upstream-ca", junk], &[]), "a certificate in PEM was expected"),
        (with(other, mandate, &["--upstream-ca", "/nowhere.pem"], &[]), "/nowhere.pem"),
        (with(other, mandate, &["--window", "999999999"], &[]), "--window"),
        (with(other, mandate, &[], &[("SSL_CERT_FILE", &format!("{other}/ca.pem"))]), "SSL_CERT_FILE"),
        (with(own, mandate, &[], &[]), "ca.pem"),
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let output = run(&["proxy", "--env", "--dir", other], &[]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--mandate"), "{output:?}");
}

/// The one block of a language on the page for programs, of at most forty lines.
fn recipe(language: &str) -> String {
    let page = std::fs::read_to_string(root().join("adapters/purser/PROGRAMS.md")).expect("the page");
    let blocks: Vec<&str> = page.split(&format!("```{language}\n")).skip(1).collect();
    assert_eq!(blocks.len(), 1, "one block of {language}");
    let block = blocks[0].split("```").next().unwrap();
    assert!(block.lines().count() <= 40, "{language}: {} lines", block.lines().count());
    block.to_owned()
}

#[test]
fn official_clients_have_us_sign() {
    let stage = Stage::set(&[]);
    let folder = stage.folder.path();
    let (python, node) = (folder.join("recipe.py"), beside_the_modules("recipe.mjs"));
    std::fs::write(&python, recipe("python")).unwrap();
    std::fs::write(&node, recipe("js")).unwrap();
    let (service, mandate) = (text(&stage.dev.line, "service_file"), text(&stage.dev.line["mandate"], "id"));
    let run = |interpreter: &str, script: &std::path::Path, url: &str, purchase: &str, mandate: &str| {
        let mut command = Command::new(foreign(interpreter));
        command.arg(script).args([url, purchase]).env("PURSER_SERVICE", service).env("PURSER_MANDATE", mandate);
        let output = command.output().unwrap();
        (stdout(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (report, archive) = (format!("{}/paid/report", stage.front.http), format!("{}/paid/archive", stage.front.http));
    for (interpreter, script) in [("python", &python), ("node", &node)] {
        let before = stage.prices();
        for _ in 0..2 {
            let (said, why) = run(interpreter, script, &report, interpreter, mandate);
            assert!(said.contains(stage.marker()), "{interpreter}: {said}{why}");
        }
        assert_eq!(stage.prices(), before + 1, "one name, one payment");
        // The name of another purchase; another agent's mandate; no name.
        for (url, purchase, mandate, code) in [
            (&archive, interpreter, mandate, "idempotency_key_reused"),
            (&report, "other", &*"0".repeat(64), "not_found"),
            (&report, "", mandate, "invalid_request"),
        ] {
            let (said, why) = run(interpreter, script, url, purchase, mandate);
            assert!(said.is_empty() && why.contains(code), "{interpreter}: {code}: {said}{why}");
        }
        assert_eq!(stage.prices(), before + 1);
    }
}
