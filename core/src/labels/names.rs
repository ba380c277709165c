//! Class names.

use std::path::Path;

use crate::{Error, Result, files};

/// The class names in a file, one a line; blank lines at the end don't count.
///
/// # Errors
/// A file that can't be read; a blank line among the names.
pub fn read(path: &Path) -> Result<Vec<String>> {
    let text = files::read_text(path)?;
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    match names.iter().position(String::is_empty) {
        Some(line) => Err(Error::at(format!("{}:{}", path.display(), line + 1), "a class without a name")
            .fix("write one class name a line and no blank lines")),
        None => Ok(names),
    }
}

/// The names of a data set that declares a `count`, `names` or both; without names, classes are called by number.
///
/// # Errors
/// When there is neither, or both and they differ.
pub(super) fn agreed(place: &Path, count: Option<usize>, names: Option<Vec<String>>) -> Result<Vec<String>> {
    match (count, names) {
        (Some(count), Some(names)) if count != names.len() => {
            Err(Error::at(place.display(), format!("{count} classes are declared, but {} are named", names.len()))
                .fix("make the number and the names agree"))
        }
        (_, Some(names)) if !names.is_empty() => Ok(names),
        (Some(count), None) if count > 0 => Ok((0..count).map(|class| class.to_string()).collect()),
        _ => Err(Error::at(place.display(), "there are no class names").fix("name the classes with `names`")),
    }
}

/// The least likeness, 0 to 1, of a word to the name that it may be a slip of.
const LIKE: f64 = 0.7;

/// The name that a mistyped `word` most likely means; none when nothing is like it.
#[must_use]
pub fn nearest<'n, S: AsRef<str>>(word: &str, names: &'n [S]) -> Option<&'n str> {
    let plain = |text: &str| text.to_lowercase().replace([' ', '_', '-'], "");
    let word = plain(word);
    let likeness = |name: &'n S| (strsim::jaro_winkler(&word, &plain(name.as_ref())), name.as_ref());
    let best = names.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= LIKE).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::Folder;

    #[test]
    fn names_are_read_whatever_the_line_ends() {
        let folder = Folder::new();
        let file = folder.text("a.names", "\u{feff}red car\r\n bike \r\n\r\n");
        assert_eq!(read(&file).unwrap(), ["red car", "bike"]);
        let gap = folder.text("b.names", "a\n\nb\n");
        assert!(read(&gap).unwrap_err().to_string().contains("b.names:2: a class without a name"));
    }

    #[test]
    fn a_slip_is_told_from_another_word() {
        let names = ["helmet", "hard hat", "vest"];
        for (word, meant) in [
            ("helmt", Some("helmet")),
            ("Helmet", Some("helmet")),
            ("hard_hat", Some("hard hat")),
            ("vests", Some("vest")),
            ("zebra", None),
        ] {
            assert_eq!(nearest(word, &names), meant, "{word}");
        }
        assert_eq!(nearest("a", &[] as &[&str]), None);
    }

    #[test]
    fn number_and_names_must_agree() {
        let place = Path::new("a.yaml");
        let names = || Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(agreed(place, Some(2), names()).unwrap(), ["a", "b"]);
        assert_eq!(agreed(place, None, names()).unwrap(), ["a", "b"]);
        assert_eq!(agreed(place, Some(2), None).unwrap(), ["0", "1"]);
        for (count, names, expected) in
            [(Some(3), names(), "3 classes are declared, but 2 are named"), (None, None, "no class names")]
        {
            let message = agreed(place, count, names).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
