//! Where and how the run was made, and the commands that make it again.

use serde::Serialize;

use yoloslim_core::record::RunRecord;

use super::run::Run;
use super::words;
use crate::shell;

/// The last part of the page.
#[derive(Debug, Serialize)]
pub struct Repeat {
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
    /// What a command does, and the command.
    pub commands: Vec<(&'static str, String)>,
}

/// What is known of a run's surroundings.
pub fn repeat(run: &Run) -> Repeat {
    let record = &run.record;
    let mut facts = Vec::new();
    let mut fact = |name, value: String| {
        if !value.is_empty() {
            facts.push((name, value));
        }
    };
    fact("Program", program(record));
    if let Some(e) = &record.environment {
        fact("Started", words::moment(e.started));
        fact("Processor", e.processor.clone().unwrap_or_default());
        fact("System", e.system.clone());
        fact("Kernels", e.instructions.clone());
        fact("Threads", e.threads.to_string());
        fact("Folder", e.folder.display().to_string());
    }
    if let Some(d) = &record.data {
        let images = |images: usize, objects: usize| format!("{images} images, {objects} objects");
        fact("Trained on", images(d.train_images, d.train_objects));
        fact("Measured on", images(d.val_images, d.val_objects));
        fact("Classes", d.names.join(", "));
    }
    let took: f64 = record.stages.iter().map(|s| s.seconds).sum();
    fact("All stages took", words::duration(took));
    let mut commands = Vec::new();
    if !record.command.is_empty() {
        commands.push(("The run, to the same bits on the same kind of processor", shell::line(&record.command)));
    }
    let folder = run.folder.display().to_string();
    if let Some(running) = &record.running {
        // A run of `demo` is one of `slim`, and goes on as such.
        let kind = if running.name == "train" { "train" } else { "slim" };
        commands.push(("Go on where it was stopped", shell::line(&["yoloslim", kind, "--resume", &folder])));
    }
    Repeat { facts, commands }
}

/// Version, commit and features of the program that made the run.
fn program(record: &RunRecord) -> String {
    let mut words = format!("yoloslim {}", record.version);
    if let Some(e) = record.environment.as_ref().filter(|e| !e.commit.is_empty()) {
        let features = if e.features.is_empty() { "none" } else { &e.features };
        words.push_str(&format!(", commit {}, features: {features}", e.commit));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::record::Environment;

    #[test]
    fn the_program_is_named_with_what_it_was_built_from() {
        let mut record = RunRecord { version: "0.1.0".to_owned(), ..RunRecord::default() };
        assert_eq!(program(&record), "yoloslim 0.1.0");
        record.environment = Some(Environment { commit: "ea58266".to_owned(), ..Environment::default() });
        assert_eq!(program(&record), "yoloslim 0.1.0, commit ea58266, features: none");
    }

    #[test]
    fn a_run_that_was_stopped_goes_on_by_a_command_that_exists_whatever_began_it() {
        for (command, stage, kind) in [
            (&["yoloslim", "--threads", "2", "slim", "a.cfg"][..], "sparse", "slim"),
            (&["/usr/bin/yoloslim", "demo"], "baseline", "slim"),
            (&["yoloslim", "-q", "train", "a.cfg"], "train", "train"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            let mut record = RunRecord { command, ..RunRecord::default() };
            record.begin(stage, 3);
            record.write(&folder.path().join(yoloslim_core::record::RECORD)).unwrap();
            let run = Run::read(folder.path()).unwrap();
            let wanted = format!("yoloslim {kind} --resume {}", folder.path().display());
            assert_eq!(repeat(&run).commands[1].1, wanted);
        }
    }
}
