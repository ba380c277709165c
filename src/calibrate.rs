//! What each filter gives on real images: its mean replaces the filter when that is pruned, and how much it varies
//! tells what it is worth.
//!
//! Means are those that readers see: where a filter is read through max pools alone, a constant comes out of them as it
//! is, and what was there is the mean of the pooled map. Border and interior are measured apart, for a padded
//! convolution gives another mean where it sees zeros.

use std::collections::BTreeMap;
use std::path::PathBuf;

use yoloslim_core::graph::{Graph, Op, Shape};
use yoloslim_core::prune::{Evidence, PerFilter};
use yoloslim_core::{Network, Result};

use crate::data::InferenceBatches;
use crate::model::Predictor;

/// Images of a forward pass.
const BATCH: usize = 4;

/// Mean and standard deviation of every filter's activation over the images of `paths`, all positions counted alike, and
/// its mean at the border; `progress` is told how many images are done.
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
    let graph = &network.graph;
    let consumers = graph.consumers();
    let read: BTreeMap<usize, Vec<usize>> =
        graph.convolutions().map(|(layer, _)| (layer, maps_read(graph, &consumers, layer))).collect();
    let all = read.iter().flat_map(|(layer, maps)| std::iter::once(layer).chain(maps));
    let mut moments: BTreeMap<usize, Moments> =
        all.map(|layer| (*layer, Moments::new(graph.layers[*layer].shape))).collect();
    let mut done = 0;
    for batch in InferenceBatches::for_net(paths, input, BATCH)? {
        let batch = batch?;
        predictor.heads_observed(&batch.images, batch.count, &mut |layer, map| {
            if let Some(moments) = moments.get_mut(&layer) {
                moments.add(map);
            }
        });
        done += batch.count;
        progress(done);
    }
    let read_by = |value: fn(&Moments) -> Vec<f32>| -> PerFilter {
        let of_maps = |maps: &Vec<usize>| average(&maps.iter().map(|map| value(&moments[map])).collect::<Vec<_>>());
        read.iter().map(|(layer, maps)| (*layer, of_maps(maps))).collect()
    };
    Ok(Evidence {
        means: Some(read_by(Moments::means)),
        borders: Some(read_by(Moments::border_means)),
        deviations: Some(read.keys().map(|layer| (*layer, moments[layer].deviations())).collect()),
        ..Evidence::default()
    })
}

/// The maps that stand for what `layer` gives: its own, unless max pools alone read it; then theirs.
fn maps_read(graph: &Graph, consumers: &[Vec<usize>], layer: usize) -> Vec<usize> {
    let pooled = |consumer: &usize| matches!(graph.layers[*consumer].op, Op::MaxPool(_));
    if consumers[layer].is_empty() || !consumers[layer].iter().all(pooled) {
        return vec![layer];
    }
    consumers[layer].iter().flat_map(|pool| maps_read(graph, consumers, *pool)).collect()
}

/// The mean of lists of the same length, number by number.
fn average(lists: &[Vec<f32>]) -> Vec<f32> {
    let n = lists.len().max(1) as f32;
    let len = lists.first().map_or(0, Vec::len);
    (0..len).map(|at| lists.iter().map(|list| list[at]).sum::<f32>() / n).collect()
}

/// Sums over one layer's positions, a filter each.
struct Moments {
    shape: Shape,
    positions: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// The same for the first and last rows and columns.
    border_positions: f64,
    border_sums: Vec<f64>,
}

impl Moments {
    fn new(shape: Shape) -> Self {
        let zeros = vec![0.0; shape.channels];
        Self {
            shape,
            positions: 0.0,
            sums: zeros.clone(),
            squares: zeros.clone(),
            border_positions: 0.0,
            border_sums: zeros,
        }
    }

    /// `map` is `[image][row][column][channel]`.
    fn add(&mut self, map: &[f32]) {
        let (width, height) = (self.shape.width, self.shape.height);
        for (at, pixel) in map.chunks_exact(self.sums.len()).enumerate() {
            for ((sum, square), v) in self.sums.iter_mut().zip(&mut self.squares).zip(pixel) {
                let v = f64::from(*v);
                *sum += v;
                *square += v * v;
            }
            self.positions += 1.0;
            let (row, column) = (at / width % height, at % width);
            if row == 0 || column == 0 || row + 1 == height || column + 1 == width {
                self.border_sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += f64::from(*v));
                self.border_positions += 1.0;
            }
        }
    }

    fn means(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.positions.max(1.0)) as f32).collect()
    }

    fn border_means(&self) -> Vec<f32> {
        self.border_sums.iter().map(|sum| (sum / self.border_positions.max(1.0)) as f32).collect()
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
    fn what_max_pools_alone_read_has_the_mean_of_the_pooled_map_and_borders_are_apart() {
        let c = "[convolutional]\nfilters=1\nsize=3\npad=1\nactivation=linear\n";
        let pool = "[maxpool]\nsize=2\nstride=2\n";
        let cfg = format!("[net]\nwidth=8\nheight=8\n{c}{pool}{c}[route]\nlayers=-1\n{pool}[route]\nlayers=-1\n{c}");
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 0).unwrap();
        // All taps of the first see the same grey: 9 inside, 6 at an edge, 4 in a corner.
        network.conv_mut(0).kernel.fill(1.0 / 3.0);
        let graph = network.graph.clone();
        let consumers = graph.consumers();
        assert_eq!([0, 2, 6].map(|layer| maps_read(&graph, &consumers, layer)), [vec![1], vec![2], vec![6]]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("white.png");
        crate::data::save(&Rgb::filled(8, 8, [255; 3]), &path).unwrap();
        let evidence = observe_activations(&network, vec![path], &mut |_| {}).unwrap();
        let (means, borders) = (evidence.means.unwrap(), evidence.borders.unwrap());
        // Every window of 2 by 2 holds a tap from inside.
        assert!((means[&0][0] - 9.0).abs() < 1e-4 && (borders[&0][0] - 9.0).abs() < 1e-4, "{means:?} {borders:?}");
        assert_ne!(means[&2], borders[&2]);
    }

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
                crate::data::save(&Rgb::filled(8, 8, [red, 0, 9]), &path).unwrap();
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
