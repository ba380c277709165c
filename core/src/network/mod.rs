//! A detector as one value: its cfg, the graph derived from it, and the weights of every convolution.

mod fold;
mod init;
mod load;

use std::path::Path;

pub use load::Loaded;

use crate::darknet::{Cfg, Header, WeightsFile};
use crate::graph::{Convolution, Graph};
use crate::{Error, Result, files};

/// A detector. All stages take one and give one.
///
/// ```
/// use yoloslim_core::Network;
/// use yoloslim_core::darknet::Cfg;
///
/// let cfg = b"[net]\nwidth=32\nheight=32\n[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\n";
/// let network = Network::initialise(Cfg::parse(cfg)?, 7)?;
/// assert_eq!(network.parameters(), 4 * (3 * 9) + 2 * 4);
///
/// // Two files, and back again.
/// let folder = tempfile::tempdir().unwrap();
/// network.write(folder.path(), "net")?;
/// let read = Network::read(&folder.path().join("net.cfg"), &folder.path().join("net.weights"))?;
/// assert_eq!(read.conv(0), network.conv(0));
/// # Ok::<(), yoloslim_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The cfg, kept so that what no stage touches is written back as it was read.
    pub cfg: Cfg,
    /// The graph that the cfg describes.
    pub graph: Graph,
    /// One entry a layer; some for convolutions.
    pub weights: Vec<Option<ConvWeights>>,
    /// The header of the weights file.
    pub header: Header,
}

/// The numbers of one convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvWeights {
    /// `[filters]`: added before the activation; BN's beta where there is normalisation.
    pub bias: Vec<f32>,
    /// Batch normalisation's other numbers.
    pub norm: Option<BatchNorm>,
    /// `[filters, channels_in / groups, size, size]`, row-major.
    pub kernel: Vec<f32>,
}

/// Batch normalisation: `gamma * (x - mean) / sqrt(variance + EPSILON) + beta`.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// `[filters]`
    pub gamma: Vec<f32>,
    /// `[filters]`: running mean.
    pub mean: Vec<f32>,
    /// `[filters]`: running variance.
    pub variance: Vec<f32>,
}

impl BatchNorm {
    /// Added to the variance. AlexeyAB's Darknet and Caffe use it so; pjreddie's divides by `sqrt(var) + 1e-6` and
    /// OpenCV's reader by `sqrt(var + 1e-6)`, which changes outputs by up to 2e-4 of their range on trained nets.
    pub const EPSILON: f32 = 1e-5;

    /// `1 / sqrt(variance + EPSILON)`, `[filters]`.
    #[must_use]
    pub fn inverse_deviation(&self) -> Vec<f32> {
        self.variance.iter().map(|v| 1.0 / (v + Self::EPSILON).sqrt()).collect()
    }
}

impl ConvWeights {
    /// Kernel and bias with the normalisation folded in.
    #[must_use]
    pub fn folded(&self) -> (Vec<f32>, Vec<f32>) {
        let Some(norm) = &self.norm else { return (self.kernel.clone(), self.bias.clone()) };
        let inverse = norm.inverse_deviation();
        let scale: Vec<f32> = norm.gamma.iter().zip(&inverse).map(|(g, i)| g * i).collect();
        let taps = self.kernel.len() / scale.len().max(1);
        let kernel =
            self.kernel.chunks(taps.max(1)).zip(&scale).flat_map(|(k, s)| k.iter().map(move |w| w * s)).collect();
        let bias = self.bias.iter().zip(&norm.mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        (kernel, bias)
    }

    /// The arrays in the order of a weights file.
    fn arrays(&self) -> impl Iterator<Item = &Vec<f32>> {
        let norm = self.norm.iter().flat_map(|n| [&n.gamma, &n.mean, &n.variance]);
        std::iter::once(&self.bias).chain(norm).chain(std::iter::once(&self.kernel))
    }

    /// The numbers in the order of a weights file.
    pub(crate) fn into_values(self) -> impl Iterator<Item = f32> {
        let norm = self.norm.into_iter().flat_map(|n| [n.gamma, n.mean, n.variance]);
        std::iter::once(self.bias).chain(norm).chain(std::iter::once(self.kernel)).flatten()
    }

    /// The arrays in the order of a weights file, to fill.
    fn arrays_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let norm = self.norm.iter_mut().flat_map(|n| [&mut n.gamma, &mut n.mean, &mut n.variance]);
        std::iter::once(&mut self.bias).chain(norm).chain(std::iter::once(&mut self.kernel))
    }

    /// How many numbers of a weights file belong to this layer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrays().map(Vec::len).sum()
    }

    /// Whether there is no number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All zero, of the sizes that `convolution` wants.
    fn zeros(convolution: &Convolution, channels_in: usize) -> Self {
        let n = convolution.filters;
        let norm = || BatchNorm { gamma: vec![0.0; n], mean: vec![0.0; n], variance: vec![0.0; n] };
        Self {
            bias: vec![0.0; n],
            norm: convolution.batch_normalize.then(norm),
            kernel: vec![0.0; convolution.kernel_len(channels_in)],
        }
    }
}

impl Network {
    /// Reads a cfg and a complete weights file.
    ///
    /// # Errors
    /// Whatever is wrong with either file; a weights file that is too short or too long for the cfg.
    pub fn read(cfg: &Path, weights: &Path) -> Result<Self> {
        let weights_name = weights.display();
        let (cfg, graph) = Graph::read(cfg)?;
        let file = WeightsFile::parse(&files::read(weights)?).map_err(|e| e.inside(&weights_name))?;
        Self::from_parts(cfg, graph, &file).map_err(|e| e.inside(&weights_name))
    }

    /// Reads a cfg and gives it random weights.
    ///
    /// # Errors
    /// Whatever is wrong with the cfg.
    pub fn random(cfg: &Path, seed: u64) -> Result<Self> {
        let name = cfg.display();
        let (cfg, _) = Graph::read(cfg)?;
        Self::initialise(cfg, seed).map_err(|e| e.inside(&name))
    }

    /// The weights in file order.
    #[must_use]
    pub fn to_weights_file(&self) -> WeightsFile {
        let arrays = self.weights.iter().flatten().flat_map(ConvWeights::arrays);
        WeightsFile { header: self.header, values: arrays.flatten().copied().collect() }
    }

    /// How long the weights file is.
    #[must_use]
    pub fn weights_bytes(&self) -> usize {
        let values: usize = self.weights.iter().flatten().map(ConvWeights::len).sum();
        self.header.bytes() + 4 * values
    }

    /// Writes `stem.cfg` and `stem.weights` into `folder`, each whole or not at all.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn write(&self, folder: &Path, stem: &str) -> Result<()> {
        files::write_whole(&folder.join(format!("{stem}.weights")), &self.to_weights_file().to_bytes())?;
        files::write_whole(&folder.join(format!("{stem}.cfg")), &self.cfg.to_bytes())
    }

    /// The weights of a convolution.
    ///
    /// # Panics
    /// If `layer` is no convolution: [`Graph::convolutions`] gives those that are.
    #[must_use]
    pub fn conv(&self, layer: usize) -> &ConvWeights {
        self.weights[layer].as_ref().expect("the layer is a convolution")
    }

    /// The weights of a convolution, to change them.
    ///
    /// # Panics
    /// As [`Network::conv`].
    pub fn conv_mut(&mut self, layer: usize) -> &mut ConvWeights {
        self.weights[layer].as_mut().expect("the layer is a convolution")
    }

    /// The number of trained numbers: kernels, biases, gammas and betas (running statistics are not counted).
    #[must_use]
    pub fn parameters(&self) -> usize {
        crate::cost::parameters(&self.graph)
    }

    /// The gammas of each convolution that has batch normalisation, with its layer, in layer order.
    pub fn gammas(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let convolutions = self.graph.convolutions().map(|(layer, _)| (layer, self.conv(layer)));
        convolutions.filter_map(|(layer, conv)| Some((layer, conv.norm.as_ref()?.gamma.as_slice())))
    }

    /// Checks that every number is finite and no variance negative.
    ///
    /// # Errors
    /// Names the first layer with such a number and how many it has.
    pub fn check_finite(&self) -> Result<()> {
        for (i, weights) in self.weights.iter().enumerate() {
            let Some(weights) = weights else { continue };
            let bad = weights.arrays().flatten().filter(|v| !v.is_finite()).count();
            let negative = weights.norm.iter().flat_map(|n| &n.variance).filter(|v| **v < 0.0).count();
            if bad + negative > 0 {
                let what = if bad > 0 { "are NaN or infinite" } else { "are variances below zero" };
                return Err(Error::at(
                    format!("line {} of the cfg", self.graph.layers[i].place),
                    format!("{} of {} weights {what}", bad.max(negative), weights.len()),
                )
                .fix("use weights of a run that did not diverge, and the cfg they belong to"));
            }
        }
        Ok(())
    }
}
