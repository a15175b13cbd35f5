//! Fixed-width base 36 (`0-9a-z`, most significant digit first) of big-endian byte strings.
//!
//! 16 bytes take 25 digits and 32 bytes take 50: the widths of the token's two parts.

/// Digits in order of value.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Why a text is not the base 36 form of `N` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// `position` counts from 0 within the text.
    BadDigit { position: usize, found: char },
    /// Every digit is legal but the number needs more bytes.
    TooLarge,
}

/// Encodes `bytes` (big-endian) in exactly `width` digits. `width` must be large enough for every
/// value of that many bytes.
pub(super) fn encode(bytes: &[u8], width: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![b'0'; width];
    for slot in digits.iter_mut().rev() {
        *slot = DIGITS[usize::from(divide_by_36(&mut number))];
    }
    debug_assert!(number.iter().all(|byte| *byte == 0), "width holds every value");
    digits.into_iter().map(char::from).collect()
}

/// Decodes text into `N` big-endian bytes. The caller checks the length of the text.
pub(super) fn decode<const N: usize>(text: &str) -> Result<[u8; N], DecodeError> {
    let mut number = [0u8; N];
    for (position, found) in text.chars().enumerate() {
        let digit = match found {
            '0'..='9' => found as u32 - '0' as u32,
            'a'..='z' => found as u32 - 'a' as u32 + 10,
            _ => return Err(DecodeError::BadDigit { position, found }),
        };
        let mut carry = digit;
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte) * 36 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
        if carry != 0 {
            return Err(DecodeError::TooLarge);
        }
    }
    Ok(number)
}

/// Divides in place and returns the remainder.
fn divide_by_36(number: &mut [u8]) -> u8 {
    let mut remainder = 0u32;
    for byte in number.iter_mut() {
        let value = (remainder << 8) | u32::from(*byte);
        *byte = (value / 36) as u8;
        remainder = value % 36;
    }
    remainder as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same_bytes(bytes in any::<[u8; 32]>()) {
            let text = encode(&bytes, 50);
            prop_assert_eq!(text.len(), 50);
            prop_assert_eq!(decode::<32>(&text), Ok(bytes));
        }
    }

    #[test]
    fn the_widths_hold_the_largest_values() {
        assert_eq!(decode::<16>(&encode(&[0xff; 16], 25)), Ok([0xff; 16]));
        assert_eq!(decode::<32>(&encode(&[0xff; 32], 50)), Ok([0xff; 32]));
    }

    #[test]
    fn a_number_with_too_many_bits_is_refused() {
        assert_eq!(decode::<16>(&"z".repeat(25)), Err(DecodeError::TooLarge));
    }
}
