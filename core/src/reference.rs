//! The slow oracle: every layer computed straight from its definition, in double precision. Tests hold fast
//! engines and graph surgery to it.

use crate::Network;
use crate::graph::{Activation, Convolution, Graph, MaxPool, Op, Shape, Source};

/// The raw maps of all heads (of the last layer where there is none), each `[channels, height, width]`, for an
/// `image` of `[channels, height, width]`.
///
/// # Panics
/// If the image is not of the net's input shape.
#[must_use]
pub fn run(network: &Network, image: &[f32]) -> Vec<Vec<f32>> {
    let graph = &network.graph;
    assert_eq!(image.len(), graph.input.len(), "the image has the net's input shape");
    let image: Vec<f64> = image.iter().map(|v| f64::from(*v)).collect();
    let mut maps: Vec<Vec<f64>> = Vec::with_capacity(graph.layers.len());
    for i in 0..graph.layers.len() {
        let map = layer(network, i, &image, &maps);
        maps.push(map);
    }
    let single = |map: &Vec<f64>| map.iter().map(|v| *v as f32).collect();
    let heads: Vec<_> = graph.heads().map(|(i, _)| single(&maps[i])).collect();
    if heads.is_empty() { maps.last().map(single).into_iter().collect() } else { heads }
}

fn layer(network: &Network, i: usize, image: &[f64], maps: &[Vec<f64>]) -> Vec<f64> {
    let graph = &network.graph;
    let layer = &graph.layers[i];
    let map = |source: Source| source.layer().map_or(image, |j| maps[j].as_slice());
    let first = map(layer.inputs[0]);
    let (from, to) = (graph.input_shape(i), layer.shape);
    match &layer.op {
        Op::Convolution(c) => convolution(network, i, c, first, from, to),
        Op::MaxPool(p) => max_pool(p, first, from, to),
        Op::Upsample { stride } => each(to, |c, y, x| first[(c * from.height + y / stride) * from.width + x / stride]),
        Op::Route { groups, group_id } => route(graph, &layer.inputs, *groups, *group_id, map),
        Op::Shortcut { activation } => {
            let mut sum = first.to_vec();
            for input in &layer.inputs[1..] {
                sum.iter_mut().zip(map(*input)).for_each(|(s, v)| *s += v);
            }
            activated(sum, *activation)
        }
        Op::Dropout { .. } | Op::Yolo(_) => first.to_vec(),
        Op::Reorg { stride } => reorg(*stride, first, from),
        Op::AveragePool => first.chunks(from.area()).map(|c| c.iter().sum::<f64>() / from.area() as f64).collect(),
        Op::ScaleChannels { activation } => {
            let scaled = map(layer.inputs[1]).chunks(to.area()).zip(first);
            activated(scaled.flat_map(|(c, s)| c.iter().map(move |v| v * s)).collect(), *activation)
        }
        Op::Sam { activation } => {
            activated(first.iter().zip(map(layer.inputs[1])).map(|(a, b)| a * b).collect(), *activation)
        }
    }
}

/// A map filled by `value(channel, row, column)`.
fn each(shape: Shape, value: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(shape.len());
    for c in 0..shape.channels {
        for y in 0..shape.height {
            out.extend((0..shape.width).map(|x| value(c, y, x)));
        }
    }
    out
}

fn activated(map: Vec<f64>, activation: Activation) -> Vec<f64> {
    match activation {
        Activation::Linear => map,
        _ => map.into_iter().map(|v| f64::from(activation.apply(v as f32))).collect(),
    }
}

fn convolution(network: &Network, i: usize, c: &Convolution, map: &[f64], from: Shape, to: Shape) -> Vec<f64> {
    let weights = network.conv(i);
    let (inputs, outputs) = (from.channels / c.groups, c.filters / c.groups);
    // Where tap `k` of output row or column `at` reads, if inside of the map.
    let tap = |at: usize, stride: usize, k: usize, len: usize| {
        (at * stride + k * c.dilation).checked_sub(c.pad).filter(|v| *v < len)
    };
    // For each output pixel, the taps that it uses and the input pixels that they read.
    let taps = |y: usize, x: usize| -> Vec<(usize, usize)> {
        let all = (0..c.size).flat_map(|ky| (0..c.size).map(move |kx| (ky, kx)));
        let inside = all.filter_map(|(ky, kx)| {
            let row = tap(y, c.stride_y, ky, from.height)?;
            Some((ky * c.size + kx, row * from.width + tap(x, c.stride_x, kx, from.width)?))
        });
        inside.collect()
    };
    let pixels: Vec<_> = (0..to.area()).map(|pixel| taps(pixel / to.width, pixel % to.width)).collect();
    let out = each(to, |o, y, x| {
        let mut sum = 0.0;
        for j in 0..inputs {
            let kernel = &weights.kernel[(o * inputs + j) * c.size * c.size..];
            let channel = &map[(o / outputs * inputs + j) * from.area()..];
            for &(k, pixel) in &pixels[y * to.width + x] {
                sum += f64::from(kernel[k]) * channel[pixel];
            }
        }
        match &weights.norm {
            None => sum + f64::from(weights.bias[o]),
            Some(n) => {
                let deviation = (f64::from(n.variance[o]) + f64::from(crate::network::BatchNorm::EPSILON)).sqrt();
                f64::from(n.gamma[o]) * (sum - f64::from(n.mean[o])) / deviation + f64::from(weights.bias[o])
            }
        }
    });
    activated(out, c.activation)
}

fn max_pool(p: &MaxPool, map: &[f64], from: Shape, to: Shape) -> Vec<f64> {
    let before = p.padding / 2;
    let window = |at: usize, stride: usize, len: usize| {
        (at * stride).saturating_sub(before)..(at * stride + p.size).saturating_sub(before).min(len)
    };
    each(to, |c, y, x| {
        let rows = window(y, p.stride_y, from.height);
        let values = rows.flat_map(|row| {
            window(x, p.stride_x, from.width).map(move |column| map[(c * from.height + row) * from.width + column])
        });
        values.fold(f64::NEG_INFINITY, f64::max)
    })
}

fn route<'a>(
    graph: &Graph,
    inputs: &[Source],
    groups: usize,
    group: usize,
    map: impl Fn(Source) -> &'a [f64],
) -> Vec<f64> {
    let slice = |source: &Source| {
        let len = graph.shape(*source).len() / groups;
        map(*source)[group * len..(group + 1) * len].to_vec()
    };
    inputs.iter().flat_map(slice).collect()
}

/// Darknet reads its input as a map of `stride` times the side and `1 / stride^2` of the channels, and writes to
/// each output channel the pixels of one position within the blocks of `stride` by `stride`.
fn reorg(stride: usize, map: &[f64], from: Shape) -> Vec<f64> {
    let channels = from.channels / (stride * stride);
    each(from, |k, y, x| {
        let (channel, position) = (k % channels, k / channels);
        let (row, column) = (y * stride + position / stride, x * stride + position % stride);
        map[(channel * from.height * stride + row) * from.width * stride + column]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;

    fn net(layers: &str) -> Network {
        let text = format!("[net]\nwidth=4\nheight=2\nchannels=1\n{layers}");
        Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap()
    }

    const IMAGE: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

    #[test]
    fn each_layer_kind_gives_what_is_computed_by_hand() {
        let cases: [(&str, &[f32]); 6] = [
            ("[maxpool]\nsize=2\nstride=1\n", &[6.0, 7.0, 8.0, 8.0, 6.0, 7.0, 8.0, 8.0]),
            ("[maxpool]\nsize=2\nstride=2\npadding=0\n", &[6.0, 8.0]),
            ("[avgpool]\n", &[4.5]),
            ("[maxpool]\nsize=2\nstride=2\npadding=0\n[upsample]\n", &[6.0, 6.0, 8.0, 8.0, 6.0, 6.0, 8.0, 8.0]),
            ("[dropout]\n[dropout]\n[shortcut]\nfrom=0\nactivation=relu6\n", &[2.0, 4.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0]),
            ("[maxpool]\nsize=2\nstride=2\npadding=0\n[route]\nlayers=-1,0\n", &[6.0, 8.0, 6.0, 8.0]),
        ];
        for (layers, wanted) in cases {
            assert_eq!(run(&net(layers), &IMAGE)[0], wanted, "{layers}");
        }
    }

    #[test]
    fn a_convolution_sees_zeros_beyond_the_border() {
        let mut network = net("[convolutional]\nfilters=1\nsize=3\npad=1\nactivation=linear\nbatch_normalize=1\n");
        let conv = network.conv_mut(0);
        conv.kernel.fill(1.0);
        conv.bias[0] = 3.0;
        let norm = conv.norm.as_mut().unwrap();
        (norm.gamma[0], norm.mean[0], norm.variance[0]) = (2.0, 1.0, 4.0 - 1e-5);
        // Sums of the 3x3 neighbourhoods: 14, 24, 30, 22; then 2 (s - 1) / 2 + 3.
        let wanted = [16.0, 26.0, 32.0, 24.0];
        let row = &run(&network, &IMAGE)[0][..4];
        assert!(row.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{row:?}");
    }

    #[test]
    fn depthwise_filters_read_their_own_channel() {
        let mut network = net("[route]\nlayers=0\n[convolutional]\nfilters=4\nactivation=linear\ngroups=2\n"
            .replace("[route]\nlayers=0\n", "[convolutional]\nfilters=2\nactivation=linear\n")
            .as_str());
        network.conv_mut(0).kernel.copy_from_slice(&[1.0, 10.0]);
        network.conv_mut(1).kernel.copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
        let out = &run(&network, &IMAGE)[0];
        let firsts: Vec<f32> = out.chunks(8).map(|c| c[0]).collect();
        assert_eq!(firsts, [1.0, 2.0, 30.0, 40.0]);
    }

    #[test]
    fn reorg_takes_one_position_of_each_block_to_one_channel() {
        let mut network = net("[convolutional]\nfilters=4\nactivation=linear\n[reorg]\nstride=2\n");
        network.conv_mut(0).kernel.copy_from_slice(&[1.0, 10.0, 100.0, 1000.0]);
        // The four 4x2 maps lie one after the other as an 8x4 map; its even rows and columns come first.
        let out = &run(&network, &IMAGE)[0];
        assert_eq!(out[..8], [1.0, 3.0, 5.0, 7.0, 100.0, 300.0, 500.0, 700.0]);
    }
}
