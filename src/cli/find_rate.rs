//! `train --find-lr`: which learning rate to start from.

use std::path::Path;

use yoloslim::train::distil::read_teacher;
use yoloslim::train::{self, Interrupt, Job, Rates, TrainOptions};
use yoloslim::workers::Workers;
use yoloslim_core::{Network, Result};

use super::knobs::Data;
use crate::term::{self, Next, Term};

/// Prints a table of learning rates and their losses.
pub fn run(
    options: &TrainOptions,
    start: Network,
    data: &Data,
    json: bool,
    term: Term,
    workers: &Workers,
) -> Result<()> {
    let bar = term.progress(train::MOST_UPDATES, "updates");
    let job = Job {
        teacher: read_teacher(options.distil.as_ref(), &start.graph)?,
        network: start,
        dataset: &data.train,
        val: None,
        options,
        folder: Path::new(""),
        threads: rayon::current_num_threads(),
        workers,
        rounding: None,
        interrupt: Interrupt::never(),
    };
    let rates = train::find_learning_rate(job, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    if !workers.leads() {
        return Ok(());
    }
    if json {
        return term::print_json(&rates);
    }
    let Rates { tried, suggested } = rates;
    let lines = tried.iter().map(|tried| format!("{:.2e}  {:.4}\n", tried.rate, tried.loss));
    term::print(&format!("rate      loss\n{}", lines.collect::<String>()))?;
    let next = Next::typed_without("--find-lr");
    let next = match suggested {
        Some(rate) => {
            term.note(format!("a good --lr is {rate:.1e}, a tenth of the rate at which the loss was least"));
            next.with(&format!("--lr {rate:.1e}"))
        }
        None => {
            term.note("the loss never fell clearly within these updates: the default rate is as good a guess as any");
            next
        }
    };
    term.next(next.output("run"));
    Ok(())
}
