//! `heads`: the raw head maps of given images.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use yoloslim::model::{Engine, Predictor};
use yoloslim::quant::Simulation;
use yoloslim_core::graph::Shape;
use yoloslim_core::quant::Quantisation;
use yoloslim_core::{Error, Network, Result, files, path_text};

use super::net::{NetArgs, is_slim};
use super::origin;
use super::tensor_file::{Images, holds_heads, npz, read_images};
use crate::term::{self, Next, Term};

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
    /// Compute as the quantised net of this quantisation.json would, which quantize wrote beside cfg and weights
    #[arg(long, value_name = "JSON")]
    quantisation: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    #[serde(serialize_with = "path_text::one")]
    output: &'a Path,
    heads: Vec<HeadSummary<'a>>,
}

#[derive(Debug, Serialize)]
struct HeadSummary<'a> {
    name: &'a str,
    /// Images, channels, rows, columns.
    shape: &'a [usize],
}

impl Heads {
    /// Refuses to write over anything but what it wrote before.
    fn require_output(&self) -> Result<()> {
        let bad = |cause: &str, fix: &str| Err(Error::at(self.output.display(), cause).fix(fix));
        let folder = self.output.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return bad("its folder is not there", "make it first");
        }
        if self.output.is_dir() {
            return bad("it is a folder", "give the name of a file that ends in .npz");
        }
        if self.output.exists() && !holds_heads(&self.output) {
            return bad("the file is there already, and is no .npz of heads to be written anew", "give another name");
        }
        Ok(())
    }

    pub fn run(self, term: Term) -> Result<()> {
        self.require_output()?;
        let images = read_images(&self.input)?;
        images.warning().iter().for_each(|w| term.warn(format!("{}: {w}", self.input.display())));
        let network = self.net.read(term)?;
        let mut engine = self.engine(&network, images.shape)?;
        let count = images.shape[0];
        let maps = engine.heads(&to_nhwc(&images), count);
        let arrays: Vec<_> = (0..)
            .zip(&maps)
            .map(|(i, m)| (format!("head{i}"), vec![count, m.channels, m.rows, m.cols], m.to_nchw()))
            .collect();
        files::write_whole(&self.output, &npz(&arrays)?)?;
        if self.json {
            let heads = arrays.iter().map(|(name, shape, _)| HeadSummary { name, shape }).collect();
            return term::print_json(&Summary { output: &self.output, heads });
        }
        for (name, shape, _) in &arrays {
            term.note(format!("{name}: {shape:?}"));
        }
        term.wrote(self.output.display());
        let NetArgs { cfg, weights } = &self.net;
        let next = match is_slim(cfg) {
            true => Next::new("export")
                .path(cfg)
                .path(weights)
                .with("--format onnx")
                .output(origin::beside_net(cfg, "onnx")),
            false => Next::new("eval").path(cfg).path(weights).data(origin::data(cfg).as_deref()),
        };
        term.next(next);
        Ok(())
    }

    /// What runs images of this shape, which may be of another size than the cfg's.
    fn engine(&self, network: &Network, [_, channels, height, width]: [usize; 4]) -> Result<Box<dyn Engine>> {
        let input = network.graph.input;
        if channels != input.channels {
            return Err(Error::at(
                self.input.display(),
                format!("the images have {channels} channels, but the net reads {}", input.channels),
            )
            .fix("give [images, channels, height, width]"));
        }
        let same_size = input == (Shape { channels, height, width });
        match &self.quantisation {
            Some(path) if same_size => {
                let quantisation = Quantisation::read(path, &network.graph)?;
                Ok(Box::new(Simulation::new(&network.folded(), &quantisation)))
            }
            Some(path) => Err(Error::at(
                self.input.display(),
                format!(
                    "the images are {width}x{height}, but {} is for {}x{}",
                    path.display(),
                    input.width,
                    input.height
                ),
            )
            .fix("give images of that size")),
            None if same_size => Ok(Box::new(Predictor::new(network))),
            None => match Predictor::with_size(network, (width, height), 1) {
                Ok(predictor) => Ok(Box::new(predictor)),
                // What does not fit is a line of the cfg, at this size.
                Err(e) => Err(e.inside(format!("images of {width}x{height}: {}", self.net.cfg.display()))),
            },
        }
    }
}

fn to_nhwc(images: &Images) -> Vec<f32> {
    let [count, channels, height, width] = images.shape;
    let mut nhwc = vec![0.0; images.values.len()];
    yoloslim_kernels::nchw_to_nhwc(count, channels, height, width, &images.values, &mut nhwc);
    nhwc
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
