//! What the run that made a net tells of how to go on with it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use yoloslim::run_folder::CONFIG;

use crate::term::beside;

/// The run in whose folder a cfg lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The run's folder.
    pub run: PathBuf,
    /// The data set that it was trained on.
    pub data: PathBuf,
    /// Cfg and weights of the net that taught it, if one did.
    pub teacher: Option<[PathBuf; 2]>,
}

/// The part of a run's config that is read here; runs of every kind have it.
#[derive(Debug, Deserialize)]
struct Config {
    data: PathBuf,
    options: Options,
}

/// Of a training `distil` alone, of a slimming the other two.
#[derive(Debug, Deserialize)]
struct Options {
    distil: Option<Distil>,
    train: Option<Training>,
    teach: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Training {
    distil: Option<Distil>,
}

#[derive(Debug, Deserialize)]
struct Distil {
    teacher: Option<Teacher>,
}

#[derive(Debug, Deserialize)]
struct Teacher {
    cfg: PathBuf,
    weights: PathBuf,
}

impl Origin {
    /// The run whose folder, or whose stage's folder, holds the cfg. None for a cfg from elsewhere, or of a run whose
    /// config can't be read: what comes next is advice, not worth an error.
    pub fn of(cfg: &Path) -> Option<Self> {
        let folder = cfg.parent()?;
        // The current folder is no part of a path in it.
        let above = if folder.as_os_str().is_empty() { Some(Path::new("..")) } else { folder.parent() };
        let run = [Some(folder), above].into_iter().flatten().find(|f| f.join(CONFIG).is_file())?;
        let config: Config = toml::from_str(&std::fs::read_to_string(run.join(CONFIG)).ok()?).ok()?;
        let Options { distil, train, teach } = config.options;
        let distil = distil.or(train.and_then(|train| train.distil)).filter(|_| teach != Some(false));
        let named = distil.and_then(|d| d.teacher).map(|t| [t.cfg, t.weights]);
        // The baseline of a run of slim teaches the stages after it.
        let baseline = ["result.cfg", "result.weights"].map(|file| run.join("baseline").join(file));
        let is_baseline = std::path::absolute(folder).is_ok_and(|folder| folder.ends_with("baseline"));
        let teaches = teach != Some(false) && !is_baseline && baseline.iter().all(|path| path.is_file());
        Some(Self { run: run.to_owned(), data: config.data, teacher: named.or_else(|| teaches.then_some(baseline)) })
    }
}

/// The data set to go on with: that of the run that made the net, if one did.
pub fn data(cfg: &Path) -> Option<PathBuf> {
    Origin::of(cfg).map(|origin| origin.data)
}

/// A path for what is made of a net, in nobody else's folder: beside that of the run or the pruning that the cfg lies in,
/// else beside the cfg.
pub fn beside_net(cfg: &Path, word: &str) -> PathBuf {
    let pruned = || cfg.parent().filter(|folder| folder.join("plan.json").is_file()).map(Path::to_owned);
    let folder = Origin::of(cfg).map(|origin| origin.run).or_else(pruned);
    beside(folder.as_deref().unwrap_or(cfg), word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_net_in_a_runs_folder_goes_on_with_its_data_and_its_teacher() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        let net = run.join("last.cfg");
        assert_eq!(Origin::of(&net), None);
        std::fs::write(run.join(CONFIG), "data = \"/d\"\nworkers = 1\n[options]\nepochs = 3\n").unwrap();
        assert_eq!(Origin::of(&net), Some(Origin { run: run.into(), data: "/d".into(), teacher: None }));
        let taught =
            "data = \"/d\"\n[options.distil]\nlosses = []\n[options.distil.teacher]\ncfg = \"a\"\nweights = \"b\"\n";
        std::fs::write(run.join(CONFIG), taught).unwrap();
        assert_eq!(Origin::of(&net).unwrap().teacher, Some(["a".into(), "b".into()]));
        assert_eq!(beside_net(&net, "slim"), beside(run, "slim"));
        std::fs::write(run.join(CONFIG), "not toml").unwrap();
        assert_eq!(Origin::of(&net), None);
        assert_eq!(beside_net(&net, "slim"), run.join("last-slim"));
        std::fs::write(run.join("plan.json"), "").unwrap();
        assert_eq!(beside_net(&net, "slim"), beside(run, "slim"));
    }

    #[test]
    fn the_baseline_of_a_slimming_teaches_every_stage_but_itself() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        std::fs::write(run.join(CONFIG), "data = \"/d\"\n[options]\n").unwrap();
        for file in ["baseline/result.cfg", "baseline/result.weights", "sparse/result.cfg"] {
            std::fs::create_dir_all(run.join(file).parent().unwrap()).unwrap();
            std::fs::write(run.join(file), "").unwrap();
        }
        let teacher = Some(["cfg", "weights"].map(|kind| run.join("baseline/result").with_extension(kind)));
        assert_eq!(Origin::of(&run.join("sparse/result.cfg")).unwrap().teacher, teacher);
        assert_eq!(Origin::of(&run.join("slim.cfg")).unwrap().teacher, teacher);
        assert_eq!(Origin::of(&run.join("baseline/result.cfg")).unwrap().teacher, None);
        let other =
            "data = \"/d\"\n[options]\nteach = true\n[options.train.distil.teacher]\ncfg = \"a\"\nweights = \"b\"\n";
        std::fs::write(run.join(CONFIG), other).unwrap();
        assert_eq!(Origin::of(&run.join("slim.cfg")).unwrap().teacher, Some(["a".into(), "b".into()]));
        std::fs::write(run.join(CONFIG), other.replace("true", "false")).unwrap();
        assert_eq!(Origin::of(&run.join("slim.cfg")).unwrap().teacher, None);
    }
}
