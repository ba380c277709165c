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
    /// The command; yoloslim itself when none is named
    command: Option<String>,
    /// Folder for the pages of all commands, new or empty
    #[arg(short, long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

impl Man {
    pub fn run(self, term: Term) -> Result<()> {
        let mut program = super::Cli::command();
        program.build();
        let Some(output) = self.output else {
            let page = match &self.command {
                None => page(&program)?,
                Some(name) => page(program.find_subcommand(name).ok_or_else(|| unknown(name))?)?,
            };
            return term::print(&page);
        };
        let folder = NewFolder::begin(&output)?;
        let all: Vec<_> = std::iter::once(&program).chain(program.get_subcommands()).collect();
        for command in &all {
            let name = command.get_display_name().unwrap_or(command.get_name());
            files::write_whole(&folder.path().join(format!("{name}.1")), page(command)?.as_bytes())?;
        }
        folder.finish()?;
        term.note(format!("wrote {} pages to {}", all.len(), output.display()));
        term.note(format!("next: man -l {}", output.join("yoloslim.1").display()));
        Ok(())
    }
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
        for command in program.get_subcommands().filter(|c| c.get_name() != "help") {
            let text = page(command).unwrap();
            let long = command.get_arguments().filter_map(|a| a.get_long()).find(|l| l.len() > 1 && !l.contains('-'));
            assert!(text.contains(".SH NAME") && long.is_none_or(|long| text.contains(long)), "{text}");
        }
    }
}
