//! What an optimiser does to parameters, in one pass over memory each.

use crate::activation::CHUNK;
use crate::path::{Path, for_each_path};
use rayon::prelude::*;

/// The numbers of one step of [`sgd_nesterov`].
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Learning rate.
    pub rate: f32,
    /// Nesterov's momentum.
    pub momentum: f32,
    /// L2 penalty.
    pub weight_decay: f32,
    /// What gradients are multiplied with first: less than 1 clips them.
    pub scale: f32,
    /// Decay of the moving average; 1 leaves it as it is.
    pub average_decay: f32,
}

/// One step of stochastic gradient descent with Nesterov's momentum as PyTorch defines it:
/// `d = scale g + weight_decay p`, `v = momentum v + d`, `p -= rate (d + momentum v)`; then the moving average of the
/// parameters, `ema = decay ema + (1 - decay) p`, and zero gradients. One pass over memory does it all.
///
/// # Panics
/// If the lengths differ.
pub fn sgd_nesterov(params: &mut [f32], grads: &mut [f32], velocity: &mut [f32], ema: &mut [f32], step: &SgdStep) {
    let len = params.len();
    assert!(len == grads.len() && len == velocity.len() && len == ema.len());
    let path = Path::detect();
    let parts = params.par_chunks_mut(CHUNK).zip(grads.par_chunks_mut(CHUNK));
    let parts = parts.zip(velocity.par_chunks_mut(CHUNK)).zip(ema.par_chunks_mut(CHUNK));
    parts.for_each(|(((params, grads), velocity), ema)| {
        step_on(path, params, grads, velocity, ema, step);
    });
}

for_each_path! {
    /// [`sgd_nesterov`] on one thread.
    fn step_on(params: &mut [f32], grads: &mut [f32], velocity: &mut [f32], ema: &mut [f32], step: &SgdStep) {
        for (((p, g), v), ema) in params.iter_mut().zip(grads).zip(velocity).zip(ema) {
            let d = *g * step.scale + step.weight_decay * *p;
            *v = step.momentum * *v + d;
            *p -= step.rate * (d + step.momentum * *v);
            *ema = step.average_decay * *ema + (1.0 - step.average_decay) * *p;
            *g = 0.0;
        }
    }
}

/// Moving average of parameters: `ema = decay ema + (1 - decay) params`.
///
/// # Panics
/// If the lengths differ.
pub fn lerp_into(ema: &mut [f32], params: &[f32], decay: f32) {
    assert_eq!(ema.len(), params.len());
    ema.par_chunks_mut(CHUNK).zip(params.par_chunks(CHUNK)).for_each(|(ema, params)| {
        ema.iter_mut().zip(params).for_each(|(ema, p)| *ema = decay * *ema + (1.0 - decay) * p);
    });
}

/// Sum of squares in double precision.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let parts: Vec<f64> = x
        .par_chunks(CHUNK)
        .map(|x| {
            let mut lanes = [0.0_f64; 8];
            let (full, tail) = x.as_chunks::<8>();
            for values in full {
                lanes.iter_mut().zip(values).for_each(|(lane, &v)| *lane += v as f64 * v as f64);
            }
            lanes.iter().sum::<f64>() + tail.iter().map(|&v| v as f64 * v as f64).sum::<f64>()
        })
        .collect();
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nesterov_steps_worked_by_hand() {
        let step = SgdStep { rate: 0.1, momentum: 0.9, weight_decay: 0.1, scale: 0.5, average_decay: 0.75 };
        let (mut p, mut g, mut v, mut ema) = ([1.0], [1.0], [0.0], [2.0]);
        sgd_nesterov(&mut p, &mut g, &mut v, &mut ema, &step);
        // d = 0.6, v = 0.6, p = 1 - 0.1 * (0.6 + 0.54)
        assert!((p[0] - 0.886_f32).abs() < 1e-6 && (v[0] - 0.6_f32).abs() < 1e-6);
        assert!((ema[0] - (1.5 + 0.25 * 0.886_f32)).abs() < 1e-6 && g == [0.0]);
        g = [1.0];
        sgd_nesterov(&mut p, &mut g, &mut v, &mut ema, &SgdStep { average_decay: 1.0, ..step });
        // d = 0.5886, v = 0.54 + 0.5886, p = 0.886 - 0.1 * (0.5886 + 0.9 * 1.1286)
        assert!((p[0] - 0.725_566_f32).abs() < 1e-6 && (v[0] - 1.1286_f32).abs() < 1e-6);
        assert!((ema[0] - (1.5 + 0.25 * 0.886_f32)).abs() < 1e-6, "a decay of 1 keeps the average");
    }

    #[test]
    fn average_moves_by_what_is_left_of_decay() {
        let mut ema = vec![1.0; CHUNK + 1];
        lerp_into(&mut ema, &vec![2.0; CHUNK + 1], 0.75);
        assert!(ema.iter().all(|&v| v == 1.25));
    }

    #[test]
    fn squares_add_up_over_chunks_and_tails() {
        let x = vec![2.0; 3 * CHUNK + 5];
        assert_eq!(sum_of_squares(&x), 4.0 * x.len() as f64);
        assert_eq!(sum_of_squares(&[]), 0.0);
    }
}
