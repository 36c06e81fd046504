//! Promises 3 and 4 where whoever a mandate was closed for never answers: an operator says what became of it, or a
//! processor's file does, and neither moves anything that does not agree.

use std::time::Duration;

use mandates::chain::reference_hashes;
use purser::world::{ADMIN, HOME};
use reqwest::Method;
use serde_json::Value;

use crate::harness::closing::{answered_in, closed_in};
use crate::harness::process::{run, stdout};
use crate::harness::shop::code;
use crate::harness::text;
use crate::harness::world::World;

/// Seconds that what is closed for others lives here.
const CLOSING_SECONDS: u64 = 30;
const HEADER: &str = "reference,amount,currency,state,processor_id,date\n";

fn purser(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let file = world.config_file().display().to_string();
    let args: Vec<&str> = args.iter().copied().chain(["--config", &file, "--tenant", HOME]).collect();
    let output = run(&args, &world.env());
    (output.status.code(), format!("{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr)))
}

fn resolve(world: &World, id: &str, outcome: &str, more: &[&str]) -> (Option<i32>, String) {
    let because = ["resolve", id, "--as", outcome, "--because", "their support said so on the telephone"];
    purser(world, &[&because[..], more].concat())
}

/// Held against a file of these lines.
fn held_against(world: &World, lines: &[String], more: &[&str]) -> (Option<i32>, String) {
    let path = world.folder.path().join("settlement.csv");
    std::fs::write(&path, format!("{HEADER}{}\n", lines.join("\n"))).unwrap();
    let path = path.display().to_string();
    purser(world, &[&["reconcile", "--settlement", &path][..], more].concat())
}

fn line(reference: &str, amount: &str, state: &str, number: u8) -> String {
    format!("{reference},{amount},USD,{state},psp-{number},{}", today())
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

async fn state(world: &World, closed: &Value) -> String {
    let path = format!("/v1/payments/{}", text(closed, "id"));
    text(&world.call(Method::GET, &path, &world.user, None).await.unwrap(), "state").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_or_a_file_ends_it_and_nothing_else_does() {
    let world = World::start_with(CLOSING_SECONDS).await;
    let mandate = world.mandate().await;
    let mut closed = Vec::new();
    for cents in [2, 3, 4, 5] {
        closed.push(closed_in(&world, &mandate, cents).await.expect("closed"));
    }
    let ids: Vec<&str> = closed.iter().map(|closed| text(closed, "id")).collect();
    let over = closed.iter().filter_map(|closed| closed["valid_before"].as_i64()).max().unwrap();

    // What is no operator's to say, or too early.
    let none = "00".repeat(32);
    for (id, outcome, more, expected) in [
        (ids[0], "not-paid", &[][..], "not_expired"),
        (ids[0], "settled", &["--operator", "nobody"], "no operator nobody"),
        (none.as_str(), "settled", &[], "spend_unknown"),
        ("nonsense", "settled", &[], "no id of a payment"),
    ] {
        let (status, told) = resolve(&world, id, outcome, more);
        assert!(status == Some(1) && told.contains(expected), "{expected}: {told}");
    }
    let (status, told) = purser(&world, &["resolve", ids[0], "--as", "settled", "--because", ""]);
    assert!(status == Some(1) && told.contains("because"), "{told}");
    assert_eq!(resolve(&world, ids[0], "perhaps", &[]).0, Some(2));

    // Whatever does not agree is listed, and moves nothing.
    let reference = reference_hashes(text(&closed[0], "payment_mandate")).unwrap().sd_hash;
    for (lines, expected) in [
        // Refused there, and it can still be paid.
        (vec![line(ids[0], "0.02", "refused", 1)], "held_here"),
        (vec![line("nothing-of-ours", "0.02", "settled", 1)], "unknown_reference"),
        (vec![line(ids[0], "0.03", "settled", 1)], "amount_differs"),
        (vec![line(ids[0], "0.020001", "settled", 1)], "amount_differs"),
        (vec![line(ids[0], "0.02", "settled", 1).replace("USD", "EUR")], "currency_differs"),
        (vec![line(ids[0], "0.02", "settled", 1), line(&reference, "0.02", "settled", 2)], "duplicate"),
        (vec![line(ids[0], "0.02", "settled", 1), line(ids[1], "0.03", "settled", 1)], "duplicate"),
    ] {
        for more in [&[][..], &["--apply"]] {
            let (status, told) = held_against(&world, &lines, more);
            assert!(status == Some(1) && told.contains(expected), "{expected}: {told}");
            for one in &closed {
                assert!(["submitted", "unknown"].contains(&state(&world, one).await.as_str()), "{expected}");
            }
        }
    }
    let (status, told) = held_against(&world, &["a,b".to_owned()], &[]);
    assert!(status == Some(1) && told.contains("line"), "{told}");

    // What agrees in every value is taken at its word, when that is asked for.
    let good = [line(&reference, "0.02", "settled", 1)];
    let (status, told) = held_against(&world, &good, &[]);
    assert!(status == Some(1) && told.contains("held_here"), "{told}");
    let (status, told) = held_against(&world, &good, &["--apply", "--operator", ADMIN]);
    assert_eq!(status, Some(0), "{told}");
    assert_eq!(state(&world, &closed[0]).await, "settled");
    assert_eq!(held_against(&world, &good, &[]).0, Some(0));
    let (status, told) = held_against(&world, &[line(ids[0], "0.02", "refused", 1)], &["--apply"]);
    assert!(status == Some(1) && told.contains("state_differs"), "{told}");
    let (status, told) = resolve(&world, ids[1], "settled", &[]);
    assert!(status == Some(0) && told.contains("settled"), "{told}");
    let (status, told) = held_against(&world, &good, &[]);
    assert!(status == Some(1) && told.contains("missing_there") && told.contains(ids[1]), "{told}");

    // Not paid, when it cannot be paid any more.
    while store::wall_clock()().seconds() <= over {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let (status, told) = resolve(&world, ids[2], "not-paid", &[]);
    assert!(status == Some(0) && told.contains("released"), "{told}");
    let lines =
        [line(ids[0], "0.02", "settled", 1), line(ids[1], "0.03", "settled", 2), line(ids[3], "0.05", "refused", 3)];
    let (status, told) = held_against(&world, &lines, &["--apply"]);
    assert_eq!(status, Some(0), "{told}");
    assert_eq!(
        (state(&world, &closed[2]).await, state(&world, &closed[3]).await),
        ("released".into(), "released".into())
    );

    // A receipt that comes later and says otherwise is an incident; one that says the same is known.
    answered_in(&world, &closed[3], false).await.expect("the same");
    assert_eq!(code(answered_in(&world, &closed[2], true).await), "receipt_contradicts");
    assert_eq!(state(&world, &closed[2]).await, "spent_otherwise");
    let (status, told) = held_against(&world, &[line(ids[2], "0.04", "settled", 3)], &[]);
    assert!(status == Some(1) && told.contains("incident_here"), "{told}");
    let (status, told) = purser(&world, &["ledger", "verify"]);
    assert_eq!(status, Some(0), "{told}");
}
