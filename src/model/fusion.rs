//! Which layers inference computes on another layer's way, so that their maps are never written and read again.

use yoloslim_core::graph::{Activation, Graph, MaxPool, Op, Source};

use super::kernels;
use super::program::Program;

/// The layers of a graph that do the work of others.
#[derive(Debug, Clone)]
pub(super) struct Fusion {
    /// For each convolution that takes the largest of each 2 x 2 pixels: the max pooling it computes.
    pooled: Vec<Option<usize>>,
    /// For each convolution that adds a residual: the shortcut it computes and the shortcut's other input.
    residual: Vec<Option<(usize, Source)>>,
    /// Whether another layer does this layer's work.
    done_elsewhere: Vec<bool>,
}

impl Fusion {
    /// Finds convolutions before a linear shortcut or a max pooling over windows of 2 x 2 pixels, and upsamplings before a
    /// concatenation, that nothing else reads.
    pub fn new(graph: &Graph, program: &Program) -> Self {
        let mut fusion = Self::none(graph);
        let readers = readers(graph, program);
        for (layer, l) in graph.layers.iter().enumerate() {
            let homes: Vec<Source> = l.inputs.iter().map(|input| program.home(*input)).collect();
            match l.op {
                Op::Shortcut { activation: Activation::Linear } => {
                    let same = l.inputs.iter().all(|input| graph.shape(*input) == l.shape);
                    if let (&[Source::Layer(conv), other], true) = (&homes[..], same)
                        && readers[conv] == 1
                        && matches!(graph.layers[conv].op, Op::Convolution(_))
                        && other.layer().is_none_or(|other| other < conv)
                    {
                        fusion.residual[conv] = Some((layer, other));
                        fusion.done_elsewhere[layer] = true;
                    }
                }
                Op::MaxPool(MaxPool { size: 2, stride_y: 2, stride_x: 2, padding: 0 | 1 }) => {
                    let from = graph.shape(l.inputs[0]);
                    if let Source::Layer(conv) = homes[0]
                        && readers[conv] == 1
                        && from.height.is_multiple_of(2)
                        && from.width.is_multiple_of(2)
                        && let Op::Convolution(c) = &graph.layers[conv].op
                        && kernels::activation(c.activation).rises()
                    {
                        fusion.pooled[conv] = Some(layer);
                        fusion.done_elsewhere[layer] = true;
                    }
                }
                Op::Route { groups: 1, .. } if homes.len() > 1 => {
                    for home in homes.iter().filter_map(|home| home.layer()) {
                        // Its input is given back with the last layer that reads it, which must not lie in between.
                        let input = || program.home(graph.layers[home].inputs[0]).layer();
                        let stays =
                            || input().and_then(|i| program.last_reader(i)).is_none_or(|r| r <= home || r > layer);
                        fusion.done_elsewhere[home] |=
                            readers[home] == 1 && matches!(graph.layers[home].op, Op::Upsample { .. }) && stays();
                    }
                }
                _ => {}
            }
        }
        fusion
    }

    /// No layer does another's work: every map exists.
    pub fn none(graph: &Graph) -> Self {
        let layers = graph.layers.len();
        Self { pooled: vec![None; layers], residual: vec![None; layers], done_elsewhere: vec![false; layers] }
    }

    /// These fusions without those that leave the map of one of `layers` unwritten.
    pub fn keeping(&self, layers: &[usize]) -> Self {
        let mut kept = self.clone();
        for (conv, residual) in kept.residual.iter_mut().enumerate() {
            // The convolution's own map is never written; the shortcut's is, but in the convolution's turn.
            if let Some((shortcut, _)) = *residual
                && (layers.contains(&conv) || layers.contains(&shortcut))
            {
                *residual = None;
                kept.done_elsewhere[shortcut] = false;
            }
        }
        for (conv, pooled) in kept.pooled.iter_mut().enumerate() {
            if let Some(pool) = pooled.filter(|pool| layers.contains(&conv) || layers.contains(pool)) {
                *pooled = None;
                kept.done_elsewhere[pool] = false;
            }
        }
        layers.iter().for_each(|layer| kept.done_elsewhere[*layer] = false);
        kept
    }

    /// The shortcut that a convolution computes, and the shortcut's other input.
    pub fn residual(&self, layer: usize) -> Option<(usize, Source)> {
        self.residual[layer]
    }

    /// The max pooling that a convolution computes.
    pub fn pooled(&self, layer: usize) -> Option<usize> {
        self.pooled[layer]
    }

    /// The layer whose map this layer writes: its own, or that of the layer whose work it does.
    pub fn written(&self, layer: usize) -> usize {
        self.residual[layer].map(|(shortcut, _)| shortcut).or(self.pooled[layer]).unwrap_or(layer)
    }

    /// Whether another layer does this layer's work.
    pub fn done_elsewhere(&self, layer: usize) -> bool {
        self.done_elsewhere[layer]
    }
}

/// How often each layer's buffer is read, by layers and heads.
fn readers(graph: &Graph, program: &Program) -> Vec<usize> {
    let mut readers = vec![0; graph.layers.len()];
    let owners = (0..graph.layers.len()).filter(|&layer| program.owns(layer));
    let inputs = owners.flat_map(|layer| graph.layers[layer].inputs.iter().map(|input| program.home(*input)));
    for home in inputs.chain(program.heads().iter().copied()).filter_map(|home| home.layer()) {
        readers[home] += 1;
    }
    // A net without heads gives its last map.
    if let Some(Source::Layer(last)) = graph.layers.len().checked_sub(1).map(|last| program.home(Source::Layer(last))) {
        readers[last] += 1;
    }
    readers
}

#[cfg(test)]
mod tests {
    use yoloslim_core::cost::profile::Query;
    use yoloslim_core::darknet::Cfg;

    use super::*;
    use crate::architectures::{Architecture as A, CfgOptions};

    /// Profiles of this machine leave out what is fused, in a crate that does not know how nets are run.
    #[test]
    fn fused_pools_and_upsamplings_are_those_without_a_time_of_their_own() {
        let options = CfgOptions { classes: 3, width: 0.25, size: (160, 160), anchors: None };
        let published = [A::YoloV3, A::YoloV3Spp, A::YoloV3Tiny, A::YoloV4, A::YoloV4Tiny];
        let mut cfgs: Vec<Cfg> = published.iter().map(|architecture| architecture.cfg(&options).unwrap()).collect();
        // What falls somewhere can't be taken of the largest sum alone.
        for activation in Activation::ALL {
            let name = activation.name();
            let layers = format!("[convolutional]\nactivation={name}\n[maxpool]\nsize=2\nstride=2\n");
            cfgs.push(Cfg::parse(format!("[net]\nwidth=8\nheight=8\n{layers}").as_bytes()).unwrap());
        }
        let mut fused = 0;
        for cfg in cfgs {
            let graph = Graph::from_cfg(&cfg).unwrap();
            let fusion = Fusion::new(&graph, &Program::new(&graph));
            for (layer, l) in graph.layers.iter().enumerate() {
                if let Op::MaxPool(_) | Op::Upsample { .. } = l.op {
                    assert_eq!(
                        Query::of(&graph, layer).is_none(),
                        fusion.done_elsewhere(layer),
                        "{} of {}",
                        l.place,
                        String::from_utf8_lossy(&cfg.to_bytes())
                    );
                    fused += usize::from(fusion.done_elsewhere(layer));
                }
            }
        }
        assert!(fused > 5, "{fused}");
    }
}
