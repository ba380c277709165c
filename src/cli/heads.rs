//! `heads`: the raw head maps of given images.

use std::path::PathBuf;

use clap::Args;
use yoloslim::model::Predictor;
use yoloslim_core::graph::Shape;
use yoloslim_core::{Error, Network, Result, files};

use super::net::NetArgs;
use super::tensor_file::{Images, npz, read_images};
use crate::term::Term;

/// Write the raw head maps of given images, to compare with a chip or another runtime
#[derive(Debug, Args)]
pub struct Heads {
    #[command(flatten)]
    net: NetArgs,
    /// Images: .npy, float32, [images, channels, height, width], values 0 to 1
    #[arg(long, value_name = "NPY")]
    input: PathBuf,
    /// Where head0, head1, .. go, each [images, anchors * (5 + classes), rows, columns]
    #[arg(short, long, value_name = "NPZ")]
    output: PathBuf,
}

impl Heads {
    pub fn run(self, term: Term) -> Result<()> {
        let images = read_images(&self.input)?;
        let network = self.net.read(term)?;
        let mut predictor = self.predictor(&network, images.shape)?;
        let count = images.shape[0];
        let maps = predictor.heads(&to_nhwc(&images), count);
        let arrays: Vec<_> = (0..)
            .zip(&maps)
            .map(|(i, m)| (format!("head{i}"), vec![count, m.channels, m.rows, m.cols], m.to_nchw()))
            .collect();
        files::write_whole(&self.output, &npz(&arrays)?)?;
        for (name, shape, _) in &arrays {
            term.note(format!("{name}: {shape:?}"));
        }
        Ok(())
    }

    /// A predictor for images of this shape, which may be of another size than the cfg's.
    fn predictor(&self, network: &Network, [_, channels, height, width]: [usize; 4]) -> Result<Predictor> {
        let input = network.graph.input;
        if channels != input.channels {
            return Err(Error::at(
                self.input.display(),
                format!("the images have {channels} channels, but the net reads {}", input.channels),
            )
            .fix("give [images, channels, height, width]"));
        }
        if input == (Shape { channels, height, width }) {
            return Ok(Predictor::new(network));
        }
        Predictor::with_size(network, width, height).map_err(|e| e.inside(self.input.display()))
    }
}

fn to_nhwc(images: &Images) -> Vec<f32> {
    let [_, channels, height, width] = images.shape;
    let area = height * width;
    let image = |image: &[f32]| -> Vec<f32> {
        (0..area).flat_map(|at| (0..channels).map(move |c| (at, c))).map(|(at, c)| image[c * area + at]).collect()
    };
    images.values.chunks_exact((channels * area).max(1)).flat_map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_last() {
        let values = vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        let images = Images { shape: [1, 2, 1, 3], values };
        assert_eq!(to_nhwc(&images), [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    }
}
