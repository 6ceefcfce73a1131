//! The little of DER (X.690 section 10) that certificates are written with.
//!
//! rcgen re-encodes the issuer's name, and a chain is built only where issuer
//! and subject are equal byte for byte; so leaves are written here, around the
//! authority's own bytes.

use crate::model::Timestamp;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// A constructed, context-specific tag.
pub(super) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// A primitive, context-specific tag.
pub(super) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// Appends values, each with its tag and length.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends bytes that are DER already, or the content of the value around.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn value(&mut self, tag: u8, content: &[u8]) -> &mut Self {
        self.nested(tag, |writer| {
            writer.raw(content);
        })
    }

    /// Appends a value whose content `fill` writes.
    pub(super) fn nested(&mut self, tag: u8, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.0.extend_from_slice(&[tag, 0]);
        let start = self.0.len();
        fill(self);
        let length = self.0.len() - start;
        if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
            self.0[start - 1] = short;
        } else {
            let bytes = length.to_be_bytes();
            let digits = bytes.into_iter().skip_while(|byte| *byte == 0);
            self.0[start - 1] = digits.clone().fold(0x80, |count, _| count + 1);
            self.0.splice(start..start, digits);
        }
        self
    }

    /// Appends a non-negative integer.
    pub(super) fn unsigned(&mut self, big_endian: &[u8]) -> &mut Self {
        let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
        let digits = &big_endian[zeros..];
        self.nested(INTEGER, |writer| {
            if digits.first().is_none_or(|first| *first >= 0x80) {
                writer.raw(&[0]);
            }
            writer.raw(digits);
        })
    }

    /// Appends a bit string of whole bytes.
    pub(super) fn bits(&mut self, bytes: &[u8]) -> &mut Self {
        self.nested(BIT_STRING, |writer| {
            writer.raw(&[0]).raw(bytes);
        })
    }

    /// Appends a time in whole seconds, as RFC 5280 4.1.2.5 wants it: two
    /// digits of the year until 2049, four from 2050 on.
    pub(super) fn time(&mut self, time: Timestamp) -> &mut Self {
        let time = time.to_date_time();
        let year = time.year().unsigned_abs();
        let short = (1950..2050).contains(&year);
        let tag = if short { UTC_TIME } else { GENERALIZED_TIME };
        self.nested(tag, |writer| {
            if !short {
                writer.two_digits(year / 100);
            }
            writer.two_digits(year % 100);
            for part in [
                u8::from(time.month()),
                time.day(),
                time.hour(),
                time.minute(),
                time.second(),
            ] {
                writer.two_digits(part.into());
            }
            writer.raw(b"Z");
        })
    }

    fn two_digits(&mut self, number: u32) {
        for digit in [number / 10 % 10, number % 10] {
            self.0
                .push(char::from_digit(digit, 10).map_or(b'0', |c| c as u8));
        }
    }

    /// Appends an extension (RFC 5280 4.2) whose value `fill` writes.
    pub(super) fn extension(
        &mut self,
        oid: &[u8],
        critical: bool,
        fill: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.nested(SEQUENCE, |writer| {
            writer.value(OID, oid);
            if critical {
                writer.value(BOOLEAN, &[0xff]);
            }
            writer.nested(OCTET_STRING, fill);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use x509_parser::asn1_rs::{FromDer, Integer, OctetString};
    use x509_parser::time::ASN1Time;

    proptest! {
        #[test]
        fn values_of_every_length_are_read_back(length in 0..70_000usize) {
            let mut writer = Writer::default();
            writer.value(OCTET_STRING, &vec![7; length]);
            let bytes = writer.into_bytes();
            let (rest, read) = OctetString::from_der(&bytes).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read.as_ref().len(), length);
        }

        #[test]
        fn integers_are_minimal_and_not_negative(number: u128) {
            let mut writer = Writer::default();
            writer.unsigned(&number.to_be_bytes());
            let bytes = writer.into_bytes();
            let (rest, read) = Integer::from_der(&bytes).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read.as_u128().unwrap(), number);
            prop_assert!(bytes.len() < 4 || bytes[2] != 0 || bytes[3] >= 0x80);
        }

        #[test]
        fn times_are_read_back(seconds in -2_208_988_800i64..253_402_300_799) {
            let mut writer = Writer::default();
            writer.time(Timestamp::from_unix_seconds(seconds));
            let bytes = writer.into_bytes();
            let (_, read) = ASN1Time::from_der(&bytes).unwrap();
            prop_assert_eq!(read.timestamp(), seconds);
        }
    }

    #[test]
    fn the_year_2050_is_written_with_four_digits() {
        let text = |time: &str| {
            let mut writer = Writer::default();
            writer.time(time.parse().unwrap());
            String::from_utf8(writer.into_bytes()[2..].to_vec()).unwrap()
        };
        assert_eq!(text("2049-12-31T23:59:59Z"), "491231235959Z");
        assert_eq!(text("2050-01-02T03:04:05Z"), "20500102030405Z");
    }
}
