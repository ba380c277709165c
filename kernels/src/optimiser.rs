//! What an optimiser does to parameters, in one pass over memory each.

use crate::activation::CHUNK;
use rayon::prelude::*;

/// One step of stochastic gradient descent with Nesterov's momentum as PyTorch defines it:
/// `d = g + weight_decay p`, `v = momentum v + d`, `p -= lr (d + momentum v)`.
///
/// # Panics
/// If the lengths differ.
pub fn sgd_nesterov(
    params: &mut [f32],
    grads: &[f32],
    velocity: &mut [f32],
    lr: f32,
    momentum: f32,
    weight_decay: f32,
) {
    assert!(params.len() == grads.len() && params.len() == velocity.len());
    let parts = params.par_chunks_mut(CHUNK).zip(grads.par_chunks(CHUNK)).zip(velocity.par_chunks_mut(CHUNK));
    parts.for_each(|((params, grads), velocity)| {
        for ((p, g), v) in params.iter_mut().zip(grads).zip(velocity) {
            let d = g + weight_decay * *p;
            *v = momentum * *v + d;
            *p -= lr * (d + momentum * *v);
        }
    });
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
        let (mut p, mut v) = ([1.0], [0.0]);
        sgd_nesterov(&mut p, &[0.5], &mut v, 0.1, 0.9, 0.1);
        // d = 0.6, v = 0.6, p = 1 - 0.1 * (0.6 + 0.54)
        assert!((p[0] - 0.886_f32).abs() < 1e-6 && (v[0] - 0.6_f32).abs() < 1e-6);
        sgd_nesterov(&mut p, &[0.5], &mut v, 0.1, 0.9, 0.1);
        // d = 0.5886, v = 0.54 + 0.5886, p = 0.886 - 0.1 * (0.5886 + 0.9 * 1.1286)
        assert!((p[0] - 0.725_566_f32).abs() < 1e-6 && (v[0] - 1.1286_f32).abs() < 1e-6);
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
