//! What is pruned and how far, as it is typed for `prune`, `slim`, `train` and `sensitivity`.

use std::path::Path;

use clap::{Args, ValueEnum};
use yoloslim_core::cost::profile::Profile;
use yoloslim_core::prune::{Criterion, Groups, Join, LeftBehind, Normalise, PruneOptions, Target};

use super::numbers::{count, part, positive};

/// What is pruned and how far.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pruning")]
pub struct PruneKnobs {
    /// What channels that a shortcut ties are worth together, or that they stay [default: union]
    #[arg(long, value_enum, value_name = "HOW")]
    groups: Option<GroupsArg>,
    /// What a filter is worth [default: gamma]
    #[arg(long, value_enum, value_name = "SCORE")]
    score: Option<ScoreArg>,
    /// How the scores of tied channels become one; wins over --groups
    #[arg(long, value_enum, value_name = "HOW")]
    join: Option<JoinArg>,
    /// What makes scores of different layers comparable [default: none for taylor and deviation, else layer]
    #[arg(long, value_enum, value_name = "HOW")]
    normalise: Option<NormaliseArg>,
    #[command(flatten)]
    target: TargetArgs,
    /// Device of --target-latency: hi3519a, hi3559a, cpu (this machine, by cpu.toml) or the path of a profile
    #[arg(long, value_name = "P", requires = "target_latency")]
    profile: Option<String>,
    /// Residual blocks to remove [default: 0]
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// What stands in for removed channels [default: means where there is data, else beta]
    #[arg(long, value_enum, value_name = "WHAT")]
    left_behind: Option<LeftBehindArg>,
    /// Share of each layer's channels that stays at least, rounded down to whole multiples, and never fewer than one
    /// [default: 0.1]
    #[arg(long, value_name = "F", value_parser = part)]
    min_keep: Option<f64>,
    /// Channel counts become multiples of this [default: 1]
    #[arg(long, value_name = "N", value_parser = count)]
    multiple_of: Option<usize>,
}

/// How much goes, one way or another.
///
/// Budgets hold together; a share of the channels is no budget.
#[derive(Debug, Args)]
struct TargetArgs {
    /// Share of the prunable channels to remove [default: 0.5; 0 where --layers is all that goes]
    #[arg(long, value_name = "F", conflicts_with_all = ["target_flops", "target_params", "target_latency"], value_parser = part)]
    channels: Option<f64>,
    /// Share of the operations to remove
    #[arg(long, value_name = "F", value_parser = part)]
    target_flops: Option<f64>,
    /// Share of the parameters to remove
    #[arg(long, value_name = "F", value_parser = part)]
    target_params: Option<f64>,
    /// Milliseconds an image that the slim net takes at most on the device of --profile
    #[arg(long, value_name = "MS", requires = "profile", value_parser = positive)]
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
    /// What the loss would change by with zero in its place, to first order (needs data)
    Taylor,
    /// The same with what --left-behind puts in its place (needs data)
    TaylorMean,
    /// |gamma| times the deviation of what it gives (needs data)
    Deviation,
    /// |gamma| times the accuracy that its group costs (needs --sensitivity)
    Sensitivity,
}

/// [`LeftBehind`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LeftBehindArg {
    /// Their mean activation over training images
    Means,
    /// act(beta), what they give once their gamma is zero
    Beta,
    /// Zero
    Nothing,
}

/// [`Normalise`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum NormaliseArg {
    /// Nothing: one threshold for the whole net
    None,
    /// Division by the layer's mean
    Layer,
    /// Division by what a channel costs of the budgets
    Cost,
}

impl PruneKnobs {
    /// Whether anything was typed.
    pub fn any(&self) -> bool {
        let t = &self.target;
        let numbers = [t.channels, t.target_flops, t.target_params, t.target_latency, self.min_keep];
        numbers.iter().any(Option::is_some)
            || [self.layers, self.multiple_of].iter().any(Option::is_some)
            || (self.groups.is_some() || self.score.is_some() || self.join.is_some() || self.normalise.is_some())
            || (self.profile.is_some() || self.left_behind.is_some())
    }

    /// Whether --left-behind means was typed.
    pub fn wants_means(&self) -> bool {
        matches!(self.left_behind, Some(LeftBehindArg::Means))
    }

    /// What was typed, over what else holds.
    pub fn over(&self, mut options: PruneOptions) -> PruneOptions {
        let plain = options == PruneOptions::default();
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
        let mut targets = targets.into_iter().flatten();
        if let Some(target) = targets.next() {
            (options.target, options.also) = (target, targets.collect());
        } else if self.layers.is_some_and(|layers| layers > 0) && plain {
            // Whoever names blocks alone does not ask for channels.
            options.target = Target::Channels(0.0);
        }
        options.profile = self.profile.as_deref().map(lasting).or(options.profile);
        options.layers = self.layers.unwrap_or(options.layers);
        options.left_behind = self.left_behind.map_or(options.left_behind, Into::into);
        options.min_keep = self.min_keep.unwrap_or(options.min_keep);
        options.multiple_of = self.multiple_of.unwrap_or(options.multiple_of);
        options
    }
}

/// Options as they are typed: all that differ from the defaults.
pub fn typed(options: &PruneOptions) -> Vec<String> {
    let default = PruneOptions::default();
    let mut words = Vec::new();
    let mut add = |differs: bool, option: &str, value: &str| {
        if differs {
            words.extend([format!("--{option}"), value.to_owned()]);
        }
    };
    options.targets().for_each(|target| add(true, target.name(), &target.value().to_string()));
    options.profile.iter().for_each(|profile| add(options.has_latency(), "profile", profile));
    add(options.layers != default.layers, "layers", &options.layers.to_string());
    add(options.groups == Groups::Frozen, "groups", Groups::Frozen.name());
    add(options.join != default.join, "join", options.join.name());
    add(options.score != default.score, "score", options.score.name());
    options.normalise.iter().for_each(|normalise| add(true, "normalise", normalise.name()));
    add(options.left_behind != default.left_behind, "left-behind", options.left_behind.name());
    add(options.min_keep.to_bits() != default.min_keep.to_bits(), "min-keep", &options.min_keep.to_string());
    add(options.multiple_of != default.multiple_of, "multiple-of", &options.multiple_of.to_string());
    words
}

/// A profile's name, or its path from anywhere: a run may go on in another folder.
fn lasting(profile: &str) -> String {
    let path = Path::new(if profile == "cpu" { Profile::CPU_FILE } else { profile });
    if !path.exists() || Profile::BUILT_IN.iter().any(|(name, _)| *name == profile) {
        return profile.to_owned();
    }
    std::path::absolute(path).map_or(profile.to_owned(), |path| path.display().to_string())
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
            ScoreArg::TaylorMean => Self::TaylorMean,
            ScoreArg::Deviation => Self::Deviation,
            ScoreArg::Sensitivity => Self::Sensitivity,
        }
    }
}

impl From<LeftBehindArg> for LeftBehind {
    fn from(typed: LeftBehindArg) -> Self {
        match typed {
            LeftBehindArg::Means => Self::Means,
            LeftBehindArg::Beta => Self::Beta,
            LeftBehindArg::Nothing => Self::Nothing,
        }
    }
}

impl From<NormaliseArg> for Normalise {
    fn from(typed: NormaliseArg) -> Self {
        match typed {
            NormaliseArg::None => Self::None,
            NormaliseArg::Layer => Self::Layer,
            NormaliseArg::Cost => Self::Cost,
        }
    }
}
