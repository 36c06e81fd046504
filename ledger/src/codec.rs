//! Canonical bytes: what the journal hashes and what rows are rebuilt from. One value, one encoding, for ever.
//!
//! Integers are big-endian and of fixed width, amounts 16 bytes, lists and texts carry a length of four bytes, an
//! option is a byte 0 or 1. Never JSON and never database text: both have several spellings for one value.

use crate::money::{Amount, AssetId};

/// Longest text or byte string in a record; nothing legitimate comes near it.
pub const BYTES_MAX: usize = 64 * 1024;
/// Longest list in a record.
pub const ITEMS_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record ends at byte {at}, {wanted} more were expected")]
    Short { at: usize, wanted: usize },
    #[error("the record goes on for {0} bytes after its end")]
    Trailing(usize),
    #[error("{what} cannot be {found}")]
    Value { what: &'static str, found: String },
}

pub trait Canon: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

pub fn encode<T: Canon>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    value.write(&mut out);
    out
}

pub fn decode<T: Canon>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = T::read(&mut reader)?;
    match bytes.len().saturating_sub(reader.at) {
        0 => Ok(value),
        rest => Err(DecodeError::Trailing(rest)),
    }
}

pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.saturating_add(length);
        let slice = self.bytes.get(self.at..end).ok_or(DecodeError::Short { at: self.at, wanted: length })?;
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| DecodeError::Short { at, wanted: N })
    }

    fn length(&mut self, max: usize, what: &'static str) -> Result<usize, DecodeError> {
        let length = u32::read(self)?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= max)
            .ok_or_else(|| DecodeError::Value { what, found: length.to_string() })
    }
}

macro_rules! canon_integer {
    ($($integer:ty),*) => {$(
        impl Canon for $integer {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(input.array()?))
            }
        }
    )*};
}
canon_integer!(u8, u16, u32, u64, i64, u128);

impl Canon for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(input)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Value { what: "a truth value", found: other.to_string() }),
        }
    }
}

impl Canon for Amount {
    fn write(&self, out: &mut Vec<u8>) {
        self.get().write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u128::read(input).map(Self::new)
    }
}

impl Canon for AssetId {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_str().as_bytes(), out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let text = String::read(input)?;
        text.parse().map_err(|_| DecodeError::Value { what: "an asset", found: text })
    }
}

/// A length that does not fit four bytes is written as the largest one: the record then never decodes, and the
/// store, which decodes what it is about to write, refuses it. Nothing of that size passes the edges.
fn write_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).write(out);
}

pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

impl Canon for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = input.length(BYTES_MAX, "the length of a text")?;
        let bytes = input.take(length)?.to_vec();
        Self::from_utf8(bytes)
            .map_err(|error| DecodeError::Value { what: "a text", found: hex::encode(error.as_bytes()) })
    }
}

impl<const N: usize> Canon for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.array()
    }
}

impl<T: Canon> Canon for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if bool::read(input)? { T::read(input).map(Some) } else { Ok(None) }
    }
}

impl<T: Canon> Canon for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        write_length(self.len(), out);
        for item in self {
            item.write(out);
        }
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = input.length(ITEMS_MAX, "the length of a list")?;
        (0..length).map(|_| T::read(input)).collect()
    }
}

impl<T: Canon> Canon for Box<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_ref().write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::read(input).map(Self::new)
    }
}

/// The fields of a struct, in this order for ever. A change of fields is a new record version.
macro_rules! canon_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::codec::Canon for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $( $crate::codec::Canon::write(&self.$field, out); )*
            }
            fn read(input: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self { $( $field: $crate::codec::Canon::read(input)?, )* })
            }
        }
    };
    // A state, and with it something that is rarely there: `state with extra`. See `write_marked`.
    ($name:ident { $($before:ident),*; $state:ident with $extra:ident; $($after:ident),* $(,)? }) => {
        impl $crate::codec::Canon for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $( $crate::codec::Canon::write(&self.$before, out); )*
                $crate::codec::write_marked(&self.$state, self.$extra.as_ref(), out);
                $( $crate::codec::Canon::write(&self.$after, out); )*
            }
            fn read(input: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                $( let $before = $crate::codec::Canon::read(input)?; )*
                let ($state, $extra) = $crate::codec::read_marked(input)?;
                $( let $after = $crate::codec::Canon::read(input)?; )*
                Ok(Self { $($before,)* $state, $extra, $($after,)* })
            }
        }
    };
    // The same with two such things: `state with extra and other`.
    ($name:ident {
        $($before:ident),*; $state:ident with $extra:ident and $other:ident; $($after:ident),* $(,)?
    }) => {
        impl $crate::codec::Canon for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $( $crate::codec::Canon::write(&self.$before, out); )*
                $crate::codec::write_marked_twice(&self.$state, self.$extra.as_ref(), self.$other.as_ref(), out);
                $( $crate::codec::Canon::write(&self.$after, out); )*
            }
            fn read(input: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                $( let $before = $crate::codec::Canon::read(input)?; )*
                let ($state, $extra, $other) = $crate::codec::read_marked_twice(input)?;
                $( let $after = $crate::codec::Canon::read(input)?; )*
                Ok(Self { $($before,)* $state, $extra, $other, $($after,)* })
            }
        }
    };
}
pub(crate) use canon_struct;

/// Set in the byte of a name behind which something more is written.
const MARK: u8 = 1 << 7;

/// A name of one byte, and behind it what is there at times. Without it the bytes are those of the name alone, so that
/// records of a time that knew no more of it read as they always did.
pub(crate) fn write_marked<S: Canon, T: Canon>(name: &S, extra: Option<&T>, out: &mut Vec<u8>) {
    let at = out.len();
    name.write(out);
    if let Some((extra, byte)) = extra.zip(out.get_mut(at)) {
        *byte |= MARK;
        extra.write(out);
    }
}

pub(crate) fn read_marked<S: Canon, T: Canon>(input: &mut Reader<'_>) -> Result<(S, Option<T>), DecodeError> {
    let byte = u8::read(input)?;
    let name = decode(&[byte & !MARK])?;
    let extra = if byte & MARK == 0 { None } else { Some(T::read(input)?) };
    Ok((name, extra))
}

/// The same bit of a second thing.
const OTHER_MARK: u8 = 1 << 6;

pub(crate) fn write_marked_twice<S: Canon, T: Canon, U: Canon>(
    name: &S,
    extra: Option<&T>,
    other: Option<&U>,
    out: &mut Vec<u8>,
) {
    let at = out.len();
    write_marked(name, extra, out);
    if let Some((other, byte)) = other.zip(out.get_mut(at)) {
        *byte |= OTHER_MARK;
        other.write(out);
    }
}

pub(crate) fn read_marked_twice<S: Canon, T: Canon, U: Canon>(
    input: &mut Reader<'_>,
) -> Result<(S, Option<T>, Option<U>), DecodeError> {
    let byte = u8::read(input)?;
    let name = decode(&[byte & !(MARK | OTHER_MARK)])?;
    let extra = if byte & MARK == 0 { None } else { Some(T::read(input)?) };
    let other = if byte & OTHER_MARK == 0 { None } else { Some(U::read(input)?) };
    Ok((name, extra, other))
}

/// A closed list of names, each with a byte and a word; numbers are never reused.
macro_rules! canon_names {
    ($(#[$doc:meta])* $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $byte:literal $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$variant_doc])* $variant, )* }

        impl $name {
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::codec::DecodeError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $word => Ok(Self::$variant), )*
                    other => Err($crate::codec::DecodeError::Value { what: stringify!($name), found: other.to_owned() }),
                }
            }
        }

        impl $crate::codec::Canon for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.push(match self { $( Self::$variant => $byte, )* });
            }
            fn read(input: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                match <u8 as $crate::codec::Canon>::read(input)? {
                    $( $byte => Ok(Self::$variant), )*
                    other => Err($crate::codec::DecodeError::Value { what: stringify!($name), found: other.to_string() }),
                }
            }
        }
    };
}
pub(crate) use canon_names;
