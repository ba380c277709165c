//! Least squares with unknowns that can't be negative, for a handful of unknowns.
//!
//! The optimum is the plain least-squares solution on the unknowns that are not zero there. With three unknowns there
//! are eight choices of those, so all are tried: exact, without the iterations and tolerances that a solver for large
//! problems (Lawson and Hanson 1974) needs, and shorter than a dependency's manifest is worth.

/// The `x >= 0` that minimises |a x - b|^2; `rows` holds the rows of `a`, all of one length, with their `b`. Where
/// rows can't tell unknowns apart, as many as possible are zero.
#[must_use]
pub fn non_negative(rows: &[(Vec<f64>, f64)]) -> Vec<f64> {
    let unknowns = rows.first().map_or(0, |(row, _)| row.len());
    let mut best = (vec![0.0; unknowns], residual(rows, &vec![0.0; unknowns]));
    for choice in 1..1usize << unknowns {
        let free: Vec<usize> = (0..unknowns).filter(|i| choice >> i & 1 == 1).collect();
        let Some(solution) = solve(rows, &free) else { continue };
        if solution.iter().any(|x| *x < 0.0) {
            continue;
        }
        let mut x = vec![0.0; unknowns];
        free.iter().zip(solution).for_each(|(i, value)| x[*i] = value);
        let residual = residual(rows, &x);
        if residual < best.1 - 1e-12 * best.1 {
            best = (x, residual);
        }
    }
    best.0
}

fn residual(rows: &[(Vec<f64>, f64)], x: &[f64]) -> f64 {
    rows.iter().map(|(row, b)| (row.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() - b).powi(2)).sum()
}

/// The least-squares solution on the `free` unknowns: the normal equations, each column scaled to length 1, by
/// elimination with pivots. None where columns depend on each other.
fn solve(rows: &[(Vec<f64>, f64)], free: &[usize]) -> Option<Vec<f64>> {
    let n = free.len();
    let length = |i: &usize| rows.iter().map(|(row, _)| row[*i] * row[*i]).sum::<f64>().sqrt();
    let lengths: Vec<f64> = free.iter().map(length).collect();
    let mut m = vec![vec![0.0; n + 1]; n];
    for (row, b) in rows {
        for (i, fi) in free.iter().enumerate() {
            let a = row[*fi] / lengths[i];
            free.iter().enumerate().for_each(|(j, fj)| m[i][j] += a * row[*fj] / lengths[j]);
            m[i][n] += a * b;
        }
    }
    for column in 0..n {
        let pivot = (column..n).max_by(|i, j| m[*i][column].abs().total_cmp(&m[*j][column].abs()))?;
        m.swap(column, pivot);
        if m[column][column].is_nan() || m[column][column].abs() < 1e-10 {
            return None;
        }
        let pivot_row = m[column].clone();
        for (i, row) in m.iter_mut().enumerate().filter(|(i, _)| *i != column) {
            let factor = row[column] / pivot_row[column];
            debug_assert_ne!(i, column);
            row.iter_mut().zip(&pivot_row).for_each(|(a, p)| *a -= factor * p);
        }
    }
    Some((0..n).map(|i| m[i][n] / m[i][i] / lengths[i]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unknown_that_would_be_negative_is_zero_and_the_others_make_up_for_it() {
        // Plain least squares gives (2, -1).
        let rows = [(vec![1.0, 0.0], 2.0), (vec![0.0, 1.0], -1.0), (vec![1.0, 1.0], 1.0)];
        let x = non_negative(&rows);
        assert!((x[0] - 1.5).abs() < 1e-12 && x[1] == 0.0, "{x:?}");
    }

    #[test]
    fn columns_that_depend_on_each_other_share_nothing() {
        let rows = [(vec![1.0, 2.0], 3.0), (vec![2.0, 4.0], 6.0)];
        let x = non_negative(&rows);
        assert!((x[0] + 2.0 * x[1] - 3.0).abs() < 1e-9 && (x[0] == 0.0 || x[1] == 0.0), "{x:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_made_from_non_negative_values_comes_back(
            a in prop::collection::vec(prop::array::uniform3(0.1..9.0f64), 4..8),
            x in prop::array::uniform3(prop_oneof![Just(0.0), 0.01..5.0f64]),
        ) {
            let row = |a: &[f64; 3]| (a.to_vec(), a.iter().zip(&x).map(|(a, x)| a * x).sum::<f64>());
            let rows: Vec<_> = a.iter().map(row).collect();
            let found = non_negative(&rows);
            prop_assert!(residual(&rows, &found) <= 1e-12, "{:?} {:?}", found, x);
        }
    }
}
