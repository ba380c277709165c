//! Ctrl-C, and what else asks a process to end: the first ends a run in good order, the second at once.

use yoloslim::train::Interrupt;
use yoloslim_core::{Error, Result};

use crate::term::Term;

/// The exit status of a process that a signal has ended, as shells have it for Ctrl-C.
const ENDED: i32 = 130;

/// Listens for Ctrl-C from now on; `go_on` is the command that goes on with the run.
///
/// # Errors
/// A system that allows no handler.
pub fn listen(term: Term, go_on: String) -> Result<Interrupt> {
    let interrupt = Interrupt::new(go_on);
    let asked = interrupt.clone();
    let handler = move || {
        if asked.ask() {
            std::process::exit(ENDED);
        }
        term.note("stopping where nothing is lost: after the next update of the weights, or the stage in hand; once more ends it at once");
    };
    ctrlc::set_handler(handler)
        .map_err(|e| Error::at("Ctrl-C", format!("cannot listen for it: {e}")).fix("run it in another shell"))?;
    Ok(interrupt)
}
