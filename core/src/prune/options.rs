//! What to prune and how far.

use serde::{Deserialize, Serialize};

use super::{Criterion, Join, Means, Normalise};
use crate::cost::profile::Profile;
use crate::{Error, Network, Result};

/// What a plan is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruneOptions {
    /// What may go of the channels that a graph ties together.
    pub groups: Groups,
    /// What a single filter is worth.
    pub score: Criterion,
    /// How the scores of filters that stay or go together become one.
    pub join: Join,
    /// How scores of different layers are made comparable; as it suits the score when none.
    pub normalise: Option<Normalise>,
    /// How much goes.
    pub target: Target,
    /// Further targets that hold as well: the plan keeps within all. Only a target in channels is alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Target>,
    /// The profile that a target in milliseconds is predicted by: a built-in name, or the path of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Residual blocks to remove before channels are chosen; a block is one shortcut and the branch it closes.
    pub layers: usize,
    /// What stands in for filters that go.
    pub left_behind: LeftBehind,
    /// Share of every convolution's filters that stays at least; never fewer than one filter stays. One threshold for the
    /// whole net leaves some layers with a handful of filters, which fine-tuning can't see through. With multiples, down to
    /// a whole one.
    pub min_keep: f64,
    /// The filters of every convolution that loses some (of each of its groups) are rounded to the nearest multiple of this that
    /// is not 0, as far as the layer has that many. A target in operations, parameters or milliseconds holds after rounding.
    pub multiple_of: usize,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            groups: Groups::Together,
            score: Criterion::Gamma,
            join: Join::Max,
            normalise: None,
            target: Target::Channels(0.5),
            also: Vec::new(),
            profile: None,
            layers: 0,
            left_behind: LeftBehind::default(),
            min_keep: 0.1,
            multiple_of: 1,
        }
    }
}

impl PruneOptions {
    /// Checks every number's range.
    ///
    /// # Errors
    /// Names the option, its value and the range.
    pub fn check(&self) -> Result<()> {
        let share = |name: &str, value: f64| {
            if (0.0..1.0).contains(&value) {
                return Ok(());
            }
            Err(Error::at(name, format!("{value} is not in 0 to 1 (1 excluded)")).fix("give a share such as 0.7"))
        };
        for target in self.targets() {
            match target {
                Target::Latency(ms) => self.check_latency(ms)?,
                Target::Channels(_) if !self.also.is_empty() => {
                    return Err(Error::at("channels", "is no budget, so it can't be one of several targets")
                        .fix("give budgets in FLOPs, parameters or milliseconds, or channels alone"));
                }
                target => share(target.name(), target.value())?,
            }
        }
        share("min-keep", self.min_keep)?;
        if self.multiple_of == 0 {
            return Err(Error::at("multiple-of", "0 is no width").fix("give 1 or more"));
        }
        Ok(())
    }

    /// What makes scores of different layers comparable.
    #[must_use]
    pub fn normalise(&self) -> Normalise {
        self.normalise.unwrap_or(self.score.normalise())
    }

    /// All targets.
    pub fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        std::iter::once(self.target).chain(self.also.iter().copied())
    }

    /// Whether milliseconds are among the targets.
    #[must_use]
    pub fn has_latency(&self) -> bool {
        self.targets().any(|target| matches!(target, Target::Latency(_)))
    }

    /// The same for a net of which nothing was measured: where the score goes by data, gammas stand in.
    #[must_use]
    pub fn without_evidence(&self) -> Self {
        let score = self.score;
        let score = if score.check(&super::Evidence::default()).is_ok() { score } else { Criterion::Gamma };
        Self { score, ..self.clone() }
    }

    fn check_latency(&self, ms: f64) -> Result<()> {
        let name = Target::Latency(ms).name();
        if !(ms.is_finite() && ms > 0.0) {
            return Err(Error::at(name, format!("{ms} ms is no time")).fix("give milliseconds above 0"));
        }
        self.latency_profile().map(|_| ())
    }

    /// The profile that a target in milliseconds is predicted by.
    ///
    /// # Errors
    /// None is named, or it can't be read.
    pub fn latency_profile(&self) -> Result<Profile> {
        let missing = || Error::at("target-latency", "no device is named").fix("name a profile such as hi3519a");
        Profile::find(self.profile.as_deref().ok_or_else(missing)?)
    }
}

/// What may go of tied channels (those of all members of a residual group, say).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Groups {
    /// A channel may go in all members together.
    #[default]
    Together,
    /// What a shortcut ties, or an upsampling reads, stays whole (Lam1360's regular pruning).
    Frozen,
}

impl Groups {
    /// The name that options use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Frozen => "frozen",
        }
    }
}

/// What stands in for a filter that goes: the constant that its readers get in place of its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftBehind {
    /// Its mean activation where that was measured, else act(beta).
    #[default]
    Means,
    /// act(beta), what it gives once its gamma is zero.
    Beta,
    /// Zero, as if it had never been.
    Nothing,
}

impl LeftBehind {
    /// The name that options use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Means => "means",
            Self::Beta => "beta",
            Self::Nothing => "nothing",
        }
    }

    /// The constants of `network`'s filters, by layer; none for act(beta).
    #[must_use]
    pub fn constants(self, network: &Network, measured: Option<&Means>) -> Option<Means> {
        match self {
            Self::Means => measured.cloned(),
            Self::Beta => None,
            Self::Nothing => Some(network.graph.convolutions().map(|(i, c)| (i, vec![0.0; c.filters])).collect()),
        }
    }
}

/// How much goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Share of the prunable channels that score below the threshold, 0 to 1. Fewer go when something else
    /// (a floor, a multiple) holds some of them.
    Channels(f64),
    /// Share of the operations to remove, 0 to 1.
    Flops(f64),
    /// Share of the parameters to remove, 0 to 1.
    Params(f64),
    /// Milliseconds an image that the slim net takes at most, by the options' profile.
    Latency(f64),
}

impl Target {
    /// The share or the milliseconds.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Self::Channels(value) | Self::Flops(value) | Self::Params(value) | Self::Latency(value) => value,
        }
    }

    /// The name of the option that sets it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Channels(_) => "channels",
            Self::Flops(_) => "target-flops",
            Self::Params(_) => "target-params",
            Self::Latency(_) => "target-latency",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_is_named() {
        let good = PruneOptions::default();
        assert!(good.check().is_ok());
        for (bad, name) in [
            (PruneOptions { target: Target::Flops(1.0), ..good.clone() }, "target-flops"),
            (PruneOptions { target: Target::Channels(-0.1), ..good.clone() }, "channels"),
            (PruneOptions { target: Target::Latency(0.0), ..good.clone() }, "target-latency: 0 ms is no time"),
            (PruneOptions { target: Target::Latency(9.0), ..good.clone() }, "target-latency: no device is named"),
            (PruneOptions { min_keep: f64::NAN, ..good.clone() }, "min-keep"),
            (PruneOptions { also: vec![Target::Flops(0.5)], ..good.clone() }, "channels: is no budget"),
            (
                PruneOptions { target: Target::Flops(0.5), also: vec![Target::Params(2.0)], ..good.clone() },
                "target-params",
            ),
            (PruneOptions { multiple_of: 0, ..good }, "multiple-of"),
        ] {
            assert!(bad.check().unwrap_err().to_string().starts_with(name), "{name}");
        }
    }
}
