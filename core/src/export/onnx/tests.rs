//! Exported nets in another runtime, against the slow oracle.

use proptest::prelude::*;
use rten::Model;
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

use super::{OnnxOptions, model, write};
use crate::boxes::decode;
use crate::darknet::Cfg;
use crate::export::{Colour, FoldedNet};
use crate::graph::{Shape, Yolo};
use crate::prune::max_relative_difference;
use crate::prune::tests::random_net::{random_image, random_net};
use crate::{Network, reference};

/// Runs the exported net on `images` of one batch; gives each output's numbers.
fn run(network: &Network, options: OnnxOptions, images: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let model = Model::load(write(&FoldedNet::of(network), options).unwrap()).unwrap();
    let input = network.graph.input;
    let shape = [images.len(), input.channels, input.height, input.width];
    let batch = NdTensor::<f32, 4>::from_data(shape, images.concat());
    let outputs = model.run(vec![(model.input_ids()[0], batch.into())], model.output_ids(), None).unwrap();
    outputs.into_iter().map(|output| output.into_tensor::<f32>().unwrap().to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_net_computes_the_same_in_another_runtime(seed in any::<u64>(), steps in 1..16usize) {
        let network = random_net(seed, steps);
        let image = random_image(&network, seed);
        let theirs = run(&network, OnnxOptions::default(), std::slice::from_ref(&image));
        let difference = max_relative_difference(&reference::run(&network, &image), &theirs);
        prop_assert!(difference <= 1e-4, "{difference} with\n{}", network.cfg);
    }

    #[test]
    fn a_batch_is_its_images_one_by_one(seed in any::<u64>(), steps in 1..8usize) {
        let network = random_net(seed, steps);
        let images = [0, 1, 2].map(|i| random_image(&network, seed ^ i));
        let together = run(&network, OnnxOptions { dynamic_batch: true, ..OnnxOptions::default() }, &images);
        for (i, image) in images.iter().enumerate() {
            let own: Vec<Vec<f32>> = together.iter().map(|all| all.chunks(all.len() / 3).nth(i).unwrap().to_vec()).collect();
            let difference = max_relative_difference(&reference::run(&network, image), &own);
            prop_assert!(difference <= 1e-4, "{difference} with\n{}", network.cfg);
        }
    }
}

/// A net of two heads, one with shifted and one with new coordinates.
const HEADS: &str = "[net]\nwidth=24\nheight=16\n[convolutional]\nfilters=14\nsize=3\npad=1\nstride=4\nactivation=linear\n\
    [yolo]\nmask=0,1\nanchors=4,5,8,9,16,12\nclasses=2\nscale_x_y=1.1\n[route]\nlayers=0\n\
    [convolutional]\nfilters=7\nstride=2\nactivation=logistic\n[yolo]\nmask=2\nanchors=4,5,8,9,16,12\nclasses=2\n\
    scale_x_y=2\nnew_coords=1\n";

#[test]
fn decoded_boxes_are_those_of_our_decoding() {
    let network = Network::initialise(Cfg::parse(HEADS.as_bytes()).unwrap(), 3).unwrap();
    let image = random_image(&network, 5);
    let boxes = &run(&network, OnnxOptions { decode: true, ..OnnxOptions::default() }, std::slice::from_ref(&image))[0];
    let (net, mut rows) = (network.graph.input, boxes.chunks(7));
    for ((layer, yolo), map) in network.graph.heads().zip(reference::run(&network, &image)) {
        let Shape { height, width, channels } = network.graph.layers[layer].shape;
        let nhwc: Vec<f32> = (0..height * width)
            .flat_map(|at| (0..channels).map(move |c| (at, c)))
            .map(|(at, c)| map[c * height * width + at])
            .collect();
        for anchor in 0..yolo.anchors.len() {
            let head = Yolo { anchors: vec![yolo.anchors[anchor]], ..yolo.clone() };
            let own: Vec<f32> =
                nhwc.chunks(7 * yolo.anchors.len()).flat_map(|cell| cell[7 * anchor..][..7].to_vec()).collect();
            for of_cell in decode(&head, &own, height, width, net.width, net.height, 0.0).chunks(2) {
                let theirs = rows.next().unwrap();
                let b = of_cell[0].bbox;
                let [w, h] = [b.x1 - b.x0, b.y1 - b.y0];
                let ours = [(b.x0 + w / 2.0) * 24.0, (b.y0 + h / 2.0) * 16.0, w * 24.0, h * 16.0];
                assert!(ours.iter().zip(theirs).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-3), "{ours:?} {theirs:?}");
                for detection in of_cell {
                    assert!((detection.score - theirs[4] * theirs[5 + detection.class]).abs() < 1e-5);
                }
            }
        }
    }
    assert_eq!(rows.next(), None, "every box was compared");
}

#[test]
fn a_net_without_heads_has_no_boxes_and_padding_beyond_the_window_is_refused() {
    let net = |layers: &str| {
        let cfg = Cfg::parse(format!("[net]\nwidth=8\nheight=8\n{layers}").as_bytes()).unwrap();
        FoldedNet::of(&Network::initialise(cfg, 1).unwrap())
    };
    let decode = OnnxOptions { decode: true, ..OnnxOptions::default() };
    let message = write(&net("[convolutional]\n"), decode).unwrap_err().to_string();
    assert!(message.contains("no [yolo] layer"), "{message}");
    let message = write(&net("[maxpool]\nsize=2\npadding=4\n"), OnnxOptions::default()).unwrap_err().to_string();
    assert!(message.contains("[maxpool] #0"), "{message}");
}

#[test]
fn the_file_says_what_images_the_net_reads() {
    let text = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=1,1\nclasses=2\n";
    let net = FoldedNet::of(&Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap());
    for (options, outputs) in [
        (OnnxOptions { colour: Colour::Bgr, ..OnnxOptions::default() }, "raw heads"),
        (OnnxOptions { colour: Colour::Bgr, decode: true, ..OnnxOptions::default() }, "decoded boxes"),
    ] {
        let model = model(&net, options).unwrap();
        let told: Vec<_> = model.metadata_props.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        let image = [("colours", "BGR"), ("values", "0 to 1"), ("fit", "letterbox on grey 0.5")];
        assert_eq!(told, [&image[..], &[("outputs", outputs)]].concat());
    }
}
