//! The network that teaches: in evaluation mode, without gradients, on the student's batches.

use yoloslim_core::{Network, Result};

use crate::model::{HeadMap, Predictor};

/// A teacher, made ready for the input size that it saw last.
pub(super) struct Teacher {
    network: Network,
    fingerprint: String,
    /// Layers whose maps are asked for.
    layers: Vec<usize>,
    predictor: Option<((usize, usize), Predictor)>,
}

/// What a teacher makes of a batch.
#[derive(Default)]
pub(super) struct View {
    /// Raw head maps.
    pub heads: Vec<HeadMap>,
    /// Maps of the layers that were asked for.
    pub maps: Vec<HeadMap>,
}

impl Teacher {
    pub fn new(network: Network, layers: Vec<usize>) -> Self {
        // The same weights under another cfg (anchors, activations) teach something else.
        let mut hasher = blake3::Hasher::new();
        hasher.update(&network.cfg.to_bytes()).update(&network.to_weights_file().to_bytes());
        let fingerprint = hasher.finalize().to_hex().to_string();
        Self { network, fingerprint, layers, predictor: None }
    }

    /// A hash of its cfg and weights.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What the teacher makes of `count` images, `[image][row][column][channel]`, of `size` (width, height).
    ///
    /// # Errors
    /// A size that does not fit the teacher.
    pub fn look(&mut self, images: &[f32], count: usize, size: (usize, usize)) -> Result<View> {
        if self.predictor.as_ref().is_none_or(|(ready, _)| *ready != size) {
            // One size at a time: packed kernels are as large as the net.
            self.predictor = None;
            let predictor = Predictor::with_size(&self.network, size.0, size.1).map_err(|e| e.inside("--teacher"))?;
            self.predictor = Some((size, predictor));
        }
        let Some((_, predictor)) = &mut self.predictor else { return Ok(View::default()) };
        let (heads, maps) = predictor.heads_with(images, count, &self.layers);
        Ok(View { heads, maps })
    }
}
