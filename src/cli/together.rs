//! Commands that several processes carry out together.

use std::time::Duration;

use yoloslim::workers::Workers;
use yoloslim_core::Result;

use crate::term::{Term, print_error};

/// How long the others hold their own errors back: of one that all of them have, only the leader tells.
const LEADERS_WORD: Duration = Duration::from_secs(6);

/// Runs a command with the workers that were started with this process. The leader speaks for all; a worker that fails
/// ends all of them.
pub fn run(term: Term, command: impl FnOnce(Term, &Workers) -> Result<()>) -> Result<()> {
    let workers = Workers::join()?;
    let follows = !workers.leads();
    let term = Term { quiet: term.quiet || follows, silent: follows, ..term };
    if workers.size() == 1 {
        return command(term, &workers);
    }
    term.note(format!("{} workers", workers.size()));
    let result = command(term, &workers);
    match &result {
        Ok(()) => workers.leave(),
        Err(error) => {
            if follows {
                std::thread::sleep(LEADERS_WORD);
            }
            let name = format!("worker {} of {}", workers.rank() + 1, workers.size());
            print_error(&error.clone().inside(name));
            workers.abort();
        }
    }
    result
}
