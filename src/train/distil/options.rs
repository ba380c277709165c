//! What distillation is told.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use yoloslim_core::{Error, Network, Result};

use super::bounded_box::BoundedBox;
use super::channel_wise::ChannelWise;
use super::features::FeatureLoss;
use super::heads::HeadLoss;
use super::hint::Hint;
use super::hints::HintLayer;
use super::masked::Masked;
use super::row_softmax::{RowSoftmax, ScoreSoftmax};
use super::soft_targets::SoftTargets;
use super::weighted_class::WeightedClass;

/// Who teaches, and by which losses.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistilOptions {
    /// The teacher's files; `slim` takes its baseline when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherFiles>,
    /// The losses, added up; [`DistilOptions::losses_or_default`] when there are none.
    pub losses: Vec<DistilLoss>,
    /// Where losses on features look; at the inputs of all heads' last convolutions when empty.
    pub hint_layers: Vec<HintLayer>,
    /// A folder that keeps what the teacher makes of each image, for when the same image comes again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

/// The files of a teacher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherFiles {
    /// Its cfg.
    pub cfg: PathBuf,
    /// Its weights.
    pub weights: PathBuf,
}

impl TeacherFiles {
    /// Reads both.
    ///
    /// # Errors
    /// A file that is missing, broken or does not fit the other.
    pub fn read(&self) -> Result<Network> {
        Network::read(&self.cfg, &self.weights).map_err(|e| e.inside("--teacher"))
    }
}

/// One loss of distillation with its options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum DistilLoss {
    /// Softened objectness and classes.
    SoftTargets(SoftTargets),
    /// Weighted cross-entropy with the teacher's objectness and classes.
    WeightedClass(WeightedClass),
    /// Boxes where they are worse than the teacher's.
    BoundedBox(BoundedBox),
    /// Softmax over all outputs of an anchor.
    RowSoftmax(RowSoftmax),
    /// Softmax over objectness and classes of an anchor, and bounded boxes.
    ScoreSoftmax(ScoreSoftmax),
    /// Maps inside the nets.
    Hint(Hint),
    /// Maps inside the nets where objects are.
    Masked(Masked),
    /// Where each channel of a map inside the nets looks.
    ChannelWise(ChannelWise),
}

/// What a loss looks at.
pub(super) enum Seen<'a> {
    Heads(&'a dyn HeadLoss),
    Features(&'a dyn FeatureLoss),
}

impl DistilLoss {
    /// All losses at their defaults.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::SoftTargets(SoftTargets::default()),
            Self::WeightedClass(WeightedClass::default()),
            Self::BoundedBox(BoundedBox::default()),
            Self::RowSoftmax(RowSoftmax::default()),
            Self::ScoreSoftmax(ScoreSoftmax::default()),
            Self::Hint(Hint::default()),
            Self::Masked(Masked::default()),
            Self::ChannelWise(ChannelWise::default()),
        ]
    }

    /// Its name, as typed and recorded.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SoftTargets(_) => "soft-targets",
            Self::WeightedClass(_) => "weighted-class",
            Self::BoundedBox(_) => "bounded-box",
            Self::RowSoftmax(_) => "row-softmax",
            Self::ScoreSoftmax(_) => "score-softmax",
            Self::Hint(_) => "hint",
            Self::Masked(_) => "masked",
            Self::ChannelWise(_) => "channel-wise",
        }
    }

    /// Its weight, to change it.
    fn weight_mut(&mut self) -> &mut f64 {
        match self {
            Self::SoftTargets(loss) => &mut loss.weight,
            Self::WeightedClass(loss) => &mut loss.weight,
            Self::BoundedBox(loss) => &mut loss.weight,
            Self::RowSoftmax(loss) => &mut loss.weight,
            Self::ScoreSoftmax(loss) => &mut loss.weight,
            Self::Hint(loss) => &mut loss.weight,
            Self::Masked(loss) => &mut loss.weight,
            Self::ChannelWise(loss) => &mut loss.weight,
        }
    }

    /// What computes it, by what it looks at.
    pub(super) fn seen(&self) -> Seen<'_> {
        match self {
            Self::SoftTargets(loss) => Seen::Heads(loss),
            Self::WeightedClass(loss) => Seen::Heads(loss),
            Self::BoundedBox(loss) => Seen::Heads(loss),
            Self::RowSoftmax(loss) => Seen::Heads(loss),
            Self::ScoreSoftmax(loss) => Seen::Heads(loss),
            Self::Hint(loss) => Seen::Features(loss),
            Self::Masked(loss) => Seen::Features(loss),
            Self::ChannelWise(loss) => Seen::Features(loss),
        }
    }

    /// Its numbers beside the weight, and what each may be.
    fn numbers(&self) -> Vec<Number> {
        let temperature = |value| ("temperature", value, ABOVE_ZERO);
        match self {
            Self::SoftTargets(loss) => vec![temperature(loss.temperature)],
            Self::WeightedClass(loss) => vec![("background", loss.background, ABOVE_ZERO)],
            Self::BoundedBox(loss) => vec![("margin", loss.margin, f64::MIN..=f64::MAX)],
            Self::RowSoftmax(loss) => vec![temperature(loss.temperature)],
            Self::ScoreSoftmax(loss) => vec![temperature(loss.temperature), ("boxes", loss.boxes, 0.0..=f64::MAX)],
            Self::Hint(_) => vec![],
            Self::Masked(loss) => vec![("near", loss.near, 0.0..=1.0)],
            Self::ChannelWise(loss) => vec![temperature(loss.temperature)],
        }
    }

    /// Checks its numbers.
    fn check(&self) -> Result<()> {
        let weight = ("weight", *self.clone().weight_mut(), ABOVE_ZERO);
        for (name, value, range) in self.numbers().into_iter().chain([weight]) {
            if !range.contains(&value) {
                let place = format!("--distil {}: {name}", self.name());
                let fix = format!("give a number from {:.0e} to {:.0e}", range.start(), range.end());
                return Err(Error::at(place, format!("{value} is out of range")).fix(fix));
            }
        }
        Ok(())
    }
}

/// A number's name, its value and what it may be.
type Number = (&'static str, f64, RangeInclusive<f64>);

/// Weights and temperatures: what is larger makes no sense of a sum of losses near 1.
const ABOVE_ZERO: RangeInclusive<f64> = 1e-9..=1e9;

/// `NAME` or `NAME=WEIGHT`.
impl FromStr for DistilLoss {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, weight) = text.split_once('=').map_or((text, None), |(name, weight)| (name, Some(weight)));
        let Some(mut loss) = Self::all().into_iter().find(|loss| loss.name() == name) else {
            let names: Vec<_> = Self::all().iter().map(Self::name).collect();
            return Err(format!("there is no loss {name}; there are {}", names.join(", ")));
        };
        if let Some(weight) = weight {
            *loss.weight_mut() = weight.parse().map_err(|_| format!("{weight} is no weight; give 0.5, say"))?;
            loss.check().map_err(|e| e.to_string())?;
        }
        Ok(loss)
    }
}

impl DistilOptions {
    /// The losses; Hinton's soft targets when none were chosen.
    #[must_use]
    pub fn losses_or_default(&self) -> Vec<DistilLoss> {
        if self.losses.is_empty() { vec![DistilLoss::SoftTargets(SoftTargets::default())] } else { self.losses.clone() }
    }

    /// Checks that every number makes sense and no loss is there twice.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check(&self) -> Result<()> {
        for (i, loss) in self.losses.iter().enumerate() {
            loss.check()?;
            if self.losses[..i].iter().any(|other| other.name() == loss.name()) {
                return Err(Error::at("--distil", format!("{} is there twice", loss.name())).fix("name it once"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_a_name_and_perhaps_a_weight() {
        for loss in DistilLoss::all() {
            assert_eq!(loss.name().parse(), Ok(loss.clone()));
            let mut weighted: DistilLoss = format!("{}=0.125", loss.name()).parse().unwrap();
            assert_eq!(*weighted.weight_mut(), 0.125);
            assert!(weighted.check().is_ok());
            *weighted.weight_mut() = -1.0;
            assert!(weighted.check().is_err());
        }
        for wrong in ["", "nothing", "soft-targets=", "soft-targets=x", "soft-targets=-1"] {
            assert!(wrong.parse::<DistilLoss>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_come_back_from_toml_and_a_loss_may_be_there_once() {
        let hint_layers = vec![HintLayer::Head(0), HintLayer::Layers { student: 3, teacher: 5 }];
        let options = DistilOptions { teacher: None, losses: DistilLoss::all(), hint_layers, cache: None };
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<DistilOptions>(&text).unwrap(), options);
        let twice = DistilOptions { losses: [DistilLoss::all(), DistilLoss::all()].concat(), ..options };
        assert!(twice.check().is_err());
        assert!(toml::from_str::<DistilOptions>("[[losses]]\nname = \"soft-targets\"\nt = 3").is_err());
    }
}
