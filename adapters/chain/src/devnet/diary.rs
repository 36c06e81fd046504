//! What happened to a chain, a line each in a file, so that the same chain stands again after a restart.
//!
//! A line is written when its block is there, and not forced to the disk: what a killed process wrote is kept, what
//! a power cut took is not, and a line that was cut short is forgotten. Transactions that wait are not kept.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, U256};
use revm::bytecode::Bytecode;
use serde::{Deserialize, Serialize};

use super::DevnetError;
use super::blocks::MinedBlock;
use super::execution::Environment;
use super::node::{BASE_FEE_WEI, Filling, Node};
use super::pool::decode;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Event {
    Genesis { chain_id: u64, timestamp: u64 },
    Block(NotedBlock),
    Balance { address: Address, balance: U256 },
    Code { address: Address, code: Bytes },
    Storage { address: Address, slot: U256, value: U256 },
    RolledBack { to: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotedBlock {
    pub(super) number: u64,
    pub(super) timestamp: u64,
    /// Seconds that chain time is ahead of the clock.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) ahead: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) transactions: Vec<Bytes>,
    /// Where there are transactions: that they did again what they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<B256>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn is_zero(seconds: &i64) -> bool {
    *seconds == 0
}

impl NotedBlock {
    pub(super) fn of(block: &MinedBlock, ahead: i64) -> Self {
        let raw = |mined: &super::blocks::MinedTransaction| Bytes::from(mined.transaction.inner().encoded_2718());
        let hash = (!block.transactions.is_empty()).then(|| block.header.seal());
        let (number, timestamp) = (block.header.number, block.header.timestamp);
        Self { number, timestamp, ahead, transactions: block.transactions.iter().map(raw).collect(), hash }
    }
}

/// The file, held by one process.
#[derive(Debug)]
pub(super) struct Diary {
    file: File,
    lines: u64,
}

impl Diary {
    pub(super) fn open(path: &Path) -> Result<Self, DevnetError> {
        let unusable = |error: std::io::Error| DevnetError::DataUnusable(format!("{}: {error}", path.display()));
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = options.map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, lines: 0 }),
            Err(std::fs::TryLockError::WouldBlock) => Err(DevnetError::DataInUse(path.display().to_string())),
            Err(std::fs::TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// The first line, which says when the chain began; none in a new file.
    pub(super) fn genesis(&self, chain_id: u64) -> Result<Option<u64>, DevnetError> {
        let mut line = String::new();
        BufReader::new(&self.file).read_line(&mut line).map_err(|error| self.broken(&error))?;
        if !line.ends_with('\n') {
            return Ok(None);
        }
        match serde_json::from_str(&line).map_err(|error| self.broken(&error))? {
            Event::Genesis { chain_id: found, timestamp } if found == chain_id => Ok(Some(timestamp)),
            Event::Genesis { chain_id: found, .. } => {
                Err(self.broken(&format!("chain {chain_id} was expected, it is of chain {found}")))
            }
            _ => Err(self.broken(&"it does not begin with a genesis")),
        }
    }

    /// Does again, on a chain at its genesis, what is written, and goes on writing after it.
    pub(super) fn replay(mut self, node: &mut Node) -> Result<Self, DevnetError> {
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.broken(&error))?;
        let file = self.file.try_clone().map_err(|error| self.broken(&error))?;
        let (mut reader, mut line, mut whole) = (BufReader::new(file), String::new(), 0_u64);
        loop {
            line.clear();
            let read = reader.read_line(&mut line).map_err(|error| self.broken(&error))?;
            if !line.ends_with('\n') {
                break;
            }
            self.lines += 1;
            whole = whole.saturating_add(read as u64);
            let event = serde_json::from_str(&line).map_err(|error| self.broken(&error))?;
            node.relive(event).map_err(|why| self.broken(&why))?;
        }
        self.file.set_len(whole).map_err(|error| self.broken(&error))?;
        self.file.seek(SeekFrom::End(0)).map_err(|error| self.broken(&error))?;
        Ok(self)
    }

    /// A chain that cannot be written down goes on; it will not come back.
    pub(super) fn note(&mut self, event: &Event) {
        let written = serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        if let Err(error) = written {
            tracing::error!("the chain's file cannot be written: {error}");
        }
    }

    fn broken(&self, why: &dyn std::fmt::Display) -> DevnetError {
        DevnetError::DataBroken { line: self.lines, why: why.to_string() }
    }
}

impl Node {
    fn relive(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Genesis { .. } if self.blocks.head().number == 0 => Ok(()),
            Event::Genesis { .. } => Err("a second genesis".to_owned()),
            Event::Block(block) => self.mine_again(&block),
            Event::Balance { address, balance } => {
                self.state.write_balance(self.blocks.head().number, address, balance);
                Ok(())
            }
            Event::Code { address, code } => {
                let code = Bytecode::new_raw_checked(code).map_err(|error| error.to_string())?;
                self.state.write_code(self.blocks.head().number, address, code);
                Ok(())
            }
            Event::Storage { address, slot, value } => {
                self.state.write_slot(self.blocks.head().number, address, slot, value);
                Ok(())
            }
            Event::RolledBack { to } => self.take_back(to).map_err(|refusal| refusal.message),
        }
    }

    /// A block of an earlier life of this chain.
    fn mine_again(&mut self, noted: &NotedBlock) -> Result<(), String> {
        let (parent, timestamp, base_fee) = (self.blocks.head(), noted.timestamp, BASE_FEE_WEI);
        let number = parent.number.saturating_add(1);
        if noted.number != number || timestamp < parent.timestamp {
            return Err(format!("block {number} was expected, {} at {timestamp} is written", noted.number));
        }
        let environment = Environment { chain_id: self.config.chain_id, number, timestamp, base_fee };
        let mut filling = Filling::default();
        for raw in &noted.transactions {
            let done = decode(raw).and_then(|transaction| self.execute(environment, transaction, &mut filling));
            done.map_err(|refusal| refusal.message)?;
        }
        let block = MinedBlock::seal(parent.hash, number, timestamp, base_fee, filling.mined);
        if noted.hash.is_some_and(|hash| hash != block.header.seal()) {
            return Err(format!("block {number} came out otherwise than it is written"));
        }
        self.clock_offset_seconds = noted.ahead;
        self.append(block);
        Ok(())
    }
}
