//! `completions`: a script for the shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use yoloslim_core::Result;

use crate::term;

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell to complete for
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<()> {
        let mut command = super::Cli::command();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "yoloslim", &mut script);
        term::print(&String::from_utf8_lossy(&script))
    }
}
