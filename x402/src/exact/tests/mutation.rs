//! Every byte of a recorded payment, changed, removed and doubled: it is refused, or it is the same payment.

use super::answer;
use crate::fixture;
use crate::wire::{PaymentPayload, read_message};

#[test]
fn no_changed_byte_makes_another_payment() {
    let text = serde_json::to_vec(&fixture::payload()).unwrap();
    let requirements = fixture::requirements();
    let recorded = answer(&fixture::payload(), &requirements).unwrap();
    let (mut refused, mut same) = (0, 0);
    for at in 0..text.len() {
        let mut variants: Vec<Vec<u8>> = [b'0', b'9', b'a', b'F', b'"', b' ', b'}', b'\\', 0, 0xff]
            .iter()
            .filter(|byte| **byte != text[at])
            .map(|byte| [&text[..at], &[*byte], &text[at + 1..]].concat())
            .collect();
        variants.push([&text[..at], &text[at + 1..]].concat());
        variants.push([&text[..=at], &text[at..]].concat());
        for variant in variants {
            let verified =
                read_message::<PaymentPayload>(&variant).ok().and_then(|read| answer(&read, &requirements).ok());
            match verified {
                None => refused += 1,
                Some(payment) => {
                    assert_eq!(payment, recorded, "{}", String::from_utf8_lossy(&variant));
                    same += 1;
                }
            }
        }
    }
    assert!(refused > 5_000 && same > 100, "{refused} refused, {same} the same");
}
