//! Slims a net from Rust: generated pictures, a small detector, a third of its operations.
//!
//!     cargo run --release --example slim_a_net -- FOLDER

use std::path::{Path, PathBuf};

use yoloslim::detect::{DetectOptions, Detector};
use yoloslim::slim::SlimOptions;
use yoloslim::train::TrainOptions;
use yoloslim::workers::Workers;
use yoloslim::{demo, prove, reestimate, train};
use yoloslim_core::labels::{self, Dataset, Split};
use yoloslim_core::prune::{self, Evidence, PruneOptions, Target};
use yoloslim_core::{Network, Result, cost};

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("slim_a_net"), PathBuf::from);
    let data = demo::generate(&folder.join("data"))?;
    let (pictures, unseen) = (labels::load(&data, &Split::Train)?, labels::load(&data, &Split::Val)?);

    // A detector, trained, and trained on with the penalty that draws what will be pruned to zero.
    let options = PruneOptions { target: Target::Flops(0.3), ..PruneOptions::default() };
    let plan_for = SlimOptions { baseline_epochs: 4, sparse_epochs: 6, prune: options.clone(), ..demo::options() };
    let baseline = fit(demo::network()?, &pictures, &plan_for.baseline(), &folder.join("baseline"))?;
    let sparse = fit(baseline, &pictures, &plan_for.sparse(), &folder.join("sparse"))?;

    // Decide, do, prove: the slim net computes what the masked one computes.
    let plan = prune::plan(&sparse, &options, &Evidence::default())?;
    let pruned = prune::apply(&sparse, &plan)?;
    println!("{plan}\nheads differ by {:.1e} of their largest value", prove::prove(&pruned)?);
    let slim = reestimate::reestimate_on(&pruned.compact, &pictures)?;

    for (name, net) in [("sparse", &sparse), ("slim", &slim)] {
        let found = Detector::new(net, DetectOptions::for_evaluation(None))?.evaluate(&unseen)?;
        println!("{name:7} {:.3} BFLOPs, mAP@0.5 {:.3}", cost::flops(&net.graph) / 1e9, found.map50.unwrap_or(0.0));
    }
    slim.write(&folder, "slim")
}

/// Trains in `folder` and gives the averaged net.
fn fit(network: Network, dataset: &Dataset, options: &TrainOptions, folder: &Path) -> Result<Network> {
    yoloslim_core::files::create_folder(folder)?;
    let job = train::Job {
        network,
        teacher: None,
        dataset,
        options,
        folder,
        threads: 2,
        workers: &Workers::alone(),
        rounding: None,
        interrupt: train::Interrupt::never(),
    };
    let mut validate = |net: &Network| Detector::new(net, DetectOptions::for_evaluation(None))?.evaluate(dataset);
    Ok(train::run(job, &mut validate, &mut |_| {})?.network)
}
