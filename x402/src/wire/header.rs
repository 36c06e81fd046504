//! Headers: base64 of JSON. Written in the standard alphabet with padding (TypeScript takes nothing else), read in
//! either alphabet, padded or not.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::WireError;
use super::json::{Message, read_message, write_message};
use crate::limit::HEADER_BYTES_MAX;
use crate::refusal::echo;

/// Server to client, on 402. Lower case, as `http::HeaderName` wants it; on the wire case does not matter.
pub const PAYMENT_REQUIRED: &str = "payment-required";
/// Client to server.
pub const PAYMENT_SIGNATURE: &str = "payment-signature";
/// Server to client, on success and on a failed settlement.
pub const PAYMENT_RESPONSE: &str = "payment-response";
/// Version 1's [`PAYMENT_SIGNATURE`].
pub const X_PAYMENT: &str = "x-payment";
/// Version 1's [`PAYMENT_RESPONSE`].
pub const X_PAYMENT_RESPONSE: &str = "x-payment-response";
/// What a browser must be allowed to see.
pub const EXPOSED_HEADERS: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE";
/// What a browser must be allowed to send. The official clients put `Access-Control-Expose-Headers` into requests.
pub const ALLOWED_HEADERS: &str = "PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X, Content-Type, Accept, Access-Control-Expose-Headers, Idempotency-Key";

pub fn read_header<T: Message>(header: &[u8]) -> Result<T, WireError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(WireError::TooLarge { max_bytes: HEADER_BYTES_MAX, found_bytes: header.len() });
    }
    read_message(&decode(header)?)
}

pub fn write_header<T: Message>(message: &T) -> Result<String, WireError> {
    let header = STANDARD.encode(write_message(message)?);
    if header.len() > HEADER_BYTES_MAX {
        return Err(WireError::TooLarge { max_bytes: HEADER_BYTES_MAX, found_bytes: header.len() });
    }
    Ok(header)
}

fn decode(header: &[u8]) -> Result<Vec<u8>, WireError> {
    let text: Vec<u8> = unpadded(header.trim_ascii())
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    STANDARD_NO_PAD.decode(text).map_err(|error| WireError::NotBase64 { detail: echo(&error.to_string()) })
}

/// Padding is at most two signs.
fn unpadded(text: &[u8]) -> &[u8] {
    let once = text.strip_suffix(b"=").unwrap_or(text);
    once.strip_suffix(b"=").unwrap_or(once)
}
