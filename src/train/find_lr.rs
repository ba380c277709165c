//! The learning rate finder: the rate rises from update to update, and the loss tells where it learns and where it breaks
//! (Smith 2017, 'Cyclical learning rates for training neural networks', section 3.3).

use serde::Serialize;
use yoloslim_core::{Error, Result};

use super::Job;

/// Updates, unless the loss breaks before.
const STEPS: usize = 100;
/// The rates of the first and the last.
const RATES: [f64; 2] = [1e-6, 1.0];
/// How much of the mean loss so far goes into the next one.
const SMOOTH: f64 = 0.9;
/// A loss this many times the smallest so far is broken.
const BROKEN: f64 = 4.0;
/// A fall of the loss, as a share of what it was, that is more than noise.
const CLEAR: f64 = 0.05;
/// With fewer updates nothing can be said.
const FEWEST: usize = 3;

/// One update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tried {
    /// Its rate.
    pub rate: f64,
    /// The loss before it, a running mean.
    pub loss: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rates {
    /// All updates in order.
    pub tried: Vec<Tried>,
    /// A tenth of the rate at which the loss was least; none where it never fell clearly.
    pub suggested: Option<f64>,
}

/// Tries rates on the images of a job, which is as for training but writes nothing.
///
/// # Errors
/// As [`super::run`]; a loss that is no number before any rate could be judged.
pub fn find_learning_rate(job: Job, progress: &mut dyn FnMut(usize)) -> Result<Rates> {
    let mut options = job.options.clone();
    options.distil.iter_mut().for_each(|distil| distil.cache = None);
    let (mut trainer, loader) = Job { options: &options, ..job }.prepare(&mut |_| {})?;
    let (mut tried, mut mean, mut smallest): (Vec<Tried>, f64, f64) = (Vec::new(), 0.0, f64::INFINITY);
    let mut gathered: Vec<f64> = Vec::new();
    'epochs: for epoch in 0.. {
        for batch in loader.epoch(epoch, 0) {
            let (rate, before) = (rate_of(tried.len()), trainer.updates);
            trainer.only_rate = Some(rate);
            let stepped = trainer.step(batch?, false)?;
            let loss = stepped.parts.total();
            if stepped.defect.is_some() || !loss.is_finite() {
                break 'epochs;
            }
            gathered.push(loss);
            if trainer.updates == before {
                continue;
            }
            let loss = gathered.iter().sum::<f64>() / gathered.len() as f64;
            gathered.clear();
            mean = SMOOTH * mean + (1.0 - SMOOTH) * loss;
            let unbiased = mean / (1.0 - SMOOTH.powi(tried.len() as i32 + 1));
            tried.push(Tried { rate, loss: unbiased });
            smallest = smallest.min(unbiased);
            progress(tried.len());
            if tried.len() == STEPS || unbiased > BROKEN * smallest {
                break 'epochs;
            }
        }
    }
    if tried.len() < FEWEST {
        return Err(Error::at("--find-lr", "the loss broke before any rate could be judged")
            .fix("check the labels, or start from other weights"));
    }
    let suggested = suggest(&tried);
    Ok(Rates { tried, suggested })
}

/// The most updates that [`find_learning_rate`] makes.
pub const MOST_UPDATES: usize = STEPS;

fn rate_of(step: usize) -> f64 {
    let [first, last] = RATES;
    first * (last / first).powf(step as f64 / (STEPS - 1) as f64)
}

/// A tenth of the rate at which the loss is least: there it learns, and further on it breaks. A loss that hardly falls says
/// nothing, for batches differ by as much.
fn suggest(tried: &[Tried]) -> Option<f64> {
    let first = tried.first()?.loss;
    let least = tried.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))?;
    (least.loss < (1.0 - CLEAR) * first).then_some(least.rate / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_by_the_same_factor_and_a_tenth_of_the_best_is_suggested() {
        assert!((rate_of(0) - 1e-6).abs() < 1e-18 && (rate_of(STEPS - 1) - 1.0).abs() < 1e-9);
        assert!((rate_of(51) / rate_of(50) - rate_of(1) / rate_of(0)).abs() < 1e-9);
        let losses = [9.0, 8.9, 8.0, 5.0, 4.9, 8.0];
        let tried: Vec<Tried> =
            losses.iter().enumerate().map(|(i, loss)| Tried { rate: rate_of(i), loss: *loss }).collect();
        assert_eq!(suggest(&tried), Some(rate_of(4) / 10.0));
        assert_eq!(suggest(&tried[..2]), None, "a fall of a hundredth is noise");
        assert_eq!(suggest(&[]), None);
    }
}
