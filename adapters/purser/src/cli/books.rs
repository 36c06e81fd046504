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
    /// Only those of which their merchant announced a refund that has not come; their age is that of the announcement.
    #[arg(long, conflicts_with = "state")]
    pub announced: bool,
    /// Only those that were reserved so long ago.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub older_than: u32,
}

#[derive(Debug, Args)]
pub struct ReconcileArgs {
    #[command(flatten)]
    pub of: LedgerScope,
    /// A processor's CSV file (reference, amount, currency, state, processor_id, date) to hold against the payments that
    /// were closed for others, instead of the chain.
    #[arg(long, value_name = "FILE")]
    pub settlement: Option<PathBuf>,
    /// Post or free what is held here where its line agrees in every value.
    #[arg(long, requires = "settlement")]
    pub apply: bool,
    /// Who answers for what is applied; the only operator where none is named.
    #[arg(long, value_name = "NAME", requires = "settlement")]
    pub operator: Option<String>,
}

#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// The payment.
    pub id: String,
    /// What became of it; `not-paid` from the moment on at which the mandate has expired.
    #[arg(long = "as")]
    pub r#as: Outcome,
    /// Why, for whoever reads the evidence.
    #[arg(long, value_name = "TEXT")]
    pub because: String,
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "main")]
    pub tenant: String,
    /// Who says so; the only operator where none is named.
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
}

#[derive(Debug, Args)]
pub struct ReceivablesArgs {
    #[command(flatten)]
    pub of: LedgerScope,
    /// The authorization (its nonce) of one that is given up, or was made good elsewhere.
    #[arg(long, value_name = "NONCE", requires = "because")]
    pub write_off: Option<String>,
    /// Why, for whoever reads the books.
    #[arg(long, value_name = "TEXT", requires = "write_off")]
    pub because: Option<String>,
    /// Who says so; the only operator where none is named.
    #[arg(long, value_name = "NAME", requires = "write_off")]
    pub operator: Option<String>,
}

#[derive(Debug, Args)]
pub struct ChannelsArgs {
    #[command(subcommand)]
    pub action: ChannelsAction,
}

#[derive(Debug, Subcommand)]
pub enum ChannelsAction {
    /// What the wallets have in channels, by the book and in the escrow.
    List(ChannelsList),
    /// Ask the payee of a channel for what is left. Exit 1 where something stays.
    Refund(ChannelsAsk),
    /// Ask the escrow for what is left, without the payee, at the cost of the wallet's own gas; the service fetches it when the
    /// channel's delay is over, and so does this command then. Exit 1 while something is to be fetched.
    Withdraw(ChannelsAsk),
}

#[derive(Debug, Args)]
pub struct ChannelsList {
    #[command(flatten)]
    pub of: LedgerScope,
}

#[derive(Debug, Args)]
pub struct ChannelsAsk {
    /// As `list` shows it.
    pub id: String,
    #[command(flatten)]
    pub of: LedgerScope,
    /// Who says so; the only operator where none is named.
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
}

#[derive(Debug, Args)]
pub struct HoldsArgs {
    #[command(subcommand)]
    pub action: HoldsAction,
}

#[derive(Debug, Subcommand)]
pub enum HoldsAction {
    /// What lies there, until when it can be captured, and what keeps it there afterwards.
    List(ChannelsList),
    /// Take back what is left of a payment past its deadline, at the cost of the wallet's own gas. Exit 1 while it is not back.
    Reclaim(ChannelsAsk),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Outcome {
    Settled,
    NotPaid,
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
