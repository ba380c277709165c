//! Batch statistics over the images of all workers, whose shares may differ and be empty.

use crate::workers::Workers;

/// Turns mean and biased variance of each channel over `rows` rows into those over all workers' rows, whose number it
/// gives.
pub(super) fn merge(workers: &Workers, rows: usize, mean: &mut [f32], variance: &mut [f32]) -> usize {
    let n = rows as f64;
    let moments = mean.iter().zip(&*variance).flat_map(|(m, v)| {
        let (m, v) = (f64::from(*m), f64::from(*v));
        [n * m, n * (v + m * m)]
    });
    let mut sums: Vec<f64> = moments.chain([n]).collect();
    workers.sum(&mut sums);
    let all = sums.pop().unwrap_or(0.0);
    for ((m, v), sums) in mean.iter_mut().zip(variance).zip(sums.as_chunks::<2>().0) {
        let [first, second] = sums.map(|sum| sum / all.max(1.0));
        *m = first as f32;
        *v = (second - first * first).max(0.0) as f32;
    }
    all as usize
}

/// Turns sums over `rows` rows into means over all workers' rows.
pub(super) fn means(workers: &Workers, rows: usize, sums: &mut Vec<f64>) {
    sums.push(rows as f64);
    workers.sum(sums);
    let all = sums.pop().unwrap_or(0.0).max(1.0);
    sums.iter_mut().for_each(|sum| *sum /= all);
}
