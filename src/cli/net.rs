//! The nets that are named on the command line.

use std::path::{Path, PathBuf};

use clap::Args;
use yoloslim_core::darknet::{Cfg, probable_slips};
use yoloslim_core::{Network, Result};

use crate::term::Term;

/// A cfg and its weights.
#[derive(Debug, Args)]
pub struct NetArgs {
    /// Darknet .cfg file
    pub cfg: PathBuf,
    /// Its .weights file
    pub weights: PathBuf,
}

impl NetArgs {
    /// Reads both files and tells what is known of them.
    pub fn read(&self, term: Term) -> Result<Network> {
        let network = Network::read(&self.cfg, &self.weights)?;
        warn_of_slips(&self.cfg, &network.cfg, term);
        if let Some(hint) = known_trap(&network) {
            term.note(format!("{}:{hint}", self.cfg.display()));
        }
        Ok(network)
    }
}

/// Warns of keys that were probably meant to be others.
pub fn warn_of_slips(path: &Path, cfg: &Cfg, term: Term) {
    for slip in probable_slips(cfg) {
        term.warn(format!("{}:{slip}", path.display()));
    }
}

/// Whether a cfg is one that was slimmed: its name or the plan beside it tells.
pub fn is_slim(cfg: &Path) -> bool {
    let named = cfg.file_name().is_some_and(|name| name == "slim.cfg");
    cfg.is_file() && (named || cfg.with_file_name("plan.json").is_file())
}

/// The mAP@0.5 below which a net has not learnt its task yet, and slimming or exporting it would be in vain.
pub const LEARNT: f64 = 0.1;

/// The published yolov3-tiny.cfg gives its fine head the anchors 0,1,2, but the published weights were trained with
/// 1,2,3: their boxes on that head are too small by about half. Tells so when cfg and weights look like that pair.
fn known_trap(network: &Network) -> Option<String> {
    const ANCHORS: [[f32; 2]; 3] = [[10.0, 14.0], [23.0, 27.0], [37.0, 58.0]];
    /// Images that the published weights say they have seen.
    const SEEN: u64 = 32_013_312;
    let heads: Vec<_> = network.graph.heads().collect();
    let &[_, (layer, fine)] = heads.as_slice() else { return None };
    let published = network.parameters() == 8_852_366 && network.header.seen == SEEN;
    (published && fine.classes == 80 && fine.anchors == ANCHORS).then(|| {
        format!(
            "{}: mask=0,1,2 is what the published file says, but these weights were trained with mask=1,2,3; boxes of \
             small objects fit better if you change it",
            network.graph.layers[layer].place
        )
    })
}
