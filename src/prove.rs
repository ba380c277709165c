//! The proof that a slim net is the same detector as the net it was cut from with the removed channels masked.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use yoloslim_core::prune::{self, PROOF_TOLERANCE, Pruned};
use yoloslim_core::{Error, Result};

use crate::model::{HeadMap, Predictor};

/// Runs the masked and the compact net on the same image of noise; gives the largest difference of their raw heads,
/// relative to each head's largest value.
///
/// # Errors
/// A difference above [`PROOF_TOLERANCE`], or one that is no number: then the slim net must not be used.
pub fn prove(pruned: &Pruned) -> Result<f64> {
    prove_with(pruned, &mut |_, _| {})
}

/// [`prove`] that tells how many of the two nets have run.
///
/// # Errors
/// As [`prove`].
pub fn prove_with(pruned: &Pruned, progress: &mut dyn FnMut(usize, usize)) -> Result<f64> {
    progress(0, 2);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let image: Vec<f32> = (0..pruned.masked.graph.input.len()).map(|_| rng.random()).collect();
    let heads = |network| {
        let maps = Predictor::direct(network).heads(&image, 1);
        maps.iter().map(HeadMap::to_nchw).collect::<Vec<_>>()
    };
    let masked = heads(&pruned.masked);
    if masked.iter().flatten().any(|value| !value.is_finite()) {
        return Err(Error::at(
            "proof",
            "the net's heads are no numbers for an image of noise, with nothing pruned yet",
        )
        .fix(
            "check the weights, for a run may have diverged, and that each [maxpool] has less padding than its size",
        ));
    }
    progress(1, 2);
    let difference = prune::max_relative_difference(&masked, &heads(&pruned.compact));
    progress(2, 2);
    if difference <= PROOF_TOLERANCE {
        return Ok(difference);
    }
    Err(Error::at(
        "proof",
        format!("the slim net's heads differ from the masked net's by {difference:.1e} of their largest value"),
    )
    .fix("nothing was written; report this with the cfg, for the limit is 1e-4"))
}
