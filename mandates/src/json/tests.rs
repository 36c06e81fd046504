use super::*;
use crate::limits::DEPTH_MAX;

#[test]
fn what_rfc_8259_does_not_have_is_refused() {
    let cases = [
        "",
        " ",
        "nul",
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "'a'",
        "{a:1}",
        "{\"a\":1,}",
        "[1,]",
        "[1 2]",
        "{\"a\" 1}",
        "\"\n\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\u12g4\"",
        "\"open",
        "[",
        "{",
        "1 1",
        "{}{}",
        "// a\n1",
        "\u{feff}1",
        "tru",
        "\"\\u00",
        "--1",
        "0x1",
        "\"\\u+123\"",
    ];
    for text in cases {
        assert_eq!(parse(text.as_bytes()).unwrap_err().code, Code::MalformedJson, "{text:?} was read");
    }
    assert_eq!(parse(b"\"\xff\"").unwrap_err().code, Code::MalformedJson);
    assert_eq!(parse("9".repeat(65).as_bytes()).unwrap_err().code, Code::MalformedJson);
}

#[test]
fn a_key_occurs_once_however_it_is_spelled() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"[{"x":{"b":1,"b":2}}]"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"c":1,"a":2,"b":3,"c":4}"#,
        r#"{"\u0062":1,"a":2,"\u0062":3}"#,
        r#"{"":1,"a":2,"":3}"#,
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().code, Code::DuplicateJsonKey, "{text}");
    }
    let others = parse(br#"{"c":1,"a":{"c":2},"\u0062":3,"aa":4,"":5}"#).unwrap();
    assert_eq!(others, serde_json::json!({ "c": 1, "a": { "c": 2 }, "b": 3, "aa": 4, "": 5 }));
}

#[test]
fn depth_is_bounded_without_recursion_running_away() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(parse(deep.as_bytes()).unwrap_err().code, Code::TooDeep);
    let fits = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(parse(fits.as_bytes()).is_ok());
}

#[test]
fn numbers_keep_their_text_and_no_object_poses_as_one() {
    assert_eq!(parse(b"199.00").unwrap().to_string(), "199.00");
    assert_eq!(parse(b"1e2").unwrap().as_u64(), None);
    let posing = parse(br#"{"$serde_json::private::Number":"5"}"#).unwrap();
    assert!(posing.is_object());
}

#[test]
fn a_string_ends_where_it_ends() {
    for length in 0..70 {
        let plain = "x".repeat(length);
        for (escaped, read) in
            [("", ""), ("\\n", "\n"), ("\\\"", "\""), ("é", "é"), ("\\u0041", "A"), ("\u{7f}", "\u{7f}")]
        {
            let text = format!("[\"{plain}{escaped}\",\"{escaped}{plain}\"]");
            let value = parse(text.as_bytes()).unwrap();
            assert_eq!(value[0], Value::from(format!("{plain}{read}")), "{text}");
            assert_eq!(value[1], Value::from(format!("{read}{plain}")), "{text}");
        }
        for broken in ["\n", "\u{1f}", "\u{0}", "\\x", "\\"] {
            let text = format!("\"{plain}{broken}\"");
            assert_eq!(parse(text.as_bytes()).unwrap_err().code, Code::MalformedJson, "{text:?}");
        }
        assert_eq!(parse(format!("\"{plain}").as_bytes()).unwrap_err().code, Code::MalformedJson);
    }
}

#[test]
fn plain_json_is_read() {
    let text = r#" {"a":[1,-0,2.5e-3,true,false,null],"b":"\u0041\ud83d\ude00\"\\\/\b\f\n\r\té","c":{}} "#;
    assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
}

#[test]
fn values_of_one_tree_keep_their_own_text() {
    let texts = [r#"{"a\nb":["\u00e9","x"],"":{}}"#, r#"["\\","",{"a":null}]"#, "7", r#""\"""#, "{}", "[[],[1]]"];
    let mut tree = Tree::default();
    let places = texts.map(|text| tree.read(text.as_bytes()).unwrap());
    for broken in ["{", "[1,", "\"\\n", "{\"a\":1,\"a\":2}"] {
        assert!(tree.clone().read(broken.as_bytes()).is_err(), "{broken}");
    }
    for (text, place) in texts.into_iter().zip(places) {
        let wanted: Value = serde_json::from_str(text).unwrap();
        assert_eq!(tree.at(place).to_value(), wanted, "{text}");
        assert_eq!(Json::from(&wanted).to_value(), wanted, "{text}");
    }
    let members = tree.members(places[0]);
    assert_eq!(members.get("a\nb").and_then(Json::as_array).map(Entries::len), Some(2));
    assert!(["a", "b", "A\nb", "a\nB", "a\nb "].iter().all(|name| !members.contains_key(name)));
}
