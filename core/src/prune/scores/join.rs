//! How the scores of the filters that write one class become the score of the class.

use serde::{Deserialize, Serialize};

use crate::prune::channels::Class;

/// What a class is worth, from what its members are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// As much as the best member (SlimYOLOv3's union of masks).
    #[default]
    Max,
    /// As much as the members on average.
    Mean,
    /// As much as all members together.
    Sum,
    /// As much as the first convolution, the one that opens the stage (coldlarry's masks).
    Leader,
}

impl Join {
    /// The name that options use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Leader => "leader",
        }
    }

    /// The score of `class`; `filters` holds what every filter is worth, by layer. None where a member that counts
    /// has no score.
    #[must_use]
    pub fn score(self, class: &Class, filters: &[Option<Vec<f32>>]) -> Option<f32> {
        let mut members = class.producers.iter();
        if self == Self::Leader {
            members.by_ref().find(|p| !p.depthwise).and_then(|p| Some(filters[p.layer].as_ref()?[p.filter]))
        } else {
            let scores: Option<Vec<f32>> = members.map(|p| Some(filters[p.layer].as_ref()?[p.filter])).collect();
            let scores = scores.filter(|scores| !scores.is_empty())?;
            let sum = scores.iter().sum::<f32>();
            Some(match self {
                Self::Max => scores.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                Self::Mean => sum / scores.len() as f32,
                Self::Sum | Self::Leader => sum,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::channels::Filter;

    #[test]
    fn each_way_joins_as_its_name_says_and_needs_a_score_of_all_that_count() {
        let member = |layer, depthwise| Filter { layer, filter: 1, depthwise };
        let class = Class { producers: vec![member(0, true), member(1, false), member(2, false)], ..Class::default() };
        let filters = [Some(vec![9.0, 4.0]), Some(vec![9.0, 1.0]), Some(vec![9.0, 7.0])];
        let unknown = [Some(vec![9.0, 4.0]), Some(vec![9.0, 1.0]), None];
        for (join, wanted, without_last) in
            [(Join::Max, 7.0, None), (Join::Mean, 4.0, None), (Join::Sum, 12.0, None), (Join::Leader, 1.0, Some(1.0))]
        {
            assert_eq!(join.score(&class, &filters), Some(wanted), "{}", join.name());
            assert_eq!(join.score(&class, &unknown), without_last, "{}", join.name());
            assert_eq!(join.score(&Class::default(), &filters), None, "{}", join.name());
        }
    }
}
