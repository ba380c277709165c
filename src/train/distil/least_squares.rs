//! Linear least squares by normal equations.

/// What is added to the diagonal, as a share of its mean: keeps what few cells leave open small.
const RIDGE: f64 = 1e-3;

/// The matrix W, `[rows][n]`, that makes `|W x - y|^2` smallest over samples, from `gram` = sum x x^T, `[n][n]`, and
/// `products` = sum y x^T, `[rows][n]`, with a little ridge.
pub(super) fn solve(gram: &[f32], products: &[f32], n: usize) -> Vec<f32> {
    let trace: f64 = (0..n).map(|i| f64::from(gram[i * n + i])).sum();
    let ridge = (RIDGE * trace / n as f64).max(f64::MIN_POSITIVE);
    let factor = cholesky(gram, n, ridge);
    products.chunks_exact(n).flat_map(|row| substitute(&factor, row, n)).collect()
}

/// The lower triangle L with L L^T = gram + ridge I.
fn cholesky(gram: &[f32], n: usize, ridge: f64) -> Vec<f64> {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let (a, b) = (&l[i * n..i * n + j], &l[j * n..j * n + j]);
            let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            let rest = f64::from(gram[i * n + j]) - dot;
            // Rounding of the sums may leave a diagonal below what the ridge guarantees.
            l[i * n + j] = if i == j { (rest + ridge).max(ridge).sqrt() } else { rest / l[j * n + j] };
        }
    }
    l
}

/// Solves L L^T w = row.
fn substitute(l: &[f64], row: &[f32], n: usize) -> Vec<f32> {
    let mut w: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
    for i in 0..n {
        let known: f64 = (0..i).map(|j| l[i * n + j] * w[j]).sum();
        w[i] = (w[i] - known) / l[i * n + i];
    }
    for i in (0..n).rev() {
        w[i] /= l[i * n + i];
        let (value, row) = (w[i], &l[i * n..i * n + i]);
        w.iter_mut().zip(row).for_each(|(w, l)| *w -= l * value);
    }
    w.into_iter().map(|v| v as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn at_the_solution_the_slope_of_the_distance_is_that_of_the_ridge(
            samples in prop::collection::vec(prop::array::uniform5(-2.0f32..2.0), 8..20)
        ) {
            let (n, rows) = (3, 2);
            let sum = |f: &dyn Fn(&[f32; 5]) -> f32| samples.iter().map(f).sum::<f32>();
            let gram: Vec<f32> = (0..9).map(|i| sum(&|s| s[i / 3] * s[i % 3])).collect();
            let products: Vec<f32> = (0..6).map(|i| sum(&|s| s[3 + i / 3] * s[i % 3])).collect();
            let w = solve(&gram, &products, n);
            let ridge = RIDGE as f32 * (gram[0] + gram[4] + gram[8]) / 3.0;
            for r in 0..rows {
                for i in 0..n {
                    let slope: f32 = (0..n).map(|j| w[r * n + j] * gram[j * n + i]).sum::<f32>() - products[r * n + i];
                    prop_assert!((slope + ridge * w[r * n + i]).abs() < 1e-2, "{slope} {}", ridge * w[r * n + i]);
                }
            }
        }
    }
}
