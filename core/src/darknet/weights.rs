//! `.weights`: a header and little-endian float32 in layer order (reference: Darknet's `load_weights`).

use crate::{Error, Result};

/// The header of a weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Format version.
    pub major: i32,
    /// Format version; with `major` it decides the width of `seen`.
    pub minor: i32,
    /// Format version.
    pub revision: i32,
    /// Images seen in training.
    pub seen: u64,
}

impl Default for Header {
    fn default() -> Self {
        Self { major: 0, minor: 2, revision: 5, seen: 0 }
    }
}

impl Header {
    /// Whether `seen` takes 8 bytes (20-byte header) or 4 (16-byte header).
    #[must_use]
    pub fn is_wide(&self) -> bool {
        let (major, minor) = (i64::from(self.major), i64::from(self.minor));
        major * 10 + minor >= 2 && major < 1000 && minor < 1000
    }

    /// How many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        if self.is_wide() { 20 } else { 16 }
    }
}

/// A weights file as numbers; which layer they belong to is the cfg's to say.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightsFile {
    /// The header.
    pub header: Header,
    /// All numbers in file order.
    pub values: Vec<f32>,
}

impl WeightsFile {
    /// Parses a file's bytes.
    ///
    /// # Errors
    /// A header cut short, or a length that is no whole number of floats.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let cut = || {
            Error::at("", format!("the file holds {} bytes, too few for a weights header", bytes.len()))
                .fix("copy or download the weights again")
        };
        let word = |i: usize| -> Result<[u8; 4]> {
            bytes.get(i * 4..i * 4 + 4).and_then(|b| b.try_into().ok()).ok_or_else(cut)
        };
        let [major, minor, revision] = [word(0)?, word(1)?, word(2)?].map(i32::from_le_bytes);
        let mut header = Header { major, minor, revision, seen: u64::from(u32::from_le_bytes(word(3)?)) };
        if header.is_wide() {
            header.seen |= u64::from(u32::from_le_bytes(word(4)?)) << 32;
        }
        let (words, rest) = bytes[header.bytes()..].as_chunks::<4>();
        if !rest.is_empty() {
            return Err(Error::at(
                "",
                format!("the file ends inside a number: {} bytes after {} floats", rest.len(), words.len()),
            )
            .fix("the file is truncated or no weights file: copy or download it again"));
        }
        Ok(Self { header, values: words.iter().map(|w| f32::from_le_bytes(*w)).collect() })
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let h = &self.header;
        let mut bytes = Vec::with_capacity(h.bytes() + self.values.len() * 4);
        for word in [h.major, h.minor, h.revision] {
            bytes.extend(word.to_le_bytes());
        }
        let seen = h.seen.to_le_bytes();
        bytes.extend(&seen[..if h.is_wide() { 8 } else { 4 }]);
        bytes.extend(self.values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_headers_and_all_numbers_come_back(major in 0..3i32, minor in 0..4i32, seen in any::<u32>(), bits in prop::collection::vec(any::<u32>(), 0..40)) {
            let header = Header { major, minor, revision: 0, seen: u64::from(seen) };
            let file = WeightsFile { header, values: bits.iter().map(|b| f32::from_bits(*b)).collect() };
            let bytes = file.to_bytes();
            let again = WeightsFile::parse(&bytes).unwrap();
            prop_assert_eq!(again.header, header);
            prop_assert_eq!(again.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_or_whole_floats() {
        let bytes = WeightsFile { header: Header::default(), values: vec![1.0; 3] }.to_bytes();
        for n in 0..bytes.len() {
            let result = WeightsFile::parse(&bytes[..n]);
            assert_eq!(result.is_ok(), n >= 20 && n % 4 == 0, "{n} bytes");
        }
    }
}
