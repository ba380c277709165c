//! The `yoloslim` command.

#![forbid(unsafe_code)]

mod cli;
mod term;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: yoloslim_kernels::HugePages = yoloslim_kernels::HugePages;

fn main() -> ExitCode {
    match cli::Cli::read().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            term::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
