//! What the user sees: results on stdout, everything else on stderr.

mod next;
mod progress;
mod wrap;

use std::io::{self, IsTerminal, Write};

use indicatif::ProgressBar;
use serde::Serialize;
use yoloslim_core::{Error, Result};

pub use next::{Next, beside};
pub use progress::{Progress, Works};
use wrap::wrapped_to;
pub use wrap::{COLUMNS, cut, wrapped};

/// How talkative a run is.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// No notes and no progress; warnings and errors stay.
    pub quiet: bool,
    /// Nothing at all: another process speaks for this one.
    pub silent: bool,
    /// Details too.
    pub verbose: bool,
}

impl Term {
    /// Something good to know.
    pub fn note(self, text: impl std::fmt::Display) {
        if !self.quiet {
            stderr_words("note", "36", &text.to_string());
        }
    }

    /// What a command has written; where it goes, so that it can be found again.
    pub fn wrote(self, what: impl std::fmt::Display) {
        if !self.quiet {
            stderr_line("wrote", "32", &what.to_string());
        }
    }

    /// The last word of a command: what makes sense next.
    pub fn next(self, what: impl std::fmt::Display) {
        if !self.quiet {
            stderr_line("next", "36", &what.to_string());
        }
    }

    /// What only matters when something is looked into.
    pub fn detail(self, text: impl std::fmt::Display) {
        if self.verbose && !self.silent {
            stderr_words("detail", "2", &text.to_string());
        }
    }

    /// Something that is probably wrong, though the run goes on.
    pub fn warn(self, text: impl std::fmt::Display) {
        if !self.silent {
            stderr_words("warning", "33", &text.to_string());
        }
    }

    /// A line of a run's log.
    pub fn line(self, text: impl std::fmt::Display) {
        if !self.quiet {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Progress that counts to `len`: a bar where stderr is a terminal, else a line now and then.
    pub fn progress(self, len: usize, what: &'static str) -> Progress {
        Progress::new(len, what, self.quiet)
    }

    /// Progress of one kind of work after another.
    pub fn works(self) -> Works {
        Works::new(self)
    }

    /// The bar alone, for what writes its own lines.
    pub fn bar(self, len: usize) -> ProgressBar {
        progress::bar(len, "", self.quiet)
    }
}

/// The one line that a failed command ends with.
pub fn print_error(error: &Error) {
    stderr_line("error", "31", &error.to_string());
}

/// Writes text to stdout. A reader that has had enough (`| head`) is no failure.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::at("stdout", format!("cannot write: {e}")).fix("check where the output goes"))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON document to stdout.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::at("--json", e))?;
    text.push('\n');
    print(&text)
}

/// Words on stderr: lines that fit where that is a terminal, one that `grep` finds whole elsewhere.
fn stderr_words(label: &str, colour: &str, text: &str) {
    if !io::stderr().is_terminal() {
        return stderr_line(label, colour, text);
    }
    // The label has its part of the first line.
    // A terminal may be narrower than what it is fair to expect.
    let columns = console::Term::stderr().size_checked().map_or(COLUMNS, |(_, columns)| COLUMNS.min(columns.into()));
    let words = wrapped_to(columns, &format!("{label}: {}", single_spaced(text)), 4);
    say(label, colour, &words[label.len() + 2..]);
}

/// One line on stderr, however long: what may be copied from it stays whole.
fn stderr_line(label: &str, colour: &str, text: &str) {
    say(label, colour, &single_spaced(text));
}

fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The label is coloured where stderr is a terminal and `NO_COLOR` (no-color.org) is unset.
fn say(label: &str, colour: &str, text: &str) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || !io::stderr().is_terminal();
    let label = if plain { format!("{label}:") } else { format!("\x1b[1;{colour}m{label}:\x1b[0m") };
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{label} {text}");
}
