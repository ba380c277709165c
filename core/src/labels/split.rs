//! The parts of a data set.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::Error;

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

    /// Whether `name` has one of the spellings as a word: `VisDrone2019-DET-val` and `instances_val2017.json` do; and the
    /// latter has the split `val2017`.
    pub(super) fn is_in(&self, name: &str) -> bool {
        let named = |part: &str| matches!(self, Self::Named(split) if part.eq_ignore_ascii_case(split));
        name.split(['_', '-', '.']).any(named)
            || words(name).any(|(_, word)| self.spellings().iter().any(|spelling| word.eq_ignore_ascii_case(spelling)))
    }

    /// The file or folder of this split beside `path`, which is that of some split: where its name has another
    /// split's word, this one's is put there. Failing that the name of its folder is tried, and
    /// a path without such a word serves every split.
    ///
    /// # Errors
    /// When the name is another split's and nothing is there for this one.
    pub(super) fn sibling(&self, path: &Path) -> crate::Result<PathBuf> {
        // Of a file in the current folder, that folder's name counts as well.
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        for named in whole.ancestors().take(2) {
            let Some(name) = named.file_name().and_then(|name| name.to_str()) else { continue };
            let Some((start, word)) = any_split_in(name) else { continue };
            if self.is_in(name) {
                break;
            }
            let spelled = |spelling| format!("{}{spelling}{}", &name[..start], &name[start + word.len()..]);
            let below = whole.strip_prefix(named).ok().filter(|below| !below.as_os_str().is_empty());
            let beside = |spelling| {
                let swapped = named.with_file_name(spelled(spelling));
                below.map_or_else(|| swapped.clone(), |below| swapped.join(below))
            };
            let candidates: Vec<PathBuf> = self.spellings().into_iter().map(beside).collect();
            match candidates.iter().find(|candidate| candidate.exists()) {
                Some(found) => return Ok(found.clone()),
                None if named == whole => return Err(not_beside(path, self, word, &candidates[0])),
                // The folder may be called so for another reason.
                None => {}
            }
        }
        Ok(path.to_owned())
    }
}

fn not_beside(path: &Path, split: &Split, word: &str, wanted: &Path) -> Error {
    Error::at(path.display(), format!("this is the split `{word}`, and there is no {}", wanted.display()))
        .fix(format!("put the split `{split}` there or choose the split `{word}`"))
}

/// The runs of letters in a name and where they start.
fn words(name: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    name.split(|c: char| !c.is_ascii_alphabetic()).filter_map(move |word| {
        let at = name[start..].find(word)? + start;
        start = at + word.len();
        (!word.is_empty()).then_some((at, word))
    })
}

/// The last word of a name that is a split's, and where it starts.
fn any_split_in(name: &str) -> Option<(usize, &str)> {
    let is_split = |word: &str| [Split::Train, Split::Val, Split::Test].iter().any(|split| split.is_in(word));
    words(name).filter(|(_, word)| is_split(word)).last()
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
    use crate::labels::testing::Folder;

    #[test]
    fn the_file_of_another_split_is_found_beside() {
        let folder = Folder::new();
        let [train, val] = ["instances_train2017.json", "instances_val2017.json"].map(|name| folder.text(name, ""));
        let [above, below] = ["train/a.json", "valid/a.json"].map(|name| folder.text(name, ""));
        let plain = folder.text("test/coco.json", "");
        for (path, split, expected) in [
            (&train, Split::Train, &train),
            (&train, Split::Val, &val),
            (&val, Split::Train, &train),
            (&above, Split::Val, &below),
            (&below, Split::Train, &above),
            (&below, Split::Val, &below),
            (&plain, Split::Val, &plain),
        ] {
            assert_eq!(&split.sibling(path).unwrap(), expected, "{} for {split}", path.display());
        }
        let message = Split::Test.sibling(&train).unwrap_err().to_string();
        assert!(message.contains("this is the split `train`, and there is no"), "{message}");
    }

    #[test]
    fn a_split_is_a_whole_word_of_a_name() {
        for (name, expected) in
            [("VisDrone2019-DET-val", true), ("VALID.json", true), ("trainval", false), ("valley", false)]
        {
            assert_eq!(Split::Val.is_in(name), expected, "{name}");
        }
    }

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
