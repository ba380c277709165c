//! A network whose batch normalisations are part of its kernels and biases.

use super::{ConvWeights, Network};
use crate::graph::Op;

impl Network {
    /// The same function without batch normalisation: each is folded into its convolution, whose cfg section says
    /// `batch_normalize=0`.
    #[must_use]
    pub fn folded(&self) -> Self {
        let mut folded = self.clone();
        for (layer, weights) in folded.weights.iter_mut().enumerate() {
            let Some(normalised) = weights.as_ref().filter(|w| w.norm.is_some()) else { continue };
            let (kernel, bias) = normalised.folded();
            *weights = Some(ConvWeights { bias, norm: None, kernel });
            if let Op::Convolution(c) = &mut folded.graph.layers[layer].op {
                c.batch_normalize = false;
            }
            let section = folded.cfg.layer_mut(layer);
            section.set("batch_normalize", 0);
            if section.get("cbn").is_some() {
                section.set("cbn", 0);
            }
        }
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;
    use crate::graph::Graph;

    const CFG: &str = "[net]\nwidth=8\nheight=8\n\
        [convolutional]\nbatch_normalize = 1 # yes\nfilters=4\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    #[test]
    fn it_computes_the_same_and_its_files_read_back() {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        let norm = network.conv_mut(0).norm.as_mut().unwrap();
        norm.gamma = vec![0.5, -1.0, 0.0, 2.0];
        norm.mean = vec![0.1, 0.2, -0.3, 0.0];
        norm.variance = vec![0.5, 1.0, 2.0, 0.01];
        let folded = network.folded();
        let image: Vec<f32> = (0..192).map(|i| (i % 23) as f32 / 23.0).collect();
        let heads = [&network, &folded].map(|n| crate::reference::run(n, &image));
        assert!(crate::prune::max_relative_difference(&heads[0], &heads[1]) < 1e-6);
        assert_eq!(Graph::from_cfg(&folded.cfg).unwrap().convolutions().count(), 2);
        let folder = tempfile::tempdir().unwrap();
        folded.write(folder.path(), "folded").unwrap();
        let read = Network::read(&folder.path().join("folded.cfg"), &folder.path().join("folded.weights")).unwrap();
        assert_eq!(read.weights, folded.weights);
    }
}
