//! Strict base64url: the alphabet of RFC 4648 section 5, no padding, zero trailing bits (section 3.5), so that one byte
//! string has one spelling and no third party can re-spell a signed part.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The same into a buffer that is used again; what was in it is gone.
pub(crate) fn decode_into(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    bytes.clear();
    URL_SAFE_NO_PAD.decode_vec(text, bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_are_refused() {
        for text in ["YQ==", "YQ=", "YR", "YQ\n", " YQ", "Y", "-_+/", "a+b/", "YWJj\u{e9}", "Y W"] {
            assert_eq!(decode(text), None, "{text:?} was decoded");
        }
        assert_eq!(decode("YQ"), Some(b"a".to_vec()));
        assert_eq!(decode(""), Some(Vec::new()));
        assert_eq!(decode(&encode(&[0xfb, 0xff])), Some(vec![0xfb, 0xff]));
    }
}
