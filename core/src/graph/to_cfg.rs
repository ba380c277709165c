//! From a changed graph back to its cfg: layers taken out, and every reference between layers mended, so that
//! comments, unknown keys and what did not change are written as they were read.

use super::{Graph, Op};
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
    let mut short = cfg.clone();
    for (new, &old) in layers.iter().enumerate() {
        let place = || &graph.layers[old].place;
        let moved = |source: usize| {
            let kept = resolve(stand_in, source)?;
            layers.binary_search(&kept).ok()
        };
        let gone = |source: usize| {
            Error::at(place(), format!("layer #{source}, which it reads, would be gone")).fix("keep that layer")
        };
        let (key, explicit) = references(&graph.layers[old].op);
        let inputs = &graph.layers[old].inputs;
        let named = if explicit == 0 { &inputs[..] } else { &inputs[explicit - 1..] };
        if explicit != 1
            && let Some(previous) = inputs[0].layer()
            && moved(previous).ok_or_else(|| gone(previous))? + 1 != new
        {
            return Err(Error::at(place(), format!("it reads layer #{previous}, but another would come before it"))
                .fix("keep that layer"));
        }
        if explicit == 0 {
            continue;
        }
        let old_numbers = cfg.layers()[old].numbers::<i64>(key)?;
        let new_numbers = named
            .iter()
            .filter_map(|s| s.layer())
            .zip(&old_numbers)
            .map(|(source, number)| {
                let target = moved(source).ok_or_else(|| gone(source))? as i64;
                Ok(if *number < 0 { target - new as i64 } else { target })
            })
            .collect::<Result<Vec<i64>>>()?;
        if new_numbers != old_numbers {
            let text: Vec<_> = new_numbers.iter().map(i64::to_string).collect();
            short.layer_mut(old).set(key, text.join(","));
        }
    }
    short.retain_layers(|i| stand_in[i] == Some(i));
    Ok(Shortened { cfg: short, layers })
}

/// Follows stand-ins to a layer that stays.
fn resolve(stand_in: &[Option<usize>], mut layer: usize) -> Option<usize> {
    loop {
        match stand_in[layer]? {
            next if next == layer => return Some(layer),
            next => layer = next,
        }
    }
}

/// The key that names a layer's inputs, and the 1-based number of the first input that it names; 0 for layers that
/// read the one before them and nothing else.
fn references(op: &Op) -> (&'static str, usize) {
    match op {
        Op::Route { .. } => ("layers", 1),
        Op::Shortcut { .. } | Op::ScaleChannels { .. } | Op::Sam { .. } => ("from", 2),
        _ => ("", 0),
    }
}
