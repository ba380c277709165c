//! The YAML description of YOLO data sets: `path`, `train`, `val`, `test`, `names` and `nc`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::image_files::{self, Unread};
use super::{Dataset, Split, names, text_labels};
use crate::{Error, Result, files};

/// Reads one split of the set that a `.yaml` file describes. A split is a folder of images, a text file that
/// lists them, or a list of those.
pub(super) fn load(path: &Path, split: &Split) -> Result<Dataset> {
    let keys = parse(path)?;
    let names = names::agreed(path, count(path, &keys)?, class_names(path, &keys)?)?;
    let roots = roots(path, &keys);
    let (mut images, mut unread) = (Vec::new(), Unread::default());
    for entry in entries(path, &keys, split)? {
        let found = find(&entry, &roots).ok_or_else(|| {
            let at = roots.first().map_or_else(String::new, |root| root.join(&entry).display().to_string());
            Error::at(path.display(), format!("`{split}: {entry}` does not exist, it was looked for at {at}"))
                .fix("write `path` and the split relative to this file")
        })?;
        images.extend(if found.is_dir() {
            image_files::in_folder(&found, &mut unread)?
        } else {
            let beside = found.parent().map(Path::to_owned);
            image_files::in_list(&found, &beside.into_iter().chain(roots.iter().cloned()).collect::<Vec<_>>())?
        });
    }
    let left_out = unread.warning(&images, path)?;
    let mut dataset = text_labels::load(images, names, path)?;
    dataset.warnings.extend(left_out);
    Ok(dataset)
}

fn parse(path: &Path) -> Result<BTreeMap<String, Value>> {
    let text = files::read_text(path)?;
    serde_saphyr::from_str(&text)
        .map_err(|e| Error::at(path.display(), format!("this is no YAML mapping: {e}")).fix("see the line named"))
}

fn count(path: &Path, keys: &BTreeMap<String, Value>) -> Result<Option<usize>> {
    let invalid = |value: &Value| Error::at(path.display(), format!("nc: {value} is not a number of classes"));
    let parse = |value: &Value| value.as_u64().map(|count| count as usize).ok_or_else(|| invalid(value));
    keys.get("nc").filter(|value| !value.is_null()).map(parse).transpose()
}

fn class_names(path: &Path, keys: &BTreeMap<String, Value>) -> Result<Option<Vec<String>>> {
    match keys.get("names") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(names)) => Ok(Some(names.iter().map(scalar).collect())),
        Some(Value::Object(names)) => {
            let by_class: BTreeMap<Option<usize>, String> =
                names.iter().map(|(class, name)| (class.parse().ok(), scalar(name))).collect();
            if !by_class.keys().copied().eq((0..names.len()).map(Some)) {
                let last = names.len().saturating_sub(1);
                return Err(Error::at(path.display(), format!("the keys of `names` are not 0 to {last}"))
                    .fix("number the classes from 0 without gaps"));
            }
            Ok(Some(by_class.into_values().collect()))
        }
        Some(other) => Err(Error::at(path.display(), format!("names: {other} is neither a list nor a map"))
            .fix("write `names: [first, second]`")),
    }
}

/// A name that YAML took for a number or a truth value is still a name.
fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned())
}

fn entries(path: &Path, keys: &BTreeMap<String, Value>, split: &Split) -> Result<Vec<String>> {
    match split.spellings().iter().find_map(|key| keys.get(*key)) {
        Some(Value::String(entry)) => Ok(vec![entry.clone()]),
        Some(Value::Array(entries)) if !entries.is_empty() => Ok(entries.iter().map(scalar).collect()),
        _ => Err(Error::at(path.display(), format!("there is no `{split}` split"))
            .fix(format!("add `{split}: images/{split}`, a folder of images or a text file that lists them"))),
    }
}

/// The folders that `path` may mean: relative to the file, to a folder `datasets` beside it, or wrong, in
/// which case the file's own folder is left.
fn roots(file: &Path, keys: &BTreeMap<String, Value>) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let Some(Value::String(path)) = keys.get("path") else {
        return vec![folder];
    };
    let places = [folder.clone(), folder.join("datasets"), folder.join("..")];
    let roots = places.iter().map(|place| if path == "." { place.clone() } else { place.join(path) });
    roots.chain([folder.clone()]).collect()
}

/// A leading `../` is also tried without: sets of one exporter write `../train/images` for a folder beside
/// the file.
fn find(entry: &str, roots: &[PathBuf]) -> Option<PathBuf> {
    let inside = entry.strip_prefix("../").and_then(|inside| image_files::resolve(inside, roots));
    image_files::resolve(entry, roots).or(inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::{Folder, shared};

    fn set(yaml: &str) -> (Folder, PathBuf) {
        let folder = Folder::new();
        folder.image("set/images/train/a.png", 100, 50);
        folder.image("set/images/val/b.png", 100, 50);
        folder.text("set/labels/train/a.txt", "1 0.5 0.5 0.5 0.5\n");
        folder.text("set/list.txt", "./images/train/a.png\n./images/val/b.png\n");
        let path = folder.text("set/d.yaml", yaml);
        (folder, path)
    }

    #[test]
    fn a_split_is_a_folder_a_list_or_several() {
        for (yaml, images) in [
            ("train: images/train\nnames: [car, bike]\n", 1),
            ("path: .\ntrain: images\nnc: 2\nnames:\n  0: car\n  1: bike\n", 2),
            ("path: ../set\ntrain: list.txt\nnames: ['car', \"bike\"]\n", 2),
            ("path: set # of the folder above\ntrain:\n  - images/train\n  - images/val\nnames:\n- car\n- bike\n", 2),
            ("train: ../images/train\nnames: {1: bike, 0: car}\ndownload: |\n  a: script\n  of: lines\n", 1),
        ] {
            let (_folder, path) = set(yaml);
            let dataset = load(&path, &Split::Train).unwrap_or_else(|e| panic!("{yaml}: {e}"));
            assert_eq!((dataset.samples.len(), dataset.names), (images, vec!["car".to_owned(), "bike".to_owned()]));
            assert_eq!(dataset.samples[0].objects[0].class, 1, "{yaml}");
        }
    }

    #[test]
    fn images_that_are_not_read_are_told() {
        let (folder, path) = set("train: images/train\nnames: [car, bike]\n");
        folder.text("set/images/train/b.webp", "");
        let warnings = load(&path, &Split::Train).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("webp"), "{warnings:?}");
    }

    #[test]
    fn ten_classes_keep_their_numeric_order_and_odd_names_stay_names() {
        let names: String = (0..11).map(|i| format!("  {i}: {}\n", 100 + i)).collect();
        let (_folder, path) = set(&format!("train: images\nnames:\n{names}"));
        let dataset = load(&path, &Split::Train).unwrap();
        assert_eq!((dataset.names[2].as_str(), dataset.names[10].as_str()), ("102", "110"));
    }

    #[test]
    fn mistakes_are_named_with_a_fix() {
        for (yaml, expected) in [
            ("train: images\nnames: [a]\nnc: 2\n", "2 classes are declared, but 1 are named"),
            ("train: images\nnames: {0: a, 2: b}\n", "the keys of `names` are not 0 to 1"),
            ("train: images\nnames: 5\n", "names: 5 is neither a list nor a map"),
            ("train: gone\nnames: [a]\n", "`train: gone` does not exist"),
            ("val: images\nnames: [a]\n", "there is no `train` split; add `train: images/train`"),
            ("train: images\n", "there are no class names"),
            ("a, b", "this is no YAML mapping"),
            ("train: images\nnc: many\n", "nc: \"many\" is not a number of classes"),
        ] {
            let (_folder, path) = set(yaml);
            let message = load(&path, &Split::Train).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn coco128_is_read_whole() {
        let Some(file) = shared("data/coco128/coco128.yaml") else { return };
        for split in [Split::Train, Split::Val] {
            let dataset = load(&file, &split).unwrap();
            assert_eq!((dataset.names.len(), dataset.samples.len()), (80, 128));
            assert_eq!(dataset.names[79], "toothbrush");
            assert!(dataset.samples.iter().filter(|sample| !sample.objects.is_empty()).count() > 120);
        }
    }
}
