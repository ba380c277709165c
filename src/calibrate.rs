//! What each filter gives on real images: its mean replaces the filter when that is pruned, and how much it varies
//! tells what it is worth.

use std::collections::BTreeMap;
use std::path::PathBuf;

use yoloslim_core::prune::{Evidence, PerFilter};
use yoloslim_core::{Network, Result};

use crate::data::InferenceBatches;
use crate::model::Predictor;

/// Images of a forward pass.
const BATCH: usize = 4;

/// Mean and standard deviation of every filter's activation over the images of `paths`, all positions counted alike;
/// `progress` is told how many images are done.
///
/// # Errors
/// The first image that can't be read.
pub fn observe_activations(
    network: &Network,
    paths: Vec<PathBuf>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evidence> {
    let mut predictor = Predictor::new(network);
    let input = predictor.input();
    let mut moments: BTreeMap<usize, Moments> =
        network.graph.convolutions().map(|(i, c)| (i, Moments::new(c.filters))).collect();
    let mut done = 0;
    for batch in InferenceBatches::new(paths, input.width, input.height, BATCH, rayon::current_num_threads())? {
        let batch = batch?;
        predictor.heads_observed(&batch.images, batch.count, &mut |layer, map| {
            if let Some(moments) = moments.get_mut(&layer) {
                moments.add(map);
            }
        });
        done += batch.count;
        progress(done);
    }
    let of_all = |value: fn(&Moments) -> Vec<f32>| -> PerFilter {
        moments.iter().map(|(layer, moments)| (*layer, value(moments))).collect()
    };
    let (means, deviations) = (Some(of_all(Moments::means)), Some(of_all(Moments::deviations)));
    Ok(Evidence { means, deviations, ..Evidence::default() })
}

/// Sums over one layer's positions, a filter each.
struct Moments {
    positions: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(filters: usize) -> Self {
        Self { positions: 0.0, sums: vec![0.0; filters], squares: vec![0.0; filters] }
    }

    /// `map` is `[image][row][column][channel]`.
    fn add(&mut self, map: &[f32]) {
        for pixel in map.chunks_exact(self.sums.len()) {
            for ((sum, square), v) in self.sums.iter_mut().zip(&mut self.squares).zip(pixel) {
                let v = f64::from(*v);
                *sum += v;
                *square += v * v;
            }
            self.positions += 1.0;
        }
    }

    fn means(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.positions.max(1.0)) as f32).collect()
    }

    fn deviations(&self) -> Vec<f32> {
        let n = self.positions.max(1.0);
        let variance = |(sum, square): (&f64, &f64)| (square / n - (sum / n).powi(2)).max(0.0);
        self.sums.iter().zip(&self.squares).map(|moments| variance(moments).sqrt() as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rgb;
    use yoloslim_core::darknet::Cfg;

    #[test]
    fn a_filter_that_copies_red_has_the_mean_and_deviation_of_red() {
        let cfg = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=2\nactivation=linear\n";
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 0).unwrap();
        network.conv_mut(0).kernel = vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        network.conv_mut(0).bias = vec![0.0, -2.0];
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = [51, 102, 153, 204, 255]
            .map(|red| {
                let path = folder.path().join(format!("{red}.png"));
                crate::draw::save(&Rgb::filled(8, 8, [red, 0, 9]), &path).unwrap();
                path
            })
            .to_vec();
        let Evidence { means: Some(means), deviations: Some(deviations), .. } =
            observe_activations(&network, paths, &mut |_| {}).unwrap()
        else {
            panic!("both are measured")
        };
        assert!((means[&0][0] - 0.6).abs() < 1e-6 && means[&0][1] == -2.0, "{means:?}");
        // 0.2, 0.4, 0.6, 0.8 and 1 lie 0.08 apart from their mean, squared.
        assert!((deviations[&0][0] - 0.08f32.sqrt()).abs() < 1e-6 && deviations[&0][1] == 0.0, "{deviations:?}");
    }
}
