//! Where and how the run was made, and the commands that make it again.

use serde::Serialize;

use super::run::Run;
use super::words;

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
    fact("Program", format!("yoloslim {}", record.version));
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
        commands.push(("The run, to the same bits on the same kind of processor", shell(&record.command)));
    }
    let folder = run.folder.display().to_string();
    if record.running.is_some() {
        let kind = record.command.get(1).map_or("slim", String::as_str);
        commands.push(("Go on where it was stopped", shell(&["yoloslim", kind, "--resume", &folder])));
    }
    Repeat { facts, commands }
}

/// A command line as a shell reads it.
fn shell<S: AsRef<str>>(words: &[S]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted = |word: &S| match word.as_ref() {
        w if !w.is_empty() && w.chars().all(plain) => w.to_owned(),
        w => format!("'{}'", w.replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_split_is_quoted() {
        assert_eq!(shell(&["a", "b c", "it's", "--x=1", ""]), r"a 'b c' 'it'\''s' --x=1 ''");
    }
}
