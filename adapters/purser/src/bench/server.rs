//! A PostgreSQL server for the time of a bench, where its programs are on the machine: in a temporary folder, on a private
//! socket, with its usual durability. An operator's own is measured with `--database`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use store::Location;
use tempfile::TempDir;

pub struct Server {
    child: Child,
    folder: TempDir,
}

/// Debian keeps them out of the path; the newest version.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    found.retain(|bin| bin.join("postgres").exists() && bin.join("initdb").exists());
    found.sort();
    found.pop()
}

/// PostgreSQL does not run as root: there, as the user that its package makes.
fn as_server(program: PathBuf) -> Command {
    let mut command = Command::new("setpriv");
    let is_root = std::os::unix::fs::MetadataExt::uid;
    if std::fs::metadata("/proc/self").is_ok_and(|meta| is_root(&meta) == 0) {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg("--pdeathsig=QUIT").arg(program).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn done(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

impl Server {
    /// `None` where PostgreSQL is not on the machine.
    pub fn start() -> Result<Option<Self>, String> {
        let Some(bin) = programs() else { return Ok(None) };
        let folder = tempfile::Builder::new().prefix("purser-pg-").tempdir().map_err(|error| error.to_string())?;
        if std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0) {
            let mut chown = Command::new("chown");
            chown.arg("postgres").arg(folder.path());
            done(chown)?;
        }
        let data = folder.path().join("data");
        let mut initdb = as_server(bin.join("initdb"));
        initdb
            .args(["--auth=trust", "--username=owner", "--no-instructions", "--encoding=UTF8", "--pgdata"])
            .arg(&data);
        done(initdb)?;
        let mut server = as_server(bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder.path()).args(["-c", "listen_addresses="]);
        // The log of a checkpoint every few seconds would measure the disk: as an operator of a busy ledger has it.
        server.args(["-c", "max_wal_size=4GB", "-c", "shared_buffers=512MB"]).stderr(Stdio::null());
        let child = server.spawn().map_err(|error| error.to_string())?;
        let server = Self { child, folder };
        let started = Instant::now();
        loop {
            let mut ready = Command::new(bin.join("pg_isready"));
            ready.arg("--quiet").arg("--host").arg(server.folder.path());
            if ready.status().is_ok_and(|status| status.success()) {
                return Ok(Some(server));
            }
            if started.elapsed() > Duration::from_secs(30) {
                return Err("the PostgreSQL server for the bench does not start".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn location(&self) -> Result<Location, String> {
        let host = self.folder.path().display();
        format!("postgres:///postgres?host={host}&user=owner").parse().map_err(|error| format!("{error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
