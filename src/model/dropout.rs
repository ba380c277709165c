//! `[dropout]` in training: each number is zero with the layer's probability, and the others are scaled up so that the
//! mean stays (Darknet's dropout_layer.c). What is dropped follows from numbers alone, so that the backward pass, and a map
//! that is computed again, find the same without keeping it.

/// What the dropout layers of a pass go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drops {
    seed: u64,
    first: usize,
}

impl Drops {
    /// Those of pass number `pass` of a training with the given seed. `first` is the place of the pass's first image in its
    /// batch: workers that share a batch drop what one alone would.
    #[must_use]
    pub fn new(seed: u64, pass: u64, first: usize) -> Self {
        Self { seed: seed ^ mix(pass), first }
    }

    /// Drops numbers of `map`, `[image][row][column][channel]` with `image` numbers each, which is what dropout layer `layer`
    /// gives or the gradient of that.
    ///
    /// # Panics
    /// If `probability` is not below 1.
    pub(super) fn apply(self, layer: usize, probability: f32, image: usize, map: &mut [f32]) {
        assert!((0.0..1.0).contains(&probability), "a layer that drops all gives nothing");
        let kept = 1.0 / (1.0 - probability);
        let below = (f64::from(probability) * 2_f64.powi(32)) as u64;
        let stream = mix(self.seed ^ mix(layer as u64));
        let start = (self.first * image) as u64;
        for (number, value) in (start..).zip(map) {
            *value *= if mix(stream.wrapping_add(number)) >> 32 < below { 0.0 } else { kept };
        }
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), one
/// step from `state`.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_asked_for_goes_and_the_mean_stays() {
        for probability in [0.0, 0.15, 0.5, 0.9] {
            let mut map = vec![2.0; 100_000];
            Drops::new(7, 1, 0).apply(3, probability, 1000, &mut map);
            let gone = map.iter().filter(|value| **value == 0.0).count() as f32 / 1e5;
            let mean = map.iter().map(|value| f64::from(*value)).sum::<f64>() / 1e5;
            assert!((gone - probability).abs() < 0.005, "{probability}: {gone}");
            assert!((mean - 2.0).abs() < 0.06, "{probability}: {mean}");
        }
    }

    #[test]
    fn a_share_of_a_batch_drops_what_the_whole_does_and_other_passes_and_layers_drop_others() {
        let of = |seed, pass, first, layer, images: usize| {
            let mut map = vec![1.0; images * 50];
            Drops::new(seed, pass, first).apply(layer, 0.5, 50, &mut map);
            map
        };
        let whole = of(7, 1, 0, 3, 4);
        assert_eq!([of(7, 1, 0, 3, 1), of(7, 1, 1, 3, 3)].concat(), whole);
        for others in [of(8, 1, 0, 3, 4), of(7, 2, 0, 3, 4), of(7, 1, 0, 4, 4), of(7, 1, 1, 3, 4)] {
            let alike = others.iter().zip(&whole).filter(|(a, b)| a == b).count();
            assert!((60..140).contains(&alike), "{alike} of 200");
        }
    }
}
