//! How a program is told about the proxy: an instruction a runtime, and the same as shell exports.

use serde_json::Value;

use crate::dev::exports::quoted;

/// What programs read from their environment, and where each lies in the line.
const EXPORTS: [(&str, &str); 10] = [
    ("http_proxy", "/proxy_url"), // curl reads it in small letters only
    ("HTTP_PROXY", "/proxy_url"),
    ("https_proxy", "/proxy_url"),
    ("HTTPS_PROXY", "/proxy_url"),
    ("CURL_CA_BUNDLE", "/ca_file"),
    ("REQUESTS_CA_BUNDLE", "/ca_file"),
    ("SSL_CERT_FILE", "/ca_file"), // OpenSSL, httpx, Go
    ("NODE_EXTRA_CA_CERTS", "/ca_file"),
    ("GIT_SSL_CAINFO", "/ca_file"),
    ("PURSER_PROXY", "/proxy_url"),
];

/// Node takes a proxy from the environment where it is told to, from 22.21 and 24.5 on.
const NODE: &str = "export NODE_USE_ENV_PROXY='1'\n";

pub fn exports(line: &Value) -> Result<String, String> {
    let export = |(name, place): &(&str, &str)| {
        let value = line.pointer(place).and_then(Value::as_str).ok_or_else(|| format!("{place} is not in the line"))?;
        Ok(format!("export {name}={}\n", quoted(value)))
    };
    let exports: Result<String, String> = EXPORTS.iter().map(export).collect();
    Ok(exports? + NODE)
}

/// For people.
pub fn text(proxy: &str, ca: &str, window_seconds: i64) -> String {
    format!(
        r#"A 402 of x402 is paid on the way; everything else passes. In a shell: eval "$(purser proxy --env --dir DIR)". Or:

  curl            curl --proxy {proxy} --cacert '{ca}' URL
  Python          HTTPS_PROXY={proxy} HTTP_PROXY={proxy} REQUESTS_CA_BUNDLE='{ca}' SSL_CERT_FILE='{ca}'
                  (requests reads the first bundle, httpx the second)
  Node            NODE_USE_ENV_PROXY=1 HTTPS_PROXY={proxy} HTTP_PROXY={proxy} NODE_EXTRA_CA_CERTS='{ca}'
                  (from 22.21; before that undici's EnvHttpProxyAgent as the global dispatcher)
  Deno            HTTPS_PROXY={proxy} HTTP_PROXY={proxy} DENO_CERT='{ca}'
  Go              HTTPS_PROXY={proxy} HTTP_PROXY={proxy} SSL_CERT_FILE='{ca}' (Go asks no proxy about localhost)
  Ruby, PHP       HTTPS_PROXY={proxy} HTTP_PROXY={proxy} SSL_CERT_FILE='{ca}'; PHP: CURLOPT_PROXY, CURLOPT_CAINFO
  Java            keytool -importcert -noprompt -alias purser -file '{ca}' -keystore purser.jks -storepass changeit
                  java -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={port} -Djavax.net.ssl.trustStore=purser.jks
  .NET            HTTPS_PROXY={proxy} HTTP_PROXY={proxy} SSL_CERT_FILE='{ca}'
  anything else   {proxy}/https://host/path?query, for what cannot use a proxy

The same method, URL and body is the same purchase until {window_seconds} s after it was delivered, and for as long as it is not
delivered or its payment is not known; it is paid once. To buy the same thing again sooner, or to be sure that two tries
are one: the header Purser-Purchase: NAME (one name, one payment). Programs that call themselves something
(http://NAME@127.0.0.1:{port}) buy apart from each other. A refusal is the 402 with the header Purser-Refusal.
"#,
        port = proxy.rsplit(':').next().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_lacks_something_is_no_line() {
        for lacks in
            [serde_json::json!({}), serde_json::json!({ "proxy_url": "x" }), serde_json::json!({ "ca_file": "x" })]
        {
            assert!(exports(&lacks).is_err(), "{lacks}");
        }
        let whole = serde_json::json!({ "proxy_url": "http://127.0.0.1:1", "ca_file": "/a b/it's.pem" });
        let said = exports(&whole).unwrap();
        assert!(said.contains(r"export SSL_CERT_FILE='/a b/it'\''s.pem'"), "{said}");
    }
}
