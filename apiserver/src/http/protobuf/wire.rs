//! Protobuf's wire format: a message is its fields one after the other. Nothing is copied.

use super::{ProtobufError, Result};

/// A value on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wire<'a> {
    Varint(u64),
    /// Eight bytes.
    Double(f64),
    /// Texts, bytes, messages.
    Slice(&'a [u8]),
    /// Four bytes: no field of these messages has them.
    Other,
}

/// The next field's number and value.
pub fn next<'a>(input: &mut &'a [u8]) -> Result<(u64, Wire<'a>)> {
    let tag = varint(input)?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(input)?),
        1 => Wire::Double(f64::from_le_bytes(take(input, 8)?.try_into().map_err(|_| ProtobufError::Wire)?)),
        2 => {
            let length = varint(input)?;
            Wire::Slice(take(input, length)?)
        }
        5 => {
            take(input, 4)?;
            Wire::Other
        }
        _ => return Err(ProtobufError::Wire),
    };
    match tag >> 3 {
        0 => Err(ProtobufError::Wire),
        number => Ok((number, wire)),
    }
}

fn varint(input: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or(ProtobufError::Wire)?;
        *input = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).ok_or(ProtobufError::Wire)?;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ProtobufError::Wire)
}

fn take<'a>(input: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let length = usize::try_from(length).map_err(|_| ProtobufError::Wire)?;
    let (taken, rest) = input.split_at_checked(length).ok_or(ProtobufError::Wire)?;
    *input = rest;
    Ok(taken)
}
