//! `prune`: a slimmer net, with the proof that it is the same detector.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use yoloslim::detect::{DetectOptions, Detector};
use yoloslim::new_folder::NewFolder;
use yoloslim::prove::prove_with;
use yoloslim::search::{ByData, Work};
use yoloslim_core::labels::Dataset;
use yoloslim_core::prune::{self, PruneOptions, PrunePlan};
use yoloslim_core::{Error, Network, Result, path_text};

use super::detect::warn_of_other_classes;
use super::knobs::Data;
use super::measure_knobs::MeasureKnobs;
use super::net::NetArgs;
use super::origin::{self, Origin};
use super::profile::warn_if_uncalibrated;
use super::prune_guard::GuardArgs;
use super::prune_knobs::PruneKnobs;
use crate::term::{self, Next, Term, beside};

/// Training images that tell what filters give and are worth.
const IMAGES: usize = 64;

/// Remove channels and residual blocks, and prove that the slim net computes the same
#[derive(Debug, Args)]
pub struct Prune {
    #[command(flatten)]
    net: NetArgs,
    /// Folder for slim.cfg, slim.weights and plan.json, new or empty
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Carry out this plan, which prune or sensitivity wrote, instead of making one
    #[arg(long, value_name = "JSON", conflicts_with_all = [
        "groups", "score", "join", "normalise", "channels", "target_flops", "target_params", "target_latency", "layers",
        "left_behind", "min_keep", "multiple_of", "sensitivity", "block_score", "candidates", "seed",
    ])]
    plan: Option<PathBuf>,
    #[command(flatten)]
    knobs: PruneKnobs,
    /// Data set: training images tell what filters give and are worth, validation images what accuracy is lost
    #[arg(long, value_name = "D", help_heading = "By measurement")]
    data: Option<PathBuf>,
    #[command(flatten)]
    measured: MeasureKnobs,
    /// Seed of the random plans among --candidates
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "By measurement", requires = "candidates")]
    seed: u64,
    #[command(flatten)]
    guard: GuardArgs,
    /// Decide and show what would go, write nothing
    #[arg(long, help_heading = "Options")]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long, help_heading = "Options")]
    json: bool,
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
    #[serde(serialize_with = "path_text::option")]
    cfg: Option<PathBuf>,
    #[serde(serialize_with = "path_text::option")]
    weights: Option<PathBuf>,
}

impl Prune {
    /// Fails where an option would be of no effect.
    pub fn check(&self) -> Result<()> {
        if self.knobs.wants_means() && self.data.is_none() {
            return Err(Error::at("--left-behind means", "there are no images to measure them on").fix("give --data"));
        }
        self.measured.check_blocks(self.knobs.over(PruneOptions::default()).layers)
    }

    pub fn run(self, term: Term) -> Result<()> {
        let options = self.knobs.over(PruneOptions::default());
        options.check()?;
        let folder = match &self.output {
            Some(path) if !self.dry_run => Some(NewFolder::begin(path)?),
            _ => None,
        };
        let network = self.net.read(term)?;
        let classes = network.graph.classes();
        let data = self.data.as_deref().map(|path| Data::read(path, classes, term)).transpose()?;
        data.iter().for_each(|data| warn_of_other_classes(&self.net.cfg, &data.val.names, term));
        let plan = match &self.plan {
            Some(path) => {
                let plan = PrunePlan::load(path)?.on(&network).map_err(|e| e.inside(path.display()))?;
                term.note(format!(
                    "{}: what it tells of gammas and borders it tells of the weights that it was made for",
                    path.display()
                ));
                plan
            }
            None => self.choose(&network, &options, data.as_ref(), term)?,
        };
        plan.warnings().iter().for_each(|warning| term.warn(warning));
        let done = folder.map(|folder| self.carry_out(&network, &plan, data.as_ref(), folder, term)).transpose()?;
        if self.json {
            return term::print_json(&self.summary(&plan, done.as_ref()));
        }
        term::print(&plan.to_string())?;
        if let (Some(done), Some(output)) = (&done, &self.output) {
            term::print(&format!("proof       heads differ by {:.1e} of their largest value at most\n", done.proof))?;
            if let Some((before, after)) = done.accuracy {
                term::print(&format!("mAP@0.5     {before:.4} -> {after:.4} without fine-tuning\n"))?;
            }
            term.wrote(format!("{0}/slim.cfg, {0}/slim.weights and {0}/plan.json", output.display()));
        }
        term.next(self.next());
        Ok(())
    }

    fn by_data(&self) -> ByData {
        self.measured.over(ByData { images: IMAGES, ..ByData::default() })
    }

    /// The plan, by all that the data set tells.
    fn choose(&self, network: &Network, options: &PruneOptions, data: Option<&Data>, term: Term) -> Result<PrunePlan> {
        let (by_data, train, threads) = (self.by_data(), data.map(|data| &data.train), rayon::current_num_threads());
        let mut works = term.works();
        let mut show = |work: Work| works.show(work.what, work.done, work.of);
        let evidence = by_data.evidence(network, options, train, threads, &mut show)?;
        let choice = by_data.choose(network, options, &evidence, (train, self.seed), &mut show)?;
        works.finish();
        choice.tried.iter().for_each(|line| term.note(line));
        if options.has_latency() {
            warn_if_uncalibrated(&options.latency_profile()?, term);
        }
        Ok(choice.plan)
    }

    /// After a dry run the same in earnest; else the accuracy is won back.
    fn next(&self) -> Next {
        let NetArgs { cfg, weights } = &self.net;
        match (&self.output, self.dry_run) {
            (Some(output), false) => {
                let train = Next::new("train").net(output, "slim").data(self.data.as_deref());
                // A net that was taught while sparse is worth less than its teacher.
                let taught_by = Origin::of(cfg).and_then(|origin| origin.teacher);
                let [cfg, weights] = taught_by.unwrap_or_else(|| [cfg.clone(), weights.clone()]);
                train.with("--teacher").path(cfg).path(weights).output(beside(output, "tuned"))
            }
            (Some(_), true) => Next::typed_without("--dry-run"),
            (None, _) => Next::typed_without("--dry-run").output(origin::beside_net(cfg, "slim")),
        }
    }

    /// Cuts, proves, measures, writes. Without a proof nothing is written, nor with too much accuracy lost.
    fn carry_out(
        &self,
        network: &Network,
        plan: &PrunePlan,
        data: Option<&Data>,
        folder: NewFolder,
        term: Term,
    ) -> Result<Done> {
        let pruned = prune::apply(network, plan)?;
        let mut works = term.works();
        let proof = prove_with(&pruned, &mut |done, of| works.show("proving", done, of))?;
        let (slim, accuracy) = match data {
            None => {
                term.warn("accuracy was not measured: give --data to know what the pruning costs");
                (pruned.compact, None)
            }
            Some(data) => {
                let mut works = term.works();
                works.show("measuring statistics", 0, 1);
                let slim = self.by_data().with_statistics(pruned.compact, &data.train)?;
                works.finish();
                let [before, after] = [network, &slim].map(|net| accuracy(net, &data.val, term));
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
            ms_before: plan.milliseconds().map(|spent| spent.before),
            ms_after: plan.milliseconds().map(|spent| spent.after),
            blocks_removed: plan.removed_blocks().count(),
            map50_before: accuracy.map(|(before, _)| before),
            map50_after: accuracy.map(|(_, after)| after),
            proof_max_relative_difference: done.map(|done| done.proof),
            cfg: written("slim.cfg"),
            weights: written("slim.weights"),
        }
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
