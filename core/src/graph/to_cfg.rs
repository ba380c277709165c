//! From a changed graph back to its cfg: layers taken out, and every reference between layers mended, so that
//! comments, unknown keys and what did not change are written as they were read.

use super::{Graph, Layer, Op, Source};
use crate::darknet::Cfg;
use crate::{Error, Result};

/// A cfg without some of its layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortened {
    /// The cfg.
    pub cfg: Cfg,
    /// The layers' indices in the old cfg, in their new order.
    pub layers: Vec<usize>,
}

/// Takes layers out of `cfg`, whose graph is `graph`. `stand_in[i]` tells what becomes of layer `i`: `i` itself
/// when it stays, else the layer before it that its readers read instead, itself perhaps gone; none when nothing
/// reads it any more. References keep their style, relative or absolute.
///
/// # Errors
/// A layer that stays but reads one that is gone without a stand-in, or reads the layer before it where another now
/// stands.
pub fn remove_layers(cfg: &Cfg, graph: &Graph, stand_in: &[Option<usize>]) -> Result<Shortened> {
    let layers: Vec<usize> = (0..stand_in.len()).filter(|&i| stand_in[i] == Some(i)).collect();
    let renumbering = Renumbering { graph, stand_in, layers: &layers };
    let mut short = cfg.clone();
    for (new, &old) in layers.iter().enumerate() {
        renumbering.check_previous(new, old)?;
        let Some((key, sources)) = references(&graph.layers[old]) else { continue };
        let numbers = cfg.layers()[old].numbers::<i64>(key)?;
        let mended = renumbering.mend(new, old, sources, &numbers)?;
        if mended != numbers {
            let text: Vec<_> = mended.iter().map(i64::to_string).collect();
            short.layer_mut(old).set(key, text.join(","));
        }
    }
    short.retain_layers(|i| stand_in[i] == Some(i));
    Ok(Shortened { cfg: short, layers })
}

struct Renumbering<'a> {
    graph: &'a Graph,
    stand_in: &'a [Option<usize>],
    layers: &'a [usize],
}

impl Renumbering<'_> {
    /// The new index of what `reader` reads in place of `layer`.
    fn moved(&self, reader: usize, layer: usize) -> Result<usize> {
        match self.stand_in[layer] {
            Some(next) if next == layer => Ok(self.layers.partition_point(|kept| *kept < layer)),
            Some(next) => self.moved(reader, next),
            None => Err(Error::at(
                &self.graph.layers[reader].place,
                format!("layer #{layer}, which it reads, would be gone"),
            )
            .fix("keep that layer")),
        }
    }

    /// Checks that a layer that reads the one before it still does.
    fn check_previous(&self, new: usize, old: usize) -> Result<()> {
        let layer = &self.graph.layers[old];
        let Some(previous) = layer.inputs[0].layer().filter(|_| !matches!(layer.op, Op::Route { .. })) else {
            return Ok(());
        };
        if self.moved(old, previous)? + 1 != new {
            let cause = format!("it reads layer #{previous}, but another would come before it");
            return Err(Error::at(&layer.place, cause).fix("keep that layer"));
        }
        Ok(())
    }

    /// The references `numbers` of layer `old`, which point to `sources`, as they are written at index `new`.
    fn mend(&self, new: usize, old: usize, sources: &[Source], numbers: &[i64]) -> Result<Vec<i64>> {
        let layers = sources.iter().filter_map(|s| s.layer());
        let mended = layers.zip(numbers).map(|(layer, number)| {
            let target = self.moved(old, layer)? as i64;
            Ok(if *number < 0 { target - new as i64 } else { target })
        });
        mended.collect()
    }
}

/// The key that names a layer's inputs, and those that it names; none for layers that read the one before them and
/// nothing else.
fn references(layer: &Layer) -> Option<(&'static str, &[Source])> {
    match layer.op {
        Op::Route { .. } => Some(("layers", &layer.inputs)),
        Op::Shortcut { .. } | Op::ScaleChannels { .. } | Op::Sam { .. } => Some(("from", &layer.inputs[1..])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: &str = "[net]\nwidth=8\nheight=8\n# stem\n[convolutional]\nfilters=4\n[convolutional]\nfilters=2\n\
        [convolutional]\nfilters=4\n[shortcut]\nfrom=-3\nfoo=bar\n[convolutional]\nfilters=4 # four\n[shortcut]\nfrom = 3\n\
        [route]\nlayers = -1, 0, 3\n[upsample]\n";

    fn removed(stand_in: &[Option<usize>]) -> Result<String> {
        let cfg = Cfg::parse(LAYERS.as_bytes())?;
        let short = remove_layers(&cfg, &Graph::from_cfg(&cfg)?, stand_in)?;
        assert_eq!(short.layers.len(), short.cfg.layers().len());
        Graph::from_cfg(&short.cfg)?;
        Ok(short.cfg.to_string())
    }

    #[test]
    fn nothing_removed_changes_no_byte() {
        let all: Vec<_> = (0..8).map(Some).collect();
        assert_eq!(removed(&all).unwrap(), LAYERS);
    }

    #[test]
    fn references_keep_their_style_and_follow_stand_ins() {
        let block = [Some(0), None, None, Some(0), Some(4), Some(5), Some(6), Some(7)];
        let text = removed(&block).unwrap();
        let wanted = "[net]\nwidth=8\nheight=8\n# stem\n[convolutional]\nfilters=4\n[convolutional]\nfilters=4 # four\n\
            [shortcut]\nfrom = 0\n[route]\nlayers = -1,0,0\n[upsample]\n";
        assert_eq!(text, wanted);
        // Both blocks: the second one's trunk is the first one's shortcut, which is gone too.
        let both = [Some(0), None, None, Some(0), None, Some(3), Some(6), Some(7)];
        assert!(removed(&both).unwrap().contains("layers = -1,0,0\n"));
    }

    #[test]
    fn a_layer_whose_input_is_lost_is_named() {
        let lost = [Some(0), None, Some(2), Some(3), Some(4), Some(5), Some(6), Some(7)];
        let message = removed(&lost).unwrap_err().to_string();
        assert!(message.contains("#2: layer #1, which it reads, would be gone"), "{message}");
        // The stand-in exists, but layer 1 now comes between it and its reader.
        let between = [Some(0), Some(1), Some(0), Some(3), Some(4), Some(5), Some(6), Some(7)];
        let message = removed(&between).unwrap_err().to_string();
        assert!(message.contains("#3: it reads layer #2, but another would come before it"), "{message}");
    }
}
