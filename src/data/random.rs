//! Random numbers that depend on what they are for and on nothing else.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// What a stream of random numbers decides; streams of different purposes never meet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The order of an epoch.
    Order = 1,
    /// The net's input size over some batches.
    Size = 2,
    /// How one sample is augmented.
    Sample = 3,
    /// What a generated picture shows.
    Scene = 4,
}

/// The stream for the `index`-th thing of an epoch: whoever asks, in whichever order, gets the same numbers.
pub(crate) fn stream(seed: u64, epoch: usize, purpose: Purpose, index: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (part, value) in key.chunks_exact_mut(8).zip([seed, epoch as u64, purpose as u64, index as u64]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}
