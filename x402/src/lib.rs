//! stub
pub mod chain;
