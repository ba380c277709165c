//! What stands between a net and a chip: known limits (reference: HiSilicon's HiSVP development guide, and reports from
//! the field where it is silent). Of NNIE much is known; of the SVP NPU only what Caffe itself can't say.

use std::fmt;

use serde::Serialize;

use super::lower::{Written, lower};
use super::{CaffeOptions, Dialect, UnevenPool, limits, pool};
use crate::export::folded::{FoldedNet, Node, Operator};
use crate::graph::Activation;

/// Most outputs of a segment.
const MOST_OUTPUTS: usize = 16;
/// Most segments, on the chip and on the CPU, that a net is cut into.
const MOST_SEGMENTS: usize = 8;
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

/// Takes a finding: its place, how bad it is, its cause and what to do.
pub(super) type Add<'a> = dyn FnMut(&str, Severity, String, &str) + 'a;

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

/// Everything about `net` that the chip of `options` is known to mind, the worst first; nothing found means that no known
/// limit speaks against it.
#[must_use]
pub fn check(net: &FoldedNet, options: &CaffeOptions) -> Vec<Finding> {
    findings(net, options, &lower(net, options))
}

/// [`check`] of a net that is written already.
pub(super) fn findings(net: &FoldedNet, options: &CaffeOptions, written: &Written) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |place: &str, severity, cause: String, fix: &str| {
        findings.push(Finding { place: place.to_owned(), severity, cause, fix: fix.to_owned() });
    };
    if options.dialect == Dialect::Nnie {
        if ![1, 3].contains(&net.input.channels) {
            add("net", Severity::Refused, format!("{} input channels", net.input.channels), "use 1 or 3");
        }
        limits::check(written, &mut add);
        outputs(options, written, &mut add);
        segments(net, &mut add);
        lanes(net, &mut add);
    } else {
        named_outputs(written, &mut add);
    }
    for node in &net.nodes {
        kinds(node, options.dialect, &mut add);
        pools(net, node, options, &mut add);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Layers and activations that the chip lacks, or that Caffe lacks.
fn kinds(node: &Node, dialect: Dialect, add: &mut Add) {
    let (severity, chip) = match dialect {
        Dialect::Nnie => (Severity::LeavesChip, "is not on the chip"),
        Dialect::SvpNpu => (Severity::Refused, "is no layer of Caffe's"),
    };
    if leaves_by_activation(node) {
        let fix = "write activation=leaky there, and train the net again from these weights";
        add(&node.place, severity, format!("activation={} {chip}", node.activation.name()), fix);
    }
    match node.operator {
        Operator::Scale => {
            let cause = format!("a map times one number a channel {chip}");
            add(&node.place, severity, cause, "train a net without [scale_channels]");
        }
        Operator::Reorg { .. } => {
            let cause = "PassThrough's order of channels is not documented".to_owned();
            add(&node.place, Severity::Note, cause, "compare the heads of one image with those of yoloslim heads");
        }
        _ => {}
    }
}

fn leaves_by_activation(node: &Node) -> bool {
    use Activation::{HardMish, HardSwish, Hardtan, Mish, Relu6, Swish};
    matches!(node.activation, HardMish | HardSwish | Hardtan | Mish | Relu6 | Swish)
}

/// Pools that Caffe can't compute, or not as asked for.
fn pools(net: &FoldedNet, node: &Node, options: &CaffeOptions, add: &mut Add) {
    let Operator::MaxPool(pool) = &node.operator else { return };
    let found = pool::in_caffe(pool, net.shape(node.inputs[0]), node.shape);
    let refused = options.uneven_pool == UnevenPool::Refuse;
    if found.is_none_or(|found| refused && found.shape != node.shape) {
        let cause = format!("no single pool of Caffe's gives size={} stride={}", pool.size, pool.stride_y);
        add(&node.place, Severity::Refused, cause, "use stride 2, or an odd size with stride 1");
    }
}

/// How many outputs there are, and which of them are for nobody.
fn outputs(options: &CaffeOptions, written: &Written, add: &mut Add) {
    let count = written.heads.len() + written.unused.len();
    if count > MOST_OUTPUTS {
        let cause = format!(
            "{count} outputs, {} of them parts that are cut off; at most {MOST_OUTPUTS} fit",
            written.unused.len()
        );
        add("net", Severity::Refused, cause, "use fewer grouped routes");
    } else if !written.unused.is_empty() {
        let of_pools = written.unused.iter().any(|blob| blob.starts_with("pool"));
        let fix = if of_pools && options.uneven_pool == UnevenPool::Slice {
            "ignore them; a pool's go away with --uneven-pool convolution where as many rows as columns are cut off"
        } else {
            "ignore them"
        };
        add("net", Severity::Note, format!("outputs that nobody reads: {}", written.unused.join(", ")), fix);
    }
}

/// How often the net changes between the chip and the CPU.
fn segments(net: &FoldedNet, add: &mut Add) {
    let leaves = |node: &Node| leaves_by_activation(node) || matches!(node.operator, Operator::Scale);
    // A convolution stays; its activation alone is computed elsewhere.
    let places = net.nodes.iter().flat_map(|node| match leaves(node) {
        true if matches!(node.operator, Operator::Scale) => vec![true],
        true => vec![false, true],
        false => vec![false],
    });
    let mut places: Vec<bool> = places.collect();
    places.dedup();
    if places.len() > MOST_SEGMENTS {
        let cause = format!("{} segments on the chip and off it, at most {MOST_SEGMENTS} fit", places.len());
        add("net", Severity::Refused, cause, "keep the layers below on the chip");
    }
}

/// Heads that are outputs only if the compiler is told.
fn named_outputs(written: &Written, add: &mut Add) {
    if !written.read_on.is_empty() {
        let cause = format!("heads that other layers read too: {}", written.read_on.join(", "));
        add("net", Severity::Note, cause, "name them to the compiler as output nodes");
    }
}

/// Channels that leave multipliers idle.
fn lanes(net: &FoldedNet, add: &mut Add) {
    let heads: Vec<_> = net.heads.iter().map(|head| head.value).collect();
    let before = || net.convolutions().filter(|(i, _)| !heads.contains(&super::Value::Node(*i)));
    let (all, uneven) = (before().count(), before().filter(|(_, c)| !c.filters.is_multiple_of(LANES)).count());
    if uneven > 0 {
        let cause = format!(
            "{uneven} of {all} convolutions before the heads have no multiple of {LANES} filters: lanes stay idle"
        );
        add("net", Severity::Note, cause, "prune with --multiple-of 16, from the net that still has its channels");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::darknet::Cfg;

    fn found(net: &str, layers: &str) -> Vec<(Severity, String)> {
        found_by(&CaffeOptions::default(), net, layers)
    }

    fn found_by(options: &CaffeOptions, net: &str, layers: &str) -> Vec<(Severity, String)> {
        let text = format!("[net]\n{net}\n{layers}");
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let findings = check(&FoldedNet::of(&network), options);
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
            (small, "[convolutional]\nfilters=5008\n", Severity::Refused, "[convolutional] #0: channels: 5008"),
            (small, "[maxpool]\nsize=2\nstride=2\npadding=4\n", Severity::Refused, "no single pool of Caffe's"),
            (small, "[convolutional]\nfilters=16\nactivation=mish\n", Severity::LeavesChip, "activation=leaky"),
            (small, "[convolutional]\nfilters=16\nactivation=relu6\n", Severity::LeavesChip, "[convolutional] #0"),
            (small, "[convolutional]\nfilters=16\n[reorg]\nstride=2\n", Severity::Note, "PassThrough"),
            (small, "[maxpool]\nsize=2\nstride=1\n", Severity::Note, "outputs that nobody reads: pool0_rows_low"),
            (
                small,
                "[convolutional]\nfilters=7\n[convolutional]\nfilters=16\n",
                Severity::Note,
                "1 of 1 convolutions before the heads",
            ),
        ];
        for (net, layers, severity, words) in cases {
            let findings = found(net, layers);
            assert!(findings.iter().any(|(s, text)| *s == severity && text.contains(words)), "{layers}: {findings:?}");
        }
    }

    #[test]
    fn outputs_and_segments_are_counted() {
        let small = "width=8\nheight=8";
        let slices = "[route]\nlayers=0\ngroups=2\n[convolutional]\nfilters=16\nactivation=leaky\n".repeat(16);
        let wide = format!("[convolutional]\nfilters=16\nactivation=leaky\n{slices}");
        let sum = format!("{wide}[route]\nlayers={}\n", (1..=16).map(|i| format!("{},", 2 * i)).collect::<String>());
        let refused = |layers: &str, words: &str| {
            let findings = found(small, layers);
            findings.iter().any(|(s, text)| *s == Severity::Refused && text.contains(words))
        };
        assert!(refused(sum.trim_end_matches(",\n"), "17 outputs, 16 of them parts that are cut off"));
        let mish = |count: usize| "[convolutional]\nfilters=16\nactivation=mish\n".repeat(count);
        assert!(refused(&mish(5), "10 segments") && !refused(&mish(4), "segments"));
    }

    #[test]
    fn the_svp_npu_minds_what_caffe_cannot_say_and_not_the_limits_of_nnie() {
        let options = CaffeOptions { dialect: Dialect::SvpNpu, ..CaffeOptions::default() };
        let large = "[convolutional]\nfilters=5008\n";
        assert_eq!(found_by(&options, "width=8\nheight=8\nchannels=4", large), []);
        let mish = found_by(&options, "width=8\nheight=8", "[convolutional]\nfilters=16\nactivation=mish\n");
        assert!(mish[0].0 == Severity::Refused && mish[0].1.contains("no layer of Caffe's"), "{mish:?}");
        let head = "[convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nanchors=1,1\nclasses=2\n";
        let read_on = found_by(&options, "width=8\nheight=8", &format!("{head}[route]\nlayers=0\n{head}"));
        assert!(read_on[0].0 == Severity::Note && read_on[0].1.contains("read too: head0"), "{read_on:?}");
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
