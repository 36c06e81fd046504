use super::*;
use engine::order::cart::METHOD;
use serde_json::json;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn read(lines: &[(&'static str, &'static str)], body: &str) -> Result<Call, (i64, &'static str)> {
    Call::read(&headers(lines), body.as_bytes()).map_err(|(_, fault)| (fault.number, fault.code))
}

fn sent(message: Value) -> Result<Sent, &'static str> {
    let params = json!({ "message": message });
    Sent::read(params.as_object().unwrap(), Activated::default()).map_err(|fault| fault.code)
}

fn message(changes: Value) -> Value {
    let mut message = json!({ "role": "user", "messageId": "1", "parts": [{ "kind": "text", "text": "hello" }] });
    let members = changes.as_object().unwrap().clone();
    message.as_object_mut().unwrap().extend(members);
    message
}

fn metadata(status: &str) -> Value {
    json!({ "x402.payment.status": status, "x402.payment.payload": { "x402Version": 2 } })
}

fn mandate(method: &str) -> Value {
    let details =
        json!({ "payment_request_id": "order", "payment_method": { "supported_methods": method, "data": {} } });
    json!({ "data": { "ap2.mandates.PaymentMandate": { "payment_details": details } } })
}

#[test]
fn what_is_no_call_is_refused_by_the_protocols_own_codes() {
    let cases = [
        ("", -32700, "invalid_json"),
        ("{", -32700, "invalid_json"),
        (r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1}"#, -32700, "invalid_json"),
        ("[]", -32600, "invalid_request"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{}}]"#, -32600, "invalid_request"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"tasks/get","params":{}}"#, -32600, "invalid_request"),
        (r#"{"id":1,"method":"tasks/get","params":{}}"#, -32600, "invalid_request"),
        (r#"{"jsonrpc":"2.0","method":"tasks/get","params":{}}"#, -32600, "invalid_request"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"tasks/get","params":{}}"#, -32600, "invalid_request"),
        (r#"{"jsonrpc":"2.0","id":1,"params":{}}"#, -32601, "method_unknown"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/pay","params":{}}"#, -32601, "method_unknown"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"message/stream","params":{}}"#, -32004, "operation_not_offered"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ListTasks","params":{}}"#, -32004, "operation_not_offered"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetExtendedAgentCard"}"#, -32007, "extended_card_not_offered"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tasks/pushNotificationConfig/set","params":{}}"#,
            -32003,
            "push_notifications_not_offered",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get"}"#, -32602, "invalid_params"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":[]}"#, -32602, "invalid_params"),
    ];
    for (body, number, code) in cases {
        assert_eq!(read(&[], body).err(), Some((number, code)), "{body}");
    }
}

#[test]
fn the_header_says_the_version_and_a_name_where_none_does() {
    let call = |name: &str| format!(r#"{{"jsonrpc":"2.0","id":"a","method":"{name}","params":{{}}}}"#);
    let dialect =
        |lines: &[(&'static str, &'static str)], name: &str| read(lines, &call(name)).map(|call| call.dialect);
    for version in ["0.2", "2.0", "1.0.0", "1.0, 0.3", "one"] {
        assert_eq!(
            dialect(&[("a2a-version", version)], "GetTask"),
            Err((-32009, "version_not_supported")),
            "{version}"
        );
    }
    let twice = [("a2a-version", "1.0"), ("a2a-version", "0.3")];
    assert_eq!(dialect(&twice, "GetTask"), Err((-32009, "version_not_supported")));
    assert_eq!(dialect(&[], "GetTask"), Ok(Dialect::V1_0));
    assert_eq!(dialect(&[("a2a-version", "")], "tasks/get"), Ok(Dialect::V0_3));
    assert_eq!(dialect(&[("a2a-version", "1.0")], "tasks/get"), Ok(Dialect::V1_0));
    assert_eq!(dialect(&[("a2a-version", "0.3")], "SendMessage"), Ok(Dialect::V0_3));
}

#[test]
fn extensions_are_activated_letter_by_letter() {
    let activated = |line: &'static str| Activated::of_headers(&headers(&[("x-a2a-extensions", line)]));
    for line in
        ["", "x402", "https://github.com/google-a2a/a2a-x402/v0.10", "https://github.com/google-a2a/a2a-x402/v0.1/"]
    {
        assert!(!activated(line).x402(), "{line}");
    }
    assert!(activated(X402_V0_1).v0_1 && activated(X402_V0_2).v0_2);
    let both = headers(&[("a2a-extensions", AP2), ("X-A2A-Extensions", X402_V0_2)]);
    assert_eq!(Activated::of_headers(&both).uris(), [X402_V0_2, AP2]);
}

#[test]
fn a_message_that_could_be_read_in_two_ways_is_refused() {
    let pays = |changes: Value| {
        let mut message = message(json!({ "taskId": "t", "metadata": metadata("payment-submitted") }));
        message.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        sent(message)
    };
    let cases = [
        (message(json!({ "role": "agent" })), "invalid_params"),
        (message(json!({ "role": 1 })), "invalid_params"),
        (message(json!({ "parts": [] })), "invalid_params"),
        (message(json!({ "parts": {} })), "invalid_params"),
        (message(json!({ "parts": vec![json!({}); PARTS_MAX + 1] })), "invalid_params"),
        (message(json!({ "taskId": 7 })), "invalid_params"),
        (message(json!({ "taskId": "a\nb" })), "invalid_params"),
        (message(json!({ "contextId": "x".repeat(CONTEXT_BYTES_MAX + 1) })), "invalid_params"),
        (message(json!({ "metadata": [] })), "invalid_params"),
        (message(json!({ "metadata": metadata("payment-submitted") })), "task_missing"),
        (
            message(json!({ "taskId": "t", "metadata": { "x402.payment.status": "payment-submitted" } })),
            "payment_missing",
        ),
        (message(json!({ "metadata": { "x402.payment.status": "payment-submitted" } })), "payment_missing"),
    ];
    for (message, code) in cases {
        assert_eq!(sent(message.clone()).err(), Some(code), "{message}");
    }
    for status in ["payment-verified", "payment-completed", "payment-required", "PAYMENT-SUBMITTED", ""] {
        assert_eq!(pays(json!({ "metadata": metadata(status) })).err(), Some("payment_not_submitted"), "{status}");
    }
    assert_eq!(pays(json!({ "parts": [mandate(METHOD)] })).err(), Some("duplicate_payment"));
    assert_eq!(pays(json!({ "parts": [mandate("CARD")] })).err(), Some("invalid_payment_mandate"));
    assert_eq!(pays(json!({ "metadata": { "x402.payment.payload": "e30=" } })).err(), Some("invalid_params"));
    assert!(matches!(pays(json!({})), Ok(Sent { wish: Wish::Pay(_), .. })));
}

/// Whatever a message says of a payment, without one it buys nothing.
#[test]
fn words_are_no_payment() {
    for status in ["payment-verified", "payment-completed", "payment-required", "the user confirmed"] {
        let said =
            json!({ "taskId": "t", "metadata": { "x402.payment.status": status, "x402_payment_verified": true } });
        assert_eq!(sent(message(said)).map(|sent| sent.wish), Ok(Wish::Look), "{status}");
    }
    let declined = json!({ "taskId": "t", "metadata": { "x402.payment.status": "payment-rejected" } });
    assert_eq!(sent(message(declined)).map(|sent| sent.wish), Ok(Wish::Decline));
    let asked = sent(message(json!({ "parts": [{ "data": { "skill": " report " } }] })));
    assert_eq!(asked.map(|sent| sent.wish), Ok(Wish::Buy(Some("report".into()))));
}

#[test]
fn a_payment_mandate_has_one_form_and_pays_with_x402() {
    let read = |mandate: Value| super::super::cart::payment(&mandate).map_err(|fault| fault.code);
    let data = json!({ "x402Version": 2 });
    let older = json!({ "payment_request_id": "o", "payment_method": { "supported_methods": METHOD, "data": data } });
    let newer = json!({ "payment_details_id": "o", "payment_response": { "method_name": METHOD, "details": data } });
    let refused = [
        json!({}),
        json!([]),
        json!({ "payment_details": older, "payment_mandate_contents": newer }),
        json!({ "payment_details": { "payment_method": older["payment_method"] } }),
        json!({ "payment_details": { "payment_request_id": "o" } }),
        json!({ "payment_mandate_contents": { "payment_details_id": 1, "payment_response": newer["payment_response"] } }),
        json!({ "payment_mandate_contents": { "payment_details_id": "o", "payment_response": { "method_name": "CARD", "details": {} } } }),
        json!({ "payment_mandate_contents": { "payment_details_id": "o", "payment_response": { "method_name": METHOD } } }),
    ];
    for mandate in refused {
        assert_eq!(read(mandate.clone()).err(), Some("invalid_payment_mandate"), "{mandate}");
    }
    for mandate in [json!({ "payment_details": older }), json!({ "payment_mandate_contents": newer })] {
        let paid = read(mandate).unwrap();
        assert_eq!((paid.order_id.as_deref(), paid.payload.len()), (Some("o"), 1));
    }
}

/// Whole numbers alone, and never a text: an amount is a text, and stays what it says.
#[test]
fn numbers_of_protocol_buffers_are_read_as_they_were_meant() {
    let read = |text: &str| whole(&json::parse_object(text.as_bytes()).unwrap());
    let cases = [
        (r#"{"v":2.0,"in":[{"t":60.0}]}"#, r#"{"v":2,"in":[{"t":60}]}"#),
        (r#"{"v":2.5,"e":2e0,"n":-1.0,"z":2.00}"#, r#"{"v":2.5,"e":2e0,"n":-1.0,"z":2.00}"#),
        (r#"{"amount":"2.0","big":18446744073709551616.0}"#, r#"{"amount":"2.0","big":18446744073709551616.0}"#),
    ];
    for (came, meant) in cases {
        assert_eq!(
            Value::Object(read(came)).to_string(),
            Value::Object(json::parse_object(meant.as_bytes()).unwrap()).to_string()
        );
    }
}
