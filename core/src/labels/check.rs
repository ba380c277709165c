//! Checks of a data set against a net and against another split.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use super::Dataset;
use crate::{Error, Result};

/// Fails when the data set does not have exactly the `classes` of the net.
///
/// # Errors
/// Names both counts.
pub fn check_classes(dataset: &Dataset, classes: usize) -> Result<()> {
    let named = dataset.names.len();
    if named == classes {
        return Ok(());
    }
    Err(Error::at("class names", format!("the data set has {named} classes, but the net has {classes}")).fix(format!(
        "use a net of {named} classes (`yoloslim init ARCH --classes {named}`) or the data set that the net was made for"
    )))
}

/// Pairs of images of `a` and `b` whose files hold the same bytes, in the order of `b`: a net that learns from one
/// and is measured on the other is measured too well. Files that cannot be read are passed over.
pub fn duplicates(a: &Dataset, b: &Dataset) -> Vec<(PathBuf, PathBuf)> {
    let mut by_length: HashMap<u64, Vec<&Path>> = HashMap::new();
    for sample in &a.samples {
        if let Some(length) = length(&sample.image) {
            by_length.entry(length).or_default().push(&sample.image);
        }
    }
    // Only files whose length occurs on both sides are read, each once.
    let mut by_content: HashMap<u64, HashMap<u64, &Path>> = HashMap::new();
    let mut pairs = Vec::new();
    for sample in &b.samples {
        let Some(length) = length(&sample.image) else { continue };
        if let Some(paths) = by_length.remove(&length) {
            // Backwards, so that of equal files the first is the one that stays in the map.
            by_content.insert(length, paths.into_iter().rev().filter_map(|path| Some((hash(path)?, path))).collect());
        }
        let Some(known) = by_content.get(&length) else { continue };
        if let Some(path) = hash(&sample.image).and_then(|hash| known.get(&hash)) {
            pairs.push((path.to_path_buf(), sample.image.clone()));
        }
    }
    pairs
}

fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|data| data.len())
}

fn hash(path: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(path).ok()?);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Sample;
    use crate::labels::testing::Folder;

    #[test]
    fn a_mismatch_names_both_counts() {
        let dataset = Dataset { names: vec!["a".to_owned(); 3], ..Dataset::default() };
        assert!(check_classes(&dataset, 3).is_ok());
        let message = check_classes(&dataset, 80).unwrap_err().to_string();
        assert!(message.contains("has 3 classes, but the net has 80"), "{message}");
    }

    #[test]
    fn equal_files_are_found_across_splits_only() {
        let folder = Folder::new();
        let set = |images: Vec<PathBuf>| Dataset {
            samples: images
                .into_iter()
                .map(|image| Sample { image, width: 1, height: 1, objects: Vec::new() })
                .collect(),
            ..Dataset::default()
        };
        let [one, two, other] = [("1", "same"), ("2", "same"), ("3", "else")].map(|(n, text)| folder.text(n, text));
        let [copy, fresh] = [("4", "same"), ("5", "longer text")].map(|(n, text)| folder.text(n, text));
        let train = set(vec![one.clone(), two, other.clone(), folder.path("missing")]);
        let val = set(vec![fresh, copy.clone(), other.clone(), folder.path("missing")]);
        assert_eq!(duplicates(&train, &val), [(one, copy), (other.clone(), other)]);
    }
}
