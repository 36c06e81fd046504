//! Where the status of a mandate stands in its tenant's published lists, from the record in which it was asked for.
//!
//! A list is public, and so is the place of whoever shows a mandate. So the records of a tenant are dealt out by a
//! permutation that only the tenant's secret knows: a place says neither how many there are nor which came first, and no
//! two records have the same.

use crate::codec::write_bytes;
use crate::id::TenantSecret;

/// Entries of one list, in use or not.
pub const LIST_ENTRIES: u64 = 1 << 16;
const ROUNDS: u8 = 4;

/// A list by its number, and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub list: u64,
    pub index: u16,
}

/// A Feistel network of four rounds over the two bytes of a record's place among those of its list, keyed with HMAC.
pub fn place(secret: &TenantSecret, record: u64) -> Place {
    let list = record / LIST_ENTRIES;
    let [mut left, mut right] = u16::try_from(record % LIST_ENTRIES).unwrap_or_default().to_be_bytes();
    for round in 0..ROUNDS {
        let mut bytes = tagged(b"purser/status-place/1", list);
        bytes.extend([round, right]);
        let [first, ..] = secret.mac(&bytes);
        (left, right) = (right, left ^ first);
    }
    Place { list, index: u16::from_be_bytes([left, right]) }
}

/// The last part of a list's address: it names neither the tenant nor the list's number.
pub fn name(secret: &TenantSecret, list: u64) -> String {
    let mac = secret.mac(&tagged(b"purser/status-list/1", list));
    mac.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn tagged(tag: &[u8], list: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_bytes(tag, &mut bytes);
    bytes.extend(list.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_records_have_one_place_and_order_does_not_show() {
        let secret = TenantSecret::new([7; 32]);
        let places: Vec<u16> = (0..LIST_ENTRIES).map(|record| place(&secret, record).index).collect();
        assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), 1 << 16);
        let rising = places.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((28_000..38_000).contains(&rising), "{rising} of 65535 neighbours rise");
        let beside = places.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 256).count();
        assert!(beside < 2_000, "{beside} neighbours stay neighbours");
    }

    #[test]
    fn another_list_and_another_tenant_are_dealt_out_otherwise() {
        let (one, two) = (TenantSecret::new([1; 32]), TenantSecret::new([2; 32]));
        let dealt = |secret, from: u64| (from..from + 64).map(|record| place(secret, record).index).collect::<Vec<_>>();
        assert_ne!(dealt(&one, 0), dealt(&two, 0));
        assert_ne!(dealt(&one, 0), dealt(&one, LIST_ENTRIES));
        assert_eq!(place(&one, LIST_ENTRIES).list, 1);
        assert_eq!(place(&one, u64::MAX).list, u64::MAX / LIST_ENTRIES);
        let names: BTreeSet<String> = [name(&one, 0), name(&one, 1), name(&two, 0), name(&two, 1)].into();
        assert_eq!(names.len(), 4);
        assert!(names.iter().all(|name| name.len() == 32));
        assert_eq!(name(&one, 0), name(&one, 0));
    }
}
