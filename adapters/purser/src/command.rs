//! The command line read, and each command handed to its module.

use std::process::ExitCode;

use crate::cli::{Cli, Command, LedgerQuestion, PrincipalAction};
use crate::pay::Ended;
use crate::verify::Judged;
use crate::{
    acquirer, approve, ask, bench, chain_command, channels, checkpoint, close, delegate, demo, dev, doctor, export,
    holds, init, invitation, keys, mcp, operate, pay, policies, principal, proxy, receivables, reconcile, resolve,
    restore, serve, shopper, standing, stop, subject, telemetry, verify, webhook,
};
use clap::Parser;

/// What the binary does.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    telemetry::init(default_level(&cli.command));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("purser: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("purser: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Commands that tell something keep the log quiet; services speak.
const fn default_level(command: &Command) -> &'static str {
    match command {
        // What it says to its reader is not to be looked for among lines for machines.
        Command::Dev(args) if !args.json => "warn",
        Command::Serve(_) | Command::Dev(_) | Command::Chain(_) | Command::Acquirer(_) | Command::Proxy(_) => "info",
        _ => "warn",
    }
}

/// Whether it was as it should be.
const fn exit(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Demo { json } => {
            let object = demo::run(json).await.map_err(|error| error.to_string())?;
            if json {
                println!("{object}");
            }
            let ok = object.get("ok").and_then(serde_json::Value::as_bool) == Some(true);
            Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Dev(args) => dev::run(&args, stop::signal()).await.map(|()| ExitCode::SUCCESS),
        Command::Chain(args) => chain_command::run(&args, stop::signal()).await.map(|()| ExitCode::SUCCESS),
        Command::Acquirer(args) => acquirer::run(&args, stop::signal()).await.map(|()| ExitCode::SUCCESS),
        Command::Serve(args) => serve::run(&args.config, stop::signal()).await.map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => bench::run(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Init(args) => init::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Principal(args) => match &args.action {
            PrincipalAction::Add(add) => principal::add(add).map(|()| ExitCode::SUCCESS),
            PrincipalAction::Report(report) => Ok(match standing::run(report).await? {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }),
            PrincipalAction::NewKey(key) => principal::new_key(key).map(|()| ExitCode::SUCCESS),
            PrincipalAction::Passkeys(passkeys) => invitation::passkeys(passkeys).await.map(|()| ExitCode::SUCCESS),
            PrincipalAction::Invite(invite) => invitation::run(invite).await.map(|()| ExitCode::SUCCESS),
        },
        Command::Approve(args) => approve::run(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Doctor(args) => {
            Ok(if doctor::run(&args.config).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Migrate(args) => operate::migrate(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Backup(args) => restore::backup(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Restore(args) => restore::run(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Spends(args) => Ok(if operate::spends(&args).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Command::Reconcile(args) => {
            Ok(if reconcile::run(&args).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Receivables(args) => receivables::run(&args).await.map(exit),
        Command::Channels(args) => channels::run(&args).await.map(exit),
        Command::Holds(args) => holds::run(&args).await.map(exit),
        Command::Resolve(args) => resolve::run(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Close(args) => Ok(if close::run(&args).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Command::Export(args) => subject::export(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Erase(args) => subject::erase(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Keys(args) => keys::command::run(&args.action).await.map(|()| ExitCode::SUCCESS),
        Command::Webhook(args) => webhook::operate(&args.action).await.map(|()| ExitCode::SUCCESS),
        Command::Listen(args) => webhook::listen(&args, stop::signal()).await.map(|()| ExitCode::SUCCESS),
        Command::Trigger(args) => webhook::trigger(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Policy(args) => Ok(if policies::run(&args).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Command::Token(args) => operate::token(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Ledger(args) => ledger(args.question).await,
        Command::Ask(args) => Ok(if ask::run(&args).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Command::Delegate(args) => delegate::run(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Pay(args) => Ok(match pay::run(&args).await? {
            Ended::Delivered => ExitCode::SUCCESS,
            Ended::Refused => ExitCode::FAILURE,
            Ended::Previewed => ExitCode::from(3),
        }),
        Command::Shop(args) => Ok(if shopper::run(&args).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Command::Mcp(args) => mcp::run(&args, stop::signal()).await.map(|()| ExitCode::SUCCESS),
        Command::Proxy(args) => proxy::run(&args, stop::signal()).await.map(|()| ExitCode::SUCCESS),
        Command::Verify(args) => Ok(match verify::run(&args).await {
            Ok(Judged::Valid) => ExitCode::SUCCESS,
            Ok(Judged::Invalid) => ExitCode::from(1),
            Err(message) => {
                eprintln!("purser: {message}");
                ExitCode::from(2)
            }
        }),
    }
}

async fn ledger(question: LedgerQuestion) -> Result<ExitCode, String> {
    let sound = match question {
        LedgerQuestion::Balances(scope) => operate::balances(&scope).await?,
        LedgerQuestion::Journal(scope) => operate::journal(&scope).await?,
        LedgerQuestion::Verify(scope) => operate::verify(&scope).await?,
        LedgerQuestion::Checkpoint(args) => checkpoint::checkpoint(&args).await.map(|()| true)?,
        LedgerQuestion::Prove(args) => checkpoint::prove(&args).await.map(|()| true)?,
        LedgerQuestion::Consistency(args) => checkpoint::grown(&args).await.map(|()| true)?,
        LedgerQuestion::Export(args) => export::export(&args).await.map(|()| true)?,
        LedgerQuestion::Statement(args) => export::statement::statement(&args).await.map(|()| true)?,
    };
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
