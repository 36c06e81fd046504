//! Script, style and picture, in the binary. Their address has their digest in it, so that a page never meets another
//! release's.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

struct Asset {
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 5] = [
    Asset {
        stem: "approve",
        extension: "css",
        kind: "text/css; charset=utf-8",
        text: include_str!("assets/approve.css"),
    },
    Asset {
        stem: "approve",
        extension: "js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("assets/approve.js"),
    },
    Asset { stem: "icon", extension: "svg", kind: "image/svg+xml", text: include_str!("assets/icon.svg") },
    Asset {
        stem: "console",
        extension: "css",
        kind: "text/css; charset=utf-8",
        text: include_str!("assets/console.css"),
    },
    Asset {
        stem: "console",
        extension: "js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("assets/console.js"),
    },
];

static NAMES: LazyLock<[String; 5]> = LazyLock::new(|| {
    ASSETS.map(|asset| {
        let digest: [u8; 32] = Sha256::digest(asset.text.as_bytes()).into();
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{short}.{}", asset.stem, asset.extension)
    })
});

pub(crate) fn style() -> String {
    format!("/approve/assets/{}", NAMES[0])
}

pub(super) fn script() -> String {
    format!("/approve/assets/{}", NAMES[1])
}

pub(crate) fn icon() -> String {
    format!("/approve/assets/{}", NAMES[2])
}

pub(crate) fn console_style() -> String {
    format!("/approve/assets/{}", NAMES[3])
}

pub(crate) fn console_script() -> String {
    format!("/approve/assets/{}", NAMES[4])
}

pub(super) async fn show(Path(name): Path<String>) -> Response {
    let found = NAMES.iter().zip(&ASSETS).find(|(known, _)| **known == name);
    let Some((_, asset)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, asset.text).into_response()
}
