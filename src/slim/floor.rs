//! The floor under a run: what `--max-drop` says of the nets that its steps end with.

use yoloslim_core::record::RunRecord;

use yoloslim_core::eval::NEXT_TO_NOTHING;

/// How the net that a step ended with stands to the floor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Standing {
    /// It lost no more than it may.
    Holds,
    /// It lost this much of mAP@0.5, more than it may.
    Below(f64),
    /// It lost no more than it may, but detects next to nothing: its mAP@0.5.
    Nothing(f64),
    /// Accuracy was not measured: the validation images hold no objects.
    Unknown,
}

impl Standing {
    /// How the net of `stage` stands to that of the first stage, from which it may be lower by `max_drop`. The stage is
    /// looked up by its name: a run that is resumed has later ones too.
    pub(super) fn of(record: &RunRecord, stage: &str, max_drop: f64) -> Self {
        let accuracy = |stage: &yoloslim_core::record::StageRecord| stage.evaluation.as_ref().and_then(|e| e.map50);
        let (first, this) = (record.stages.first().and_then(accuracy), record.stage(stage).and_then(accuracy));
        match first.zip(this) {
            None => Self::Unknown,
            Some((first, this)) if first - this > max_drop => Self::Below(first - this),
            Some((_, this)) if this < NEXT_TO_NOTHING => Self::Nothing(this),
            Some(_) => Self::Holds,
        }
    }

    /// Whether the steps end here.
    pub(super) fn stops(self) -> bool {
        matches!(self, Self::Below(_))
    }

    /// What to say of the net of `stage`; `number` is its step's.
    pub(super) fn warning(self, stage: &str, number: usize, max_drop: f64) -> Option<String> {
        let below = |drop: f64| format!("{stage} costs {drop:.4} of mAP@0.5, more than --max-drop {max_drop}");
        match self {
            Self::Holds => None,
            Self::Unknown => Some(format!(
                "{stage}: accuracy could not be measured, for the validation images hold no objects; --max-drop guards \
                 nothing"
            )),
            Self::Nothing(map50) => Some(format!(
                "{stage} detects next to nothing (mAP@0.5 {map50:.4}), nor did the baseline find more than --max-drop \
                 {max_drop} above that; train longer"
            )),
            Self::Below(drop) if number > 1 => {
                Some(format!("{}: the net of the step before is the result", below(drop)))
            }
            Self::Below(drop) => Some(format!(
                "{}: no net of this run meets the floor, and this one is the result; prune less, or train longer, sparse \
                 and in fine-tuning",
                below(drop)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::eval::Evaluation;
    use yoloslim_core::record::StageRecord;

    fn record(stages: &[(&str, Option<f64>)]) -> RunRecord {
        let stage = |(name, map50): &(&str, Option<f64>)| StageRecord {
            name: (*name).to_owned(),
            evaluation: Some(Evaluation { map50: *map50, ..Evaluation::default() }),
            ..StageRecord::default()
        };
        RunRecord { stages: stages.iter().map(stage).collect(), ..RunRecord::default() }
    }

    #[test]
    fn the_stage_that_is_asked_for_counts_and_not_the_last_of_a_resumed_run() {
        let record = record(&[("baseline", Some(0.9)), ("fine-tuned-1", Some(0.89)), ("fine-tuned-2", Some(0.5))]);
        assert_eq!(Standing::of(&record, "fine-tuned-1", 0.05), Standing::Holds);
        let below = Standing::of(&record, "fine-tuned-2", 0.05);
        assert!(matches!(below, Standing::Below(drop) if (drop - 0.4).abs() < 1e-9) && below.stops());
    }

    #[test]
    fn what_is_below_the_floor_is_said_and_what_is_then_the_result() {
        let record = record(&[("baseline", Some(0.02)), ("fine-tuned", Some(0.0)), ("other", None)]);
        let nothing = Standing::of(&record, "fine-tuned", 0.05);
        assert_eq!(nothing, Standing::Nothing(0.0), "though it lost less than it may");
        assert!(!nothing.stops() && nothing.warning("fine-tuned", 1, 0.05).unwrap().contains("next to nothing"));
        let below = Standing::of(&record, "fine-tuned", 0.01);
        assert!(below.warning("fine-tuned", 1, 0.01).unwrap().contains("no net of this run meets the floor"));
        assert!(below.warning("fine-tuned-2", 2, 0.01).unwrap().contains("the step before is the result"));
        let unknown = Standing::of(&record, "other", 0.05);
        assert!(!unknown.stops() && unknown.warning("other", 1, 0.05).unwrap().contains("no objects"));
        assert_eq!(Standing::Holds.warning("fine-tuned", 1, 0.05), None);
    }
}
