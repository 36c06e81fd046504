//! A PostgreSQL server of a test's own: in a temporary folder, on a private socket, without a port, as a user that is
//! not root; gone with the value, and with the process if that is killed. And its standby: a second server that follows
//! the first by streaming replication, and that can be frozen and promoted.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A test that kills processes needs no disk that was synced.
pub const QUICK: &[&str] = &["fsync=off", "full_page_writes=off"];

/// The name that a standby gives itself, and that its primary knows it by.
const STANDBY: &str = "standby";

pub struct Cluster {
    folder: TempDir,
    name: String,
    server: Option<Child>,
    settings: Vec<String>,
    databases: AtomicU32,
}

/// Debian keeps the server's programs out of the path.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    found.retain(|bin| bin.join("postgres").exists());
    found.sort();
    found.pop().expect("PostgreSQL is needed: Debian's package `postgresql`, which tests/run installs")
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A program of the server's, as the server's user, ended when this thread ends.
fn as_server(program: &str) -> Command {
    let path = programs().join(program);
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg("--pdeathsig=QUIT").arg(path).env("LC_ALL", "C");
    command
}

/// A process that is stopped until this is dropped.
pub struct Frozen {
    pid: u32,
}

impl Frozen {
    fn new(pid: &str) -> Self {
        let pid = pid.parse().unwrap();
        signal("-STOP", &[pid]);
        let is_stopped = || state_and_parent(pid).is_some_and(|(state, _)| state == "T");
        wait_until("the process is stopped", is_stopped);
        Self { pid }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("-CONT", &[self.pid]);
    }
}

/// Some of them may be gone already.
fn signal(signal: &str, pids: &[u32]) {
    let mut kill = Command::new("kill");
    let _ = kill.arg(signal).args(pids.iter().map(u32::to_string)).stderr(Stdio::null()).status();
}

/// State and parent of a process, as the kernel has them; `None` where it is gone.
fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| state_and_parent(pid).is_some_and(|(_, its)| its == parent)).collect()
}

/// Until something is so. Never a pause of a guessed length.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn done(mut command: Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

impl Cluster {
    pub fn start(settings: &[&str]) -> Self {
        let cluster = Self::folder("node", settings);
        let mut initdb = as_server("initdb");
        initdb.arg("--pgdata").arg(cluster.data());
        done({
            initdb.args(["--auth=trust", "--username=owner", "--no-sync", "--no-instructions", "--encoding=UTF8"]);
            initdb
        });
        cluster.started()
    }

    fn folder(name: &str, settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("purser-pg-").tempdir().unwrap();
        if is_root() {
            let mut chown = Command::new("chown");
            chown.arg("postgres").arg(folder.path());
            done(chown);
        }
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        Self { folder, name: name.to_owned(), server: None, settings, databases: AtomicU32::new(0) }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder with the socket.
    pub fn host(&self) -> &Path {
        self.folder.path()
    }

    fn started(mut self) -> Self {
        self.launch();
        self
    }

    /// Starts the server again after `kill` or `stop`.
    pub fn launch(&mut self) {
        let mut server = as_server("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(self.host());
        let always = ["listen_addresses=", "max_connections=200", "log_min_messages=fatal"];
        let name = format!("cluster_name={}", self.name);
        for setting in always.into_iter().chain(self.settings.iter().map(String::as_str)).chain([name.as_str()]) {
            server.args(["-c", setting]);
        }
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(server.spawn().unwrap());
        let started = Instant::now();
        while !self.is_ready() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        let mut ready = Command::new(programs().join("pg_isready"));
        ready.arg("--quiet").arg("--host").arg(self.host()).status().unwrap().success()
    }

    /// SIGQUIT: every connection is cut, nothing is finished, what was answered is recovered at the next start.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let _ = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status();
        let _ = server.wait();
    }

    /// SIGKILL to the server and all its processes at once, as when the machine loses its power; what a server would
    /// clean up is cleaned up here.
    pub fn destroy(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let lines = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let segment = lines.lines().nth(6).and_then(|keys| keys.split_whitespace().nth(1)).map(str::to_owned);
        // Stopped first, so that it starts no further process meanwhile.
        signal("-STOP", &[server.id()]);
        let all = std::iter::once(server.id()).chain(children(server.id())).collect::<Vec<_>>();
        signal("-KILL", &all);
        let _ = server.wait();
        let is_gone = |pid: u32| state_and_parent(pid).is_none_or(|(state, _)| state == "Z" || state == "X");
        wait_until("the server's processes are gone", || all.iter().all(|&pid| is_gone(pid)));
        if let Some(segment) = segment {
            let _ = Command::new("ipcrm").args(["--shmem-id", &segment]).stderr(Stdio::null()).status();
        }
    }

    /// A standby that follows this server, up to date when this returns. Commits wait for it as soon as
    /// [`Cluster::wait_for_standby`] says so.
    pub fn standby(&self) -> Self {
        let standby = Self::folder(STANDBY, &self.settings.iter().map(String::as_str).collect::<Vec<_>>());
        let mut copy = as_server("pg_basebackup");
        copy.arg("--pgdata").arg(standby.data()).arg("--host").arg(self.host());
        copy.args([
            "--username=owner",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
            "--write-recovery-conf",
        ]);
        done(copy);
        let standby = standby.started();
        wait_until("the standby streams", || self.standbys("state = 'streaming'") == "1");
        standby
    }

    fn standbys(&self, which: &str) -> String {
        let text = format!("SELECT count(*) FROM pg_stat_replication WHERE application_name = '{STANDBY}' AND {which}");
        self.psql("postgres", &text)
    }

    /// From now on no commit is answered before the standby has it on its disk.
    pub fn wait_for_standby(&self) {
        self.set("synchronous_standby_names", STANDBY);
        wait_until("the standby is synchronous", || self.standbys("sync_state = 'sync'") == "1");
    }

    /// For all sessions, those that are open too.
    pub fn set(&self, setting: &str, value: &str) {
        self.psql("postgres", &format!("ALTER SYSTEM SET {setting} = '{value}'"));
        self.psql("postgres", "SELECT pg_reload_conf()");
        wait_until("the setting is taken up", || self.psql("postgres", &format!("SHOW {setting}")) == value);
    }

    /// Of a standby: it takes in nothing more.
    pub fn freeze_receiver(&self) -> Frozen {
        Frozen::new(&self.psql("postgres", "SELECT pid FROM pg_stat_wal_receiver"))
    }

    /// Of a primary: it sends nothing more.
    pub fn freeze_sender(&self) -> Frozen {
        let text = format!("SELECT pid FROM pg_stat_replication WHERE application_name = '{STANDBY}'");
        Frozen::new(&self.psql("postgres", &text))
    }

    /// Ends a standby's recovery: it is a primary of its own from now on.
    pub fn promote(&self) {
        let mut promote = as_server("pg_ctl");
        promote.args(["promote", "--wait", "--pgdata"]).arg(self.data());
        done(promote);
        assert_eq!(self.psql("postgres", "SELECT pg_is_in_recovery()"), "f");
    }

    pub fn url(&self, database: &str) -> String {
        self.url_as("owner", database)
    }

    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={user}", self.host().display())
    }

    /// A new, empty database.
    pub fn create(&self) -> String {
        self.databases.fetch_add(1, Ordering::Relaxed);
        let name = self.latest();
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        name
    }

    /// The database that was created last.
    pub fn latest(&self) -> String {
        format!("book{}", self.databases.load(Ordering::Relaxed))
    }

    pub fn psql(&self, database: &str, sql: &str) -> String {
        let output = self.try_psql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// As the `psql` shell comes to it, with the rights of the owner.
    pub fn try_psql(&self, database: &str, sql: &str) -> Output {
        self.try_psql_as("owner", database, sql)
    }

    pub fn try_psql_as(&self, user: &str, database: &str, sql: &str) -> Output {
        let mut psql = Command::new(programs().join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        psql.arg("--host").arg(self.host()).args(["--username", user, "--dbname", database, "--command", sql]);
        psql.stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}
