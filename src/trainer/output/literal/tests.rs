//! Literals as Python, numpy, PyTorch and JSON print them.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn read(text: &str) -> Value {
    let (literal, rest) = Literal::parse_prefix(text).unwrap();
    assert_eq!(rest.trim(), "", "{text}");
    literal.into_json()
}

#[test]
fn python_and_json_read_alike() {
    assert_eq!(
        read("{'a': 1, \"b\": [1, 2.5,], 'c': (True, None),}"),
        json!({"a": 1, "b": [1, 2.5], "c": [true, null]})
    );
    assert_eq!(read("{\"a\": NaN, \"b\": -Infinity, \"c\": false}"), json!({"a": null, "b": null, "c": false}));
    assert_eq!(read("{1: 'x', 2: {'y': {}}}"), json!({"1": "x", "2": {"y": {}}}));
    assert_eq!(read("{'a', 'b'}"), json!(["a", "b"]));
    assert_eq!(read("()"), json!([]));
}

#[test]
fn calls_stand_for_their_value() {
    assert_eq!(read("np.float64(0.342)"), json!(0.342));
    assert_eq!(read("tensor(0.93, device='cuda:0', grad_fn=<MeanBackward0>)"), json!(0.93));
    assert_eq!(read("array([[0.1, 0.9],\n       [0.2, 0.8]], dtype=float32)"), json!([[0.1, 0.9], [0.2, 0.8]]));
    assert_eq!(read("[0.1 0.9]"), json!([0.1, 0.9]));
    assert_eq!(read("OrderedDict([('z', 1), ('a', 2)])"), json!({"z": 1, "a": 2}));
    assert_eq!(read("defaultdict(<class 'float'>, {'a': 1})"), json!({"a": 1}));
    assert_eq!(read("Result(accuracy=0.93, loss=0.4)"), json!({"accuracy": 0.93, "loss": 0.4}));
    assert_eq!(
        read("{'d': datetime.date(2026, 1, 2), 'o': <A at 0x1>, 'p': PosixPath('/x')}"),
        json!({"d": 2026, "o": null, "p": "/x"})
    );
}

#[test]
fn escapes_and_prefixes() {
    assert_eq!(read(r#"{"a": "x\"\n\u00e9\ud83d\ude00"}"#), json!({"a": "x\"\né😀"}));
    assert_eq!(read(r"{'a': 'it\'s \x41', 'b': b'raw'}"), json!({"a": "it's A", "b": "raw"}));
    assert_eq!(read(r#""\ud83d!""#), json!("\u{fffd}!"));
    assert_eq!(read(r#""\uzz""#), json!("\0zz"));
}

#[test]
fn order_and_digits_stay() {
    let (literal, _) = Literal::parse_prefix("{'z': 0.7325364548231516, 'a': 1.50}").unwrap();
    let Literal::Dict(entries) = &literal else { panic!() };
    assert_eq!(entries[0].1, Literal::Number("0.7325364548231516".into()));
    assert_eq!(entries[1].1, Literal::Number("1.50".into()));
    assert_eq!(literal.into_json().to_string(), r#"{"z":0.7325364548231516,"a":1.5}"#);
}

#[test]
fn broken_literals_are_none() {
    for text in ["", "{", "{'a'", "{'a': ", "[1, 2", "'abc", "\"a\\", "{'a': 1, 2}", "f(", ")", "{:}"] {
        assert_eq!(Literal::parse_prefix(text), None, "{text}");
    }
    assert_eq!(Literal::parse_prefix(&"[".repeat(60_000)), None);
    assert_eq!(Literal::parse_prefix(&"{'a':".repeat(10_000)), None);
    assert_eq!(Literal::parse_prefix(&"f(".repeat(10_000)), None);
}

proptest! {
    #[test]
    fn never_panics(text in "[\\[\\](){}'\"\\\\:,.0-9a-fuxN<>= \u{e9}\n+-]{0,80}") {
        let _ = Literal::parse_prefix(&text).map(|(literal, _)| literal.into_json());
    }
}
