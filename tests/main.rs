//! The suite. Each file is named after the promise that it attacks (the six promises stand in the README), or after
//! the way it attacks: crashes, foreign clients, the command line.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may fail loudly")]

mod harness;

mod a_backup_comes_back;
mod a_build_and_an_issuer_are_stopped;
mod a_human_can_stop_it;
mod a_person_is_forgotten;
mod a_stranger_sets_it_up;
mod acceptances_stand;
mod agents_come_over_mcp;
mod agents_sell_over_a2a;
mod approvals_cannot_be_faked;
mod attacks_on_mandates;
mod attacks_on_payments;
mod attacks_on_sellers;
mod books_are_exported;
mod books_balance;
mod callers_are_who_they_say;
mod cards_are_left_in_a_vault;
mod catalogues_list_what_is_sold;
mod crash;
mod daily_use;
mod decisions_can_be_proved;
mod foreign_clients;
mod foreign_credentials;
mod foreign_permits;
mod foreign_readers;
mod keys_are_replaced;
mod mandates_are_closed_for_others;
mod mandates_are_handed_on;
mod mandates_have_a_status;
mod mandates_recur;
mod mcp_peers;
mod merchants_follow_one_page;
mod money_moves_beside_the_book;
mod never_over_the_limit;
mod never_twice;
mod no_spend_without_a_mandate;
mod nobody_answers;
mod nodes_fail;
mod offers_are_signed;
mod older_clients;
mod others_publish_a_status;
mod others_sell_through_the_paywall;
mod our_wallet_pays_by_permit2;
mod permits_are_carried;
mod prices_by_usage;
mod processes_come_and_go;
mod processors_do_not_answer;
mod programs_pay_through_a_proxy;
mod purchases_have_names;
mod relayers_share_the_work;
mod releases_stand_side_by_side;
mod roots_are_trusted_for_something;
mod settlements_share_a_transaction;
mod shops_are_bought_from;
mod the_chain_reorganises;
mod the_console_shows_and_stops;
mod the_document_is_true;
mod tidy;
mod verifiers_contradict_themselves;
mod walkthrough;
mod wallets_sign_for_themselves;
mod workloads_have_ids;
