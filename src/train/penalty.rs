//! The penalty of an epoch: what the controller of `--sparsity auto` says before it begins.

use yoloslim_core::eval::Evaluation;
use yoloslim_core::record::EpochRecord;
use yoloslim_core::{Error, Network, Result};

use super::epoch::EpochSoFar;
use super::sparsity::{Auto, Strength};
use super::trainer::Trainer;
use super::{Event, TrainOptions};

/// The epoch after `epochs`, before its first batch: what the controller of the penalty decides, where there is one.
pub(super) fn begin_epoch(
    trainer: &Trainer,
    options: &TrainOptions,
    epochs: &[EpochRecord],
    validate: &mut dyn FnMut(&Network) -> Result<Evaluation>,
    observe: &mut dyn FnMut(Event),
) -> Result<EpochSoFar> {
    let Some(sparsity) = &options.sparsity else { return Ok(EpochSoFar::default()) };
    let Strength::Auto(_) = sparsity.s else { return Ok(EpochSoFar::default()) };
    let Some(target) = &options.target else {
        return Err(Error::at("--sparsity auto", "no target is given").fix("give --target-flops, say"));
    };
    let start = match epochs.first().and_then(|epoch| epoch.sparsity.as_ref()) {
        Some(first) => first.start,
        None => validate(&trainer.averaged_network())?.map50,
    };
    let auto = Auto { target, epochs: options.epochs, max_drop: sparsity.max_drop };
    let course = trainer.course(epochs.len(), auto.deadline());
    let now: Vec<f32> = trainer.gammas_by_layer().flat_map(|(_, gammas)| gammas).copied().collect();
    let (penalty, record) = auto.penalty(&trainer.averaged_network(), &now, course, epochs, start)?;
    if let Some(warning) = record.warning(epochs) {
        observe(Event::Warning(&warning));
    }
    Ok(EpochSoFar::with(penalty, record))
}

/// What to say of a fixed penalty that has drawn this share of the gammas near zero by the last epoch.
fn judged(s: f64, near_zero: f64) -> Option<String> {
    let percent = 100.0 * near_zero;
    match near_zero {
        _ if s == 0.0 => None,
        n if n > 0.95 => Some(format!(
            "--sparsity {s} has drawn {percent:.0} % of the gammas to zero, too many to tell channels apart: give a tenth of it, or auto"
        )),
        n if n < 0.02 => Some(format!(
            "--sparsity {s} has drawn {percent:.0} % of the gammas near zero, so that pruning costs accuracy: give three times as much, \
             more epochs, or auto"
        )),
        _ => None,
    }
}

/// Notes in the record of the last epoch how many of the channels to be pruned did not arrive at zero, and says so.
pub(super) fn count_left(
    network: &Network,
    options: &TrainOptions,
    record: &mut EpochRecord,
    observe: &mut dyn FnMut(Event),
) -> Result<()> {
    if let (Some(Strength::Fixed(s)), Some(gammas)) =
        (options.sparsity.as_ref().map(|sparsity| sparsity.s), &record.gammas)
        && let Some(warning) = judged(s, gammas.near_zero)
    {
        observe(Event::Warning(&warning));
    }
    let (Some(penalty), Some(sparsity), Some(target)) = (&mut record.sparsity, &options.sparsity, &options.target)
    else {
        return Ok(());
    };
    let auto = Auto { target, epochs: options.epochs, max_drop: sparsity.max_drop };
    penalty.left = Some(auto.left(network)?);
    if let Some(warning) = penalty.last_warning() {
        observe(Event::Warning(&warning));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_that_drew_all_or_nothing_to_zero_is_said() {
        assert!(judged(5.0, 1.0).unwrap().contains("a tenth"));
        assert!(judged(0.01, 0.0).unwrap().contains("three times"));
        assert_eq!((judged(0.01, 0.5), judged(0.0, 0.0)), (None, None));
    }
}
