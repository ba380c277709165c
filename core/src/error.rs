//! The one error of the library: where it happened, what is wrong, what to do about it.

use std::fmt;

/// A failure that a person can act on: `place: cause; fix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    place: String,
    cause: String,
    fix: Option<String>,
}

/// The result of every fallible function in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error at `place` (a file, `file:line`, a layer, an option) with its `cause`.
    pub fn at(place: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { place: place.to_string(), cause: cause.to_string(), fix: None }
    }

    /// Adds what the user can do about it, as an imperative.
    #[must_use]
    pub fn fix(mut self, fix: impl fmt::Display) -> Self {
        self.fix = Some(fix.to_string());
        self
    }

    /// Puts `outer` (a file name, say) before the place that is already there.
    #[must_use]
    pub fn inside(mut self, outer: impl fmt::Display) -> Self {
        self.place = if self.place.is_empty() { outer.to_string() } else { format!("{outer}:{}", self.place) };
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.cause)?;
        match &self.fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_place_cause_and_fix_in_one_line() {
        let error = Error::at(12, "filters=250").fix("write filters=255").inside("a.cfg");
        assert_eq!(error.to_string(), "a.cfg:12: filters=250; write filters=255");
    }
}
