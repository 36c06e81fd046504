//! `purser verify --vectors`: conformance files, a line a case, the honest score last. Five formats:
//!
//! - a JSON array: AP2 v0.1 and v0.2 (`fixtures/ap2/README.md`);
//! - a JSON object with `bundleVersion`: payments by x402 under mandates ([`pulse`]);
//! - a JSON object with payments that official SDKs of x402 made ([`recorded`]);
//! - a JSON object with `checkout_response`: a UCP checkout with its merchant's authorization ([`checkout`]);
//! - a `.yml` file: one SD-JWT test case ([`sd_jwt`]); `settings.yml` beside it is no case.
//!
//! A folder is all of its files of these kinds, in the order of their names.

mod checkout;
mod pulse;
mod recorded;
mod sd_jwt;
mod yaml;

use std::path::{Path, PathBuf};

use mandates::conformance;
use serde_json::value::RawValue;

use crate::verify::{self, Judged};

/// One case that was run.
struct Line {
    text: String,
    passed: Passed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    Yes,
    No,
}

impl Line {
    /// A valid case, or why it did not come out as it should.
    fn valid(id: &str, outcome: Result<(), String>) -> Self {
        match outcome {
            Ok(()) => Self { text: format!("ok {id} valid -"), passed: Passed::Yes },
            Err(why) => Self { text: format!("FAIL {id} expected valid, came {why}"), passed: Passed::No },
        }
    }
}

/// Runs a file or a folder; `Err` is a usage fault in a sentence.
pub fn run(path: &Path) -> Result<Judged, String> {
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for file in files(path)? {
        for line in cases(&file)? {
            println!("{}", line.text);
            if line.passed == Passed::Yes { passed += 1 } else { failed += 1 }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { Judged::Valid } else { Judged::Invalid })
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let readable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(readable)? {
        let file = entry.map_err(readable)?.path();
        let is_settings = file.file_stem().is_some_and(|stem| stem == sd_jwt::SETTINGS);
        if file.is_file() && (is_yaml(&file) && !is_settings || file.extension().is_some_and(|end| end == "json")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn is_yaml(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "yml" || end == "yaml")
}

fn cases(file: &Path) -> Result<Vec<Line>, String> {
    if is_yaml(file) {
        return sd_jwt::run(file).map(|line| vec![line]);
    }
    let text = verify::read(file)?;
    let unreadable = |error: serde_json::Error| format!("{} cannot be read: {error}", file.display());
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let bundle: serde_json::Value = serde_json::from_slice(&text).map_err(unreadable)?;
        if bundle.get("bundleVersion").is_some() {
            return pulse::run(&bundle).map_err(|why| format!("{} cannot be read: {why}", file.display()));
        }
        let recorded = recorded::run(&bundle);
        if !recorded.is_empty() {
            return Ok(recorded);
        }
        return checkout::run(file, &text).map(|line| vec![line]);
    }
    let cases: Vec<Box<RawValue>> = serde_json::from_slice(&text).map_err(unreadable)?;
    Ok(cases.iter().map(|case| mandate(case.get())).collect())
}

fn mandate(case: &str) -> Line {
    match conformance::run_text(case) {
        Ok(result) => Line { text: result.line(), passed: if result.has_passed() { Passed::Yes } else { Passed::No } },
        Err(error) => Line { text: format!("FAIL the case cannot be read: {error}"), passed: Passed::No },
    }
}
