//! stub
pub mod money;
