//! Why something stays: values, so that plans, tables and reports can count and explain them.

use serde::{Deserialize, Serialize};

/// Why a channel stays although its score is under the threshold (or it has none).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A detection head reads it.
    ProtectedHead,
    /// It is tied to the input image.
    Image,
    /// A reorg layer reads or writes it: it mixes channels with positions.
    Reorg,
    /// The score can't tell what it is worth, or not all that is added up in it: no gamma scales it, say.
    NoScore,
    /// A shortcut ties it or an upsampling reads it, and groups are frozen.
    Frozen,
    /// Its layer would have fewer filters than the least share to keep.
    Floor,
    /// Groups of a grouped route or convolution must stay equally wide.
    Balance,
    /// The layer's filters fill up a multiple.
    Multiple,
    /// The budget is met without it.
    BudgetMet,
    /// Other channels alone are being tried.
    NotTried,
    /// It carries what removed channels leave behind to a padded convolution, which sees zeros, not that constant,
    /// beyond the border.
    CarriesConstants,
}

impl Reason {
    /// A few words for tables.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ProtectedHead => "feed a head",
            Self::Image => "tied to the image",
            Self::Reorg => "tied to a reorg",
            Self::NoScore => "have no score",
            Self::Frozen => "frozen by a shortcut or upsampling",
            Self::Floor => "kept by the floor",
            Self::Balance => "balance groups",
            Self::Multiple => "fill up a multiple",
            Self::BudgetMet => "not needed for the budget",
            Self::NotTried => "not among those that are tried",
            Self::CarriesConstants => "carry constants",
        }
    }
}

/// Why a residual block can't go, or was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyNot {
    /// Others score lower, or no block was to go.
    NotAmongLowest,
    /// It lies inside of a block that goes, or around one.
    Overlaps,
    /// The shortcut adds one map twice.
    AddsTwice,
    /// No map that the shortcut adds is what the others are computed from.
    NoTrunk,
    /// The branch has another number of channels than the trunk.
    ChannelsDiffer,
    /// A layer of the branch is read from outside.
    ReadElsewhere,
    /// The branch reads more than the trunk.
    ReadsElsewhere,
    /// A detection head sits in the branch.
    HasHead,
    /// Other layers stand between the trunk and the shortcut.
    NotContiguous,
    /// The branch does not end in a convolution that can be made to add nothing.
    NeverZero,
    /// A convolution before the shortcut has no batch normalisation to rank it by, and its effect was not measured.
    NoGamma,
    /// The shortcut's activation would change the trunk.
    Activation,
}
