//! The web between buyer and seller: a caching proxy as it comes from Debian, and bytes that proxies and servers read
//! differently.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use purser::world::{MARKER, shop_address};

use crate::harness::free_address;
use crate::harness::shop::{Shop, intent, new_key};
use crate::harness::text;

const PATH: &str = "/paid/report";

/// nginx in a folder of its own, as whoever runs the test.
struct Proxy {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Proxy {
    fn before(upstream: &str) -> Self {
        let binary = PathBuf::from("/usr/sbin/nginx");
        assert!(binary.is_file(), "{} is not there: tests/run installs it", binary.display());
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config(folder.path(), address, upstream)).unwrap();
        let mut command = Command::new(binary);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).arg("-e").arg(folder.path().join("error.log"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx starts");
        let proxy = Self { child, address, folder };
        let patience = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(patience.elapsed() < Duration::from_secs(10), "nginx does not listen: {}", proxy.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        proxy
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its one process: nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It would keep every answer for ten minutes, of whatever status, if the answers let it.
fn config(folder: &Path, address: SocketAddr, upstream: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 64; }}
        http {{
            access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            proxy_cache_path {folder}/cache keys_zone=kept:1m;
            large_client_header_buffers 4 256k;
            server {{
                listen {address};
                proxy_cache kept; proxy_cache_key $uri; proxy_cache_valid any 10m;
                add_header X-Kept $upstream_cache_status always;
                location / {{ proxy_pass {upstream}; }}
                location /stripped/ {{
                    proxy_pass {upstream}/;
                    proxy_set_header PAYMENT-SIGNATURE ''; proxy_set_header X-PAYMENT '';
                    proxy_hide_header PAYMENT-REQUIRED; proxy_hide_header PAYMENT-RESPONSE;
                }}
            }}
        }}"
    )
}

/// Sends bytes as they are; gives the status and all that came.
fn raw(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{headers}\r\n");
    // A server may answer and close before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, answer)
}

async fn signed(shop: &Shop) -> String {
    let mandate = shop.mandate(intent()).await;
    let required = shop.met(PATH).await;
    let payment = shop.pay(&mandate, &required, &new_key()).await.expect("a payment");
    text(&payment, "payment_signature").to_owned()
}

fn moved(shop: &Shop) -> usize {
    shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address())).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caching_proxy_keeps_and_changes_nothing() {
    let shop = Shop::open().await;
    let proxy = Proxy::before(shop.service.url());
    let get = |path: &str, headers: &str| raw(proxy.address, path, headers);
    let signature = signed(&shop).await;
    let kept = |answer: &str| answer.to_ascii_lowercase().contains("x-kept: hit");
    for _ in 0..2 {
        let (status, answer) = get(PATH, "");
        assert_eq!((status, kept(&answer)), (402, false), "a demand is not kept: {answer}");
    }
    // Without the payment, which a proxy took out, it is asked for again and nothing is charged.
    let (status, answer) = get(&format!("/stripped{PATH}"), &format!("PAYMENT-SIGNATURE: {signature}\r\n"));
    assert_eq!((status, answer.contains(MARKER), moved(&shop)), (402, false, 0), "{answer}");
    assert!(answer.contains("accepts"), "the body says the terms where the header was taken out: {answer}");
    for name in ["PAYMENT-SIGNATURE", "payment-signature", "PaYmEnT-sIgNaTuRe"] {
        let (status, answer) = get(PATH, &format!("{name}: {signature}\r\n"));
        assert_eq!((status, answer.contains(MARKER), kept(&answer)), (200, true, false), "{name}: {answer}");
        let (status, answer) = get(PATH, "");
        assert_eq!((status, answer.contains(MARKER)), (402, false), "what was paid is not given to the next: {answer}");
    }
    assert_eq!(moved(&shop), 1, "whatever the name's case, it is one payment");
    let (status, answer) = get(PATH, &format!("PAYMENT_SIGNATURE: {signature}\r\n"));
    assert_eq!((status, answer.contains(MARKER)), (402, false), "another name is another header: {answer}");
    let cached = std::fs::read_dir(proxy.folder.path().join("cache")).map(Iterator::count).unwrap_or_default();
    assert_eq!(cached, 0, "nothing lies in the cache");
}

/// At the service itself and behind the proxy: refused, and nothing is claimed.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_two_readers_read_in_two_ways_buy_nothing() {
    let shop = Shop::open().await;
    let proxy = Proxy::before(shop.service.url());
    let own: SocketAddr = shop.service.url().trim_start_matches("http://").parse().unwrap();
    let (one, other) = (signed(&shop).await, "e30=");
    let (half, rest) = one.split_at(one.len() / 2);
    let cases = [
        ("two headers", format!("PAYMENT-SIGNATURE: {one}\r\nPAYMENT-SIGNATURE: {other}\r\n")),
        ("the same twice", format!("PAYMENT-SIGNATURE: {one}\r\npayment-signature: {one}\r\n")),
        ("both versions", format!("PAYMENT-SIGNATURE: {one}\r\nX-PAYMENT: {one}\r\n")),
        ("merged", format!("PAYMENT-SIGNATURE: {one}, {other}\r\n")),
        ("merged with itself", format!("PAYMENT-SIGNATURE: {one},{one}\r\n")),
        ("folded", format!("PAYMENT-SIGNATURE: {half}\r\n {rest}\r\n")),
        ("a bare CR", format!("PAYMENT-SIGNATURE: {half}\r{rest}\r\n")),
        ("a bare LF", format!("PAYMENT-SIGNATURE: {half}\n{rest}\r\n")),
        ("a NUL", format!("PAYMENT-SIGNATURE: {half}\0{rest}\r\n")),
        ("a space in the name", format!("PAYMENT-SIGNATURE : {one}\r\n")),
        ("long", format!("PAYMENT-SIGNATURE: {}\r\n", "A".repeat(200_000))),
        ("an injected line", format!("PAYMENT-SIGNATURE: {half}\r\nX-Forwarded-Host: elsewhere.example\r\n")),
    ];
    for (what, headers) in &cases {
        for (where_, address) in [("the service", own), ("the proxy", proxy.address)] {
            let (status, answer) = raw(address, PATH, headers);
            assert!(!answer.contains(MARKER), "{what} at {where_}: {answer}");
            assert!(status == 0 || (400..500).contains(&status), "{what} at {where_}: {status}");
        }
    }
    assert_eq!(moved(&shop), 0, "nothing was paid");
    let (status, answer) = raw(own, PATH, &format!("PAYMENT-SIGNATURE: {one}\r\n"));
    assert_eq!((status, answer.contains(MARKER)), (200, true), "the honest payment was not used up: {answer}");
}
