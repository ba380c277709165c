//! YOLOv3, YOLOv3-SPP and YOLOv3-tiny.

use super::writer::Writer;

/// The published anchors at 416.
pub(super) const ANCHORS: [[f32; 2]; 9] = [
    [10.0, 13.0],
    [16.0, 30.0],
    [33.0, 23.0],
    [30.0, 61.0],
    [62.0, 45.0],
    [59.0, 119.0],
    [116.0, 90.0],
    [156.0, 198.0],
    [373.0, 326.0],
];

/// The published anchors of the tiny nets at 416.
pub(super) const TINY_ANCHORS: [[f32; 2]; 6] =
    [[10.0, 14.0], [23.0, 27.0], [37.0, 58.0], [81.0, 82.0], [135.0, 169.0], [344.0, 319.0]];

pub(super) const TRAINING: &str = "batch=64\nsubdivisions=16\nmomentum=0.9\ndecay=0.0005\nangle=0\nsaturation=1.5\n\
    exposure=1.5\nhue=.1\nlearning_rate=0.001\nburn_in=1000\n";

/// Updates that the published nets were trained for, on 80 classes.
pub(super) const UPDATES: usize = 500_200;

const HEAD: &str = "jitter=.3\nignore_thresh=.7\ntruth_thresh=1\nrandom=1\n";

/// Darknet-53's stages: channels and residual blocks.
const STAGES: [(usize, usize); 5] = [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)];

pub(super) fn full(w: &mut Writer, pyramid: bool) {
    w.conv(32, 3, 1);
    let mut ends = Vec::new();
    for (channels, blocks) in STAGES {
        w.conv(channels, 3, 2);
        for _ in 0..blocks {
            w.residual(channels / 2, channels);
        }
        ends.push(w.last());
    }
    let mut neck = if pyramid {
        w.alternate(512, 3);
        w.pyramid();
        w.alternate(512, 3)
    } else {
        w.alternate(512, 5)
    };
    w.conv(1024, 3, 1);
    w.head([6, 7, 8], HEAD);
    for (channels, stage, mask) in [(256, 3, [3, 4, 5]), (128, 2, [0, 1, 2])] {
        neck = climb(w, neck, channels, ends[stage]);
        w.conv(channels * 2, 3, 1);
        w.head(mask, HEAD);
    }
}

/// From one head's neck to the next finer one's, which also reads the backbone.
fn climb(w: &mut Writer, neck: usize, channels: usize, backbone: usize) -> usize {
    w.route(&[neck]);
    w.conv(channels, 1, 1);
    let up = w.upsample();
    w.route(&[up, backbone]);
    w.alternate(channels, 5)
}

pub(super) fn tiny(w: &mut Writer) {
    let mut fine = 0;
    for channels in [16, 32, 64, 128, 256] {
        fine = w.conv(channels, 3, 1);
        w.maxpool(2, 2);
    }
    w.conv(512, 3, 1);
    w.maxpool(2, 1);
    w.conv(1024, 3, 1);
    let neck = w.conv(256, 1, 1);
    w.conv(512, 3, 1);
    w.head([3, 4, 5], HEAD);
    w.route(&[neck]);
    w.conv(128, 1, 1);
    let up = w.upsample();
    w.route(&[up, fine]);
    w.conv(256, 3, 1);
    w.head([0, 1, 2], HEAD);
}
