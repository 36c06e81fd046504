//! Extensions (`x402-specification-v2.md` section 5.1.2): `{info, schema}` by name, which a server declares in its demand
//! and a client may echo in its payment.
//!
//! A client may leave extensions out, and may add to what it echoes; it never takes away from what the server said, and
//! never says it differently. Fields that are made anew for every exchange are not compared.

use serde_json::{Map, Value};

use crate::reason::Reason;
use crate::refusal::Refusal;

/// Fields of `info` that are new in every demand (`sign-in-with-x`: the newest demand is another than the one answered).
const MADE_ANEW: &[(&str, &[&str])] = &[("sign-in-with-x", &["nonce", "issuedAt", "expirationTime"])];

/// What the client echoed of each extension that was declared must contain what the server said of it.
pub fn check_echo(declared: Option<&Map<String, Value>>, echoed: Option<&Map<String, Value>>) -> Result<(), Refusal> {
    let Some(echoed) = echoed else { return Ok(()) };
    for (name, declaration) in declared.into_iter().flatten() {
        let Some(echo) = echoed.get(name).filter(|echo| !echo.is_null()) else { continue };
        let made_anew = MADE_ANEW.iter().find(|(extension, _)| extension == name).map_or(&[][..], |(_, fields)| fields);
        let Some(Value::Object(info)) = declaration.get("info") else { continue };
        for (field, said) in info.iter().filter(|(field, said)| !said.is_null() && !made_anew.contains(&field.as_str()))
        {
            let found = echo.get("info").and_then(|info| info.get(field)).unwrap_or(&Value::Null);
            if !contains(found, said) {
                let expected = format!("{name}: {field}: {said}");
                let found = format!("{name}: {field}: {found}");
                return Err(Refusal::new(Reason::ExtensionEchoMismatch, "extensions", expected, found));
            }
        }
    }
    Ok(())
}

/// Objects may have more in them; everything else is equal.
fn contains(found: &Value, said: &Value) -> bool {
    match (found, said) {
        (Value::Object(found), Value::Object(said)) => {
            said.iter().all(|(field, said)| contains(found.get(field).unwrap_or(&Value::Null), said))
        }
        _ => found == said,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(declared: Value, echoed: Value) -> Result<(), &'static str> {
        let (declared, echoed) = (declared.as_object().cloned(), echoed.as_object().cloned());
        check_echo(declared.as_ref(), echoed.as_ref()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn what_was_said_is_neither_left_out_nor_said_differently() {
        let declared = json!({ "a": { "info": { "x": 1, "deep": { "y": [1, 2], "z": "z" } }, "schema": {} } });
        for echo in [
            json!({}),
            json!("a"),
            json!({ "info": null }),
            json!({ "info": {} }),
            json!({ "info": { "x": 1 } }),
            json!({ "info": { "x": 2, "deep": { "y": [1, 2], "z": "z" } } }),
            json!({ "info": { "x": "1", "deep": { "y": [1, 2], "z": "z" } } }),
            json!({ "info": { "x": 1, "deep": { "y": [1, 2] } } }),
            json!({ "info": { "x": 1, "deep": { "y": [1, 2, 3], "z": "z" } } }),
            json!({ "info": { "x": 1, "deep": { "y": [2, 1], "z": "z" } } }),
            json!({ "info": { "x": 1, "deep": null } }),
        ] {
            let found = check(declared.clone(), json!({ "a": echo }));
            assert_eq!(found, Err("extension_echo_mismatch"), "{echo}");
        }
        let siwx = json!({ "sign-in-with-x": { "info": { "domain": "a.example", "nonce": "1" } } });
        let other = json!({ "sign-in-with-x": { "info": { "domain": "b.example", "nonce": "2" } } });
        assert_eq!(check(siwx, other), Err("extension_echo_mismatch"));
    }

    #[test]
    fn a_client_may_leave_out_and_add() {
        let declared = json!({ "a": { "info": { "x": 1, "later": null } }, "b": { "info": { "y": 2 } } });
        for echoed in [
            json!(null),
            json!({}),
            json!({ "a": null }),
            json!({ "a": { "info": { "x": 1 } } }),
            json!({ "a": { "info": { "x": 1, "mine": true }, "also": 3 }, "c": { "info": {} } }),
        ] {
            assert_eq!(check(declared.clone(), echoed.clone()), Ok(()), "{echoed}");
        }
        assert_eq!(check(json!(null), json!({ "a": { "info": 7 } })), Ok(()), "nothing was declared");
        let siwx = json!({ "sign-in-with-x": { "info": { "domain": "a.example", "nonce": "1", "issuedAt": "t" } } });
        let answered = json!({ "sign-in-with-x": { "info": { "domain": "a.example", "nonce": "2" } } });
        assert_eq!(check(siwx, answered), Ok(()));
    }
}
