//! Slims a net from Rust: generated pictures, a small detector, a third of its operations.
//!
//!     cargo run --release --example slim_a_net -- FOLDER

use std::path::PathBuf;

use yoloslim::core::Result;
use yoloslim::core::labels::{self, Split};
use yoloslim::core::prune::{PruneOptions, Target};
use yoloslim::demo;
use yoloslim::slim::{SlimOptions, slim_alone, table};

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("slim_a_net"), PathBuf::from);
    // Any data set will do: a .data, a .yaml, a COCO .json or a folder of VOC.
    let data = demo::generate(&folder.join("data"))?;
    let (train, val) = (labels::load(&data, &Split::Train)?, labels::load(&data, &Split::Val)?);

    let prune = PruneOptions { target: Target::Flops(0.3), ..PruneOptions::default() };
    let options = SlimOptions { baseline_epochs: 4, sparse_epochs: 4, fine_tune_epochs: 2, prune, ..demo::options() };
    let (slim, record) = slim_alone(demo::network()?, (&train, &val), &options, &folder.join("run"), &mut |_| {})?;

    println!("{}\n{} parameters are left", table(&record), slim.parameters());
    Ok(())
}
