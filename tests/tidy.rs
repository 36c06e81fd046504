//! The house rules that a machine can check. A rule that is broken is mended in the code, not here.

use std::path::{Path, PathBuf};

use crate::harness::root;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders =
        ["ledger", "mandates", "x402", "commerce", "policy", "adapters"].map(|name| root().join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.iter().filter(|path| !is_test(path)).count() > 80, "the sources are found");
    files
}

/// Tests, and what only tests use.
fn is_test(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == "fixture.rs" || path.components().any(|part| part.as_os_str() == "fixture") {
        return true;
    }
    path.components().any(|part| part.as_os_str() == "tests") || path.file_name().is_some_and(|name| name == "tests.rs")
}

/// The part of a file that ships: up to its test module.
fn shipped(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for path in sources() {
        let lines = shipped(&std::fs::read_to_string(&path).unwrap()).lines().count();
        if !is_test(&path) && lines > FILE_LINES_MAX {
            long.push(format!("{}: {lines}", shown(&path)));
        }
    }
    assert!(long.is_empty(), "over {FILE_LINES_MAX} lines: {long:#?}");
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for path in sources().into_iter().filter(|path| !is_test(path)) {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = shipped(&text).lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let head = line.trim_start();
            let is_function = head.starts_with("fn ")
                || head.contains(" fn ") && head.starts_with("pub")
                || head.starts_with("async fn ");
            if !is_function || head.ends_with(';') {
                continue;
            }
            let indent = line.len() - head.len();
            let end = lines[start..].iter().position(|line| *line == format!("{}}}", " ".repeat(indent)));
            if let Some(length) = end.filter(|length| *length > FUNCTION_LINES_MAX) {
                long.push(format!("{}:{}: {length}", shown(&path), start + 1));
            }
        }
    }
    assert!(long.is_empty(), "over {FUNCTION_LINES_MAX} lines: {long:#?}");
}

#[test]
fn nothing_that_ships_panics_by_choice() {
    let mut found = Vec::new();
    for path in sources().into_iter().filter(|path| !is_test(path)) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in shipped(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!("] {
                if code.contains(word) {
                    found.push(format!("{}:{}: {word}", shown(&path), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_walls_stand() {
    let manifest = |name: &str| std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
    let names = |text: &str, crates: &[&str]| -> Vec<String> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let found = lines.filter_map(|line| line.split(['=', ' ']).next()).filter(|name| crates.contains(name));
        found.map(str::to_owned).collect()
    };
    let outside =
        ["tokio", "axum", "sqlx", "reqwest", "alloy", "revm", "engine", "store", "chain", "server", "paywall"];
    for core in ["ledger", "mandates", "x402", "commerce", "policy"] {
        let found = names(&manifest(core), &outside);
        assert!(found.is_empty(), "{core} names {found:?}");
    }
    assert!(names(&manifest("ledger"), &["mandates", "x402"]).is_empty(), "the ledger knows no mandate and no 402");
    assert!(names(&manifest("mandates"), &["x402"]).is_empty() && names(&manifest("x402"), &["mandates"]).is_empty());
    let engine =
        names(&manifest("adapters/engine"), &["axum", "sqlx", "alloy", "revm", "store", "chain", "server", "paywall"]);
    assert!(engine.is_empty(), "the engine names {engine:?}");
    for mountable in ["adapters/paywall", "adapters/payer"] {
        assert!(names(&manifest(mountable), &["engine", "ledger"]).is_empty(), "others can mount {mountable}");
    }
    for user in ["store", "chain"] {
        assert!(
            names(&manifest(&format!("adapters/{user}")), &["axum", "engine"])
                .iter()
                .all(|name| user == "chain" && name == "axum")
        );
    }
}

/// Whatever way a payment comes, the policy judges it where it is held.
#[test]
fn money_is_held_behind_one_door() {
    let engine = root().join("adapters/engine/src");
    let holds = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        shipped(&text).lines().filter(|line| line.contains("Command::Hold(")).count()
    };
    let doors = sources().into_iter().filter(|path| path.starts_with(&engine)).map(|path| (shown(&path), holds(&path)));
    let doors: Vec<_> = doors.filter(|(_, holds)| *holds > 0).collect();
    assert_eq!(doors, [("adapters/engine/src/ruling.rs".to_owned(), 1)]);
}

#[test]
fn no_float_and_no_silent_conversion_near_money() {
    let mut found = Vec::new();
    for path in sources().into_iter().filter(|path| !is_test(path)) {
        let near =
            ["ledger", "mandates", "x402", "commerce", "policy"].iter().any(|core| path.starts_with(root().join(core)));
        if !near {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in shipped(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            // The one place that meets a float: the reader that refuses it.
            if code.contains("fn visit_f64<E>(self, _: f64)") {
                continue;
            }
            let float = code.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == "f64" || word == "f32");
            let cast = ["as u", "as i", "as f"].iter().any(|cast| {
                code.contains(&format!(" {cast}")) && code.contains("8") | code.contains("6") | code.contains("2")
            }) && !code.trim_start().starts_with("use ");
            if float || cast {
                found.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn each_crate_says_what_it_promises_how_to_read_it_and_what_it_never_does() {
    let crates = [
        "ledger",
        "mandates",
        "x402",
        "commerce",
        "policy",
        "adapters/engine",
        "adapters/store",
        "adapters/chain",
        "adapters/identity",
        "adapters/payer",
        "adapters/server",
        "adapters/paywall",
        "adapters/purser",
    ];
    for name in crates {
        let text = std::fs::read_to_string(root().join(name).join("src/lib.rs")).unwrap();
        let doc: String =
            text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n").to_lowercase();
        assert!(
            doc.contains("read in this order") || doc.contains("read it in this order"),
            "{name}: the order to read it in"
        );
        assert!(doc.contains("never"), "{name}: what it never does");
        assert!(doc.lines().count() >= 5, "{name}: its promise");
    }
}

#[test]
fn tests_are_not_skipped() {
    let mut files = sources();
    files.extend(
        std::fs::read_dir(root().join("tests"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "rs")),
    );
    let words = [concat!("#[ign", "ore"), concat!("should_", "panic"), concat!("assert!(tr", "ue)")];
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in words {
            assert!(!text.contains(word), "{}: {word}", shown(&path));
        }
    }
}
