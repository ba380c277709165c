//! The sizes at which each kind of layer is timed, and nets that hold one such layer.

use yoloslim_core::cost::profile::{Axis, Kind};

/// Sides of maps: multiples of many tile sizes.
const SIDES: [f64; 8] = [6.0, 12.0, 24.0, 48.0, 96.0, 192.0, 384.0, 768.0];
/// Channels of maps whose layers cost by numbers alone.
const CHANNELS: usize = 64;
/// Numbers of such maps: sides 8, 32, 128 and 256.
const NUMBERS: [f64; 4] = [4096.0, 65_536.0, 1_048_576.0, 4_194_304.0];
/// Numbers that a layer reads which is timed.
const MOST_READ: f64 = 12e6;
/// Channels of the image.
const COLOURS: usize = 4;

/// All kinds, in the order they are timed in.
pub const KINDS: [Kind; 13] = [
    Kind::Conv1x1,
    Kind::Conv3x3,
    Kind::Conv3x3Strided,
    Kind::Depthwise,
    Kind::DepthwiseStrided,
    Kind::MaxPool,
    Kind::MaxPoolStrided,
    Kind::AveragePool,
    Kind::Shortcut,
    Kind::Product,
    Kind::Upsample,
    Kind::Route,
    Kind::Reorg,
];

/// The grid of a kind.
pub fn axes(kind: Kind) -> Vec<Axis> {
    let values: &[&[f64]] = match kind {
        Kind::Conv1x1 | Kind::Conv3x3 | Kind::Conv3x3Strided => {
            &[&[4.0, 16.0, 64.0, 256.0, 1024.0], &[8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0], &SIDES]
        }
        Kind::Depthwise | Kind::DepthwiseStrided => &[&[8.0, 32.0, 128.0, 512.0], &SIDES],
        Kind::MaxPool => &[&[2.0, 3.0, 5.0, 13.0], &NUMBERS],
        Kind::MaxPoolStrided => &[&[2.0, 3.0], &NUMBERS],
        _ => &[&NUMBERS],
    };
    let axis = |(name, at): (&&str, &&[f64])| Axis { name: (*name).to_owned(), step: 1, at: at.to_vec() };
    kind.axes().iter().zip(values).map(axis).collect()
}

/// A net, and which of its layers is meant.
pub struct Sample {
    /// Its cfg.
    pub cfg: String,
    /// The layer to time.
    pub layer: usize,
}

/// A net with a layer of `kind` and those sizes.
pub fn sample(kind: Kind, sizes: &[f64]) -> Sample {
    let n: Vec<usize> = sizes.iter().map(|size| *size as usize).collect();
    let conv =
        |filters: usize, more: &str| format!("[convolutional]\nfilters={filters}\nactivation=leaky\npad=1\n{more}");
    let net = |side: usize, layers: &[String]| Sample {
        cfg: format!("[net]\nwidth={side}\nheight={side}\nchannels={COLOURS}\n{}", layers.concat()),
        layer: layers.len() - 1,
    };
    // The input of a layer was just written by another.
    let after = |side: usize, channels: usize, layer: String| net(side, &[conv(channels, "size=1\n"), layer]);
    // Of a layer that writes so many numbers.
    let side = |numbers: usize| ((numbers / CHANNELS) as f64).sqrt() as usize;
    let plain = |numbers: usize, layer: &str| after(side(numbers), CHANNELS, layer.to_owned());
    match (kind, &n[..]) {
        (Kind::Conv1x1, &[c, f, side]) => after(side, c, conv(f, "size=1\n")),
        (Kind::Conv3x3, &[c, f, side]) => after(side, c, conv(f, "size=3\n")),
        (Kind::Conv3x3Strided, &[c, f, side]) => after(2 * side, c, conv(f, "size=3\nstride=2\n")),
        (Kind::Depthwise, &[c, side]) => after(side, c, conv(c, &format!("size=3\ngroups={c}\n"))),
        (Kind::DepthwiseStrided, &[c, side]) => after(2 * side, c, conv(c, &format!("size=3\nstride=2\ngroups={c}\n"))),
        (Kind::MaxPool, &[k, numbers]) => plain(numbers, &format!("[maxpool]\nsize={k}\nstride=1\n")),
        (Kind::MaxPoolStrided, &[k, numbers]) => {
            // By itself: a convolution before it would pool on its way.
            let size = format!("[net]\nwidth={0}\nheight={0}\nchannels={CHANNELS}\n", side(4 * numbers));
            Sample { cfg: format!("{size}[maxpool]\nsize={k}\nstride=2\n"), layer: 0 }
        }
        (Kind::AveragePool, &[numbers]) => plain(numbers, "[avgpool]\n"),
        (Kind::Upsample, &[numbers]) => plain(numbers / 4, "[upsample]\nstride=2\n"),
        (Kind::Reorg, &[numbers]) => plain(numbers, "[reorg]\nstride=2\n"),
        (Kind::Route, &[numbers]) => {
            let half = || conv(CHANNELS / 2, "size=1\n");
            net(side(numbers), &[half(), half(), "[route]\nlayers=-1,-2\n".to_owned()])
        }
        (Kind::Product, &[numbers]) => {
            let whole = || conv(CHANNELS, "size=1\n");
            net(side(numbers), &[whole(), whole(), "[sam]\nfrom=-2\n".to_owned()])
        }
        (_, sizes) => {
            let whole = || conv(CHANNELS, "size=1\n");
            let last = sizes.last().copied().unwrap_or(CHANNELS);
            // As in residual blocks, whose sum reads a map that the convolution before it does not.
            let narrow = conv(CHANNELS / 4, "size=1\n");
            net(side(last), &[whole(), narrow, whole(), "[shortcut]\nfrom=-3\nactivation=linear\n".to_owned()])
        }
    }
}

/// Whether the layer is small enough to be timed on its map; if not, the same on smaller maps says how long it takes.
pub fn is_timed(kind: Kind, sizes: &[f64]) -> bool {
    reads(kind, sizes) <= MOST_READ
}

/// The numbers that a convolution of those sizes reads; 0 for other layers.
fn reads(kind: Kind, sizes: &[f64]) -> f64 {
    let stride = match kind {
        Kind::Conv1x1 | Kind::Conv3x3 | Kind::Depthwise => 1.0,
        Kind::Conv3x3Strided | Kind::DepthwiseStrided => 2.0,
        _ => return 0.0,
    };
    sizes.last().map_or(0.0, |side| sizes[0] * (stride * side) * (stride * side))
}

#[cfg(test)]
mod tests {
    use super::super::grid_points;
    use super::*;
    use yoloslim_core::cost::profile::Query;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::graph::Graph;

    #[test]
    fn every_point_has_a_net_whose_layer_is_looked_up_at_that_point() {
        for kind in KINDS {
            for sizes in grid_points(&axes(kind)).into_iter().filter(|sizes| is_timed(kind, sizes)) {
                let sample = sample(kind, &sizes);
                let graph = Graph::from_cfg(&Cfg::parse(sample.cfg.as_bytes()).unwrap()).unwrap();
                let query = Query::of(&graph, sample.layer).unwrap();
                assert_eq!(query, Query { kind, sizes, times: 1.0 }, "{}", sample.cfg);
                assert_eq!(sample.layer, graph.layers.len() - 1);
            }
        }
    }

    #[test]
    fn what_a_convolution_reads_is_counted_as_the_graph_counts_it() {
        for kind in [Kind::Conv1x1, Kind::Conv3x3, Kind::Conv3x3Strided, Kind::Depthwise, Kind::DepthwiseStrided] {
            let sizes = axes(kind).iter().map(|_| 16.0).collect::<Vec<_>>();
            let sample = sample(kind, &sizes);
            let graph = Graph::from_cfg(&Cfg::parse(sample.cfg.as_bytes()).unwrap()).unwrap();
            assert_eq!(reads(kind, &sizes), graph.input_shape(sample.layer).len() as f64, "{kind:?}");
        }
    }
}
