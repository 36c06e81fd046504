//! A road to a PostgreSQL server that breaks where a test says: a socket of its own, which passes everything on until a
//! rule cuts the connection.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// Where the next COMMIT breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never hears of it.
    BeforeCommit,
    /// The server commits and its answer is lost.
    AfterCommit,
}

#[derive(Default)]
struct Rules {
    next: Option<Cut>,
    /// One message in so many from the client cuts the connection.
    one_in: Option<u64>,
}

pub struct Road {
    folder: tempfile::TempDir,
    rules: Arc<Mutex<Rules>>,
    pub cuts: Arc<AtomicU64>,
}

const SOCKET: &str = ".s.PGSQL.5432";
/// `COMMIT` as a simple query.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

impl Road {
    pub fn to(host: &std::path::Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let road = Self { folder, rules: Arc::default(), cuts: Arc::default() };
        let listener = UnixListener::bind(road.folder.path().join(SOCKET)).unwrap();
        let (rules, cuts, server) = (road.rules.clone(), road.cuts.clone(), host.join(SOCKET));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), rules.clone(), cuts.clone()));
            }
        });
        road
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=owner", self.folder.path().display())
    }

    pub fn cut_next(&self, cut: Cut) {
        self.rules.lock().unwrap().next = Some(cut);
    }

    pub fn cut_one_in(&self, messages: Option<u64>) {
        self.rules.lock().unwrap().one_in = messages;
    }
}

async fn carry(mut client: UnixStream, server: PathBuf, rules: Arc<Mutex<Rules>>, cuts: Arc<AtomicU64>) {
    // A server that is away is a connection that ends.
    let Ok(mut server) = UnixStream::connect(server).await else { return };
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    // An answer to COMMIT that is not passed on.
    let mut swallow = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let sent = &up[..length];
                let is_commit = sent.windows(COMMIT.len()).any(|window| window == COMMIT);
                let cut = if is_commit { rules.lock().unwrap().next.take() } else { None };
                let drawn = rules.lock().unwrap().one_in.is_some_and(|one_in| rand().is_multiple_of(one_in));
                swallow = cut == Some(Cut::AfterCommit) || (drawn && rand().is_multiple_of(2));
                if cut == Some(Cut::BeforeCommit) || (drawn && !swallow) {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if server.write_all(sent).await.is_err() { return }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if swallow {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if client.write_all(&down[..length]).await.is_err() { return }
            }
        }
    }
}

/// Where the break falls is not to be the same in every run.
fn rand() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}
