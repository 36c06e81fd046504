//! The line of `dev` as shell exports.

use serde_json::Value;

/// Names that `purser pay` and the readme use, and where each lies in the line.
const EXPORTS: [(&str, &str); 17] = [
    ("PURSER_URL", "/url"),
    ("PURSER_SERVICE", "/service_file"),
    ("PURSER_MANDATE", "/mandate/id"),
    ("PURSER_TOKEN", "/agent/token"),
    ("PURSER_USER_TOKEN", "/user/token"),
    ("PURSER_MERCHANT_TOKEN", "/merchant/token"),
    ("PURSER_ADMIN_TOKEN", "/admin/token"),
    ("PURSER_FACILITATOR_URL", "/facilitator_url"),
    ("PURSER_PAID_URL", "/paid/url"),
    ("PURSER_PAY_TO", "/paid/pay_to"),
    ("PURSER_RPC_URL", "/chain/rpc_url"),
    ("PURSER_NETWORK", "/chain/network"),
    ("PURSER_ASSET", "/chain/asset/address"),
    ("PURSER_BUYER_ADDRESS", "/buyer/address"),
    ("PURSER_BUYER_PRIVATE_KEY", "/buyer/private_key"),
    ("PURSER_JWKS_URL", "/trust/jwks_url"),
    ("PURSER_DATABASE", "/database"),
];

pub fn of(line: &Value) -> Result<String, String> {
    let export = |(name, place): &(&str, &str)| {
        let value = line.pointer(place).and_then(Value::as_str).ok_or_else(|| format!("{place} is not in the line"))?;
        Ok(format!("export {name}={}\n", quoted(value)))
    };
    EXPORTS.iter().map(export).collect()
}

/// POSIX: nothing is special inside single quotes but their end.
pub fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_reaches_the_shell_as_more_than_a_value() {
        for (value, expected) in [("", "''"), ("a b", "'a b'"), ("$(x)`y`\"", "'$(x)`y`\"'"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(value), expected);
        }
    }

    #[test]
    fn a_line_that_lacks_something_is_no_line() {
        assert!(of(&serde_json::json!({ "url": "x" })).unwrap_err().contains("/service_file"));
    }
}
