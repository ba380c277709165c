//! `demo`: the whole pipeline on images that it generates itself.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use yoloslim::demo;
use yoloslim::journal::new_record;
use yoloslim::report::REPORT;
use yoloslim::run_folder::{RunConfig, RunFolder};
use yoloslim::shell;
use yoloslim::slim::{PICTURE, Pipeline, table};
use yoloslim::workers::Workers;
use yoloslim_core::record::{RunRecord, StageRecord};
use yoloslim_core::{Error, Result};

use super::interrupt::listen;
use super::knobs::Data;
use super::slim::run_pipeline;
use crate::term::{self, Next, Term};

/// The whole pipeline on generated images, in minutes: train, sparsity, prune, fine-tune, compare
#[derive(Debug, Args)]
pub struct Demo {
    /// Folder of the run, new or empty
    #[arg(short, long, value_name = "DIR", default_value = "yoloslim-demo")]
    output: PathBuf,
    /// Print one JSON document: the run's record
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub fn run(self, term: Term) -> Result<()> {
        let begin = Instant::now();
        let network = demo::network()?;
        let options = demo::options();
        let run = self.output.join("run");
        let config = RunConfig {
            data: super::train::absolute(&self.output.join("data/data.yaml"))?,
            command: shell::typed(),
            workers: 1,
            options,
        };
        let workers = Workers::alone();
        let folder = RunFolder::create(&run, &network, &config, &workers)?;
        let mut works = term.works();
        let yaml = demo::generate_with(&self.output.join("data"), &mut |done, of| works.show("drawing", done, of))?;
        let data = Data::read(&yaml, network.graph.classes(), term)?;
        term.line(format!(
            "generated {} images to train on and {} to measure on",
            data.train.samples.len(),
            data.val.samples.len()
        ));
        folder.name_classes(&data.train.names)?;
        let mut record = new_record(&config.command, &data.train, &data.val);
        let pipeline = Pipeline {
            train: &data.train,
            val: &data.val,
            options: &config.options,
            folder: folder.path(),
            threads: rayon::current_num_threads(),
            workers: &workers,
            interrupt: listen(term, shell::resume("slim", &run))?,
        };
        run_pipeline(&pipeline, network, &mut record, term)?;
        if self.json {
            return term::print_json(&record);
        }
        term::print(&table(&record))?;
        term::print(&summary(&record, begin.elapsed().as_secs_f64())?)?;
        term.note(format!("what was won and lost: {}, for a browser", run.join(REPORT).display()));
        term.wrote(format!("{0}/slim.cfg, {0}/slim.weights and {0}/{PICTURE}", run.display()));
        term.next(next(&self.output));
        Ok(())
    }
}

/// What was won and what was lost, in a sentence.
fn summary(record: &RunRecord, seconds: f64) -> Result<String> {
    let (Some(first), Some(last)) = (record.stages.first(), record.result()) else {
        return Err(Error::at("demo", "no stage was run"));
    };
    let accuracy = |s: &StageRecord| s.evaluation.as_ref().and_then(|e| e.map50).unwrap_or(0.0);
    Ok(format!(
        "{:.0} % of the operations and {:.0} % of the parameters are gone;\nmAP@0.5 went from {:.3} to {:.3}; {seconds:.0} s \
         in all\n",
        100.0 * (1.0 - last.bflops / first.bflops),
        100.0 * (1.0 - last.params as f64 / first.params as f64),
        accuracy(first),
        accuracy(last)
    ))
}

/// What the slim net finds on the pictures that it was measured on.
fn next(output: &Path) -> Next {
    let detect = Next::new("detect").net(&output.join("run"), "slim").path(output.join("data/images/val"));
    detect.output(output.join("found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_uses_what_the_demo_wrote() {
        let wanted = "yoloslim detect d/run/slim.cfg d/run/slim.weights d/data/images/val -o d/found";
        assert_eq!(next(Path::new("d")).to_string(), wanted);
    }
}
