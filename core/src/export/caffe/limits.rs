//! The sizes that NNIE is known to take, layer by layer as they are written (reference: HiSilicon's HiSVP development
//! guide).

use std::collections::HashMap;

use super::check::{Add, Severity};
use super::layer::CaffeLayer;
use super::lower::Written;
use crate::graph::Shape;

/// Longest side of a map or of a kernel's array.
const LONGEST_SIDE: usize = 4096;
/// Largest kernel and padding.
const LARGEST_KERNEL: usize = 255;
/// Most groups of a convolution.
const MOST_GROUPS: usize = 2048;
/// Longest name of a layer or a blob.
const LONGEST_NAME: usize = 31;
/// Endings of layers' names that mean something to the mapper; `_hp` only where that is meant.
const MEANT_OF_LAYERS: [&str; 2] = ["_cpu", "_report"];
/// Endings of blobs' names that do; `_report` only where that is meant.
const MEANT_OF_BLOBS: [&str; 2] = ["_cpu", "_hp"];

/// Everything in the layers that is beyond a limit.
pub(super) fn check(written: &Written, add: &mut Add) {
    let mut maps: HashMap<&str, Shape> = HashMap::new();
    for layer in &written.layers {
        sides(layer, add);
        window(layer, layer.bottoms.first().and_then(|bottom| maps.get(bottom.as_str())), add);
        names(layer, written, add);
        maps.extend(layer.tops.iter().map(String::as_str).zip(layer.shapes.iter().copied()));
    }
}

/// Adds a finding where a value is above what fits.
fn at_most(place: &str, what: &str, value: usize, most: usize, fix: &str, add: &mut Add) {
    if value > most {
        add(place, Severity::Refused, format!("{what} {value}, at most {most} fit"), fix);
    }
}

/// The sides of what a layer writes and of its numbers.
fn sides(layer: &CaffeLayer, add: &mut Add) {
    // In-place layers write what is there already.
    let new = layer.tops.iter().zip(&layer.shapes).filter(|(top, _)| !layer.bottoms.contains(top));
    for (top, shape) in new {
        let whose = if layer.tops.len() > 1 { format!("{top}: ") } else { String::new() };
        for (what, side) in [("channels:", shape.channels), ("rows:", shape.height), ("columns:", shape.width)] {
            let fix = "make the net's input smaller or the layer narrower";
            at_most(&layer.place, &format!("{whose}{what}"), side, LONGEST_SIDE, fix, add);
        }
    }
    // As many filters as channels; rows and columns are the kernel's size, of which fewer fit.
    if let Some(inputs) = layer.blobs.first().and_then(|(kernel, _)| kernel.get(1)) {
        let what = "input channels of a group:";
        at_most(&layer.place, what, *inputs, LONGEST_SIDE, "make the layer before narrower", add);
    }
}

/// Kernels, paddings, strides and groups.
fn window(layer: &CaffeLayer, from: Option<&Shape>, add: &mut Add) {
    let place = &layer.place;
    let largest = |key: &str| layer.numbers(key).into_iter().max();
    if let Some(size) = largest("kernel_size") {
        let fix = if layer.kind == "Pooling" { "chain smaller pools: --spp chained" } else { "use a smaller kernel" };
        at_most(place, "size:", size, LARGEST_KERNEL, fix, add);
    }
    let pad = largest("pad").unwrap_or(0);
    at_most(place, "padding:", pad, LARGEST_KERNEL, "use less padding", add);
    let groups = largest("group").unwrap_or(1);
    let fix = match layer.kind {
        "Deconvolution" => "write it as --upsample upsample, or use fewer channels",
        _ => "use fewer channels",
    };
    at_most(place, "groups:", groups, MOST_GROUPS, fix, add);
    if let [rows, columns] = layer.numbers("stride")[..]
        && rows != columns
    {
        let cause = format!("strides {rows} and {columns}, which must be equal");
        add(place, Severity::Refused, cause, "use one stride for rows and columns");
    }
    let Some(from) = from else { return };
    let side = from.height.max(from.width);
    if layer.block.iter().flat_map(|(_, keys)| keys).any(|(key, _)| *key == "global_pooling") {
        at_most(place, "size of a pool over the whole map:", side, LARGEST_KERNEL, "make the map smaller first", add);
    }
    if pad > 0 && side <= LONGEST_SIDE {
        at_most(place, "side with its padding:", side + 2 * pad, LONGEST_SIDE, "make the net's input smaller", add);
    }
}

/// Names that are too long or that mean something by accident.
fn names(layer: &CaffeLayer, written: &Written, add: &mut Add) {
    let meant = |name: &str, endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let blobs = layer.tops.iter().filter(|top| !layer.bottoms.contains(top));
    let accident = |top: &str| meant(top, &MEANT_OF_BLOBS) || top.ends_with("_report") && !written.is_head(top);
    let names = [(&layer.name, meant(&layer.name, &MEANT_OF_LAYERS))];
    for (name, by_accident) in names.into_iter().chain(blobs.map(|top| (top, accident(top)))) {
        let what = format!("characters of the name {name}:");
        at_most(&layer.place, &what, name.len(), LONGEST_NAME, "use a net of fewer layers", add);
        if by_accident {
            let cause = format!("the name {name} means something to the mapper by its ending");
            add(&layer.place, Severity::Refused, cause, "report this as a bug");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lower::lower;
    use super::super::{CaffeOptions, Upsample};
    use super::*;
    use crate::Network;
    use crate::darknet::Cfg;
    use crate::export::FoldedNet;

    fn lowered(net: &str, layers: &str, options: &CaffeOptions) -> Written {
        let text = format!("[net]\n{net}\n{layers}");
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        lower(&FoldedNet::of(&network), options)
    }

    fn found(written: &Written) -> Vec<String> {
        let mut found = Vec::new();
        check(written, &mut |place, severity, cause, fix| {
            assert_eq!(severity, Severity::Refused);
            found.push(format!("{place}: {cause}; {fix}"));
        });
        found
    }

    #[test]
    fn each_limit_is_found_in_the_layers_that_are_written() {
        let small = "width=8\nheight=8";
        let deconvolution = CaffeOptions { upsample: Upsample::Deconvolution, ..CaffeOptions::default() };
        let plain = CaffeOptions::default();
        let cases = [
            ("width=5000\nheight=8\nchannels=1", "[maxpool]\nstride=1\n", &plain, "net: columns: 5000, at most 4096"),
            ("width=8\nheight=4100\nchannels=1", "[maxpool]\nstride=2\n", &plain, "net: rows: 4100, at most 4096"),
            // The padded pool that the last columns are cut out of is wider than what the net has.
            (
                "width=4096\nheight=8\nchannels=1",
                "[maxpool]\nsize=2\nstride=1\n",
                &plain,
                "columns: 4097, at most 4096",
            ),
            ("width=4096\nheight=8\nchannels=1", "[convolutional]\nsize=3\npad=1\n", &plain, "its padding: 4098"),
            (small, "[convolutional]\nfilters=5008\n", &plain, "channels: 5008, at most 4096"),
            (small, "[convolutional]\nfilters=4100\n[convolutional]\nfilters=1\n", &plain, "group: 4100, at most 4096"),
            (small, "[convolutional]\nfilters=1\npadding=300\n", &plain, "padding: 300, at most 255"),
            (small, "[convolutional]\nfilters=1\nsize=257\npad=1\n", &plain, "size: 257, at most 255"),
            ("width=600\nheight=600\nchannels=1", "[maxpool]\nsize=257\nstride=1\n", &plain, "size: 257, at most 255"),
            (
                "width=300\nheight=8\nchannels=1",
                "[avgpool]\n",
                &plain,
                "size of a pool over the whole map: 300, at most 255",
            ),
            (
                small,
                "[convolutional]\nfilters=2064\n[convolutional]\nfilters=2064\ngroups=2064\n",
                &plain,
                "groups: 2064, at most 2048",
            ),
            (
                small,
                "[convolutional]\nfilters=2064\n[upsample]\nstride=2\n",
                &deconvolution,
                "groups: 2064, at most 2048 fit; write it as --upsample upsample",
            ),
            (
                small,
                "[convolutional]\nfilters=1\nstride_x=2\nstride_y=1\n",
                &plain,
                "strides 1 and 2, which must be equal",
            ),
        ];
        for (net, layers, options, words) in cases {
            let findings = found(&lowered(net, layers, options));
            assert!(findings.iter().any(|text| text.contains(words)), "{layers} {words}: {findings:?}");
        }
    }

    #[test]
    fn what_just_fits_is_not_found() {
        let layers = "[convolutional]\nfilters=1\nsize=255\npad=1\n[convolutional]\nfilters=2048\nstride=2\n\
            [convolutional]\nfilters=2048\ngroups=2048\n[convolutional]\nfilters=4096\n[avgpool]\n";
        assert!(found(&lowered("width=255\nheight=8", layers, &CaffeOptions::default())).is_empty());
    }

    #[test]
    fn names_that_are_long_or_mean_something_are_found() {
        let layers = "[convolutional]\nfilters=1\n[convolutional]\nfilters=1\n";
        let renamed = |name: &str, top: &str| {
            let mut written = lowered("width=8\nheight=8", layers, &CaffeOptions::default());
            name.clone_into(&mut written.layers[1].name);
            top.clone_into(&mut written.layers[1].tops[0]);
            found(&written)
        };
        assert!(renamed("conv0_hp", "conv0").is_empty() && renamed(&"x".repeat(31), "conv0").is_empty());
        let cases = [
            ("x".repeat(32), "conv0".to_owned(), "characters of the name xxx"),
            ("conv0".to_owned(), "y".repeat(32), "characters of the name yyy"),
            ("conv0_cpu".to_owned(), "conv0".to_owned(), "conv0_cpu means something"),
            ("conv0_report".to_owned(), "conv0".to_owned(), "conv0_report means something"),
            ("conv0".to_owned(), "conv0_report".to_owned(), "conv0_report means something"),
            ("conv0".to_owned(), "conv0_hp".to_owned(), "conv0_hp means something"),
        ];
        for (name, top, words) in cases {
            assert!(renamed(&name, &top).iter().any(|text| text.contains(words)), "{words}");
        }
    }
}
