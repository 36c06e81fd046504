//! The one place where all parts meet: commands, configuration, keys, assembly.
//!
//! The promise: what a command says it did, the store and the chain show; `demo` and `dev` run the real parts; a
//! process asked to stop finishes what it has begun; no secret is printed, except where a command exists to print it.
//!
//! Read in this order: [`config`], [`keys`], [`assembly`], [`service`], then a command.
//!
//! What it never does: no rule about money, mandates or payments is written here.

pub mod acquirer;
pub mod approve;
pub mod ask;
pub mod assembly;
pub mod bench;
pub mod chain_command;
pub mod channels;
pub mod checkpoint;
pub mod cli;
pub mod client;
pub mod close;
pub mod command;
pub mod config;
pub mod credential;
pub mod delegate;
pub mod demo;
pub mod dev;
pub mod doctor;
pub mod export;
pub mod fence;
pub mod fetch;
pub mod holds;
pub mod init;
mod invitation;
pub mod issuers;
pub mod keys;
pub mod ledger;
pub mod mcp;
mod notes;
pub mod opening;
pub mod operate;
pub mod pay;
pub mod policies;
pub mod principal;
pub mod proxy;
mod published_keys;
mod receivables;
pub mod reconcile;
pub mod resolve;
pub mod restore;
pub mod screening;
pub mod serve;
pub mod service;
pub mod settlement;
pub mod shop;
pub mod shopper;
pub mod standing;
mod status_lists;
pub mod stop;
pub mod subject;
pub mod telemetry;
pub mod trust;
pub mod vectors;
pub mod verify;
pub mod webhook;
pub mod world;
