//! Darknet's own files with the normalisation folded in: readers of Darknet's files don't agree on what is added to a
//! variance (see [`BatchNorm::EPSILON`](crate::network::BatchNorm::EPSILON)), so only nets without it compute the same
//! in all of them.

use super::ExportedFile;
use crate::Network;

/// The cfg and weights of `network`, called `name`, folded. Such a net can be run and pruned, but no longer trained
/// with normalisation.
#[must_use]
pub fn write(network: &Network, name: &str) -> Vec<ExportedFile> {
    let folded = network.folded();
    let file = |extension: &str, bytes: Vec<u8>| ExportedFile { name: format!("{name}.{extension}"), bytes };
    vec![file("cfg", folded.cfg.to_bytes()), file("weights", folded.to_weights_file().to_bytes())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::{Cfg, WeightsFile};
    use crate::graph::Graph;
    use crate::prune::max_relative_difference;
    use crate::prune::tests::random_net::{random_image, random_net};
    use crate::reference;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_folded_files_compute_the_same_without_normalisation(seed in any::<u64>(), steps in 1..10usize) {
            let network = random_net(seed, steps);
            let files = write(&network, "net");
            let cfg = Cfg::parse(&files[0].bytes).unwrap();
            let graph = Graph::from_cfg(&cfg).unwrap();
            let folded = Network::from_parts(cfg, graph, &WeightsFile::parse(&files[1].bytes).unwrap()).unwrap();
            prop_assert!(folded.weights.iter().flatten().all(|weights| weights.norm.is_none()));
            let image = random_image(&network, seed);
            let [before, after] = [&network, &folded].map(|net| reference::run(net, &image));
            prop_assert!(max_relative_difference(&before, &after) < 1e-5);
        }
    }
}
