//! The decision, as data: what goes, what stays and why.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::limits::portion;
use super::{PruneOptions, Reason, Target, WhyNot};
use crate::graph::{Graph, Layer, Op};
use crate::{Error, Result, cost, files};

/// Everything that a pruning will do, saved and printed before it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrunePlan {
    /// What was asked for.
    pub options: PruneOptions,
    /// Tells the net that the plan was made for: a hash of its layers, not of its weights or input size.
    pub fingerprint: String,
    /// The highest score that goes; 0 when nothing does.
    pub threshold: f64,
    /// Share of all |gamma| of the layers that stay which goes with the channels, whatever score chose them. Near 0 after
    /// sparsity training; more than a few percent says that accuracy will suffer.
    pub gamma_share: f64,
    /// Classes of channels that may go: those that a target in channels is a share of.
    #[serde(default)]
    pub prunable: usize,
    /// Those of them that go; none in plans of old versions.
    #[serde(default)]
    pub gone: Option<usize>,
    /// The net as it is.
    pub before: Cost,
    /// The net as it will be.
    pub after: Cost,
    /// The budgets, and what both nets take of them; none where a share of the channels was asked for.
    #[serde(default)]
    pub budgets: Vec<Spent>,
    /// Every shortcut, in layer order.
    pub blocks: Vec<BlockPlan>,
    /// Every convolution, in layer order.
    pub layers: Vec<LayerPlan>,
}

/// The share of all |gamma| that a sparsely trained net can lose without losing its accuracy at once.
const HARMLESS_SHARE: f64 = 0.05;

/// The percentage of a budget that may stay unused without a word.
const UNUSED_PERCENT: f64 = 1.0;

/// What a net costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Trained numbers.
    pub params: usize,
    /// Operations for one image, as Darknet counts them.
    pub flops: f64,
}

/// A budget, and what the net takes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// The option that set it: target-latency, say.
    pub option: String,
    /// What is counted: ms, say.
    pub unit: String,
    /// The most that the slim net may take.
    pub at_most: f64,
    /// What the net takes as it is.
    pub before: f64,
    /// What it will take.
    pub after: f64,
}

/// One residual block: a shortcut and the branch that it closes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockPlan {
    /// The shortcut's layer.
    pub shortcut: usize,
    /// The layers that go with it: branch and shortcut. Empty when the block can't go.
    pub layers: Vec<usize>,
    /// What it was ranked by: the measured effect of removing it, or mean |gamma| of the convolutions before the shortcut.
    pub score: Option<f64>,
    /// Why it stays; none when it goes.
    pub stays: Option<WhyNot>,
}

/// One convolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerPlan {
    /// Its layer in the net as it is.
    pub layer: usize,
    /// Its place in the cfg.
    pub place: String,
    /// Its filters in the net as it is.
    pub filters: usize,
    /// The filters that stay, ascending. Empty when the layer goes with its block.
    pub kept: Vec<usize>,
    /// Those of `kept` that become constants, to carry what removed ones leave behind.
    pub carriers: Vec<usize>,
    /// Those of `kept` that score under the threshold or have no score, by the reason why they stay.
    pub stays: BTreeMap<Reason, Vec<usize>>,
    /// What each filter is replaced by when it goes (its mean activation, `[filters]`); none for act(beta).
    pub means: Option<Vec<f32>>,
    /// How far what goes is from that at the border of the map, in standard deviations, root mean square; none where it
    /// was not measured or nothing goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub border_gap: Option<f64>,
}

/// Tells a net from others by its layers, their widths and what each reads (FNV-1a, 64 bits).
#[must_use]
pub fn fingerprint(graph: &Graph) -> String {
    let layer = |l: &Layer| match &l.op {
        Op::Yolo(y) => format!("{:?} yolo {};", l.inputs, y.channels()),
        op => format!("{:?} {op:?};", l.inputs),
    };
    let text: String = graph.layers.iter().map(layer).collect();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

impl Cost {
    /// The cost of `graph`.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        Self { params: cost::parameters(graph), flops: cost::flops(graph) }
    }
}

impl LayerPlan {
    /// Whether the whole layer goes, with its residual block.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.kept.is_empty()
    }

    /// Filters that go, ascending.
    pub fn removed(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.filters).filter(|f| self.kept.binary_search(f).is_err())
    }
}

impl PrunePlan {
    /// Reads a plan that [`PrunePlan::save`] wrote.
    ///
    /// # Errors
    /// A file that can't be read or is no plan.
    pub fn load(path: &Path) -> Result<Self> {
        serde_json::from_slice(&files::read(path)?)
            .map_err(|e| Error::at(path.display(), e).fix("give a plan that prune wrote"))
    }

    /// Writes the plan as JSON.
    ///
    /// # Errors
    /// A path that can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec(self).map_err(|e| Error::at(path.display(), e))?;
        json.push(b'\n');
        files::write_whole(path, &json)
    }

    /// What speaks against the plan, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.gamma_share > HARMLESS_SHARE {
            warnings.push(format!(
                "the channels that go hold {:.0} % of all |gamma|, so accuracy will fall; train with sparsity first, or \
                 prune less",
                self.gamma_share * 100.0
            ));
        }
        warnings.extend(self.undershoot());
        warnings.extend(self.brought_back());
        warnings
    }

    /// How many of the channels that a share marks stay after all.
    fn brought_back(&self) -> Option<String> {
        let (Target::Channels(share), Some(gone)) = (self.options.target, self.gone) else { return None };
        let marked = portion(self.prunable, share);
        let few = gone as f64 >= marked as f64 * (1.0 - UNUSED_PERCENT / 100.0) - 1.0;
        (!few && self.budgets.is_empty()).then(|| {
            let share = (share * 1e4).round() / 1e4;
            format!(
                "{gone} of the {marked} channels that --channels {share} marks go: floors, carriers and multiples keep the others; \
                 a target in FLOPs or parameters takes others in their place"
            )
        })
    }

    /// What the budgets allow and the plan does not use, with the cause: no channel could be brought back.
    fn undershoot(&self) -> Option<String> {
        let share = |spent: &Spent| spent.after / spent.at_most;
        let binding = self.budgets.iter().max_by(|a, b| share(a).total_cmp(&share(b)))?;
        let left = 100.0 * (1.0 - share(binding));
        if left <= UNUSED_PERCENT {
            return None;
        }
        let option = &binding.option;
        let goes = self.layers.iter().any(|l| !l.is_removed() && l.removed().next().is_some());
        let cause = match (goes, self.removed_blocks().count()) {
            (false, 0) => format!("the net keeps within --{option} as it is"),
            (false, n) => format!("the {n} residual blocks that go take more than --{option} asks for; remove fewer"),
            (true, _) if self.options.multiple_of > 1 => {
                format!("no net nearer to --{option} was found with --multiple-of {}", self.options.multiple_of)
            }
            (true, _) => format!("the next channels that could stay cost more than --{option} leaves"),
        };
        Some(format!("{left:.1} % of the budget stays unused: {cause}"))
    }

    /// [`LayerPlan::border_gap`] over all filters that go; none where it was not measured.
    #[must_use]
    pub fn border_gap(&self) -> Option<f64> {
        let gaps = self.layers.iter().filter_map(|l| Some((l.removed().count() as f64, l.border_gap?)));
        let (n, squares) = gaps.fold((0.0, 0.0), |(n, sum), (filters, gap)| (n + filters, sum + filters * gap * gap));
        (n > 0.0).then(|| (squares / n).sqrt())
    }

    /// What the plan says of milliseconds.
    #[must_use]
    pub fn milliseconds(&self) -> Option<&Spent> {
        self.budgets.iter().find(|spent| spent.unit == "ms")
    }

    /// The blocks that go.
    pub fn removed_blocks(&self) -> impl Iterator<Item = &BlockPlan> {
        self.blocks.iter().filter(|b| b.stays.is_none())
    }
}
