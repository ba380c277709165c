//! `prune`: a slimmer net, with the proof that it is the same detector.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use yoloslim::evidence::{self, Measuring};
use yoloslim::new_folder::NewFolder;
use yoloslim::prove::prove;
use yoloslim_core::cost::profile::Profile;
use yoloslim_core::labels::{self, Split};
use yoloslim_core::prune::{self, Criterion, Evidence, Groups, Join, Normalise, PruneOptions, PrunePlan, Target};
use yoloslim_core::{Network, Result};

use super::net::NetArgs;
use super::profile::warn_if_uncalibrated;
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
    /// Data set whose training images show what each filter gives and is worth; what it gives on average takes its place
    #[arg(long, value_name = "D")]
    data: Option<PathBuf>,
    /// How many of those images
    #[arg(long, default_value_t = 64, value_name = "N", requires = "data")]
    images: usize,
    /// Decide and show what would go, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What is pruned and how far.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pruning")]
pub struct PruneKnobs {
    /// What channels that a shortcut ties are worth together, or that they stay
    #[arg(long, value_enum, value_name = "HOW")]
    groups: Option<GroupsArg>,
    /// What a filter is worth
    #[arg(long, value_enum, value_name = "SCORE")]
    score: Option<ScoreArg>,
    /// How the scores of tied channels become one; wins over --groups
    #[arg(long, value_enum, value_name = "HOW")]
    join: Option<JoinArg>,
    /// What makes scores of different layers comparable [default: none for gamma, taylor and deviation, else layer]
    #[arg(long, value_enum, value_name = "HOW")]
    normalise: Option<NormaliseArg>,
    #[command(flatten)]
    target: TargetArgs,
    /// Device of --target-latency: hi3519a, hi3559a or the path of a profile
    #[arg(long, value_name = "P", requires = "target_latency")]
    profile: Option<String>,
    /// Residual blocks to remove
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Share of each layer's channels that stays at least
    #[arg(long, value_name = "F")]
    min_keep: Option<f64>,
    /// Channel counts become multiples of this
    #[arg(long, value_name = "N")]
    multiple_of: Option<usize>,
}

/// How much goes, one way or another.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct TargetArgs {
    /// Share of the prunable channels to remove [default: 0.5]
    #[arg(long, value_name = "F")]
    channels: Option<f64>,
    /// Share of the operations to remove
    #[arg(long, value_name = "F")]
    target_flops: Option<f64>,
    /// Share of the parameters to remove
    #[arg(long, value_name = "F")]
    target_params: Option<f64>,
    /// Milliseconds an image that the slim net takes at most on the device of --profile
    #[arg(long, value_name = "MS", requires = "profile")]
    target_latency: Option<f64>,
}

/// What becomes of tied channels, by the peers' names.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum GroupsArg {
    /// As much as the best member: --join max
    Union,
    /// As much as the first member: --join leader
    Leader,
    /// They all stay
    Frozen,
}

/// [`Join`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum JoinArg {
    /// As much as the best member
    Max,
    /// As much as the members on average
    Mean,
    /// As much as all members together
    Sum,
    /// As much as the first member
    Leader,
}

/// [`Criterion`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScoreArg {
    /// |gamma| of its batch normalisation
    Gamma,
    /// |gamma| times the L2 norm of its weights
    GammaNorm,
    /// L1 norm of its weights
    L1,
    /// L2 norm of its weights
    L2,
    /// Distance to the other filters of its layer
    Median,
    /// What the loss would change by without it, to first order (needs data)
    Taylor,
    /// |gamma| times the deviation of what it gives (needs data)
    Deviation,
}

/// [`Normalise`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum NormaliseArg {
    /// Nothing: one threshold for the whole net
    None,
    /// Division by the layer's mean
    Layer,
}

impl PruneKnobs {
    /// What was typed, over what else holds.
    pub fn over(&self, mut options: PruneOptions) -> PruneOptions {
        if let Some(groups) = self.groups {
            (options.groups, options.join) = match groups {
                GroupsArg::Union => (Groups::Together, Join::Max),
                GroupsArg::Leader => (Groups::Together, Join::Leader),
                GroupsArg::Frozen => (Groups::Frozen, options.join),
            };
        }
        options.join = self.join.map_or(options.join, Into::into);
        options.score = self.score.map_or(options.score, Into::into);
        options.normalise = self.normalise.map(Into::into).or(options.normalise);
        let t = &self.target;
        let targets = [
            t.channels.map(Target::Channels),
            t.target_flops.map(Target::Flops),
            t.target_params.map(Target::Params),
            t.target_latency.map(Target::Latency),
        ];
        options.target = targets.into_iter().flatten().next().unwrap_or(options.target);
        options.profile = self.profile.as_deref().map(lasting).or(options.profile);
        options.layers = self.layers.unwrap_or(options.layers);
        options.min_keep = self.min_keep.unwrap_or(options.min_keep);
        options.multiple_of = self.multiple_of.unwrap_or(options.multiple_of);
        options
    }
}

/// A profile's name, or its path from anywhere: a run may go on in another folder.
fn lasting(profile: &str) -> String {
    let path = Path::new(profile);
    if !path.exists() || Profile::BUILT_IN.iter().any(|(name, _)| *name == profile) {
        return profile.to_owned();
    }
    std::path::absolute(path).map_or(profile.to_owned(), |path| path.display().to_string())
}

/// Tells what speaks against a plan, and against the profile that it was made by.
pub fn warn(plan: &PrunePlan, term: Term) -> Result<()> {
    plan.warnings().iter().for_each(|warning| term.warn(warning));
    if matches!(plan.options.target, Target::Latency(_)) {
        warn_if_uncalibrated(&plan.options.latency_profile()?, term);
    }
    Ok(())
}

impl From<JoinArg> for Join {
    fn from(typed: JoinArg) -> Self {
        match typed {
            JoinArg::Max => Self::Max,
            JoinArg::Mean => Self::Mean,
            JoinArg::Sum => Self::Sum,
            JoinArg::Leader => Self::Leader,
        }
    }
}

impl From<ScoreArg> for Criterion {
    fn from(typed: ScoreArg) -> Self {
        match typed {
            ScoreArg::Gamma => Self::Gamma,
            ScoreArg::GammaNorm => Self::GammaNorm,
            ScoreArg::L1 => Self::L1,
            ScoreArg::L2 => Self::L2,
            ScoreArg::Median => Self::Median,
            ScoreArg::Taylor => Self::Taylor,
            ScoreArg::Deviation => Self::Deviation,
        }
    }
}

impl From<NormaliseArg> for Normalise {
    fn from(typed: NormaliseArg) -> Self {
        match typed {
            NormaliseArg::None => Self::None,
            NormaliseArg::Layer => Self::Layer,
        }
    }
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
        let evidence = self.evidence(&network, options.score, term)?;
        let plan = prune::plan(&network, &options, &evidence)?;
        warn(&plan, term)?;
        let proof = folder.map(|folder| carry_out(&network, &plan, folder)).transpose()?;
        if self.json {
            return term::print_json(&self.summary(&plan, proof));
        }
        term::print(&plan.to_string())?;
        if let (Some(proof), Some(output)) = (proof, &self.output) {
            term::print(&format!("proof       heads differ by {proof:.1e} of their largest value at most\n"))?;
            term.note(next_step(output));
        }
        Ok(())
    }

    /// What the data set tells.
    fn evidence(&self, network: &Network, score: Criterion, term: Term) -> Result<Evidence> {
        let Some(data) = &self.data else {
            // Fails before any work when the score needs data.
            return score.check(&Evidence::default()).map(|()| Evidence::default());
        };
        let dataset = labels::load(data, &Split::Train)?;
        let bar = term.progress(self.images, "calibrating");
        let measuring = Measuring { images: self.images, threads: rayon::current_num_threads() };
        let evidence =
            evidence::measure(network, &dataset, score, measuring, &mut |done| bar.set_position(done as u64));
        bar.finish_and_clear();
        evidence
    }

    fn summary(&self, plan: &PrunePlan, proof: Option<f64>) -> Summary {
        let written = |name: &str| proof.and(self.output.as_ref()).map(|folder| folder.join(name));
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
            proof_max_relative_difference: proof,
            cfg: written("slim.cfg"),
            weights: written("slim.weights"),
        }
    }
}

/// Cuts, proves, writes; gives the proof. Without a proof nothing is written.
fn carry_out(network: &Network, plan: &PrunePlan, folder: NewFolder) -> Result<f64> {
    let pruned = prune::apply(network, plan)?;
    let proof = prove(&pruned)?;
    pruned.compact.write(folder.path(), "slim")?;
    plan.save(&folder.path().join("plan.json"))?;
    folder.finish()?;
    Ok(proof)
}

fn next_step(output: &Path) -> String {
    let (cfg, weights) = (output.join("slim.cfg"), output.join("slim.weights"));
    format!("next, get accuracy back: yoloslim train {} {} --data D -o RUN", cfg.display(), weights.display())
}
