//! Exported nets in another runtime, against the slow oracle.

use proptest::prelude::*;
use rten::Model;
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

use super::{OnnxOptions, write};
use crate::export::FoldedNet;
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
