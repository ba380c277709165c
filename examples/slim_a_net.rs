//! Slims a net from Rust: generated pictures, a small detector, a third of its operations.
//!
//!     cargo run --release --example slim_a_net -- FOLDER

use std::path::PathBuf;

use yoloslim::core::labels::{self, Split};
use yoloslim::core::prune::{self, Evidence, PruneOptions, Target};
use yoloslim::core::{Result, cost};
use yoloslim::detect::{DetectOptions, Detector};
use yoloslim::slim::SlimOptions;
use yoloslim::train::{TrainOptions, train_alone};
use yoloslim::{demo, prove::prove, reestimate::reestimate_on};

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("slim_a_net"), PathBuf::from);
    // Any data set will do: a .data, a .yaml, a COCO .json or a folder of VOC.
    let data = demo::generate(&folder.join("data"))?;
    let (train, val) = (labels::load(&data, &Split::Train)?, labels::load(&data, &Split::Val)?);

    // Train a detector, and train on with the penalty that draws to zero what will be pruned.
    let goal = PruneOptions { target: Target::Flops(0.3), ..PruneOptions::default() };
    let options =
        SlimOptions { baseline_epochs: 4, sparse_epochs: 6, prune: goal.clone(), teach: false, ..demo::options() };
    let fit = |net, options: &TrainOptions, stage: &str| {
        train_alone(net, (&train, &val), options, &folder.join(stage), &mut |_| {})
    };
    let baseline = fit(demo::network()?, &options.baseline(), "baseline")?.network;
    let sparse = fit(baseline, &options.sparse(goal.clone()), "sparse")?.network;

    // Decide, do, prove: the slim net computes what the masked one computes.
    let plan = prune::plan(&sparse, &goal, &Evidence::default())?;
    let pruned = prune::apply(&sparse, &plan)?;
    println!("{plan}\nheads differ by {:.1e} of their largest value", prove(&pruned)?);
    let slim = reestimate_on(&pruned.compact, &train)?;
    slim.write(&folder, "slim")?;

    for (name, net) in [("sparse", &sparse), ("slim", &slim)] {
        let found = Detector::new(net, DetectOptions::for_evaluation(None))?.evaluate(&val)?;
        println!("{name:7} {:.3} BFLOPs, mAP@0.5 {:.3}", cost::flops(&net.graph) / 1e9, found.map50.unwrap_or(0.0));
    }
    Ok(())
}
