//! The command that makes sense next, as the user can copy it.

use std::ffi::OsStr;
use std::fmt::{Display, Formatter, Result};
use std::path::{Path, PathBuf};

use yoloslim::shell;

/// A command line of this program that goes on from what was done, with the paths that were typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    words: Vec<String>,
}

impl Next {
    /// `yoloslim COMMAND`, which may be several words.
    pub fn new(command: &str) -> Self {
        Self { words: std::iter::once("yoloslim").chain(command.split(' ')).map(str::to_owned).collect() }
    }

    /// The command line of this process.
    pub fn typed() -> Self {
        let typed = shell::typed().into_iter().skip(1);
        Self { words: std::iter::once("yoloslim".to_owned()).chain(typed).collect() }
    }

    /// The command line of this process without one of its words.
    pub fn typed_without(word: &str) -> Self {
        Self { words: Self::typed().words.into_iter().filter(|typed| typed != word).collect() }
    }

    /// The command line of this process without an option and its value.
    pub fn typed_without_option(option: &str) -> Self {
        let (mut words, with_value) = (vec!["yoloslim".to_owned()], format!("{option}="));
        let mut typed = shell::typed().into_iter().skip(1);
        while let Some(word) = typed.next() {
            if word == option {
                typed.next();
            } else if !word.starts_with(&with_value) {
                words.push(word);
            }
        }
        Self { words }
    }

    /// A path.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.words.push(path.as_ref().display().to_string());
        self
    }

    /// A cfg and its weights: `FOLDER/STEM.cfg FOLDER/STEM.weights`.
    pub fn net(self, folder: &Path, stem: &str) -> Self {
        self.path(folder.join(format!("{stem}.cfg"))).path(folder.join(format!("{stem}.weights")))
    }

    /// An option and its value, or several words of options.
    pub fn with(mut self, options: &str) -> Self {
        self.words.extend(options.split(' ').map(str::to_owned));
        self
    }

    /// Words as they are, however many there are in a value.
    pub fn words(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.words.extend(words);
        self
    }

    /// `--data D`, with the data set that was typed, if any was.
    pub fn data(self, data: Option<&Path>) -> Self {
        self.with("--data").path(data.unwrap_or(Path::new("D")))
    }

    /// `-o PATH`.
    pub fn output(self, path: impl AsRef<Path>) -> Self {
        self.with("-o").path(path)
    }
}

impl Display for Next {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&shell::line(&self.words))
    }
}

/// A path beside another whose name goes on with `-word`: `runs/base` and `sparse` give `runs/base-sparse`.
pub fn beside(path: &Path, word: &str) -> PathBuf {
    let goes_on = |path: &Path| {
        let name = path.file_stem().map(OsStr::to_string_lossy)?;
        Some(path.with_file_name(format!("{name}-{word}")))
    };
    // `.` and `..` have no name of their own to go on from.
    let real = || Path::new(".").join(path).canonicalize().ok().and_then(|path| goes_on(&path));
    goes_on(path).or_else(real).unwrap_or_else(|| PathBuf::from(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_typed_paths_quoted_where_a_shell_would_split_them() {
        let next = Next::new("profile show").path("cpu.toml").net(Path::new("my runs/a"), "slim");
        let next = next.data(Some(Path::new("faces/"))).output(beside(Path::new("my runs/a"), "onnx"));
        let wanted = "yoloslim profile show cpu.toml 'my runs/a/slim.cfg' 'my runs/a/slim.weights' --data faces/ -o \
                      'my runs/a-onnx'";
        assert_eq!(next.to_string(), wanted);
        assert_eq!(Next::new("train").data(None).to_string(), "yoloslim train --data D");
    }

    #[test]
    fn a_name_goes_on_from_a_folder_or_a_file() {
        for (path, wanted) in [("run", "run-slim"), ("a/b.cfg", "a/b-slim"), ("a/run/", "a/run-slim"), ("/", "slim")] {
            assert_eq!(beside(Path::new(path), "slim"), Path::new(wanted), "{path}");
        }
        let here = std::env::current_dir().unwrap();
        for (path, folder) in [("", here.as_path()), (".", &here), ("..", here.parent().unwrap())] {
            assert_eq!(beside(Path::new(path), "slim"), beside(folder, "slim"), "{path:?}");
        }
    }
}
