//! The classes that are asked for by name.

use std::collections::BTreeSet;

use clap::Args;
use yoloslim_core::labels::nearest;
use yoloslim_core::{Error, Result};

/// Classes to look at.
#[derive(Debug, Default, Args)]
pub struct ClassArgs {
    /// Only these classes, by name or number [default: all]
    #[arg(long = "class", value_delimiter = ',', value_name = "NAME,..")]
    classes: Vec<String>,
}

impl ClassArgs {
    /// The indices of the classes asked for; none when all are.
    ///
    /// # Errors
    /// A name that isn't among `names`; with the nearest that is.
    pub fn among(&self, names: &[String]) -> Result<Option<BTreeSet<usize>>> {
        let index = |word: &String| {
            let numbered = || word.parse().ok().filter(|number| *number < names.len());
            names.iter().position(|name| name == word).or_else(numbered).ok_or_else(|| unknown(word, names))
        };
        let chosen: BTreeSet<usize> = self.classes.iter().map(index).collect::<Result<_>>()?;
        Ok((!chosen.is_empty()).then_some(chosen))
    }
}

/// How many names an error lists.
const LISTED: usize = 12;

fn unknown(word: &str, names: &[String]) -> Error {
    if names.iter().enumerate().all(|(class, name)| *name == class.to_string()) {
        let cause = format!("the names of the classes are not known, so there is no `{word}` to look for");
        let last = names.len().saturating_sub(1);
        return Error::at("--class", cause).fix(format!("give --names FILE, or a number from 0 to {last}"));
    }
    let error = Error::at("--class", format!("there is no class `{word}`"));
    if let Some(meant) = nearest(word, names) {
        return error.fix(format!("did you mean `{meant}`?"));
    }
    let listed = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > LISTED { ", .." } else { "" };
    error.fix(format!("give a name of these or a number: {listed}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_or_numbered_and_a_mistyped_one_is_answered_with_what_was_meant() {
        let names = ["helmet", "vest", "7up"].map(str::to_owned);
        let among =
            |words: &[&str]| ClassArgs { classes: words.iter().map(|word| (*word).to_owned()).collect() }.among(&names);
        assert_eq!(among(&[]).unwrap(), None);
        assert_eq!(among(&["vest", "0", "7up"]).unwrap(), Some([0, 1, 2].into()));
        let mistyped = among(&["helmt"]).unwrap_err().to_string();
        assert_eq!(mistyped, "--class: there is no class `helmt`; did you mean `helmet`?");
        let other = among(&["3"]).unwrap_err().to_string();
        assert!(other.ends_with("give a name of these or a number: helmet, vest, 7up"), "{other}");
        let numbers: Vec<String> = (0..3).map(|class| class.to_string()).collect();
        let unnamed = ClassArgs { classes: vec!["vest".to_owned()] }.among(&numbers).unwrap_err().to_string();
        assert!(unnamed.ends_with("give --names FILE, or a number from 0 to 2"), "{unnamed}");
    }
}
