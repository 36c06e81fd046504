//! Where a dev service lives: a temporary folder that goes with it, or one that is kept, with its keys, its chain, its
//! database, its ports and its mandate.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::keys::MasterKey;

/// What a kept folder says about the service that last ran in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    pub port: u16,
    pub chain_port: u16,
    /// Whether the wallets and the books got what they begin with.
    pub funded: bool,
    pub mandate: Option<String>,
    /// The one that vault tokens are asked for under.
    #[serde(default)]
    pub acp_mandate: Option<String>,
}

pub enum Home {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Home {
    pub fn open(data: Option<&Path>) -> Result<Self, String> {
        match data {
            None => tempfile::Builder::new()
                .prefix("purser-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(|error| error.to_string()),
            Some(path) => {
                std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
                let whole = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(Self::Kept(whole))
            }
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Temporary(folder) => folder.path().join(name),
            Self::Kept(path) => path.join(name),
        }
    }

    /// The chain's own file; a temporary chain needs none.
    pub fn chain(&self) -> Option<PathBuf> {
        match self {
            Self::Temporary(_) => None,
            Self::Kept(_) => Some(self.file("chain.log")),
        }
    }

    pub fn master_key(&self) -> Result<MasterKey, String> {
        let path = self.file("master.key");
        match std::fs::read_to_string(&path) {
            Ok(text) => MasterKey::from_hex(&text).map_err(|error| format!("{}: {error}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = MasterKey::random().map_err(|error| error.to_string())?;
                self.write("master.key", key.to_hex().as_bytes()).map(|_| key)
            }
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    pub fn remembered(&self) -> Result<Remembered, String> {
        match self.read("dev.json")? {
            None => Ok(Remembered::default()),
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", self.file("dev.json").display()))
            }
        }
    }

    pub fn remember(&self, remembered: &Remembered) -> Result<(), String> {
        let text = serde_json::to_vec(remembered).map_err(|error| error.to_string())?;
        self.write("dev.json", &text).map(|_| ())
    }

    /// The line of the service that runs here.
    pub fn line(&self) -> Result<Option<Value>, String> {
        let Some(bytes) = self.read("line.json")? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string())
    }

    /// The line of a service that is gone says nothing about the next one.
    pub fn forget(&self, name: &str) -> Result<(), String> {
        match std::fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", self.file(name).display()))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match std::fs::read(self.file(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", self.file(name).display())),
        }
    }

    /// For this user's eyes only; beside it and renamed, so that a reader sees the old file or the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let (path, beside) = (self.file(name), self.file(&format!("{name}.new")));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}
