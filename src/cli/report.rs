//! `report`: a run's page, written or served.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use yoloslim::report;
use yoloslim_core::{Result, files, path_text};

use super::origin;
use super::slim::train_more;
use crate::term::{self, Next, Term, beside};

/// Write the report of a run, one HTML file that opens without a network, or serve it while the run goes on
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    yoloslim report runs/helmets\n  \
    yoloslim report runs/helmets --watch --port 8800")]
pub struct Report {
    /// Folder of a run of slim, train or demo
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Another file to write to [default: report.html in the run's folder]
    #[arg(short, long, value_name = "FILE", conflicts_with = "watch")]
    output: Option<PathBuf>,
    /// Serve the report on this machine, and refresh it as the run goes on
    #[arg(long)]
    watch: bool,
    /// Port to serve it on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8787, requires = "watch")]
    port: u16,
    /// Print one JSON document
    #[arg(long, conflicts_with = "watch")]
    json: bool,
}

/// For how many epochs a net that finds next to nothing is trained on.
const EPOCHS: usize = 100;

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    #[serde(serialize_with = "path_text::one")]
    report: PathBuf,
    #[serde(flatten)]
    run: report::Summary,
}

impl Report {
    pub fn run(self, term: Term) -> Result<()> {
        if self.watch {
            let server = report::Server::bind(&self.run, self.port)?;
            term.note(format!("{} shows the run as it goes on; stop with Ctrl-C", server.address()));
            return server.serve();
        }
        let path = match &self.output {
            None => report::write(&self.run)?,
            Some(file) => {
                files::require_absent(file)?;
                files::write_whole(file, report::render(&self.run)?.as_bytes())?;
                file.clone()
            }
        };
        let run = report::summary(&self.run)?;
        if self.json {
            return term::print_json(&Summary { report: path, run });
        }
        term.note(&run.verdict);
        term.wrote(format!("{}, for a browser", path.display()));
        let slim = self.run.join("slim.cfg").is_file();
        term.next(match (run.complete, slim) {
            (false, _) => Next::new("report").path(&self.run).with("--watch"),
            (true, true) if run.detects_next_to_nothing => {
                train_more(&self.run, origin::data(&self.run.join("slim.cfg")).as_deref(), EPOCHS)
            }
            (true, true) => {
                Next::new("export").net(&self.run, "slim").with("--format onnx").output(beside(&self.run, "onnx"))
            }
            (true, false) => {
                let data = origin::data(&self.run.join("last.cfg"));
                Next::new("eval").net(&self.run, "last").data(data.as_deref())
            }
        });
        Ok(())
    }
}
