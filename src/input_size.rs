//! The size of a net's input, as people write it.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest side.
const MOST: usize = 16384;

/// Width and height in pixels: `416` or `608x352`, in files the number 416 or the text "608x352".
///
/// ```
/// use yoloslim::input_size::InputSize;
///
/// let size: InputSize = "608x352".parse()?;
/// assert_eq!((size.width, size.height), (608, 352));
/// assert_eq!(InputSize::from(416).to_string(), "416");
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputSize {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl From<usize> for InputSize {
    /// A square.
    fn from(side: usize) -> Self {
        Self { width: side, height: side }
    }
}

impl From<InputSize> for (usize, usize) {
    fn from(size: InputSize) -> Self {
        (size.width, size.height)
    }
}

impl FromStr for InputSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (width, height) = text.split_once('x').unwrap_or((text, text));
        match (width.parse(), height.parse()) {
            (Ok(width @ 1..=MOST), Ok(height @ 1..=MOST)) => Ok(Self { width, height }),
            _ => Err("give one side such as 416, or width x height such as 608x352".to_owned()),
        }
    }
}

impl Display for InputSize {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match (self.width, self.height) {
            (width, height) if width == height => write!(f, "{width}"),
            (width, height) => write!(f, "{width}x{height}"),
        }
    }
}

impl Serialize for InputSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.width == self.height { self.width.serialize(serializer) } else { serializer.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for InputSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Side(usize),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Side(side) => side.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_one_side_or_both_and_comes_back_from_a_file() {
        for (text, width, height, written) in [("416", 416, 416, "416"), ("608x352", 608, 352, "\"608x352\"")] {
            let size: InputSize = text.parse().unwrap();
            assert_eq!((size, size.to_string()), (InputSize { width, height }, text.to_owned()));
            assert_eq!(serde_json::to_string(&size).unwrap(), written);
            assert_eq!(serde_json::from_str::<InputSize>(written).unwrap(), size);
        }
        for wrong in ["", "0", "416x", "x416", "608x352x3", "-416", "16385", "big"] {
            assert!(wrong.parse::<InputSize>().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<InputSize>("0").is_err());
    }
}
