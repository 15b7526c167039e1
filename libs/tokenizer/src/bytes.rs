//! GPT-2's mapping between bytes and printable characters, in which byte-level vocabularies are written.

/// The byte that a character of a vocabulary stands for.
pub fn char_to_byte(c: char) -> Option<u8> {
    let code = c as u32;
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// Appends a token's bytes; characters outside the mapping stand for themselves.
pub fn push_token(token: &str, out: &mut Vec<u8>) {
    for c in token.chars() {
        match char_to_byte(c) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::byte_to_char;

    #[test]
    fn every_byte_has_its_own_character() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255u8 {
            let c = byte_to_char(byte);
            assert!(seen.insert(c), "{byte}");
            assert_eq!(char_to_byte(c), Some(byte));
        }
        assert_eq!((byte_to_char(b' '), byte_to_char(b'\n')), ('Ġ', 'Ċ'));
        assert_eq!(char_to_byte('蜂'), None);
    }
}
