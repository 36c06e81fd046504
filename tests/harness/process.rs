//! The binary as a process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary that was built beside this test; `tests/run` builds it first.
pub fn purser() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST");
    let binary = folder.join("purser");
    assert!(binary.is_file(), "{} is not there: build it first (tests/run does)", binary.display());
    binary
}

/// A service of ours that printed its line. Killed when dropped.
pub struct Service {
    child: Child,
    pub line: Value,
}

impl Service {
    pub fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_of(&purser(), args, env)
    }

    /// Of another binary than the one that ships.
    pub fn start_of(binary: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary);
        command.args(args).envs(env.iter().copied()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("purser starts");
        let stdout = child.stdout.take().expect("its standard output");
        let mut first = String::new();
        BufReader::new(stdout).read_line(&mut first).expect("its first line");
        let line = serde_json::from_str(&first).unwrap_or_else(|error| panic!("{args:?} printed {first:?}: {error}"));
        Self { child, line }
    }

    /// Of somebody else, who prints no line: what is known of it.
    pub fn of(child: Child, line: Value) -> Self {
        Self { child, line }
    }

    pub fn dev() -> Self {
        Self::start(&["dev", "--json"], &[])
    }

    pub fn url(&self) -> &str {
        super::text(&self.line, "url")
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
    }

    /// SIGTERM, and how long it took to end; `None` after five seconds.
    pub fn stop(&mut self) -> Option<Duration> {
        let started = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        while started.elapsed() < Duration::from_secs(5) {
            if self.child.try_wait().expect("its state").is_some() {
                return Some(started.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of ours to its end.
pub fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    run_of(&purser(), args, env)
}

pub fn run_of(binary: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(binary).args(args).envs(env.iter().copied()).output().expect("purser runs")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
