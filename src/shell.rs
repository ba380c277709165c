//! Command lines as a shell reads them.

use std::path::Path;

/// The words as one line; those that a shell would split or change are quoted.
///
/// ```
/// assert_eq!(yoloslim::shell::line(&["yoloslim", "info", "my net.cfg"]), "yoloslim info 'my net.cfg'");
/// ```
#[must_use]
pub fn line<S: AsRef<str>>(words: &[S]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted = |word: &S| match word.as_ref() {
        w if !w.is_empty() && w.chars().all(plain) => w.to_owned(),
        w => format!("'{}'", w.replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The command line of this process. What of a path is no text is shown in its place.
#[must_use]
pub fn typed() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The command that goes on with the run of `command` in a folder.
#[must_use]
pub fn resume(command: &str, run: &Path) -> String {
    line(&["yoloslim", command, "--resume", &run.to_string_lossy()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_split_is_quoted() {
        assert_eq!(
            line(&["a", "b c", "it's", "--x=1", "", "gesicht/für.cfg"]),
            r"a 'b c' 'it'\''s' --x=1 '' gesicht/für.cfg"
        );
        assert_eq!(resume("slim", Path::new("a run")), "yoloslim slim --resume 'a run'");
    }
}
