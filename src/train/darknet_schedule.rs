//! The learning rate as a Darknet cfg tells it.

use serde::{Deserialize, Serialize};
use yoloslim_core::darknet::Section;
use yoloslim_core::{Error, Result};

/// A learning rate over updates, as a share of the largest (Darknet's `get_current_rate`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DarknetSchedule {
    /// Updates over which the rate rises.
    pub burn_in: usize,
    /// The power of that rise, and of `poly`'s fall.
    pub power: f64,
    /// Updates in all; 0 where the cfg does not say.
    pub max_batches: usize,
    /// How it falls.
    pub policy: Policy,
}

/// How the rate falls after the rise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It does not.
    Constant,
    /// At each of these updates it is multiplied with its factor.
    Steps(Vec<(usize, f64)>),
    /// After each so many updates it is multiplied with the factor.
    Step(usize, f64),
    /// Half a cosine wave down to the least share, again and again (Loshchilov and Hutter 2017, "SGDR").
    Sgdr {
        /// Updates of the first wave.
        cycle: usize,
        /// Each wave is this many times as long as the one before.
        mult: usize,
        /// The share of the largest rate that a wave ends at.
        least: f64,
    },
    /// `(1 - update / max_batches) ^ power`.
    Poly,
    /// `gamma ^ update`.
    Exp(f64),
    /// `1 / (1 + e^(gamma (update - step)))`.
    Sigmoid {
        /// How steep it is.
        gamma: f64,
        /// Where it is at a half.
        step: f64,
    },
}

/// All that [`DarknetSchedule::read`] knows.
const POLICIES: &str = "steps, step, sgdr (or cosine), poly, exp, sigmoid or constant";

impl DarknetSchedule {
    /// The schedule of a cfg's `[net]` section.
    ///
    /// # Errors
    /// A policy that is not known, or lacks what it goes by.
    pub fn read(net: &Section) -> Result<Self> {
        let max_batches = net.number_or("max_batches", 0)?;
        let policy = Policy::read(net, max_batches)?;
        let power = net.number_or("power", 4.0)?;
        Ok(Self { burn_in: net.number_or("burn_in", 0)?, power, max_batches, policy })
    }

    /// The rate of `update`, from 0, as a share of the largest.
    #[must_use]
    pub fn factor(&self, update: usize) -> f64 {
        let number = update + 1;
        if number < self.burn_in {
            return (number as f64 / self.burn_in as f64).powf(self.power);
        }
        match &self.policy {
            Policy::Constant => 1.0,
            Policy::Steps(steps) => {
                steps.iter().take_while(|(step, _)| *step <= number).map(|(_, scale)| scale).product()
            }
            Policy::Step(every, scale) => scale.powi((number / every) as i32),
            Policy::Sgdr { cycle, mult, least } => {
                let wave = 0.5 * (1.0 + (std::f64::consts::PI * place_in_cycle(number, *cycle, *mult)).cos());
                least + (1.0 - least) * wave
            }
            Policy::Poly => (1.0 - (number as f64 / self.max_batches.max(1) as f64).min(1.0)).powf(self.power),
            Policy::Exp(gamma) => gamma.powi(number as i32),
            Policy::Sigmoid { gamma, step } => 1.0 / (1.0 + (gamma * (number as f64 - step)).exp()),
        }
    }

    /// The epochs over `images` images that `max_batches` updates with batches of `batch` make; none without `max_batches`.
    #[must_use]
    pub fn epochs(&self, images: usize, batch: usize) -> Option<usize> {
        let epochs = self.max_batches.div_ceil(images.div_ceil(batch.max(1)).max(1));
        (epochs > 0).then_some(epochs)
    }
}

/// How far update `number` is on its wave, 0 to 1.
fn place_in_cycle(number: usize, cycle: usize, mult: usize) -> f64 {
    let (mut start, mut length) = (0, cycle.max(1));
    while start + length < number {
        start += length;
        length = length.saturating_mul(mult.max(1));
    }
    (number - start) as f64 / length as f64
}

impl Policy {
    fn read(net: &Section, max_batches: usize) -> Result<Self> {
        let lacks = |what: &str, fix: &str| Err(Error::at(net.place(), what).fix(fix));
        let in_all = |policy: Self| match max_batches {
            0 => lacks(
                "its policy falls over max_batches, which is not there",
                "set max_batches to the number of updates",
            ),
            _ => Ok(policy),
        };
        match net.get("policy").unwrap_or("constant") {
            "constant" => Ok(Self::Constant),
            "steps" => {
                let (steps, scales) = (net.numbers("steps")?, net.numbers("scales")?);
                if steps.len() != scales.len() {
                    return lacks(
                        &format!("{} steps and {} scales", steps.len(), scales.len()),
                        "give each step its scale",
                    );
                }
                Ok(Self::Steps(steps.into_iter().zip(scales).collect()))
            }
            "step" => match (net.number_or("step", 1)?, net.number_or("scale", 1.0)?) {
                (0, _) => lacks("step=0", "set step to the updates between two falls"),
                (step, scale) => Ok(Self::Step(step, scale)),
            },
            // Darknet knows the first name alone.
            "sgdr" | "cosine" => {
                let rate = net.number_or("learning_rate", 0.001)?;
                let least = net.number_or("learning_rate_min", 0.00001_f64)? / rate;
                let (cycle, mult) = (net.number_or("sgdr_cycle", max_batches)?, net.number_or("sgdr_mult", 2)?);
                let policy = Self::Sgdr { cycle, mult, least: least.clamp(0.0, 1.0) };
                if cycle == 0 { in_all(policy) } else { Ok(policy) }
            }
            "poly" => in_all(Self::Poly),
            "exp" => Ok(Self::Exp(net.number_or("gamma", 1.0)?)),
            "sigmoid" => Ok(Self::Sigmoid { gamma: net.number_or("gamma", 1.0)?, step: net.number_or("step", 1.0)? }),
            other => lacks(&format!("policy={other} is not known here"), &format!("set it to {POLICIES}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;

    fn schedule(lines: &str) -> Result<DarknetSchedule> {
        let cfg = Cfg::parse(format!("[net]\nlearning_rate=0.01\n{lines}").as_bytes())?;
        DarknetSchedule::read(cfg.net())
    }

    fn factors<const N: usize>(lines: &str, updates: [usize; N]) -> [f64; N] {
        let schedule = schedule(lines).unwrap();
        updates.map(|number| schedule.factor(number - 1))
    }

    fn near<const N: usize>(found: [f64; N], wanted: [f64; N]) {
        assert!(found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-9), "{found:?} against {wanted:?}");
    }

    #[test]
    fn each_policy_falls_as_darknets() {
        near(factors("policy=constant\nburn_in=10\n", [5, 10, 99]), [0.0625, 1.0, 1.0]);
        near(factors("policy=steps\nsteps=10,20\nscales=.1,.5\n", [9, 10, 19, 20]), [1.0, 0.1, 0.1, 0.05]);
        near(factors("policy=step\nstep=10\nscale=.5\n", [9, 10, 20, 30]), [1.0, 0.5, 0.25, 0.125]);
        near(factors("policy=poly\nmax_batches=100\npower=2\n", [50, 100, 200]), [0.25, 0.0, 0.0]);
        near(factors("policy=exp\ngamma=.5\n", [1, 3]), [0.5, 0.125]);
        let sigmoid = |x: f64| 1.0 / (1.0 + x.exp());
        near(factors("policy=sigmoid\ngamma=.5\nstep=10\n", [10, 14]), [0.5, sigmoid(2.0)]);
    }

    #[test]
    fn cosine_waves_start_again_each_longer_than_the_one_before() {
        for name in ["sgdr", "cosine"] {
            let lines = format!("policy={name}\nmax_batches=100\nlearning_rate_min=0.001\n");
            near(factors(&lines, [50, 100]), [0.55, 0.1]);
            let again = format!("{lines}sgdr_cycle=20\n");
            near(factors(&again, [10, 20, 40, 60, 100, 140]), [0.55, 0.1, 0.55, 0.1, 0.55, 0.1]);
            near(factors(&format!("{again}sgdr_mult=1\n"), [10, 30, 50, 60]), [0.55, 0.55, 0.55, 0.1]);
        }
    }

    #[test]
    fn what_a_policy_lacks_is_named() {
        for (lines, named) in [
            ("policy=random\n", "1 [net]: policy=random is not known here; set it to steps, step, sgdr"),
            ("policy=cosine\n", "max_batches"),
            ("policy=poly\n", "max_batches"),
            ("policy=step\nstep=0\n", "step=0"),
            ("policy=steps\nsteps=1,2\nscales=.1\n", "2 steps and 1 scales"),
        ] {
            let message = schedule(lines).unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
    }
}
