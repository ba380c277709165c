//! How far each filter lies from the others of its layer: what lies near their geometric median can be said by them
//! (He et al. 2019, "Filter Pruning via Geometric Median").

use super::filters;
use crate::network::ConvWeights;

/// The sum of the distances |w_i - w_j|_2 to all other filters, `[filters]`; normalisation and bias don't count.
#[must_use]
pub fn scores(weights: &ConvWeights) -> Vec<f32> {
    let filters: Vec<&[f32]> = filters(weights).collect();
    let mut sums = vec![0.0f64; filters.len()];
    for (i, a) in filters.iter().enumerate() {
        for (j, b) in filters.iter().enumerate().skip(i + 1) {
            let distance = f64::from(squared_distance(a, b)).sqrt();
            sums[i] += distance;
            sums[j] += distance;
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Eight partial sums, so that the compiler can use vectors: a layer of 1024 filters has half a million pairs.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let (a_parts, a_rest) = a.as_chunks::<8>();
    let (b_parts, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for (a, b) in a_parts.iter().zip(b_parts) {
        for lane in 0..8 {
            sums[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f32>() + rest
}
