use super::*;

/// Values that look random and repeat for the same seed.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn exact_moments(x: &[f32], channels: usize, channel: usize) -> (f64, f64) {
    let values: Vec<f64> = x.iter().skip(channel).step_by(channels).map(|&v| v as f64).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64)
}

#[test]
fn moments_are_exact_even_far_from_zero() {
    for channels in [1, 3, 16, 200] {
        let rows = 5000 / channels + 37;
        let x: Vec<f32> = noise(rows * channels, 1).iter().map(|v| v * 0.5 + 100.0).collect();
        let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
        channel_mean_variance(&x, channels, &mut mean, &mut variance);
        for channel in 0..channels {
            let (m, v) = exact_moments(&x, channels, channel);
            assert!((mean[channel] as f64 - m).abs() < 1e-5, "{channels}: {} {m}", mean[channel]);
            assert!((variance[channel] as f64 / v - 1.0).abs() < 1e-4, "{channels}: {} {v}", variance[channel]);
        }
    }
}

#[test]
fn sums_are_added_to_what_is_there() {
    let x = noise(70 * 5, 2);
    let mut sums = vec![1.0; 5];
    channel_sums(&x, 5, &mut sums);
    for (channel, &sum) in sums.iter().enumerate() {
        assert!((sum as f64 - 1.0 - exact_moments(&x, 5, channel).0 * 70.0).abs() < 1e-5);
    }
}

/// The normalised and activated value in double precision.
fn exact_forward(z: &[f64], gamma: f64, beta: f64, act: Activation) -> Vec<f64> {
    let n = z.len() as f64;
    let mean = z.iter().sum::<f64>() / n;
    let variance = z.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let inv_std = 1.0 / (variance + 1e-5).sqrt();
    let activate = |u: f64| match act {
        Activation::Leaky => u.max(0.1 * u),
        Activation::Mish => u * u.exp().ln_1p().tanh(),
        _ => u,
    };
    z.iter().map(|v| activate(gamma * (v - mean) * inv_std + beta)).collect()
}

fn check_gradients(channels: usize, rows: usize, act: Activation) {
    let z = noise(rows * channels, 3);
    let weights = noise(rows * channels, 4);
    let (gamma, beta) = (noise(channels, 5), noise(channels, 6));
    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
    channel_mean_variance(&z, channels, &mut mean, &mut variance);
    let inv_std: Vec<f32> = variance.iter().map(|v| 1.0 / (v + 1e-5).sqrt()).collect();
    let bn = BatchNormView { mean: &mean, inv_std: &inv_std, gamma: &gamma, beta: &beta };
    let mut y = vec![0.0; z.len()];
    norm_activate(&z, &bn, act, &mut y);
    let (mut dz, mut dgamma, mut dbeta) = (weights.clone(), vec![0.0; channels], vec![0.0; channels]);
    norm_activate_backward(&z, &bn, act, &mut dz, &mut dgamma, &mut dbeta);
    for channel in [0, channels - 1] {
        let column = |x: &[f32]| -> Vec<f64> { x.iter().skip(channel).step_by(channels).map(|&v| v as f64).collect() };
        let (z, weights) = (column(&z), column(&weights));
        let forward = |z: &[f64], gamma: f64, beta: f64| exact_forward(z, gamma, beta, act);
        let loss = |z: &[f64], gamma: f64, beta: f64| -> f64 {
            forward(z, gamma, beta).iter().zip(&weights).map(|(y, w)| y * w).sum()
        };
        let (gamma, beta) = (gamma[channel] as f64, beta[channel] as f64);
        for (got, want) in column(&y).iter().zip(forward(&z, gamma, beta)) {
            assert!((got - want).abs() < 1e-5, "{act:?} {got} {want}");
        }
        let near = |got: f32, want: f64| assert!((got as f64 - want).abs() < 1e-3, "{act:?} {got} {want}");
        let step = 1e-6;
        near(dgamma[channel], (loss(&z, gamma + step, beta) - loss(&z, gamma - step, beta)) / (2.0 * step));
        near(dbeta[channel], (loss(&z, gamma, beta + step) - loss(&z, gamma, beta - step)) / (2.0 * step));
        for row in [0, rows / 2, rows - 1] {
            let moved = |by: f64| {
                let mut z = z.clone();
                z[row] += by;
                loss(&z, gamma, beta)
            };
            near(dz[row * channels + channel], (moved(step) - moved(-step)) / (2.0 * step));
        }
    }
}

#[test]
fn gradients_match_finite_differences_in_double_precision() {
    for act in [Activation::Linear, Activation::Leaky, Activation::Mish] {
        for (channels, rows) in [(1, 40), (7, 400), (150, 33)] {
            check_gradients(channels, rows, act);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let z = noise(20_000 * 5, 7);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut mean, mut variance) = ([0.0; 5], [0.0; 5]);
            channel_mean_variance(&z, 5, &mut mean, &mut variance);
            let bn = BatchNormView { mean: &mean, inv_std: &[2.0; 5], gamma: &[0.5; 5], beta: &[0.1; 5] };
            let (mut dz, mut dgamma, mut dbeta) = (noise(z.len(), 8), [0.0; 5], [0.0; 5]);
            norm_activate_backward(&z, &bn, Activation::Leaky, &mut dz, &mut dgamma, &mut dbeta);
            (mean, variance, dz, dgamma, dbeta)
        })
    };
    assert_eq!(run(1), run(2));
}
