//! What is asked of the books.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::checkpoint::{CheckpointArgs, ConsistencyArgs, ProveArgs};
use crate::export::ExportArgs;
use crate::export::statement::StatementArgs;

#[derive(Debug, Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    pub question: LedgerQuestion,
}

#[derive(Debug, Subcommand)]
pub enum LedgerQuestion {
    /// Every account with its balance, and whether debits equal credits.
    Balances(BalancesArgs),
    /// Every record, oldest first.
    Journal(LedgerScope),
    /// Read everything again and recompute it. Exit 1 at the first break.
    Verify(LedgerScope),
    /// Sign where the journal stands (c2sp.org/tlog-checkpoint). Keep it elsewhere: a rewritten journal contradicts it.
    Checkpoint(CheckpointArgs),
    /// Prove that a record is in the journal, to somebody who has neither (c2sp.org/tlog-proof).
    Prove(ProveArgs),
    /// Prove that the journal goes on from an earlier checkpoint.
    Consistency(ConsistencyArgs),
    /// Every posted transfer, for accountants and their tools.
    Export(ExportArgs),
    /// What one agent paid in a month.
    Statement(StatementArgs),
}

#[derive(Debug, Args)]
pub struct BalancesArgs {
    #[command(flatten)]
    pub of: LedgerScope,
    /// As they were before the first record of this instant; now where none is named.
    #[arg(long, value_name = "UNIX_SECONDS", allow_negative_numbers = true)]
    pub at: Option<i64>,
}

#[derive(Debug, Args)]
pub struct SpendsArgs {
    #[command(flatten)]
    pub of: LedgerScope,
    /// held, committed, submitted, unknown, settled, released, voided, expired or spent_otherwise; all on which money may
    /// still move where none is named.
    #[arg(long)]
    pub state: Option<String>,
    /// Only those that were reserved so long ago.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub older_than: u32,
}

#[derive(Debug, Args)]
pub struct LedgerScope {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// One tenant; all where none is named.
    #[arg(long)]
    pub tenant: Option<String>,
    #[arg(long)]
    pub json: bool,
}
