//! The scores by their names.

use serde::{Deserialize, Serialize};

use super::{Normalise, deviation, gamma, gamma_norm, geometric_median, l1, l2, taylor};
use crate::prune::Evidence;
use crate::{Error, Network, Result};

/// What a filter is worth. Each says in its file what it does where no normalisation follows a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// [`gamma`]
    #[default]
    Gamma,
    /// [`gamma_norm`]
    GammaNorm,
    /// [`l1`]
    L1,
    /// [`l2`]
    L2,
    /// [`geometric_median`]
    Median,
    /// [`taylor`], to zero
    Taylor,
    /// [`taylor`], to the constant that stands in
    TaylorMean,
    /// [`deviation`]
    Deviation,
    /// [`gamma`], times how much accuracy the filter's group costs when it is pruned alone
    Sensitivity,
}

/// What Taylor's scores go by.
const GRADIENTS: &str = "gradients over labelled images";

impl Criterion {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Gamma,
        Self::GammaNorm,
        Self::L1,
        Self::L2,
        Self::Median,
        Self::Taylor,
        Self::TaylorMean,
        Self::Deviation,
        Self::Sensitivity,
    ];

    /// The name that options use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gamma => "gamma",
            Self::GammaNorm => "gamma-norm",
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Median => "median",
            Self::Taylor => "taylor",
            Self::TaylorMean => "taylor-mean",
            Self::Deviation => "deviation",
            Self::Sensitivity => "sensitivity",
        }
    }

    /// How its scores are normalised unless told otherwise. Norms and distances grow with the number of weights of a filter,
    /// and gammas have a scale of their own in each layer: in nets that start from published weights one layer's smallest
    /// may be three times another's median, and the layers before the heads would be left with next to nothing.
    #[must_use]
    pub fn normalise(self) -> Normalise {
        match self {
            Self::Taylor | Self::TaylorMean | Self::Deviation => Normalise::None,
            Self::Gamma | Self::Sensitivity | Self::GammaNorm | Self::L1 | Self::L2 | Self::Median => Normalise::Layer,
        }
    }

    /// Whether it goes by the loss's gradients over labelled images.
    #[must_use]
    pub fn needs_gradients(self) -> bool {
        matches!(self, Self::Taylor | Self::TaylorMean)
    }

    /// What the filters of convolution `layer` are worth, `[filters]`; none where this can't tell.
    ///
    /// # Panics
    /// If `layer` is no convolution.
    #[must_use]
    pub fn scores(self, network: &Network, layer: usize, evidence: &Evidence) -> Option<Vec<f32>> {
        let weights = network.conv(layer);
        match self {
            // The factors of the evidence multiply every score.
            Self::Gamma | Self::Sensitivity => gamma::scores(weights),
            Self::GammaNorm => Some(gamma_norm::scores(weights)),
            Self::L1 => Some(l1::scores(weights)),
            Self::L2 => Some(l2::scores(weights)),
            Self::Median => Some(geometric_median::scores(weights)),
            Self::Taylor => taylor::scores(evidence.taylor.as_ref()?, layer),
            Self::TaylorMean => taylor::scores(evidence.taylor_mean.as_ref()?, layer),
            Self::Deviation => deviation::scores(weights, evidence.deviations.as_ref()?, layer),
        }
    }

    /// Fails when what it goes by was not measured.
    ///
    /// # Errors
    /// Names the score.
    pub fn check(self, evidence: &Evidence) -> Result<()> {
        let (there, what) = match self {
            Self::Taylor => (evidence.taylor.is_some(), GRADIENTS),
            Self::TaylorMean => (evidence.taylor_mean.is_some(), GRADIENTS),
            Self::Deviation => (evidence.deviations.is_some(), "activations over images"),
            Self::Sensitivity => (evidence.factors.is_some(), "the accuracy that groups cost"),
            _ => (true, ""),
        };
        if there {
            return Ok(());
        }
        let fix = match self {
            Self::Sensitivity => "run sensitivity, and give its file by --sensitivity",
            _ => "give --data, or another score",
        };
        Err(Error::at(format!("score {}", self.name()), format!("goes by {what}, which was not measured")).fix(fix))
    }
}
