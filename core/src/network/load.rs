//! From a weights file to layers: complete files, files of the first layers only, files with other heads.

use super::{ConvWeights, Network};
use crate::darknet::{Cfg, WeightsFile};
use crate::graph::Graph;
use crate::{Error, Result};

/// What a file that need not fit the cfg exactly has given.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The network; what the file did not give is randomly initialised.
    pub network: Network,
    /// Convolutions filled from the file.
    pub filled: usize,
    /// All convolutions.
    pub convolutions: usize,
    /// Class count of the file's heads, when it differs from the cfg's: those heads were initialised anew.
    pub other_classes: Option<usize>,
}

impl Network {
    /// Fills the graph with all numbers of a file.
    ///
    /// # Errors
    /// A file that is too short or too long, or holds numbers that are not finite.
    pub fn from_parts(cfg: Cfg, graph: Graph, file: &WeightsFile) -> Result<Self> {
        if let Some(classes) = other_classes(&graph, file.values.len()) {
            let cause = format!(
                "the heads of these weights are for {classes} classes and those of the cfg for {}",
                graph.classes()
            );
            return Err(Error::at("", cause)
                .fix("give the cfg they were trained with; train and slim start from them and begin such heads anew"));
        }
        let mut network = Self { weights: empty_weights(&graph), cfg, graph, header: file.header };
        let mut values = file.values.as_slice();
        for (i, weights) in network.weights.iter_mut().enumerate() {
            let Some(weights) = weights else { continue };
            let wants = weights.len();
            if !take(weights, &mut values) {
                return Err(Error::at(
                    format!("line {} of the cfg", network.graph.layers[i].place),
                    format!(
                        "the file ends inside this layer: {} of its {wants} floats are there; the cfg wants {} floats in all, the file holds {}",
                        values.len(), expected(&network.graph), file.values.len()
                    ),
                )
                .fix("use the cfg these weights were trained with, or a complete copy of the file"));
            }
        }
        if !values.is_empty() {
            return Err(Error::at(
                "",
                format!(
                    "{} floats are left after the last of {} layers: the cfg wants {}, the file holds {}",
                    values.len(),
                    network.graph.layers.len(),
                    expected(&network.graph),
                    file.values.len()
                ),
            )
            .fix("use the cfg these weights were trained with"));
        }
        network.check_finite()?;
        Ok(network)
    }

    /// Starts from whatever the file has: all layers, the first ones (`darknet53.conv.74`), or all with heads
    /// for another number of classes, which are then initialised anew.
    ///
    /// # Errors
    /// A file that fits in none of these ways.
    pub fn start_from(cfg: Cfg, file: &WeightsFile, seed: u64) -> Result<Loaded> {
        let mut network = Self::initialise(cfg, seed)?;
        let other_classes = other_classes(&network.graph, file.values.len());
        network.header = file.header;
        network.header.seen = 0;
        let head_convolutions = head_convolutions(&network.graph);
        let mut values = file.values.as_slice();
        let (mut filled, mut convolutions, mut ended) = (0, 0, false);
        for i in 0..network.weights.len() {
            let Some(weights) = network.weights[i].as_mut() else { continue };
            convolutions += 1;
            let head = head_convolutions.iter().find(|(conv, _)| *conv == i);
            if let (Some(classes), Some((_, anchors))) = (other_classes, head) {
                let per_filter = weights.len() / weights.bias.len();
                values = &values[anchors * (5 + classes) * per_filter..];
            } else if ended || values.is_empty() {
                ended = true;
            } else if take(weights, &mut values) {
                filled += 1;
            } else {
                return Err(Error::at(
                    format!("line {} of the cfg", network.graph.layers[i].place),
                    format!("the file ends inside this layer, after {} of its {} floats", values.len(), weights.len()),
                )
                .fix("start from weights whose first layers, or all but the heads, are those of this cfg"));
            }
        }
        if !values.is_empty() {
            let cause = format!(
                "{} floats are left after the last layer: the cfg wants {}, the file holds {}",
                values.len(),
                expected(&network.graph),
                file.values.len()
            );
            return Err(Error::at("", cause).fix(
                "start from weights whose layers are those of this cfg: published ones fit the published widths alone",
            ));
        }
        network.check_finite()?;
        Ok(Loaded { network, filled, convolutions, other_classes })
    }
}

/// Zeros of the right sizes for every convolution.
pub(super) fn empty_weights(graph: &Graph) -> Vec<Option<ConvWeights>> {
    let mut weights = vec![None; graph.layers.len()];
    for (i, convolution) in graph.convolutions() {
        weights[i] = Some(ConvWeights::zeros(convolution, graph.input_shape(i).channels));
    }
    weights
}

/// Fills a layer; false, with nothing taken, when the values do not suffice.
fn take(weights: &mut ConvWeights, values: &mut &[f32]) -> bool {
    if values.len() < weights.len() {
        return false;
    }
    for array in weights.arrays_mut() {
        let (head, rest) = values.split_at(array.len());
        array.copy_from_slice(head);
        *values = rest;
    }
    true
}

fn expected(graph: &Graph) -> usize {
    empty_weights(graph).iter().flatten().map(ConvWeights::len).sum()
}

/// The convolutions that feed heads, and the heads' anchor counts.
pub(super) fn head_convolutions(graph: &Graph) -> Vec<(usize, usize)> {
    graph.heads().filter_map(|(i, y)| Some((graph.convolution_behind(i)?, y.anchors.len()))).collect()
}

/// The class count at which the file's length would be exactly what the cfg wants, if it is another than the
/// cfg's: every class adds the same number of floats to each head.
fn other_classes(graph: &Graph, floats: usize) -> Option<usize> {
    let empty = empty_weights(graph);
    let (mut body, mut per_class) = (expected(graph), 0);
    for (conv, anchors) in head_convolutions(graph) {
        let weights = empty[conv].as_ref()?;
        // Where two heads read one convolution its filters can't be told apart by head.
        body = body.checked_sub(weights.len())?;
        per_class += anchors * (weights.len() / weights.bias.len());
    }
    let heads = floats.checked_sub(body)?;
    if per_class == 0 || heads % per_class != 0 {
        return None;
    }
    (heads / per_class).checked_sub(5).filter(|c| *c > 0 && *c != graph.classes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Header;

    fn cfg(classes: usize) -> Cfg {
        let head = format!(
            "[convolutional]\nfilters={}\nactivation=linear\n[yolo]\nmask=0\nanchors=8,8\nclasses={classes}\n",
            5 + classes
        );
        let text = format!(
            "[net]\nwidth=8\nheight=8\n[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n{head}[route]\nlayers=0\n[convolutional]\nfilters=4\nactivation=leaky\n{head}"
        );
        Cfg::parse(text.as_bytes()).unwrap()
    }

    fn file(network: &Network) -> WeightsFile {
        network.to_weights_file()
    }

    #[test]
    fn a_complete_file_comes_back_as_it_was() {
        let network = Network::initialise(cfg(3), 1).unwrap();
        let again = Network::from_parts(network.cfg.clone(), network.graph.clone(), &file(&network)).unwrap();
        assert_eq!(again, network);
    }

    #[test]
    fn a_short_file_names_the_layer_and_both_counts() {
        let network = Network::initialise(cfg(3), 1).unwrap();
        let mut short = file(&network);
        short.values.pop();
        let message = Network::from_parts(network.cfg.clone(), network.graph.clone(), &short).unwrap_err().to_string();
        assert!(message.contains("[convolutional] #5") && message.contains("39 of its 40 floats"), "{message}");
        short.values.extend([0.0; 2]);
        let message = Network::from_parts(network.cfg.clone(), network.graph, &short).unwrap_err().to_string();
        assert!(message.contains("1 floats are left"), "{message}");
    }

    #[test]
    fn heads_for_other_classes_start_anew_and_the_rest_is_kept() {
        let old = Network::initialise(cfg(7), 1).unwrap();
        let loaded = Network::start_from(cfg(2), &file(&old), 9).unwrap();
        assert_eq!((loaded.filled, loaded.convolutions, loaded.other_classes), (2, 4, Some(7)));
        assert_eq!(loaded.network.weights[0], old.weights[0]);
        assert_eq!(loaded.network.weights[4], old.weights[4]);
        assert_eq!(loaded.network.conv(1).bias, [0.0, 0.0, 0.0, 0.0, -4.0, 0.0, 0.0]);
    }

    #[test]
    fn two_heads_of_one_convolution_are_not_told_apart_by_their_classes() {
        let head = "[yolo]\nmask=0\nanchors=4,4\nclasses=2\n";
        let text = format!("[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=7\nactivation=linear\n{head}{head}");
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let mut longer = file(&network);
        longer.values.extend([0.0; 4]);
        let message = Network::from_parts(network.cfg.clone(), network.graph, &longer).unwrap_err().to_string();
        assert!(message.contains("4 floats are left"), "{message}");
    }

    #[test]
    fn a_file_of_the_first_layers_fills_those() {
        let old = Network::initialise(cfg(2), 1).unwrap();
        let first = old.conv(0).len();
        let part = WeightsFile { header: Header::default(), values: file(&old).values[..first].to_vec() };
        let loaded = Network::start_from(cfg(2), &part, 9).unwrap();
        assert_eq!((loaded.filled, loaded.other_classes), (1, None));
        let cut = WeightsFile { values: part.values[..first - 1].to_vec(), ..part };
        assert!(Network::start_from(cfg(2), &cut, 9).unwrap_err().to_string().contains("ends inside"));
    }

    #[test]
    fn a_number_that_is_not_finite_is_named_by_its_layer() {
        let network = Network::initialise(cfg(3), 1).unwrap();
        let mut bad = file(&network);
        bad.values[20] = f32::NAN;
        let message = Network::from_parts(network.cfg.clone(), network.graph, &bad).unwrap_err().to_string();
        assert!(message.contains("[convolutional] #0") && message.contains("1 of"), "{message}");
    }
}
