//! Transactions of EIP-1559 without an access list, in the one form that a chain takes: RLP has one spelling for each value,
//! and nothing may follow.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

use crate::exact::{EvmSignature, SignatureError};

/// The type of EIP-1559 in front of the list (EIP-2718).
const TYPE: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DynamicFee {
    pub chain_id: U256,
    pub nonce: u64,
    /// Wei a unit of gas.
    pub max_priority_fee_per_gas: u128,
    pub max_fee_per_gas: u128,
    pub gas_limit: u64,
    pub to: Address,
    pub value: U256,
    pub input: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// What was expected.
    Form(&'static str),
    Signature(SignatureError),
}

impl DynamicFee {
    pub fn read(raw: &[u8]) -> Result<(Self, EvmSignature), Unreadable> {
        let Some((&TYPE, list)) = raw.split_first() else {
            return Err(Unreadable::Form("a transaction of EIP-1559 (type 2)"));
        };
        let form = || Unreadable::Form("the list of RLP of EIP-1559, and nothing behind it");
        let (Item::List(fields), []) = item(list).ok_or_else(form)? else { return Err(form()) };
        let mut rest = fields;
        let mut next = || {
            let (found, after) = item(rest)?;
            rest = after;
            Some(found)
        };
        let mut number = || next().and_then(|found| found.number());
        let chain_id = number().ok_or_else(form)?;
        let nonce = number().and_then(|nonce| nonce.try_into().ok()).ok_or_else(form)?;
        let mut fee = || number().and_then(|fee| fee.try_into().ok()).ok_or_else(form);
        let (max_priority_fee_per_gas, max_fee_per_gas) = (fee()?, fee()?);
        let gas_limit = number().and_then(|gas| gas.try_into().ok()).ok_or_else(form)?;
        let to = next().and_then(Item::text).ok_or_else(form)?;
        let to = Address::try_from(to).map_err(|_| Unreadable::Form("a transaction that calls a contract"))?;
        let value = next().and_then(|found| found.number()).ok_or_else(form)?;
        let input = Bytes::copy_from_slice(next().and_then(Item::text).ok_or_else(form)?);
        let Some(Item::List([])) = next() else { return Err(Unreadable::Form("an empty access list")) };
        let parity = next().and_then(Item::text).ok_or_else(form)?;
        let mut scalar = || next().and_then(|found| found.number()).ok_or_else(form);
        let (r, s) = (scalar()?, scalar()?);
        if !rest.is_empty() {
            return Err(form());
        }
        let v = match parity {
            [] => 27,
            [1] => 28,
            _ => return Err(Unreadable::Form("a parity of 0 or 1")),
        };
        let signature = [&r.to_be_bytes::<32>()[..], &s.to_be_bytes::<32>()[..], &[v]].concat();
        let signature = EvmSignature::new(&signature).map_err(Unreadable::Signature)?;
        let transaction =
            Self { chain_id, nonce, max_priority_fee_per_gas, max_fee_per_gas, gas_limit, to, value, input };
        Ok((transaction, signature))
    }

    /// What the key signs.
    pub fn digest(&self) -> B256 {
        keccak256(typed(&self.fields()))
    }

    pub fn signed(&self, signature: EvmSignature) -> Bytes {
        let bytes = signature.to_bytes();
        let (r, rest) = bytes.split_at(32);
        let (s, v) = rest.split_at(32);
        let mut fields = self.fields();
        put_number(&mut fields, U256::from(u8::from(v == [28])));
        put_number(&mut fields, U256::from_be_slice(r));
        put_number(&mut fields, U256::from_be_slice(s));
        typed(&fields).into()
    }

    fn fields(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        let (tip, fee) = (U256::from(self.max_priority_fee_per_gas), U256::from(self.max_fee_per_gas));
        for number in [self.chain_id, U256::from(self.nonce), tip, fee, U256::from(self.gas_limit)] {
            put_number(&mut fields, number);
        }
        put_text(&mut fields, self.to.as_slice());
        put_number(&mut fields, self.value);
        put_text(&mut fields, &self.input);
        put_list(&mut fields, &[]);
        fields
    }
}

fn typed(fields: &[u8]) -> Vec<u8> {
    let mut bytes = vec![TYPE];
    put_list(&mut bytes, fields);
    bytes
}

// RLP (Yellow Paper, appendix B).
const TEXT: u8 = 0x80;
const LIST: u8 = 0xc0;
/// The longest payload whose length is in the first byte.
const SHORT_MAX: usize = 55;

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    if !matches!(text, [byte] if *byte < TEXT) {
        put_length(out, TEXT, text.len());
    }
    out.extend_from_slice(text);
}

fn put_list(out: &mut Vec<u8>, items: &[u8]) {
    put_length(out, LIST, items.len());
    out.extend_from_slice(items);
}

fn put_number(out: &mut Vec<u8>, number: U256) {
    put_text(out, &number.to_be_bytes_trimmed_vec());
}

fn put_length(out: &mut Vec<u8>, kind: u8, length: usize) {
    match u8::try_from(length) {
        Ok(short) if length <= SHORT_MAX => out.push(kind.saturating_add(short)),
        _ => {
            let bytes = U256::from(length).to_be_bytes_trimmed_vec();
            let count = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
            out.push(kind.saturating_add(55).saturating_add(count));
            out.extend(bytes);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item<'a> {
    Text(&'a [u8]),
    List(&'a [u8]),
}

impl<'a> Item<'a> {
    const fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) => None,
        }
    }

    /// Without a zero in front.
    fn number(self) -> Option<U256> {
        let text = self.text()?;
        let is_number = text.len() <= 32 && text.first() != Some(&0);
        is_number.then(|| U256::from_be_slice(text))
    }
}

/// The first item, and what follows it. `None` where it is not in its one form.
fn item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (&first, after) = bytes.split_first()?;
    if first < TEXT {
        return bytes.split_at_checked(1).map(|(text, rest)| (Item::Text(text), rest));
    }
    let (kind, place) = if first < LIST { (TEXT, first - TEXT) } else { (LIST, first - LIST) };
    let (length, after) = match usize::from(place).checked_sub(SHORT_MAX) {
        None | Some(0) => (usize::from(place), after),
        Some(count) => {
            let (length, after) = after.split_at_checked(count)?;
            if length.first() == Some(&0) {
                return None;
            }
            let length = usize::try_from(U256::try_from_be_slice(length)?).ok()?;
            (length > SHORT_MAX).then_some((length, after))?
        }
    };
    let (payload, rest) = after.split_at_checked(length)?;
    if kind == LIST {
        return Some((Item::List(payload), rest));
    }
    let has_shorter = matches!(payload, [byte] if *byte < TEXT);
    (!has_shorter).then_some((Item::Text(payload), rest))
}
