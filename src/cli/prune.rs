//! `prune`: a slimmer net, with the proof that it is the same detector.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use yoloslim::data::spread;
use yoloslim::detect::{DetectOptions, Detector};
use yoloslim::evidence::{self, Measuring};
use yoloslim::new_folder::NewFolder;
use yoloslim::prove::prove;
use yoloslim::reestimate::reestimate_statistics;
use yoloslim::search::{self, Judge, Sensitivity};
use yoloslim_core::labels::{self, Dataset, Split};
use yoloslim_core::prune::{self, Evidence, PruneOptions, PrunePlan, Target, blocks};
use yoloslim_core::{Error, Network, Result};

use super::net::NetArgs;
use super::profile::warn_if_uncalibrated;
use super::prune_guard::GuardArgs;
use super::prune_knobs::PruneKnobs;
use crate::term::{self, Term};

/// Remove channels and residual blocks, and prove that the slim net computes the same
#[derive(Debug, Args)]
pub struct Prune {
    #[command(flatten)]
    net: NetArgs,
    /// Folder for slim.cfg, slim.weights and plan.json, new or empty
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    #[command(flatten)]
    knobs: PruneKnobs,
    #[command(flatten)]
    measured: MeasuredArgs,
    #[command(flatten)]
    guard: GuardArgs,
    /// Decide and show what would go, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What goes by a data set.
#[derive(Debug, Args)]
#[command(next_help_heading = "By measurement")]
struct MeasuredArgs {
    /// Data set: training images tell what filters give and are worth, validation images what accuracy is lost
    #[arg(long, value_name = "D")]
    data: Option<PathBuf>,
    /// How many training images
    #[arg(long, default_value_t = 64, value_name = "N", requires = "data")]
    images: usize,
    /// What `sensitivity` wrote: scores count by how much accuracy their group costs
    #[arg(long, value_name = "JSON")]
    sensitivity: Option<PathBuf>,
    /// What residual blocks are ranked by
    #[arg(long, value_enum, default_value = "gamma", value_name = "HOW")]
    block_score: BlockScore,
    /// Plans to try on training images; the most accurate is carried out
    #[arg(long, default_value_t = 1, value_name = "N", requires = "data")]
    candidates: usize,
    /// Leave BN statistics as they are instead of measuring them anew on training images
    #[arg(long)]
    keep_statistics: bool,
}

/// What residual blocks are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BlockScore {
    /// Mean |gamma| of the convolution that ends the branch
    Gamma,
    /// The change of the raw heads without the block, on training images (needs --data)
    Heads,
    /// The accuracy lost without the block (needs --sensitivity)
    Accuracy,
}

/// A data set's two parts.
struct Splits {
    train: Dataset,
    val: Dataset,
}

/// What a carried out plan came to.
struct Done {
    proof: f64,
    /// mAP@0.5 before and after, where there is a data set with objects.
    accuracy: Option<(f64, f64)>,
}

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    params_before: usize,
    params_after: usize,
    bflops_before: f64,
    bflops_after: f64,
    /// Highest score that goes.
    threshold: f64,
    /// Share of all |gamma| that goes.
    gamma_share: f64,
    /// What the profile predicts, where milliseconds were the target.
    ms_before: Option<f64>,
    ms_after: Option<f64>,
    blocks_removed: usize,
    /// On the validation images of --data, without fine-tuning.
    map50_before: Option<f64>,
    map50_after: Option<f64>,
    /// None in a dry run, which does not build the slim net.
    proof_max_relative_difference: Option<f64>,
    cfg: Option<PathBuf>,
    weights: Option<PathBuf>,
}

impl Prune {
    pub fn run(self, term: Term) -> Result<()> {
        let options = self.knobs.over(PruneOptions::default());
        options.check()?;
        let folder = match &self.output {
            Some(path) if !self.dry_run => Some(NewFolder::begin(path)?),
            _ => None,
        };
        let network = self.net.read(term)?;
        let splits = self.measured.splits(&network, term)?;
        let evidence = self.measured.evidence(&network, &options, splits.as_ref(), term)?;
        let plan = self.measured.choose(&network, &options, &evidence, splits.as_ref(), term)?;
        warn(&plan, term)?;
        let done = folder.map(|folder| self.carry_out(&network, &plan, splits.as_ref(), folder, term)).transpose()?;
        if self.json {
            return term::print_json(&self.summary(&plan, done.as_ref()));
        }
        term::print(&plan.to_string())?;
        if let (Some(done), Some(output)) = (&done, &self.output) {
            term::print(&format!("proof       heads differ by {:.1e} of their largest value at most\n", done.proof))?;
            if let Some((before, after)) = done.accuracy {
                term::print(&format!("mAP@0.5     {before:.4} -> {after:.4} without fine-tuning\n"))?;
            }
            term.note(next_step(output));
        }
        Ok(())
    }

    /// Cuts, proves, measures, writes. Without a proof nothing is written, nor with too much accuracy lost.
    fn carry_out(
        &self,
        network: &Network,
        plan: &PrunePlan,
        splits: Option<&Splits>,
        folder: NewFolder,
        term: Term,
    ) -> Result<Done> {
        let pruned = prune::apply(network, plan)?;
        let proof = prove(&pruned)?;
        let (slim, accuracy) = match splits {
            None => {
                term.note("accuracy was not measured: give --data to know what the pruning costs");
                (pruned.compact, None)
            }
            Some(splits) => {
                let slim = self.measured.with_statistics(pruned.compact, &splits.train)?;
                let [before, after] = [network, &slim].map(|net| accuracy(net, &splits.val, term));
                let (before, after) = (before?, after?);
                self.guard.check(before, after, term)?;
                (slim, before.zip(after))
            }
        };
        slim.write(folder.path(), "slim")?;
        plan.save(&folder.path().join("plan.json"))?;
        folder.finish()?;
        Ok(Done { proof, accuracy })
    }

    fn summary(&self, plan: &PrunePlan, done: Option<&Done>) -> Summary {
        let written = |name: &str| done.and(self.output.as_ref()).map(|folder| folder.join(name));
        let accuracy = done.and_then(|done| done.accuracy);
        Summary {
            params_before: plan.before.params,
            params_after: plan.after.params,
            bflops_before: plan.before.flops / 1e9,
            bflops_after: plan.after.flops / 1e9,
            threshold: plan.threshold,
            gamma_share: plan.gamma_share,
            ms_before: plan.budget.as_ref().map(|spent| spent.before),
            ms_after: plan.budget.as_ref().map(|spent| spent.after),
            blocks_removed: plan.removed_blocks().count(),
            map50_before: accuracy.map(|(before, _)| before),
            map50_after: accuracy.map(|(_, after)| after),
            proof_max_relative_difference: done.map(|done| done.proof),
            cfg: written("slim.cfg"),
            weights: written("slim.weights"),
        }
    }
}

impl MeasuredArgs {
    fn splits(&self, network: &Network, term: Term) -> Result<Option<Splits>> {
        let Some(path) = &self.data else { return Ok(None) };
        let [train, val] = [Split::Train, Split::Val].map(|split| labels::load(path, &split));
        let splits = Splits { train: train?, val: val? };
        for set in [&splits.train, &splits.val] {
            labels::check_classes(set, network.graph.classes()).map_err(|e| e.inside(path.display()))?;
            set.warnings.iter().for_each(|warning| term.warn(warning));
        }
        Ok(Some(splits))
    }

    /// What data set and sensitivity tell.
    fn evidence(
        &self,
        network: &Network,
        options: &PruneOptions,
        splits: Option<&Splits>,
        term: Term,
    ) -> Result<Evidence> {
        let mut evidence = match splits {
            None => Evidence::default(),
            Some(splits) => {
                let bar = term.progress(self.images, "calibrating");
                let measuring = Measuring { images: self.images, threads: rayon::current_num_threads() };
                let mut progress = |done| bar.set_position(done as u64);
                let evidence = evidence::measure(network, &splits.train, options.score, measuring, &mut progress);
                bar.finish_and_clear();
                evidence?
            }
        };
        let sensitivity = self.sensitivity.as_deref().map(Sensitivity::load).transpose()?;
        evidence.factors = sensitivity.as_ref().map(Sensitivity::factors);
        evidence.blocks = match (self.block_score, &sensitivity, splits) {
            (BlockScore::Gamma, ..) => None,
            (BlockScore::Accuracy, Some(sensitivity), _) => Some(sensitivity.block_effects()),
            (BlockScore::Heads, _, Some(splits)) => {
                let paths = spread(&splits.train, self.images);
                let bar = term.progress(blocks::blocks(network, None).len(), "removing each block");
                let effects = search::block_effects(network, paths, &mut |done| bar.set_position(done as u64));
                bar.finish_and_clear();
                Some(effects?)
            }
            (BlockScore::Accuracy, None, _) => {
                return Err(Error::at("--block-score accuracy", "no sensitivity was measured")
                    .fix("run sensitivity, and give its file by --sensitivity"));
            }
            (BlockScore::Heads, _, None) => {
                return Err(Error::at("--block-score heads", "there are no images to go by").fix("give --data"));
            }
        };
        // Fails before any work when the score needs data.
        options.score.check(&evidence)?;
        Ok(evidence)
    }

    /// The plan, or the best of many.
    fn choose(
        &self,
        network: &Network,
        options: &PruneOptions,
        evidence: &Evidence,
        splits: Option<&Splits>,
        term: Term,
    ) -> Result<PrunePlan> {
        let Some(splits) = splits.filter(|_| self.candidates > 1) else {
            return prune::plan(network, options, evidence);
        };
        let judge = Judge::new(&splits.train, self.images);
        let bar = term.progress(self.candidates, "trying plans");
        let mut accuracy = |slim: &Network| judge.accuracy_reestimated(slim);
        let mut progress = |done| bar.set_position(done as u64);
        let found = search::search(network, options, evidence, (self.candidates, 0), &mut accuracy, &mut progress);
        bar.finish_and_clear();
        let found = found?;
        for candidate in found.iter().take(3) {
            term.note(format!("mAP@0.5 {:.4} on training images: {}", candidate.accuracy, candidate.name));
        }
        let best = found.into_iter().next().map(|candidate| candidate.plan);
        best.ok_or_else(|| Error::at("--candidates", "no plan was made").fix("give 1 or more"))
    }

    /// The slim net with BN statistics of training images: what goes moved them.
    fn with_statistics(&self, slim: Network, train: &Dataset) -> Result<Network> {
        if self.keep_statistics {
            return Ok(slim);
        }
        reestimate_statistics(&slim, spread(train, self.images), &mut |_| {})
    }
}

/// mAP@0.5; none where the images hold no objects.
fn accuracy(network: &Network, val: &Dataset, term: Term) -> Result<Option<f64>> {
    let bar = term.progress(val.samples.len(), "evaluating");
    let mut detector = Detector::new(network, DetectOptions::for_evaluation(None))?;
    let evaluation = detector.evaluate_with(val, &mut |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    Ok(evaluation?.map50)
}

/// Tells what speaks against a plan, and against the profile that it was made by.
pub fn warn(plan: &PrunePlan, term: Term) -> Result<()> {
    plan.warnings().iter().for_each(|warning| term.warn(warning));
    if matches!(plan.options.target, Target::Latency(_)) {
        warn_if_uncalibrated(&plan.options.latency_profile()?, term);
    }
    Ok(())
}

fn next_step(output: &Path) -> String {
    let (cfg, weights) = (output.join("slim.cfg"), output.join("slim.weights"));
    format!("next, get accuracy back: yoloslim train {} {} --data D -o RUN", cfg.display(), weights.display())
}
