//! Which layers to compute in 16 bits so that little accuracy is lost.

use std::collections::BTreeSet;

use yoloslim_core::Result;

use super::LayerSensitivity;

/// Adds the most sensitive layers to those of `always`, as few as keep the loss at most `most`; `loss` measures the
/// accuracy lost when the given layers are in 16 bits. All layers, if even those lose more.
///
/// The number is looked for by doubling and then by halving, for each trial runs a whole evaluation.
///
/// # Errors
/// Whatever `loss` fails on.
pub fn high_precision(
    always: &BTreeSet<usize>,
    sensitivity: &[LayerSensitivity],
    most: f64,
    loss: &mut dyn FnMut(&BTreeSet<usize>) -> Result<f64>,
) -> Result<BTreeSet<usize>> {
    let mut order: Vec<&LayerSensitivity> = sensitivity.iter().filter(|s| !always.contains(&s.layer)).collect();
    order.sort_by(|a, b| b.head_error.total_cmp(&a.head_error).then(a.layer.cmp(&b.layer)));
    let with = |count: usize| -> BTreeSet<usize> {
        always.iter().copied().chain(order[..count].iter().map(|s| s.layer)).collect()
    };
    let mut enough = |count: usize| -> Result<bool> { Ok(loss(&with(count))? <= most) };
    // `low` layers are too few, `high` are enough or all.
    let (mut low, mut high) = (0, 0);
    while high < order.len() && !enough(high)? {
        low = high;
        high = (high * 2).max(1).min(order.len());
    }
    while low + 1 < high {
        let middle = low.midpoint(high);
        if enough(middle)? { high = middle } else { low = middle }
    }
    Ok(with(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_most_sensitive_layers_are_marked() {
        let layer = |layer: usize, head_error| LayerSensitivity { layer, place: String::new(), head_error };
        let table: Vec<_> = [0.1, 0.5, 0.2, 0.9, 0.4, 0.3].iter().enumerate().map(|(i, e)| layer(i, *e)).collect();
        let always = BTreeSet::from([3]);
        // Marked layers take a hundredth each from a loss of five hundredths.
        let marked = |most: f64| {
            let mut loss = |marked: &BTreeSet<usize>| Ok(0.05 - 0.01 * marked.len() as f64);
            high_precision(&always, &table, most, &mut loss).unwrap()
        };
        assert_eq!(marked(0.045), always);
        assert_eq!(marked(0.035), BTreeSet::from([1, 3]));
        assert_eq!(marked(0.015), BTreeSet::from([1, 3, 4, 5]));
        assert_eq!(marked(-1.0), BTreeSet::from([0, 1, 2, 3, 4, 5]));
    }
}
