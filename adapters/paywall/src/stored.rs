//! A handler's answer as it is kept for whoever paid for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, response};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limit::STORED_BODY_BYTES_MAX;

/// The headers that belong to the content. Cookies, tracing ids and connection headers belong to the exchange in
/// which they were made, and are not given again.
const KEPT_HEADERS: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_DISPOSITION,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::LINK,
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: StoredBody,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredBody {
    #[serde(with = "base64_text")]
    Whole(Bytes),
    /// Longer than [`STORED_BODY_BYTES_MAX`]: the receipt can be fetched, the content cannot.
    TooLarge { bytes: u64, sha256: String },
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("a stored answer cannot be read or written: {0}")]
pub struct StoredAnswerError(String);

impl StoredAnswerError {
    pub const fn code(&self) -> &'static str {
        "stored_answer_unreadable"
    }
}

impl StoredAnswer {
    /// An answer of the till's own, where nothing is sold.
    pub fn json(body: &serde_json::Value) -> Self {
        let headers = vec![(header::CONTENT_TYPE.as_str().to_owned(), "application/json".to_owned())];
        Self { status: StatusCode::OK.as_u16(), headers, body: StoredBody::Whole(body.to_string().into()) }
    }

    pub fn of(parts: &response::Parts, body: &Bytes) -> Self {
        let headers = KEPT_HEADERS
            .iter()
            .flat_map(|name| parts.headers.get_all(name).iter().map(move |value| (name, value)))
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let body = if body.len() <= STORED_BODY_BYTES_MAX {
            StoredBody::Whole(body.clone())
        } else {
            let sha256 = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
            StoredBody::TooLarge { bytes: body.len() as u64, sha256 }
        };
        Self { status: parts.status.as_u16(), headers, body }
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>, StoredAnswerError> {
        serde_json::to_vec(self).map_err(|error| StoredAnswerError(error.to_string()))
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoredAnswerError> {
        serde_json::from_slice(bytes).map_err(|error| StoredAnswerError(error.to_string()))
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK)
    }

    pub(crate) fn header_map(&self) -> HeaderMap {
        self.headers
            .iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::from_str(value).ok()?))
            })
            .collect()
    }
}

mod base64_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Bytes, Engine, STANDARD};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
    }
}
