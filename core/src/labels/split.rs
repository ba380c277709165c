//! The parts of a data set.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Which part of a data set to read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Split {
    /// What the net learns from.
    Train,
    /// What it is measured on while it learns; also written `valid` or `validation`.
    Val,
    /// What it is measured on at the end.
    Test,
    /// Another name that the data set uses, such as VOC's `trainval`.
    Named(String),
}

impl Split {
    /// The spellings that data sets use for this split, the usual one first.
    pub(super) fn spellings(&self) -> Vec<&str> {
        match self {
            Self::Train => vec!["train", "training"],
            Self::Val => vec!["val", "valid", "validation"],
            Self::Test => vec!["test", "testing"],
            Self::Named(name) => vec![name],
        }
    }
}

impl FromStr for Split {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let known = [Self::Train, Self::Val, Self::Test];
        let found = known.into_iter().find(|split| split.spellings().contains(&text));
        Ok(found.unwrap_or_else(|| Self::Named(text.to_owned())))
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spellings()[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_understood_and_other_names_are_kept() {
        for (text, split, shown) in [
            ("train", Split::Train, "train"),
            ("valid", Split::Val, "val"),
            ("validation", Split::Val, "val"),
            ("test", Split::Test, "test"),
            ("trainval", Split::Named("trainval".to_owned()), "trainval"),
        ] {
            let parsed: Split = text.parse().unwrap();
            assert_eq!((parsed.to_string().as_str(), &parsed), (shown, &split));
        }
    }
}
