//! Published attacks on agent payments, and the test that runs each and sees it fail. Where a test stands elsewhere its file
//! is named; [`the_tests_that_are_named_exist`] looks for every one of them.
//!
//! Grant before finality (I-A), caller-unbound settlement (I-B), allowance overdraft and denial of settlement are run in
//! `tests/attacks_on_sellers.rs`.
//!
//! # Papers
//!
//! | work | what it sets | tests |
//! |---|---|---|
//! | Five Attacks on x402, arXiv 2605.11781 | authorization soundness, payment-service correspondence, replay resistance, facilitator atomicity | `x402/src/exact/tests.rs#each_tampered_field_has_its_own_answer`, `tests/never_twice.rs#a_payment_buys_one_thing`, `tests/never_twice.rs#one_signature_runs_the_handler_once`, `tests/never_twice.rs#one_settlement_is_one_success` |
//! | Free-Riding the Agentic Web, arXiv 2605.30998 | nothing leaks by cross-resource substitution or by the duplicate-settlement race | `tests/never_twice.rs#a_payment_buys_one_thing`, `tests/attacks_on_mandates/shared.rs#a_closed_mandate_is_accepted_once_by_two_replicas` |
//! | Zero-Trust Runtime Verification for AP2, arXiv 2602.06345 | binding to the context, and consumed once | `tests/attacks_on_mandates/presented.rs#what_a_verifier_leaves_out_is_refused_or_weakens_the_verdict`, `tests/attacks_on_mandates/shared.rs#a_closed_mandate_is_accepted_once_by_two_replicas` |
//! | Whispers of Wealth, arXiv 2601.22569 | nothing that is said widens anything | `tests/attacks_on_payments/words.rs#what_a_seller_writes_is_text`, `tests/agents_sell_over_a2a.rs#nothing_but_a_payment_buys` |
//! | SoK and Hardening x402 (April 2026) | little is told to facilitators | `tests/attacks_on_payments/facilitators.rs#a_facilitator_is_not_told_what_was_bought` |
//!
//! # The seller's and the facilitator's side
//!
//! | attack | tests |
//! |---|---|
//! | II replay: one payment, many grants; in parallel, at other replicas, after a restart, in other spellings | `tests/never_twice.rs#one_signature_runs_the_handler_once`, `tests/never_twice.rs#another_spelling_of_a_payment_is_the_same_payment`, `tests/attacks_on_mandates/shared.rs#a_closed_mandate_is_accepted_once_by_two_replicas`, `adapters/paywall/src/tests/payments.rs#every_encoding_is_the_same_claim`, `adapters/paywall/src/tests/payments.rs#a_claim_whose_process_died_is_unknown_and_runs_nothing` |
//! | cross-resource substitution | `tests/never_twice.rs#a_payment_buys_one_thing`, `adapters/paywall/src/tests/payments.rs#a_payment_for_one_request_buys_no_other`, `tests/agents_sell_over_a2a.rs#a_task_is_paid_once` |
//! | duplicate-settlement race | `tests/never_twice.rs#one_settlement_is_one_success`, `tests/never_twice.rs#a_settlement_that_is_not_mined_is_pending_and_not_failed` |
//! | III web layer: caches, merged and doubled headers, case, folding, CRLF, size, stripped headers | `tests/attacks_on_payments/web.rs#a_caching_proxy_keeps_and_changes_nothing`, `tests/attacks_on_payments/web.rs#headers_that_two_readers_read_in_two_ways_buy_nothing`, `tests/walkthrough.rs#junk_payment_headers_are_refused`, `tests/walkthrough.rs#a_megabyte_of_headers_is_refused` |
//! | a token that does not revert; one that takes a fee, or lies of its domain | `x402/src/settlement/tests.rs#a_receipt_without_exactly_the_transfer_settles_nothing_and_disproves_nothing`, `x402/src/settlement/tests.rs#a_used_nonce_without_exactly_the_transfer_is_an_incident`, `x402/src/exact/tests.rs#an_unlisted_asset_is_refused_however_well_it_is_signed`, `tests/no_spend_without_a_mandate.rs#an_offer_outside_the_trusted_table_is_not_signed` (on recorded receipts: the devnet has no such token) |
//! | gas drain | `tests/never_twice.rs#a_second_settle_says_so_and_sends_nothing`, `adapters/chain/src/tests/settlement.rs#a_settlement_above_the_caps_is_not_signed` |
//! | a price cut to zero; amounts in hexadecimal, with a sign or an exponent | `tests/walkthrough.rs#values_that_make_no_sense_are_refused`, `x402/src/exact/tests.rs#malformed_values_are_refused_and_never_read_leniently` |
//!
//! # The wallet's side
//!
//! | attack | tests |
//! |---|---|
//! | the amount steps up; a second 402 after a payment; a 402 in a loop | `adapters/payer/src/tests.rs#a_402_after_a_payment_is_not_paid_again`, `tests/never_over_the_limit.rs#a_payment_above_its_own_limit_or_count_is_refused` |
//! | a cheap offer is shown, a dear one signed | `x402/src/select/tests.rs#what_is_frozen_is_the_entry_that_was_chosen` |
//! | the payee is swapped; a redirect; another origin | `tests/no_spend_without_a_mandate.rs#who_is_paid_is_who_is_on_record`, `adapters/payer/src/tests.rs#a_payment_does_not_follow_a_redirect` |
//! | the asset is swapped | `tests/no_spend_without_a_mandate.rs#an_offer_outside_the_trusted_table_is_not_signed` |
//! | a signature that lives for years, or begins in some | `x402/src/select/tests.rs#only_the_payer_signs_and_only_in_a_window` |
//! | the seller or the facilitator lies | `tests/never_twice.rs#a_sellers_word_neither_settles_nor_releases`, `tests/attacks_on_payments/facilitators.rs#a_facilitator_that_lies_sells_nothing`, `adapters/server/src/facilitator/tests.rs#what_is_no_answer_of_the_protocol_is_silence` |
//! | instructions in descriptions, errors and headers | `tests/attacks_on_payments/words.rs#what_a_seller_writes_is_text`, `adapters/paywall/src/tests/browsers.rs#the_page_says_the_terms_and_runs_nothing` |
//! | discovery steers to look-alikes | `tests/no_spend_without_a_mandate.rs#who_is_paid_is_who_is_on_record` (no listing is read when it is paid) |
//! | paid and not delivered | `tests/never_twice.rs#a_sellers_word_neither_settles_nor_releases`, `tests/money_moves_beside_the_book.rs#a_refund_is_what_the_chain_shows_once` (a dispute is not built) |
//!
//! # Weaknesses of the official stack (npm 2.27.0, PyPI 2.25.0)
//!
//! | weakness | tests |
//! |---|---|
//! | 1 verify, then handle: ten requests with one signature run ten times | `tests/never_twice.rs#one_signature_runs_the_handler_once` |
//! | 2 `resource.url` of the payload is believed | `adapters/paywall/src/tests/requests.rs#a_payment_for_something_else_buys_nothing` (sign-in-with-x, which believed it, is not built) |
//! | 3 a replayed settle costs gas | `tests/never_twice.rs#a_second_settle_says_so_and_sends_nothing` |
//! | 4 a consumed Permit2 nonce verifies | `tests/permits_are_carried.rs#a_permit_is_carried_once` |
//! | 5 an overpayment is taken | `x402/src/exact/tests.rs#each_tampered_field_has_its_own_answer` |
//! | 6 `accepted` is ignored; any payee and asset | `x402/src/exact/tests.rs#each_tampered_field_has_its_own_answer`, `tests/permits_are_carried.rs#what_must_not_be_carried_is_refused_by_name` |
//! | 7 every SDK has codes of its own | `adapters/server/src/facilitator/tests.rs#a_code_is_passed_on_in_one_spelling_and_never_wrapped` |
//! | 8 malformed payloads crash | `tests/walkthrough.rs#malformed_input_meets_a_clear_refusal`, `x402/src/wire/tests/fuzzing.rs#a_damaged_payment_is_read_or_refused` |
//! | 9 what is pending is forgotten by a restart; a front-run payment is refused | `tests/crash.rs#killed_after_broadcast_before_the_receipt`, `tests/never_twice.rs#a_front_run_payment_is_a_payment` |
//! | 10 a reorganisation is not noticed | `tests/the_chain_reorganises.rs#what_the_chain_takes_back_is_held_again_and_settles_once_more` |
//! | 11 no books | `tests/books_balance.rs#books_and_chain_agree_to_the_unit` |
//! | 12 Permit2 of the Python package needs another package | `tests/foreign_permits.rs#the_python_client_pays_by_permit2_through_us` |
//! | 13 a seller that cannot reach its facilitator at the start answers 500 | `tests/attacks_on_payments/facilitators.rs#a_seller_without_its_facilitator_asks_and_charges_nothing` |

mod facilitators;
mod web;
mod words;

use crate::harness::root;

#[test]
fn the_tests_that_are_named_exist() {
    let table = std::fs::read_to_string(root().join("tests/attacks_on_payments.rs")).unwrap();
    let doc: String = table.lines().filter(|line| line.starts_with("//!")).collect();
    let named = named_tests(&doc);
    assert!(named.len() > 40, "the table was read: {}", named.len());
    named.into_iter().for_each(|(file, test)| check_exists(file, test));
}

/// What the README says of oversight, too.
#[test]
fn the_tests_that_the_readme_names_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let named: Vec<_> = readme.lines().filter(|line| line.starts_with('|')).flat_map(named_tests).collect();
    assert!(named.len() >= 19, "the tables were read: {}", named.len());
    named.into_iter().for_each(|(file, test)| check_exists(file, test));
}

/// `file.rs#test`, each between backticks.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let words = text.split('`').skip(1).step_by(2);
    words.filter_map(|word| word.split_once('#')).filter(|(file, _)| file.ends_with(".rs")).collect()
}

fn check_exists(file: &str, test: &str) {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let at = text.find(&format!("fn {test}(")).unwrap_or_else(|| panic!("{file} has no {test}"));
    let before: Vec<&str> = text[..at].lines().rev().take(3).collect();
    assert!(before.iter().any(|line| line.contains("test")), "{test} in {file} is no test: {before:?}");
}
