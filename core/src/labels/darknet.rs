//! Darknet's `.data` file: `classes`, `train`, `valid` and `names`, lists of images in text files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::image_files::{self, Unread};
use super::{Dataset, Split, names, text_labels};
use crate::{Error, Result, files};

/// Reads one split of the set that a `.data` file describes.
///
/// Darknet takes relative paths from where it was started, which the file does not say. They are looked
/// for from the file's folder, each folder above it and the current one; those of images also from the list's.
pub(super) fn load(path: &Path, split: &Split) -> Result<Dataset> {
    let keys = parse(path)?;
    let bases = bases(path);
    let list = split.spellings().iter().find_map(|key| keys.get(*key)).ok_or_else(|| {
        let key = if *split == Split::Val { "valid".to_owned() } else { split.to_string() };
        Error::at(path.display(), format!("there is no `{key}`")).fix(format!("add `{key} = list.txt`"))
    })?;
    let list = find(path, list, &bases)?;
    let named = keys.get("names").map(|entry| names::read(&find(path, entry, &bases)?)).transpose()?;
    let names = names::agreed(path, classes(path, &keys)?, named)?;
    let mut unread = Unread::default();
    let images = if list.is_dir() {
        image_files::in_folder(&list, &mut unread)?
    } else {
        let beside = list.parent().map(Path::to_owned);
        image_files::in_list(&list, &bases.into_iter().chain(beside).collect::<Vec<_>>())?
    };
    let left_out = unread.warning(&images, path)?;
    let mut dataset = text_labels::load(images, names, path)?;
    dataset.warnings.extend(left_out);
    Ok(dataset)
}

fn parse(path: &Path) -> Result<HashMap<String, String>> {
    let text = files::read_text(path)?;
    let mut keys = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| {
            Error::at(format!("{}:{}", path.display(), index + 1), format!("`{line}` is not `key = value`"))
                .fix("write for example `train = train.txt`")
        })?;
        // Of a repeated key the first counts, as in Darknet; one without a value says nothing.
        if !value.trim().is_empty() {
            keys.entry(key.trim().to_owned()).or_insert_with(|| value.trim().to_owned());
        }
    }
    Ok(keys)
}

fn classes(path: &Path, keys: &HashMap<String, String>) -> Result<Option<usize>> {
    let parse = |value: &String| {
        value.parse().map_err(|_| Error::at(path.display(), format!("classes = {value} is not a number")))
    };
    keys.get("classes").map(parse).transpose()
}

fn bases(path: &Path) -> Vec<PathBuf> {
    let above = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folders = above.ancestors().skip(1).map(Path::to_owned);
    folders.chain(std::env::current_dir()).collect()
}

fn find(path: &Path, entry: &str, bases: &[PathBuf]) -> Result<PathBuf> {
    image_files::resolve(entry, bases).ok_or_else(|| {
        Error::at(path.display(), format!("`{entry}` does not exist")).fix("write a path relative to this file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::Folder;

    fn set(data: &str) -> (Folder, PathBuf) {
        let folder = Folder::new();
        folder.image("images/a.png", 100, 50);
        folder.image("images/b.png", 100, 50);
        folder.text("labels/a.txt", "1 0.5 0.5 0.5 0.5\n");
        folder.text("data/train.txt", "images/a.png\nimages/b.png\n");
        folder.text("data/obj.names", "car\nbike\n");
        let path = folder.text("data/obj.data", data);
        (folder, path)
    }

    #[test]
    fn lists_and_images_are_found_from_folders_above() {
        let (_folder, path) =
            set("# a set\r\nclasses= 2\r\ntrain  = data/train.txt\r\nnames = data/obj.names\r\nbackup = x/\r\n");
        let dataset = load(&path, &Split::Train).unwrap();
        assert_eq!(dataset.names, ["car", "bike"]);
        assert_eq!(dataset.samples.len(), 2);
        assert_eq!(dataset.samples[0].objects[0].class, 1);
        assert!(dataset.samples[1].objects.is_empty() && dataset.warnings.is_empty());
    }

    #[test]
    fn images_of_a_folder_that_are_not_read_are_told() {
        let (folder, path) = set("classes=2\ntrain=images\nnames=data/obj.names\n");
        folder.text("images/c.webp", "");
        let warnings = load(&path, &Split::Train).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("webp"), "{warnings:?}");
    }

    #[test]
    fn mistakes_are_named_with_a_fix() {
        for (data, expected) in [
            ("classes=2\nvalid=train.txt\n", "there is no `train`; add `train = list.txt`"),
            ("classes=3\ntrain=train.txt\nnames=obj.names\n", "3 classes are declared, but 2 are named"),
            ("classes=x\ntrain=train.txt\n", "classes = x is not a number"),
            ("classes=2\ntrain=gone.txt\n", "`gone.txt` does not exist"),
            ("classes=2\ntrain =\nnames=obj.names\n", "there is no `train`"),
            ("classes=2\ntrain=gone.txt\ntrain=train.txt\n", "`gone.txt` does not exist"),
            ("classes=2\ntrain\n", "obj.data:2: `train` is not `key = value`"),
        ] {
            let (_folder, path) = set(data);
            let message = load(&path, &Split::Train).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
