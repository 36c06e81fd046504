//! `purser bench`: figures side by side with a peer or a raw limit, measured in one run in turns.
//!
//! A figure alone says what this machine did today. The ratio of two that took turns says what our work costs; so each
//! row names what its peer is charged with, and both sides of a row do the same work where they write the same rows.

mod authorize;
mod console;
mod facilitator;
mod ledger;
mod pure;
mod seller;
mod server;
mod verify;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::{BenchArgs, BenchName};

/// Which way is good.
#[derive(Clone, Copy)]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// One comparison: medians of interleaved rounds.
pub(crate) struct Row {
    pub name: &'static str,
    pub ours: Duration,
    /// `None` where it is not on this machine; `peer_is` says so.
    pub peer: Option<Duration>,
    pub peer_is: &'static str,
    pub rounds: usize,
    pub more: Value,
    /// Per second instead of time an operation.
    pub rate: bool,
    pub better: Better,
}

impl Row {
    fn to_json(&self) -> Value {
        let figure = |time: Duration| {
            let seconds = time.as_secs_f64();
            if self.rate { (1.0 / seconds).round() } else { (seconds * 10_000_000.0).round() / 10.0 }
        };
        let (ours, peer) = (figure(self.ours), self.peer.map(figure));
        let mut row = json!({
            "name": self.name, "ours": ours, "peer": peer, "unit": if self.rate { "a second" } else { "us" },
            "ratio": peer.map(|peer| (ours / peer * 100.0).round() / 100.0),
            "better": match self.better { Better::Lower => "lower", Better::Higher => "higher" },
            "rounds": self.rounds, "peer_is": self.peer_is,
        });
        if let (Value::Object(row), Value::Object(more)) = (&mut row, &self.more) {
            row.extend(more.clone());
        }
        row
    }

    fn line(&self) -> String {
        let json = self.to_json();
        format!(
            "{:<18} {:>10} {:<8} peer {:>10} ({})  ratio {} ({} is better){}",
            self.name,
            json["ours"],
            json["unit"].as_str().unwrap_or_default(),
            json["peer"],
            self.peer_is,
            json["ratio"],
            json["better"].as_str().unwrap_or_default(),
            if self.more.is_object() { format!("  {}", self.more) } else { String::new() },
        )
    }
}

pub async fn run(args: &BenchArgs) -> Result<(), String> {
    let (name, rows) = match args.name {
        BenchName::Verify => ("verify", verify::rows()?),
        BenchName::X402 => {
            let mut rows = pure::x402()?;
            rows.extend(seller::rows().await?);
            rows.extend(facilitator::rows(args.settlements).await?);
            ("x402", rows)
        }
        BenchName::Ledger => ("ledger", ledger::rows(args).await?),
        BenchName::Authorize => ("authorize", authorize::rows().await?),
        BenchName::Console => ("console", console::rows(args).await?),
    };
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::to_json).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!("{}", json!({ "bench": name, "machine": { "cores": cores }, "rows": rows }));
    } else {
        rows.iter().for_each(|row| println!("{}", row.line()));
    }
    Ok(())
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Time an operation, of a round of about 20 ms.
pub(crate) fn round(operation: &mut dyn FnMut() -> Result<(), String>) -> Result<Duration, String> {
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < Duration::from_millis(20) {
        operation()?;
        count += 1;
    }
    Ok(started.elapsed() / count.max(1))
}

/// Two operations in turns, each warmed up once.
pub(crate) fn interleave(
    rounds: usize,
    ours: &mut dyn FnMut() -> Result<(), String>,
    peer: &mut dyn FnMut() -> Result<(), String>,
) -> Result<(Duration, Duration), String> {
    round(ours)?;
    round(peer)?;
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_times.push(round(ours)?);
        peer_times.push(round(peer)?);
    }
    Ok((median(our_times), median(peer_times)))
}
