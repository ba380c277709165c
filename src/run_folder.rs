//! A run's folder: the network it starts from, its config, and a lock that keeps a second process out.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use yoloslim_core::{Error, Network, Result, files};

use crate::shell;
use crate::workers::Workers;

/// What a run was started with, saved as `config.toml`, so that it can go on without its command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig<O> {
    /// The data set.
    pub data: PathBuf,
    /// The command line.
    pub command: Vec<String>,
    /// The workers that the run was started with, whose batches the options tell together.
    #[serde(default = "one")]
    pub workers: usize,
    /// The options of the run's kind.
    pub options: O,
}

fn one() -> usize {
    1
}

/// A run's folder, locked for this process and for the workers that it leads.
pub struct RunFolder {
    path: PathBuf,
    /// Held for its lock, by the leader.
    lock: Option<File>,
}

/// The file of a run's folder that tells what the run was started with.
pub const CONFIG: &str = "config.toml";
const START: &str = "start";
const LOCK: &str = ".lock";

/// The names of the classes in a run's folder, one a line.
pub const CLASS_NAMES: &str = "classes.names";

impl RunFolder {
    /// Makes the folder of a new run and writes what it starts from; of several workers, the leader does.
    ///
    /// # Errors
    /// A folder that holds something already, or can't be written.
    pub fn create<O: Serialize>(
        path: &Path,
        start: &Network,
        config: &RunConfig<O>,
        workers: &Workers,
    ) -> Result<Self> {
        if !workers.leads() {
            return Ok(Self { path: path.to_owned(), lock: None });
        }
        let text = config_text(config)?;
        files::create_folder(path)?;
        if !is_free(path)? {
            return Err(Error::at(path.display(), "the folder is not empty, and nothing is overwritten")
                .fix("give another folder with -o, or go on with the run in it with --resume"));
        }
        let folder = Self::lock(path)?;
        files::remove_drafts(path)?;
        start.write(path, START)?;
        // The config comes last: a folder that has one is complete.
        files::write_whole(&path.join(CONFIG), text.as_bytes())?;
        Ok(folder)
    }

    /// Opens the folder of a run to go on with it; of several workers, the leader locks it and the others read.
    ///
    /// # Errors
    /// A folder that holds no run, or one that another process works in.
    pub fn open<O: DeserializeOwned>(path: &Path, workers: &Workers) -> Result<(Self, Network, RunConfig<O>)> {
        let config = path.join(CONFIG);
        if !config.is_file() {
            return Err(Error::at(path.display(), "there is no run in this folder")
                .fix("give the folder that was given to -o when the run was started"));
        }
        let folder = if workers.leads() { Self::lock(path)? } else { Self { path: path.to_owned(), lock: None } };
        if workers.leads() {
            sweep(path)?;
        }
        let text = files::read_text(&config)?;
        let parsed = toml::from_str(&text).map_err(|e| {
            let cause = e.message().split(", expected").next().unwrap_or_default();
            Error::at(config.display(), cause).fix(match started_by(&text).as_deref() {
                Some(command @ ("train" | "slim")) => {
                    format!("it is a run of `yoloslim {command}`: go on with {}", shell::resume(command, path))
                }
                _ => "undo what was changed in it, or start a new run".to_owned(),
            })
        })?;
        let start = Network::read(&path.join(format!("{START}.cfg")), &path.join(format!("{START}.weights")))?;
        Ok((folder, start, parsed))
    }

    /// Writes the names of the classes beside the nets, for commands that see no data set, unless they are there; the leader does.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn name_classes(&self, names: &[String]) -> Result<()> {
        let path = self.path.join(CLASS_NAMES);
        if self.lock.is_none() || path.is_file() {
            return Ok(());
        }
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        files::write_whole(&path, text.as_bytes())
    }

    fn lock(path: &Path) -> Result<Self> {
        let file = path.join(LOCK);
        let lock = File::create(&file).map_err(|e| {
            Error::at(file.display(), format!("cannot write: {e}")).fix("give a folder that can be written")
        })?;
        lock.try_lock().map_err(|_| {
            Error::at(path.display(), "another process works in this folder").fix("wait for it or stop it first")
        })?;
        Ok(Self { path: path.to_owned(), lock: Some(lock) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn config_text<O: Serialize>(config: &RunConfig<O>) -> Result<String> {
    toml::to_string(config).map_err(|e| {
        let place = if config.data.to_str().is_none() { config.data.display().to_string() } else { CONFIG.to_owned() };
        Error::at(place, e).fix("give paths that are UTF-8: rename them, or make a link with such a name")
    })
}

/// Whether nothing is in a folder but what a start that failed (a full disk, a killed process) has left: its lock and what comes
/// before the config.
fn is_free(path: &Path) -> Result<bool> {
    let cannot = |e: std::io::Error| Error::at(path.display(), e).fix("check the folder's permissions");
    let entries = std::fs::read_dir(path).map_err(cannot)?;
    let names: Vec<_> = entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>().map_err(cannot)?;
    let starts = [LOCK.to_owned(), format!("{START}.cfg"), format!("{START}.weights")];
    let is_left = |name: &str| starts.iter().any(|start| start == name) || files::is_draft(name);
    Ok(names.is_empty() || (path.join(LOCK).is_file() && names.iter().all(|name| name.to_str().is_some_and(is_left))))
}

/// The command that started a run with this config.
fn started_by(config: &str) -> Option<String> {
    toml::from_str::<RunConfig<toml::Value>>(config).ok()?.command.into_iter().nth(1)
}

/// Removes drafts of files that a killed process has left in a run's folder and in those of its stages.
fn sweep(path: &Path) -> Result<()> {
    let cannot = |e: std::io::Error| Error::at(path.display(), e).fix("check the folder's permissions");
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        if entry.path().is_dir() {
            files::remove_drafts(&entry.path())?;
        }
    }
    files::remove_drafts(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;

    fn start() -> Network {
        let text = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=2\nactivation=leaky\n";
        Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 0).unwrap()
    }

    #[test]
    fn what_a_failed_start_has_left_does_not_stand_in_the_way_and_what_others_have_does() {
        let folder = tempfile::tempdir().unwrap();
        let config = RunConfig { data: "d".into(), command: Vec::new(), workers: 1, options: 7 };
        let create = || RunFolder::create(folder.path(), &start(), &config, &Workers::alone()).map(drop);
        for name in [".lock", "start.cfg", ".yoloslim-a1b2"] {
            std::fs::write(folder.path().join(name), "half").unwrap();
        }
        create().unwrap();
        assert!(!folder.path().join(".yoloslim-a1b2").exists());
        let complete = create().unwrap_err().to_string();
        assert!(complete.contains("not empty"), "{complete}");
        for name in [CONFIG, ".lock"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let own = create().unwrap_err().to_string();
        assert!(own.contains("not empty") && folder.path().join("start.cfg").exists(), "{own}");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_no_config_can_hold_is_named_before_there_is_a_folder() {
        use std::os::unix::ffi::OsStringExt;
        let folder = tempfile::tempdir().unwrap();
        let data = std::ffi::OsString::from_vec(b"/nu\xff".to_vec()).into();
        let config = RunConfig { data, command: Vec::new(), workers: 1, options: 7 };
        let run = folder.path().join("run");
        let error = RunFolder::create(&run, &start(), &config, &Workers::alone()).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("/nu") && error.contains("UTF-8") && !run.exists(), "{error}");
    }

    #[test]
    fn going_on_sweeps_the_drafts_of_a_killed_process() {
        let folder = tempfile::tempdir().unwrap();
        let config = RunConfig { data: "d".into(), command: Vec::new(), workers: 1, options: 7 };
        drop(RunFolder::create(folder.path(), &start(), &config, &Workers::alone()).unwrap());
        std::fs::create_dir(folder.path().join("sparse")).unwrap();
        let drafts = [".yoloslim-a1b2", "sparse/.yoloslim-c3d4"].map(|name| folder.path().join(name));
        drafts.iter().for_each(|draft| std::fs::write(draft, "half").unwrap());
        let (_, _, read) = RunFolder::open::<i32>(folder.path(), &Workers::alone()).unwrap();
        assert_eq!(read, config);
        assert!(drafts.iter().all(|draft| !draft.exists()) && folder.path().join("start.cfg").exists());
    }
}
