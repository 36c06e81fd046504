//! The command line. Stable: scripts and other people's test suites call it.

mod books;
mod events;
mod people;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ledger::origin::Build;

pub use self::books::{
    BalancesArgs, ChannelsAction, ChannelsArgs, ChannelsAsk, HoldsAction, HoldsArgs, LedgerArgs, LedgerQuestion,
    LedgerScope, Outcome, ReceivablesArgs, ReconcileArgs, ResolveArgs, SpendsArgs,
};
pub use self::events::{ListenArgs, TriggerArgs, WebhookAction, WebhookArgs, WebhookPlace};
pub use self::people::{AskArgs, PrincipalInvite, PrincipalPasskeys, PrincipalReport};
use crate::close::CloseArgs;
use crate::delegate::DelegateArgs;
use crate::mcp::McpArgs;
use crate::pay::PayArgs;
use crate::policies::PolicyArgs;
use crate::proxy::ProxyArgs;
use crate::restore::{BackupArgs, RestoreArgs};
use crate::shopper::ShopArgs;
use crate::subject::SubjectArgs;
use crate::verify::VerifyArgs;

#[derive(Debug, Parser)]
#[command(name = "purser", version, about = "Mandates, payments and books for AI agents that spend real money")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole story on embedded parts.
    Demo {
        /// Print one JSON object last.
        #[arg(long)]
        json: bool,
    },
    /// A service with an embedded chain, a database in a temporary folder, demo principals and wallets.
    Dev(DevArgs),
    /// The embedded devnet as a process of its own.
    Chain(ChainArgs),
    /// A payment processor that moves no money, as a process of its own: for `dev --acquirer` and a vault on the devnet.
    Acquirer(crate::acquirer::AcquirerArgs),
    /// The service, from a configuration file. The master key is in PURSER_MASTER_KEY or in the file that it names.
    Serve(ConfigArgs),
    /// Write a commented configuration that runs, and a master key.
    Init(InitArgs),
    /// Register a principal with a public key, or draw a key for one.
    Principal(PrincipalArgs),
    /// Answer a question in a person's place. Needs the master key.
    Approve(ApproveArgs),
    /// Check configuration, keys, database, chain, assets, clock and purses: a line each. Exit 1 when one fails.
    Doctor(ConfigArgs),
    /// Figures beside a peer or a raw limit, measured in turns in one run. Build with --release first.
    Bench(BenchArgs),
    /// Create the database, or bring it up to date.
    Migrate(MigrateArgs),
    /// Copy the whole database into a new SQLite file, while it is used.
    Backup(BackupArgs),
    /// Bring a backup back, behind a fence; and lift the fence when the books were held against the chain.
    Restore(RestoreArgs),
    /// Verify a chain, a conformance file or an evidence file, offline. Exit 0 valid, 1 invalid, 2 usage.
    Verify(VerifyArgs),
    /// What the books say.
    Ledger(LedgerArgs),
    /// Payments by their state, oldest first: what is open, what nobody can account for. Exit 1 where there is one.
    Spends(SpendsArgs),
    /// Hold the wallets of the books against the chain, or payments closed for others against a processor's file. Exit 1
    /// where they do not agree.
    Reconcile(ReconcileArgs),
    /// What was given before it was paid, and is not; and what was paid and not delivered. Exit 1 where there is one.
    Receivables(ReceivablesArgs),
    /// Money of the wallets that lies in channels (x402, `batch-settlement`).
    Channels(ChannelsArgs),
    /// Money of the wallets that an escrow holds for a payment (x402, `auth-capture`).
    Holds(HoldsArgs),
    /// Say what became of a payment closed for a verifier who never answers, as an operator.
    Resolve(ResolveArgs),
    /// A day of the books, when it is over: what moved, what is open, where books and chain do not agree, and a checkpoint
    /// of its end. Changes nothing. Exit 1 where there is a break.
    Close(CloseArgs),
    /// Everything that is kept of one person, a line a document.
    Export(SubjectArgs),
    /// Take everything out that is kept of one person. The journal names it by digest, and stands.
    Erase(SubjectArgs),
    /// The sealed keys. Needs the master key, and shows no secret.
    Keys(KeysArgs),
    /// Receivers of events: how far each was told, its secret, and telling it again. Needs the master key.
    Webhook(WebhookArgs),
    /// Tell a receiver on this machine what happens in a service, as a webhook would.
    Listen(ListenArgs),
    /// Tell a receiver of an event that did not happen, for its developer.
    Trigger(TriggerArgs),
    /// A short-lived bearer token for a principal of the configuration.
    Token(TokenArgs),
    /// Whether a policy makes sense, and what it would have said of what was paid.
    Policy(PolicyArgs),
    /// Ask a person for a mandate, as an agent.
    Ask(AskArgs),
    /// Hand part of a mandate on to another agent, as the agent that holds it.
    Delegate(DelegateArgs),
    /// Fetch a URL, settling a 402 under a mandate. Exit 0 only on a 200.
    Pay(PayArgs),
    /// Buy from a shop that speaks ACP, under a mandate: the card stays in the service's vault.
    Shop(ShopArgs),
    /// The tools of a coding agent (MCP), over standard input and output.
    Mcp(McpArgs),
    /// A proxy on this machine: a program in any language pays 402s without code. Prints one line, and how to use it.
    Proxy(ProxyArgs),
}

pub(crate) fn json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}

#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Let this role of a PostgreSQL database serve: it may add and read, and never change what was written.
    #[arg(long, value_name = "ROLE")]
    pub grant: Option<String>,
    /// Say which migrations there are and which are applied, and change nothing.
    #[arg(long, conflicts_with_all = ["grant", "to"])]
    pub plan: bool,
    /// Move every book and key into this empty database, with the same roots; the old one is left behind for good.
    #[arg(long, value_name = "URL", conflicts_with = "grant")]
    pub to: Option<String>,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    pub name: BenchName,
    #[arg(long)]
    pub json: bool,
    /// An empty PostgreSQL database for `ledger` to fill, instead of a server for the time of the bench: what is written
    /// there stays.
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Of `ledger`, only the rows whose name begins with this.
    #[arg(long, default_value = "")]
    pub only: String,
    /// How many records the larger book of `ledger` gets, or payments the one of `console`: 1000000 takes some minutes.
    #[arg(long, default_value_t = 50_000)]
    pub entries: u64,
    /// How many other mandates lie beside the one of `ledger` that pays.
    #[arg(long, default_value_t = 5_000)]
    pub mandates: u64,
    /// So many settlements more for `x402`, to see whether time and memory stay what they are.
    #[arg(long, default_value_t = 0)]
    pub settlements: usize,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum BenchName {
    Verify,
    X402,
    Ledger,
    Authorize,
    Console,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// devnet, base-sepolia or base.
    #[arg(long, default_value = "devnet")]
    pub network: String,
    #[arg(long, value_name = "URL")]
    pub rpc_url: Option<String>,
    #[arg(long, default_value = "127.0.0.1:4020")]
    pub listen: std::net::SocketAddr,
}

#[derive(Debug, Args)]
pub struct PrincipalArgs {
    #[command(subcommand)]
    pub action: PrincipalAction,
}

#[derive(Debug, Subcommand)]
pub enum PrincipalAction {
    /// Write somebody with a public key into the configuration.
    Add(Box<PrincipalAdd>),
    /// Draw a key: the private JWK into FILE, the public one on standard output.
    NewKey(PrincipalKey),
    /// Let a person register a passkey: prints the page's address with a code that is good once.
    Invite(PrincipalInvite),
    /// A line an agent: who answers for it, when it was used last, what is wrong. Exit 1 where something is.
    Report(PrincipalReport),
    /// A line a passkey of a person; or take one out, with every session that it began.
    Passkeys(PrincipalPasskeys),
}

#[derive(Debug, Args)]
pub struct PrincipalAdd {
    pub name: String,
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "main")]
    pub tenant: String,
    /// user, agent, merchant or operator.
    #[arg(long)]
    pub kind: String,
    /// A P-256 JWK; of a private one only the public half is taken.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["issuer", "build"])]
    pub jwk: Option<PathBuf>,
    /// An outside authorization server whose access tokens (RFC 9068, bound by DPoP) it comes with.
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// What the issuer's tokens call it in `sub`; its name where nothing is said.
    #[arg(long, requires = "issuer")]
    pub subject: Option<String>,
    /// For an agent: the person who answers for it.
    #[arg(long)]
    pub sponsor: Option<String>,
    /// For an agent: what its software is, `sha256:` and 64 digits. Alone, it is the new build of one that is registered.
    #[arg(long, value_name = "DIGEST")]
    pub build: Option<Build>,
    /// For a person: the cap over all of their mandates, in major units.
    #[arg(long)]
    pub cap: Option<String>,
}

#[derive(Debug, Args)]
pub struct PrincipalKey {
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The approval.
    pub id: String,
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "main")]
    pub tenant: String,
    #[arg(long, default_value = "user")]
    pub user: String,
    /// Say no instead.
    #[arg(long)]
    pub deny: bool,
}

#[derive(Debug, Args)]
pub struct DevArgs {
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Settle through this x402 facilitator instead of our own.
    #[arg(long, value_name = "URL")]
    pub facilitator: Option<String>,
    /// Blocks between the head and the finalized one.
    #[arg(long, default_value_t = 0)]
    pub finalized_lag: u64,
    /// A folder that keeps ids, keys, ports and money over restarts; made where there is none.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// An empty PostgreSQL database for the books, instead of a SQLite file.
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// The chain id of the embedded chain: a test network's, for clients that know networks by name (x402 version 1).
    #[arg(long, value_name = "N", conflicts_with = "data")]
    pub chain_id: Option<u64>,
    /// Charge cards through this payment processor, instead of one in this process.
    #[arg(long, value_name = "URL")]
    pub acquirer: Option<String>,
    /// Print shell exports instead of the line. Where a service runs in DIR already, print its exports and end.
    #[arg(long, conflicts_with = "json")]
    pub env: bool,
    /// Print the line for machines only.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ChainArgs {
    #[arg(long, default_value_t = 8545)]
    pub port: u16,
    /// Blocks between the head and the finalized one.
    #[arg(long, default_value_t = 0)]
    pub finalized_lag: u64,
    /// A block every so many milliseconds beside those that transactions make; 0 for none.
    #[arg(long, default_value_t = 1_000)]
    pub block_millis: u64,
    /// A file from which the same chain stands again after a restart; made where there is none.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Print what this chain begins with as geth's genesis document, for another node (`anvil --init`), and end.
    #[arg(long, conflicts_with = "data")]
    pub genesis: bool,
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub action: KeysAction,
}

#[derive(Debug, Subcommand)]
pub enum KeysAction {
    /// Every key: tenant, purpose, state, kid, address.
    List(LedgerScope),
    /// Draw a first key for a place that has none.
    New(KeyPlace),
    /// Put a key of yours into a place that has none.
    Import(KeyImport),
    /// A new key for new work. The old one is kept for what was begun with it.
    Rotate(KeyRotate),
    /// End a retired key for good: nothing that it signed is taken any more.
    Revoke(KeyRevoke),
    /// Seal every key under another master key. The keys stay the same.
    Rewrap(KeysRewrap),
}

#[derive(Debug, Args)]
pub struct KeyPlace {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "main")]
    pub tenant: String,
    /// provider, receipts, agent/NAME, merchant/NAME, wallet or relayer; tokens of tenant `service`.
    #[arg(long)]
    pub purpose: String,
}

#[derive(Debug, Args)]
pub struct KeyImport {
    #[command(flatten)]
    pub place: KeyPlace,
    /// A private P-256 JWK, for an EVM key 64 hexadecimal digits; `-` reads standard input. Never on the command line.
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct KeyRotate {
    #[command(flatten)]
    pub place: KeyPlace,
    /// The new key, as for `import`; drawn where none is given.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct KeyRevoke {
    #[command(flatten)]
    pub place: KeyPlace,
    /// A thumbprint may begin with `-`.
    #[arg(long, allow_hyphen_values = true)]
    pub kid: String,
}

#[derive(Debug, Args)]
pub struct KeysRewrap {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The file of the new master key; drawn into it where there is none.
    #[arg(long, value_name = "FILE")]
    pub new_master_key_file: PathBuf,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long)]
    pub tenant: String,
    #[arg(long)]
    pub principal: String,
    /// user, agent, merchant or operator.
    #[arg(long)]
    pub kind: String,
    #[arg(long, default_value_t = 3_600)]
    pub seconds: u32,
}
