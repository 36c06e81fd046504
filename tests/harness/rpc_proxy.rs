//! A JSON-RPC proxy that withholds.
