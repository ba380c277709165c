//! Rounding on trained weights, which are not as well-behaved as random ones.

use crate::fixtures::shared;

use yoloslim::model::Predictor;
use yoloslim_core::Network;
use yoloslim_core::graph::Source;
use yoloslim_kernels::{ConvShape, Epilogue, PackedConv, Scratch, conv_forward};

/// The largest difference between transformed tiles and direct sums in any 3 x 3 convolution of the net, as a share of the
/// layer's largest value, on the activations that an image of a gradient gives.
fn largest_difference(network: &Network) -> f64 {
    let mut predictor = Predictor::new(network);
    let input = predictor.input();
    let image: Vec<f32> = (0..input.len()).map(|at| ((at / 3) % 416) as f32 / 500.0 + (at % 7) as f32 / 60.0).collect();
    let mut maps: Vec<Vec<f32>> = vec![Vec::new(); network.graph.layers.len()];
    predictor.heads_observed(&image, 1, &mut |layer, map| maps[layer] = map.to_vec());
    let mut worst = 0.0_f64;
    for (layer, c) in network.graph.convolutions().filter(|(_, c)| c.size == 3 && c.groups == 1) {
        let from = network.graph.input_shape(layer);
        let x = match network.graph.layers[layer].inputs[0] {
            Source::Layer(below) if !maps[below].is_empty() => &maps[below],
            _ => continue,
        };
        let shape = ConvShape {
            batch: 1,
            height: from.height,
            width: from.width,
            channels_in: from.channels,
            channels_out: c.filters,
            size: c.size,
            stride_y: c.stride_y,
            stride_x: c.stride_x,
            pad: c.pad,
            dilation: c.dilation,
            groups: 1,
        };
        let (kernel, bias) = network.conv(layer).folded();
        let run = |packed: PackedConv| {
            let mut y = vec![0.0; shape.output_len()];
            let epilogue = Epilogue::new(Some(&bias), yoloslim_kernels::Activation::Linear);
            conv_forward(&packed, &shape, x, epilogue, &mut y, &mut Scratch::default());
            y
        };
        let (fast, direct) = (run(PackedConv::new(&shape, &kernel)), run(PackedConv::direct(&shape, &kernel)));
        let scale = direct.iter().fold(0.0_f32, |scale, v| scale.max(v.abs()));
        let apart = fast.iter().zip(&direct).fold(0.0_f32, |apart, (a, b)| apart.max((a - b).abs()));
        // `max` passes over what is not a number.
        assert!(fast.iter().chain(&direct).all(|v| v.is_finite()));
        worst = worst.max(f64::from(apart / scale));
    }
    worst
}

#[test]
fn transformed_tiles_round_little_on_trained_weights() {
    let files = shared(&["weights"], "weights");
    let Some(weights) = files.iter().find(|file| file.ends_with("yolov3-tiny.weights")) else { return };
    let worst = largest_difference(&Network::read(&weights.with_extension("cfg"), weights).unwrap());
    eprintln!("yolov3-tiny: {worst:.1e} of a layer's largest value");
    assert!(worst > 0.0, "some layer is computed on transformed tiles");
    assert!(worst < 1e-5, "{worst:e}");
}
