//! Batch normalisation over `[rows][channels]`, fused with the activation after it.
//!
//! Ioffe and Szegedy, arXiv:1502.03167. Sums are formed in `f32` over short chunks of rows and combined in `f64`.

use crate::activation::{Activation, CHUNK, fix_activation};
use crate::path::{Path, for_each_path};
use rayon::prelude::*;

/// Vectors are at least this wide: narrower channels are repeated side by side, so that inner loops are long.
const LANES: usize = 128;

/// What normalises channels: `gamma * (z - mean) * inv_std + beta`, each of length `channels`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormView<'a> {
    /// Mean of each channel.
    pub mean: &'a [f32],
    /// `1 / sqrt(variance + epsilon)` of each channel.
    pub inv_std: &'a [f32],
    /// Scale of each channel.
    pub gamma: &'a [f32],
    /// Offset of each channel.
    pub beta: &'a [f32],
}

/// Per-channel values repeated over the lanes of an inner loop.
struct Lanes {
    mean: Vec<f32>,
    inv_std: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Lanes {
    fn new(bn: &BatchNormView) -> Self {
        let channels = bn.mean.len();
        assert!(channels > 0 && [bn.inv_std, bn.gamma, bn.beta].iter().all(|values| values.len() == channels));
        let times = lanes(channels) / channels;
        Self {
            mean: bn.mean.repeat(times),
            inv_std: bn.inv_std.repeat(times),
            gamma: bn.gamma.repeat(times),
            beta: bn.beta.repeat(times),
        }
    }
}

/// Width of inner loops: the multiple of `channels` at or below [`LANES`], at least `channels`.
fn lanes(channels: usize) -> usize {
    channels * (LANES / channels).max(1)
}

/// Values in a chunk: whole inner loops, at least 16 of them.
fn chunk(channels: usize) -> usize {
    let lanes = lanes(channels);
    lanes * (CHUNK / lanes).max(16)
}

/// Mean and biased variance of each channel of `x: [rows][channels]`, in one pass; zero for no rows.
///
/// Each chunk is shifted by its first row and chunks are merged by Chan's formula, so that a mean far from zero costs
/// no digits of the variance.
///
/// # Panics
/// If the lengths do not fit `channels`.
pub fn channel_mean_variance(x: &[f32], channels: usize, mean: &mut [f32], variance: &mut [f32]) {
    assert!(channels > 0 && x.len().is_multiple_of(channels));
    assert!(mean.len() == channels && variance.len() == channels);
    let path = Path::detect();
    let parts: Vec<Moments> = x.par_chunks(chunk(channels)).map(|x| Moments::of(path, x, channels)).collect();
    let mut all = Moments { count: 0.0, mean: vec![0.0; channels], squares: vec![0.0; channels] };
    for part in &parts {
        all.merge(part);
    }
    for (channel, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
        *mean = all.mean[channel] as f32;
        *variance = (all.squares[channel] / all.count.max(1.0)) as f32;
    }
}

/// Count, means and sums of squared deviations of some rows.
struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn of(path: Path, x: &[f32], channels: usize) -> Self {
        let lanes = lanes(channels);
        let shift = x[..channels].repeat(lanes / channels);
        let (mut sums, mut squares) = (vec![0.0; lanes], vec![0.0; lanes]);
        add_moments(path, x, &shift, &mut sums, &mut squares);
        let count = (x.len() / channels) as f64;
        let (sums, squares) = (fold(&sums, channels), fold(&squares, channels));
        Self {
            count,
            mean: sums.iter().zip(&shift).map(|(sum, &shift)| sum / count + shift as f64).collect(),
            squares: squares.iter().zip(&sums).map(|(square, sum)| (square - sum * sum / count).max(0.0)).collect(),
        }
    }

    fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        let weight = other.count / count;
        for channel in 0..self.mean.len() {
            let apart = other.mean[channel] - self.mean[channel];
            self.mean[channel] += apart * weight;
            self.squares[channel] += other.squares[channel] + apart * apart * self.count * weight;
        }
        self.count = count;
    }
}

for_each_path! {
    /// Adds what rows differ from `shift` by, and the squares of that.
    fn add_moments(x: &[f32], shift: &[f32], sums: &mut [f32], squares: &mut [f32]) {
        for row in x.chunks(shift.len()) {
            for (((v, shift), sum), square) in row.iter().zip(shift).zip(&mut *sums).zip(&mut *squares) {
                let v = v - shift;
                *sum += v;
                *square += v * v;
            }
        }
    }
}

/// Adds lanes of the same channel, in order.
fn fold(lanes: &[f32], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    for lanes in lanes.chunks_exact(channels) {
        sums.iter_mut().zip(lanes).for_each(|(sum, &v)| *sum += v as f64);
    }
    sums
}

/// Adds the sum of each channel of `x: [rows][channels]` to `sums`: the gradient of a bias.
///
/// # Panics
/// If the lengths do not fit `channels`.
pub fn channel_sums(x: &[f32], channels: usize, sums: &mut [f32]) {
    assert!(channels > 0 && x.len().is_multiple_of(channels) && sums.len() == channels);
    let path = Path::detect();
    let parts = x.par_chunks(chunk(channels)).map(|x| {
        let mut sums = vec![0.0; lanes(channels)];
        add_rows(path, x, &mut sums);
        fold(&sums, channels)
    });
    let totals = in_order(parts.collect(), channels);
    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total as f32);
}

for_each_path! {
    fn add_rows(x: &[f32], sums: &mut [f32]) {
        for row in x.chunks(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
    }
}

fn in_order(parts: Vec<Vec<f64>>, width: usize) -> Vec<f64> {
    let mut totals = vec![0.0; width];
    for part in parts {
        totals.iter_mut().zip(part).for_each(|(total, v)| *total += v);
    }
    totals
}

/// `y = act(gamma * (z - mean) * inv_std + beta)` over `[rows][channels]`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn norm_activate(z: &[f32], bn: &BatchNormView, act: Activation, y: &mut [f32]) {
    let (channels, lanes) = (bn.mean.len(), Lanes::new(bn));
    assert!(z.len() == y.len() && z.len().is_multiple_of(channels));
    let path = Path::detect();
    let scale: Vec<f32> = lanes.gamma.iter().zip(&lanes.inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
    y.par_chunks_mut(chunk(channels)).zip(z.par_chunks(chunk(channels))).for_each(|(y, z)| {
        write_activated(path, z, &lanes, &scale, act, y);
    });
}

for_each_path! {
    /// [`norm_activate`] on one thread; `scale` is `gamma inv_std`.
    fn write_activated(z: &[f32], lanes: &Lanes, scale: &[f32], act: Activation, y: &mut [f32]) {
        fix_activation!(act, ACT => for (y, z) in y.chunks_mut(scale.len()).zip(z.chunks(scale.len())) {
            let parameters = lanes.mean.iter().zip(scale).zip(&lanes.beta);
            for ((y, z), ((mean, scale), beta)) in y.iter_mut().zip(z).zip(parameters) {
                *y = ACT.apply((z - mean) * scale + beta);
            }
        })
    }
}

/// Backward of [`norm_activate`] where mean and variance are those of `z` itself (training).
///
/// `dy` holds the gradient of `y` and receives that of `z`; the gradients of `gamma` and `beta` are added to `dgamma`
/// and `dbeta`. With `g = dy act'(u)` and `h = (z - mean) inv_std`:
/// `dz = gamma inv_std (g - mean(g) - h mean(g h))`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn norm_activate_backward(
    z: &[f32],
    bn: &BatchNormView,
    act: Activation,
    dy: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let rows = (z.len() / bn.mean.len().max(1)).max(1) as f64;
    backward(z, bn, act, dy, dgamma, dbeta, |sums| sums.iter_mut().for_each(|sum| *sum /= rows));
}

/// [`norm_activate_backward`] where mean and variance are those of more rows than `z` has, which lie elsewhere.
///
/// `means` is given the sums of `g` and then of `g h` over these rows, `channels` of each, and turns them into the means
/// over all. What is added to `dgamma` and `dbeta` is these rows' part. There may be no rows at all.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn norm_activate_backward_shared(
    z: &[f32],
    bn: &BatchNormView,
    act: Activation,
    dy: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    means: impl FnOnce(&mut Vec<f64>),
) {
    backward(z, bn, act, dy, dgamma, dbeta, means);
}

/// One pass for the sums and one that writes; `means` makes of the sums what is taken off each row.
fn backward(
    z: &[f32],
    bn: &BatchNormView,
    act: Activation,
    dy: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    means: impl FnOnce(&mut Vec<f64>),
) {
    let (channels, lanes) = (bn.mean.len(), Lanes::new(bn));
    assert!(z.len() == dy.len() && z.len().is_multiple_of(channels));
    assert!(dgamma.len() == channels && dbeta.len() == channels);
    let (path, size) = (Path::detect(), chunk(channels));
    let parts = dy.par_chunks(size).zip(z.par_chunks(size));
    let mut totals =
        in_order(parts.map(|(dy, z)| gradient_sums(path, z, &lanes, act, dy, channels)).collect(), 2 * channels);
    let (of_beta, of_gamma) = totals.split_at(channels);
    dbeta.iter_mut().zip(of_beta).for_each(|(d, &sum)| *d += sum as f32);
    dgamma.iter_mut().zip(of_gamma).for_each(|(d, &sum)| *d += sum as f32);
    means(&mut totals);
    let repeat = |means: &[f64]| -> Vec<f32> {
        means.iter().map(|&mean| mean as f32).collect::<Vec<_>>().repeat(lanes.mean.len() / channels)
    };
    let (mean_g, mean_gh) = (repeat(&totals[..channels]), repeat(&totals[channels..]));
    dy.par_chunks_mut(size).zip(z.par_chunks(size)).for_each(|(dy, z)| {
        write_gradient_on(path, z, &lanes, act, dy, &mean_g, &mean_gh);
    });
}

/// Sums of `g` and then of `g h` for each channel.
fn gradient_sums(path: Path, z: &[f32], lanes: &Lanes, act: Activation, dy: &[f32], channels: usize) -> Vec<f64> {
    let width = lanes.mean.len();
    let (mut sums, mut products) = (vec![0.0; width], vec![0.0; width]);
    add_gradient_sums_on(path, z, lanes, act, dy, &mut sums, &mut products);
    let mut both = fold(&sums, channels);
    both.extend(fold(&products, channels));
    both
}

for_each_path! {
    fn add_gradient_sums_on(
        z: &[f32],
        lanes: &Lanes,
        act: Activation,
        dy: &[f32],
        sums: &mut [f32],
        products: &mut [f32],
    ) {
        fix_activation!(act, ACT => add_gradient_sums(z, lanes, ACT, dy, sums, products))
    }
}

for_each_path! {
    fn write_gradient_on(
        z: &[f32],
        lanes: &Lanes,
        act: Activation,
        dy: &mut [f32],
        mean_g: &[f32],
        mean_gh: &[f32],
    ) {
        fix_activation!(act, ACT => write_gradient(z, lanes, ACT, dy, mean_g, mean_gh))
    }
}

#[inline(always)]
fn add_gradient_sums(z: &[f32], lanes: &Lanes, act: Activation, dy: &[f32], sums: &mut [f32], products: &mut [f32]) {
    let width = sums.len();
    let (mean, inv_std) = (&lanes.mean[..width], &lanes.inv_std[..width]);
    let (gamma, beta, products) = (&lanes.gamma[..width], &lanes.beta[..width], &mut products[..width]);
    for (z, dy) in z.chunks(width).zip(dy.chunks(width)) {
        let n = z.len().min(dy.len()).min(width);
        for i in 0..n {
            let h = (z[i] - mean[i]) * inv_std[i];
            let g = dy[i] * act.derivative(gamma[i] * h + beta[i]);
            sums[i] += g;
            products[i] += g * h;
        }
    }
}

#[inline(always)]
fn write_gradient(z: &[f32], lanes: &Lanes, act: Activation, dy: &mut [f32], mean_g: &[f32], mean_gh: &[f32]) {
    let width = mean_g.len();
    let (mean, inv_std, mean_gh) = (&lanes.mean[..width], &lanes.inv_std[..width], &mean_gh[..width]);
    let (gamma, beta) = (&lanes.gamma[..width], &lanes.beta[..width]);
    for (z, dy) in z.chunks(width).zip(dy.chunks_mut(width)) {
        let n = z.len().min(dy.len()).min(width);
        for i in 0..n {
            let h = (z[i] - mean[i]) * inv_std[i];
            let g = dy[i] * act.derivative(gamma[i] * h + beta[i]);
            dy[i] = gamma[i] * inv_std[i] * (g - mean_g[i] - h * mean_gh[i]);
        }
    }
}

#[cfg(test)]
mod tests;
