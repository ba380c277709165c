//! What stands between a net and NNIE: the chip's known limits (reference: HiSilicon's HiSVP development guide, and
//! reports from the field where it is silent).

use std::fmt;

use serde::Serialize;

use super::{CaffeOptions, UnevenPool, lower, pool};
use crate::export::folded::{FoldedNet, Node, Operator};
use crate::graph::Activation;

/// Longest side of a map or of a kernel's array.
const LONGEST_SIDE: usize = 4096;
/// Largest kernel and padding.
const LARGEST_KERNEL: usize = 255;
/// Most groups of a convolution.
const MOST_GROUPS: usize = 2048;
/// Most outputs of a segment; a net without layers on the CPU is one segment.
const MOST_OUTPUTS: usize = 16;
/// Longest name of a layer.
const LONGEST_NAME: usize = 31;
/// Channels that the multipliers take at once.
const LANES: usize = 16;

/// Something to know before a net is compiled for the chip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The layer, as a message names it; `net` for the whole.
    pub place: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The net runs, slower than it could or with something to look after.
    Note,
    /// The layer would leave the accelerator.
    LeavesChip,
    /// The compiler refuses the net.
    Refused,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::LeavesChip => "leaves the chip",
            Self::Refused => "refused",
        })
    }
}

/// Everything about `net` that NNIE is known to mind, the worst first; nothing found means that no known limit speaks
/// against it.
#[must_use]
pub fn check(net: &FoldedNet, options: &CaffeOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |place: &str, severity, cause: String, fix: &str| {
        findings.push(Finding { place: place.to_owned(), severity, cause, fix: fix.to_owned() });
    };
    if ![1, 3].contains(&net.input.channels) {
        add("net", Severity::Refused, format!("{} input channels", net.input.channels), "use 1 or 3");
    }
    for node in &net.nodes {
        limits(node, &mut add);
        kinds(node, &mut add);
        if let Operator::MaxPool(pool) = &node.operator {
            let found = pool::in_caffe(pool, net.shape(node.inputs[0]), node.shape);
            let refused = options.uneven_pool == UnevenPool::Refuse;
            if found.is_none_or(|found| refused && found.shape != node.shape) {
                let cause = format!("no single pool of Caffe's gives size={} stride={}", pool.size, pool.stride_y);
                add(&node.place, Severity::Refused, cause, "use stride 2, or an odd size with stride 1");
            }
        }
    }
    outputs(net, options, &mut add);
    lanes(net, &mut add);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Sizes that are too large.
fn limits(node: &Node, add: &mut impl FnMut(&str, Severity, String, &str)) {
    let mut at_most = |what: &str, value: usize, most: usize, fix: &str| {
        if value > most {
            add(&node.place, Severity::Refused, format!("{what} {value}, at most {most} fit"), fix);
        }
    };
    let shape = node.shape;
    for (what, side) in [("channels:", shape.channels), ("rows:", shape.height), ("columns:", shape.width)] {
        at_most(what, side, LONGEST_SIDE, "make the net's input smaller or the layer narrower");
    }
    match &node.operator {
        Operator::Convolution(c) => {
            at_most("input channels of a group:", c.kernel_shape()[1], LONGEST_SIDE, "make the layer before narrower");
            at_most("size:", c.size, LARGEST_KERNEL, "use a smaller kernel");
            at_most("padding:", c.pad, LARGEST_KERNEL, "use less padding");
            at_most("groups:", c.groups, MOST_GROUPS, "use fewer channels");
        }
        Operator::MaxPool(pool) => at_most("size:", pool.size, LARGEST_KERNEL, "chain smaller pools: --spp chained"),
        _ => {}
    }
}

/// Layers and activations that the chip lacks.
fn kinds(node: &Node, add: &mut impl FnMut(&str, Severity, String, &str)) {
    use Activation::{HardMish, HardSwish, Hardtan, Mish, Relu6, Swish};
    if matches!(node.activation, HardMish | HardSwish | Hardtan | Mish | Relu6 | Swish) {
        let cause = format!("activation={} is not on the chip", node.activation.name());
        let fix = "write activation=leaky there, and train the net again from these weights";
        add(&node.place, Severity::LeavesChip, cause, fix);
    }
    match node.operator {
        Operator::Scale => {
            let cause = "a map times one number a channel is not on the chip".to_owned();
            add(&node.place, Severity::LeavesChip, cause, "train a net without [scale_channels]");
        }
        Operator::Reorg { .. } => {
            let cause = "PassThrough's order of channels is not documented".to_owned();
            add(&node.place, Severity::Note, cause, "compare the heads of one image with those of yoloslim heads");
        }
        _ => {}
    }
}

/// Outputs and names, as they are going to be written.
fn outputs(net: &FoldedNet, options: &CaffeOptions, add: &mut impl FnMut(&str, Severity, String, &str)) {
    // What can't be written was found layer by layer.
    let Ok(written) = lower::lower(net, options) else { return };
    let count = written.heads.len() + written.unused.len();
    if count > MOST_OUTPUTS {
        let cause = format!(
            "{count} outputs, {} of them parts that are cut off; at most {MOST_OUTPUTS} fit",
            written.unused.len()
        );
        add("net", Severity::Refused, cause, "use fewer grouped routes");
    } else if !written.unused.is_empty() {
        let fix = if options.uneven_pool == UnevenPool::Slice {
            "ignore them; a pool's go away with --uneven-pool convolution"
        } else {
            "ignore them"
        };
        add("net", Severity::Note, format!("outputs that nobody reads: {}", written.unused.join(", ")), fix);
    }
    for layer in written.layers.iter().filter(|layer| layer.name.len() > LONGEST_NAME) {
        let cause = format!("the name has {} characters, at most {LONGEST_NAME} fit", layer.name.len());
        add(&layer.name, Severity::Refused, cause, "use a net of fewer layers");
    }
}

/// Channels that leave multipliers idle.
fn lanes(net: &FoldedNet, add: &mut impl FnMut(&str, Severity, String, &str)) {
    let all = net.convolutions().count();
    let heads: Vec<_> = net.heads.iter().map(|head| head.value).collect();
    let uneven = net
        .convolutions()
        .filter(|(i, c)| !heads.contains(&super::Value::Node(*i)) && !c.filters.is_multiple_of(LANES))
        .count();
    if uneven > 0 {
        let cause =
            format!("{uneven} of {all} convolutions have filters that are no multiple of {LANES}: lanes stay idle");
        add("net", Severity::Note, cause, "prune with --multiple-of 16");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::darknet::Cfg;

    fn found(net: &str, layers: &str) -> Vec<(Severity, String)> {
        let text = format!("[net]\n{net}\n{layers}");
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let findings = check(&FoldedNet::of(&network), &CaffeOptions::default());
        findings.into_iter().map(|f| (f.severity, format!("{}: {}; {}", f.place, f.cause, f.fix))).collect()
    }

    #[test]
    fn each_limit_is_found_and_named() {
        let small = "width=8\nheight=8\nchannels=3";
        let cases = [
            (
                "width=8\nheight=8\nchannels=4",
                "[maxpool]\nstride=1\n",
                Severity::Refused,
                "4 input channels; use 1 or 3",
            ),
            (
                "width=5000\nheight=8\nchannels=1",
                "[maxpool]\nstride=1\n",
                Severity::Refused,
                "columns: 5000, at most 4096",
            ),
            (small, "[convolutional]\nfilters=5008\n", Severity::Refused, "channels: 5008"),
            (small, "[convolutional]\nfilters=16\npadding=300\n", Severity::Refused, "padding: 300, at most 255"),
            (small, "[convolutional]\nfilters=16\nactivation=mish\n", Severity::LeavesChip, "activation=leaky"),
            (small, "[convolutional]\nfilters=16\nactivation=relu6\n", Severity::LeavesChip, "[convolutional] #0"),
            (small, "[convolutional]\nfilters=16\n[reorg]\nstride=2\n", Severity::Note, "PassThrough"),
            (small, "[maxpool]\nsize=2\nstride=1\n", Severity::Note, "outputs that nobody reads: pool0_rows_low"),
            (small, "[convolutional]\nfilters=7\n[convolutional]\nfilters=16\n", Severity::Note, "1 of 2 convolutions"),
        ];
        for (net, layers, severity, words) in cases {
            let findings = found(net, layers);
            assert!(findings.iter().any(|(s, text)| *s == severity && text.contains(words)), "{layers}: {findings:?}");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_speaks_against_a_net() {
        let layers = "[convolutional]\nfilters=16\nactivation=leaky\n[maxpool]\nsize=2\nstride=2\n\
            [convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nanchors=1,1\nclasses=2\n";
        assert_eq!(found("width=8\nheight=8", layers), []);
    }

    #[test]
    fn the_worst_comes_first() {
        let findings = found(
            "width=8\nheight=8",
            "[convolutional]\nfilters=7\n[convolutional]\nfilters=32\nactivation=swish\n[convolutional]\nfilters=4112\n",
        );
        let severities: Vec<_> = findings.iter().map(|(severity, _)| *severity).collect();
        assert_eq!(severities, [Severity::Refused, Severity::LeavesChip, Severity::Note]);
    }
}
