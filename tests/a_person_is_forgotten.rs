//! What is kept of a person can be handed over and erased, and promises 4 and 5 stand: the books balance, the proofs hold,
//! and what is gone is said to be gone.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::run;
use crate::harness::shop::code;
use crate::harness::text;
use crate::harness::world::World;

const WORDS: &str = "for the surprise party of my aunt";

fn purser(world: &World, args: &[&str]) -> (bool, String) {
    let file = world.config_file().display().to_string();
    let args: Vec<&str> = args.iter().copied().chain(["--config", &file]).collect();
    let output = run(&args, &world.env());
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), format!("{out}{errors}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_handed_over_and_forgotten() {
    let mut world = World::start().await;
    let mandate = world.mandate_with(json!({ "description": WORDS })).await;
    let payment = world.pay(&mandate, "gift").await.unwrap();
    let id = text(&payment, "id").to_owned();
    assert_eq!(world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap().status.as_u16(), 200);
    world.until(&id, "settled").await;
    world.until_final(&id).await;
    let of = ["--tenant", "home", "--subject", "user"];
    let (ok, told) = purser(&world, &[&["export"], &of[..]].concat());
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: std::collections::BTreeSet<_> = lines.iter().map(|line| text(line, "kind")).collect();
    assert!(ok && told.contains(WORDS) && kinds.contains("intent") && kinds.contains("mandate"), "{told}");
    assert!(kinds.contains("spend-evidence"), "{kinds:?}");
    let erase = [&["erase"], &of[..]].concat();
    let (ok, told) = purser(&world, &erase);
    assert!(!ok && told.contains("nothing was erased: mandate"), "it is in force: {told}");
    let revoke = format!("/v1/mandates/{mandate}/revoke");
    world.call(Method::POST, &revoke, &world.user, None).await.unwrap();
    let (ok, told) = purser(&world, &["erase", "--tenant", "home", "--subject", "nobody"]);
    assert!(ok && told.contains("0 documents"), "{told}");
    let (ok, told) = purser(&world, &erase);
    assert!(ok && told.contains("3 documents of user were erased"), "{told}");
    // It is said to be gone, and nothing can be bought with it.
    let get = async |path: String| world.call(Method::GET, &path, &world.user, None).await;
    assert_eq!(code(get(format!("/v1/payments/{id}/evidence")).await), "erased");
    assert_eq!(code(get(format!("/v1/mandates/{mandate}")).await), "erased");
    assert_eq!(code(world.pay(&mandate, "gift").await), "erased");
    assert_eq!(code(world.pay(&mandate, "another").await), "erased");
    assert_eq!(world.moved().await, 1);
    world.serve = None;
    for (args, expected) in
        [(&["ledger", "verify"][..], "records verified"), (&["export", "--tenant", "home", "--subject", "user"], "")]
    {
        let (ok, told) = purser(&world, args);
        assert!(ok && told.contains(expected) && !told.contains(WORDS), "{args:?}: {told}");
    }
    for end in ["", "-wal"] {
        let bytes = std::fs::read(world.folder.path().join(format!("purser.sqlite{end}"))).unwrap_or_default();
        assert!(
            !bytes.windows(WORDS.len()).any(|window| window == WORDS.as_bytes()),
            "purser.sqlite{end} has the words"
        );
    }
}
