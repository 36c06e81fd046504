//! The rule row by row, and a file that breaks.

use super::*;

fn wanted() -> Wanted<'static> {
    Wanted { mandate: "m", program: "", method: "GET", url: "https://shop.example/a?b=1", body: b"" }
}

fn open() -> (tempfile::TempDir, PathBuf, Notebook) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("purchases.log");
    let notebook = Notebook::open(&path, 0).unwrap();
    (folder, path, notebook)
}

#[test]
fn what_differs_is_another_purchase() {
    let first = wanted().fingerprint();
    for (what, other) in [
        ("mandate", Wanted { mandate: "n", ..wanted() }),
        ("program", Wanted { program: "p", ..wanted() }),
        ("method", Wanted { method: "POST", ..wanted() }),
        ("query", Wanted { url: "https://shop.example/a?b=2", ..wanted() }),
        ("scheme", Wanted { url: "http://shop.example/a?b=1", ..wanted() }),
        ("body", Wanted { body: b" ", ..wanted() }),
        ("shifted", Wanted { program: "mG", method: "ET", ..wanted() }),
    ] {
        assert_ne!(other.fingerprint(), first, "{what}");
    }
    assert_eq!(wanted().fingerprint(), first);
}

#[test]
fn the_rule() {
    let note = |delivered_at| Note { key: "k".into(), payment: None, delivered_at };
    for (delivered_at, arrived) in [
        (None, 0),
        (None, i64::MAX), // undelivered, however long ago
        (Some(100), 99),  // it came before the delivery, and its turn came after
        (Some(100), 100),
        (Some(100), 159),
        (Some(100), i64::MIN), // the clock was put back
        (Some(i64::MAX), i64::MAX - 1),
    ] {
        let note = note(delivered_at);
        assert_eq!(standing(Some(&note), arrived, 60), Standing::Same(note), "{delivered_at:?} {arrived}");
    }
    for arrived in [160, 161, i64::MAX] {
        let note = note(Some(100));
        assert_eq!(standing(Some(&note), arrived, 60), Standing::Passed(note), "{arrived}");
    }
    assert_eq!(standing(None, 5, 60), Standing::New);
    for state in ["held", "committed", "submitted", "settled", "unknown", "spent_otherwise", "", "Released"] {
        assert!(!never_happened(state), "{state}");
    }
    for state in ["released", "voided", "expired"] {
        assert!(never_happened(state), "{state}");
    }
}

#[test]
fn a_purchase_outlives_the_process_and_a_half_written_line() {
    let (_folder, path, notebook) = open();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let begun = notebook.begin(one, 0).unwrap();
    assert_ne!(notebook.begin(two, 0).unwrap().key, begun.key);
    notebook.paid(one, &begun.key, "p", 1).unwrap();
    drop(notebook);
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(br#"{"request":"00"#);
    std::fs::write(&path, text).unwrap();
    let notebook = Notebook::open(&path, 0).unwrap();
    assert_eq!(notebook.note(one), Some(Note { payment: Some("p".into()), ..begun.clone() }));
    notebook.delivered(one, &begun.key, 7).unwrap();
    notebook.delivered(one, &begun.key, 9).unwrap();
    assert_eq!(notebook.note(one).unwrap().delivered_at, Some(7), "the first time counts");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3, "and the rest is not written");
}

#[test]
fn a_damaged_file_is_not_begun_with() {
    let (_folder, path, notebook) = open();
    notebook.begin(Digest::of(b"1"), 0).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    for damaged in [
        format!("junk\n{whole}"),
        format!("{{}}\n{whole}"),
        format!("{}\n{whole}", &whole[..20]),
        whole.replace("\"note\"", "\"nota\""),
        whole.replace("\"key\"", "\"kex\""),
        format!("{whole}\n{whole}"),
    ] {
        std::fs::write(&path, &damaged).unwrap();
        let why = Notebook::open(&path, 0).err().unwrap_or_else(|| panic!("{damaged}"));
        assert!(why.contains("line "), "{why}");
    }
}

#[test]
fn nothing_is_recorded_of_a_purchase_that_is_not_the_last_one() {
    let (_folder, _path, notebook) = open();
    let request = Digest::of(b"1");
    let first = notebook.begin(request, 0).unwrap();
    let second = notebook.begin(request, 1).unwrap();
    notebook.paid(request, &first.key, "late", 2).unwrap();
    notebook.delivered(request, &first.key, 2).unwrap();
    notebook.forget(request, &first.key).unwrap();
    assert_eq!(notebook.note(request), Some(second.clone()));
    notebook.forget(request, &second.key).unwrap();
    assert_eq!(notebook.note(request), None);
}

#[test]
fn what_was_delivered_long_ago_is_forgotten_and_what_was_not_is_kept() {
    let (_folder, path, notebook) = open();
    let (old, young, open) = (Digest::of(b"old"), Digest::of(b"young"), Digest::of(b"open"));
    for (request, at) in [(old, Some(0)), (young, Some(10)), (open, None)] {
        let key = notebook.begin(request, 0).unwrap().key;
        if let Some(at) = at {
            notebook.delivered(request, &key, at).unwrap();
        }
    }
    drop(notebook);
    let notebook = Notebook::open(&path, KEPT_SECONDS + 5).unwrap();
    assert_eq!(notebook.note(old), None);
    assert!(notebook.note(young).is_some() && notebook.note(open).is_some());
}

#[test]
fn the_file_is_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path, _notebook) = open();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn one_at_a_time_has_its_turn() {
    let (_folder, _path, notebook) = open();
    let held = notebook.turn(Digest::of(b"1")).await;
    let soon = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, notebook.turn(Digest::of(b"1"))).await.is_err());
    assert!(tokio::time::timeout(soon, notebook.turn(Digest::of(b"2"))).await.is_ok());
    drop(held);
    assert!(tokio::time::timeout(soon, notebook.turn(Digest::of(b"1"))).await.is_ok());
}
