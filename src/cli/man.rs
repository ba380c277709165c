//! `man`: manual pages, from the same definitions as the help.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;
use yoloslim::new_folder::NewFolder;
use yoloslim_core::{Error, Result, files};

use crate::term::{self, Term};

/// Print a command's manual page, or write those of all commands
#[derive(Debug, Args)]
pub struct Man {
    /// The command, which may be several words; yoloslim itself when none is named
    command: Vec<String>,
    /// Folder for the pages of all commands, new or empty
    #[arg(short, long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

impl Man {
    pub fn run(self, term: Term) -> Result<()> {
        let mut program = super::Cli::command();
        program.build();
        let Some(output) = self.output else {
            let named = self.command.iter().try_fold(&program, |command, name| command.find_subcommand(name));
            return term::print(&page(named.ok_or_else(|| unknown(&self.command.join(" ")))?)?);
        };
        let folder = NewFolder::begin(&output)?;
        let all = with_nested(&program);
        for command in &all {
            let name = command.get_display_name().unwrap_or(command.get_name());
            files::write_whole(&folder.path().join(format!("{name}.1")), page(command)?.as_bytes())?;
        }
        folder.finish()?;
        term.wrote(format!("{} pages to {}", all.len(), output.display()));
        term.next(format!("man -l {}", output.join("yoloslim.1").display()));
        Ok(())
    }
}

/// A command and all that are below it, but for the help that each has.
pub fn with_nested(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().filter(|c| c.get_name() != "help").flat_map(with_nested);
    std::iter::once(command).chain(below).collect()
}

fn page(command: &clap::Command) -> Result<String> {
    let mut text = Vec::new();
    Page::new(command.clone()).render(&mut text).map_err(|e| Error::at("man", e))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn unknown(name: &str) -> Error {
    Error::at("man", format!("there is no command {name}")).fix("yoloslim --help lists them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let mut program = super::super::Cli::command();
        program.build();
        let all = with_nested(&program);
        let names: Vec<&str> = all.iter().filter_map(|command| command.get_display_name()).collect();
        assert!(names.contains(&"yoloslim-profile-fit") && names.contains(&"yoloslim-bench-train"), "{names:?}");
        for command in all {
            let text = page(command).unwrap();
            let long = command.get_arguments().filter_map(|a| a.get_long()).find(|l| l.len() > 1 && !l.contains('-'));
            assert!(text.contains(".SH NAME") && long.is_none_or(|long| text.contains(long)), "{text}");
        }
    }
}
