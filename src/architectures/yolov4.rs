//! YOLOv4 and YOLOv4-tiny.

use super::writer::Writer;

/// The published anchors at 608.
pub(super) const ANCHORS: [[f32; 2]; 9] = [
    [12.0, 16.0],
    [19.0, 36.0],
    [40.0, 28.0],
    [36.0, 75.0],
    [76.0, 55.0],
    [72.0, 146.0],
    [142.0, 110.0],
    [192.0, 243.0],
    [459.0, 401.0],
];

pub(super) const TRAINING: &str = "batch=64\nsubdivisions=8\nmomentum=0.949\ndecay=0.0005\nangle=0\nsaturation=1.5\n\
    exposure=1.5\nhue=.1\nlearning_rate=0.00261\nburn_in=1000\nmosaic=1\n";

/// Updates that the published nets were trained for, on 80 classes.
pub(super) const UPDATES: usize = 500_500;

/// A head's lines; finer heads stretch cell offsets more.
fn head(scale_x_y: &str) -> String {
    format!(
        "jitter=.3\nignore_thresh=.7\ntruth_thresh=1\nrandom=1\nscale_x_y={scale_x_y}\niou_thresh=0.213\n\
         cls_normalizer=1.0\niou_normalizer=0.07\niou_loss=ciou\nnms_kind=greedynms\nbeta_nms=0.6\n"
    )
}

pub(super) fn full(w: &mut Writer) {
    w.activation("mish");
    w.conv(32, 3, 1);
    stage(w, 64, 64, 1);
    stage(w, 128, 64, 2);
    let fine = stage(w, 256, 128, 8);
    let middle = stage(w, 512, 256, 8);
    stage(w, 1024, 512, 4);
    w.activation("leaky");
    w.alternate(512, 3);
    w.pyramid();
    let coarse = w.alternate(512, 3);
    let middle = climb(w, 256, middle, coarse);
    let fine = climb(w, 128, fine, middle);
    w.conv(256, 3, 1);
    w.head([0, 1, 2], &head("1.2"));
    let middle = descend(w, 256, fine, middle);
    w.conv(512, 3, 1);
    w.head([3, 4, 5], &head("1.1"));
    descend(w, 512, middle, coarse);
    w.conv(1024, 3, 1);
    w.head([6, 7, 8], &head("1.05"));
}

/// A cross-stage partial stage: half of the map passes by the residual blocks (Wang et al. 2020, "CSPNet"). The first
/// stage's blocks are narrower inside.
fn stage(w: &mut Writer, channels: usize, half: usize, blocks: usize) -> usize {
    let down = w.conv(channels, 3, 2);
    let bypass = w.conv(half, 1, 1);
    w.route(&[down]);
    w.conv(half, 1, 1);
    for _ in 0..blocks {
        w.residual(if channels == half { half / 2 } else { half }, half);
    }
    let through = w.conv(half, 1, 1);
    w.route(&[through, bypass]);
    w.conv(channels, 1, 1)
}

/// From a coarse map to the next finer one.
fn climb(w: &mut Writer, channels: usize, backbone: usize, coarse: usize) -> usize {
    debug_assert_eq!(w.last(), coarse);
    w.conv(channels, 1, 1);
    let up = w.upsample();
    w.route(&[backbone]);
    let lateral = w.conv(channels, 1, 1);
    w.route(&[lateral, up]);
    w.alternate(channels, 5)
}

/// Back from a fine map to the next coarser one (Liu et al. 2018, "Path Aggregation Network").
fn descend(w: &mut Writer, channels: usize, fine: usize, coarse: usize) -> usize {
    w.route(&[fine]);
    let down = w.conv(channels, 3, 2);
    w.route(&[down, coarse]);
    w.alternate(channels, 5)
}

/// With the published anchors the fine head has those that it is published with, which leave out the smallest; with others its
/// own half.
pub(super) fn tiny(w: &mut Writer, published: bool) {
    w.conv(32, 3, 2);
    w.conv(64, 3, 2);
    w.conv(64, 3, 1);
    let mut fine = 0;
    for channels in [32, 64, 128] {
        fine = partial(w, channels);
        w.conv(channels * 4, 3, 1);
    }
    let neck = w.conv(256, 1, 1);
    w.conv(512, 3, 1);
    let head = "jitter=.3\nscale_x_y=1.05\ncls_normalizer=1.0\niou_normalizer=0.07\niou_loss=ciou\nignore_thresh=.7\n\
                truth_thresh=1\nrandom=0\nnms_kind=greedynms\nbeta_nms=0.6\n";
    w.head([3, 4, 5], head);
    w.route(&[neck]);
    w.conv(128, 1, 1);
    let up = w.upsample();
    w.route(&[up, fine]);
    w.conv(256, 3, 1);
    w.head(if published { [1, 2, 3] } else { [0, 1, 2] }, head);
}

/// Half of the map through two convolutions, joined, mixed, beside the whole map, pooled. Gives the mix.
fn partial(w: &mut Writer, channels: usize) -> usize {
    let whole = w.last();
    w.second_half();
    let first = w.conv(channels, 3, 1);
    let second = w.conv(channels, 3, 1);
    w.route(&[second, first]);
    let mix = w.conv(channels * 2, 1, 1);
    w.route(&[whole, mix]);
    w.maxpool(2, 2);
    mix
}
