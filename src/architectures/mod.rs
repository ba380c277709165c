//! The published architectures, written by code for any number of classes, width and input size.
//!
//! YOLOv3 and YOLOv3-SPP (Redmon and Farhadi 2018), YOLOv4 (Bochkovskiy et al. 2020) and their tiny forms. At
//! width 1 and 80 classes they have the layers of the published cfgs.

mod writer;
mod yolov3;
mod yolov4;

use std::ops::RangeInclusive;

use yoloslim_core::darknet::Cfg;
use yoloslim_core::graph::Graph;
use yoloslim_core::{Error, Result};

use writer::Writer;

/// A published architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Darknet-53 and three heads.
    YoloV3,
    /// YOLOv3 with spatial pyramid pooling before the coarse head.
    YoloV3Spp,
    /// Seven plain convolutions and two heads.
    YoloV3Tiny,
    /// CSPDarknet-53 with Mish, pyramid pooling and path aggregation, three heads.
    YoloV4,
    /// A small cross-stage partial net with grouped routes, two heads.
    YoloV4Tiny,
}

/// The factors of channel counts that make nets worth having.
pub const WIDTHS: RangeInclusive<f64> = 0.05..=16.0;

/// The most classes: their heads are still layers that can be computed with at the largest width.
pub const MOST_CLASSES: usize = 32768;

/// Sides of the input are multiples of this: what a cell of the coarsest head covers.
pub const STRIDE: usize = 32;

/// What a cfg is written for.
#[derive(Debug, Clone, PartialEq)]
pub struct CfgOptions {
    /// Classes to tell apart.
    pub classes: usize,
    /// All channel counts but the heads' are multiplied by this, to a multiple of 8.
    pub width: f64,
    /// Width and height of the net's input in pixels.
    pub size: (usize, usize),
    /// Width and height of each anchor in pixels of the net's input, from small to large; the published ones, scaled
    /// to the input size, when none.
    pub anchors: Option<Vec<[f32; 2]>>,
}

impl Architecture {
    /// How many anchors its heads share.
    #[must_use]
    pub fn anchor_count(self) -> usize {
        self.published_anchors().0.len()
    }

    /// The cfg.
    ///
    /// # Errors
    /// A number of classes, a width or an input size out of range, or that together make layers too large; another number
    /// of anchors.
    pub fn cfg(self, options: &CfgOptions) -> Result<Cfg> {
        let o = options;
        if !(1..=MOST_CLASSES).contains(&o.classes) {
            return Err(
                Error::at("--classes", format!("{} classes", o.classes)).fix(format!("give 1 to {MOST_CLASSES}"))
            );
        }
        if !WIDTHS.contains(&o.width) {
            let fix = format!("give {} to {}", WIDTHS.start(), WIDTHS.end());
            return Err(Error::at("--width", format!("{} is out of range", o.width)).fix(fix));
        }
        if !o.size.0.is_multiple_of(STRIDE) || !o.size.1.is_multiple_of(STRIDE) {
            return Err(Error::at("--size", format!("{}x{} is no multiple of {STRIDE}", o.size.0, o.size.1))
                .fix(format!("give a multiple of {STRIDE}, such as 416")));
        }
        let anchors = o.anchors.clone().unwrap_or_else(|| self.scaled_anchors(o.size));
        if anchors.len() != self.anchor_count() {
            return Err(Error::at("anchors", format!("{} anchors, {} wanted", anchors.len(), self.anchor_count())));
        }
        let mut writer = Writer::new(&self.training_keys(o.classes), o, anchors);
        match self {
            Self::YoloV3 => yolov3::full(&mut writer, false),
            Self::YoloV3Spp => yolov3::full(&mut writer, true),
            Self::YoloV3Tiny => yolov3::tiny(&mut writer),
            Self::YoloV4 => yolov4::full(&mut writer),
            Self::YoloV4Tiny => yolov4::tiny(&mut writer, o.anchors.is_none()),
        }
        let cfg = Cfg::parse(writer.text().as_bytes())?;
        // Its lines are none that anybody has written: what was asked for is named in their place.
        Graph::from_cfg(&cfg).map_err(|_| {
            let (width, size) = (o.width, o.size);
            let cause = format!(
                "{} classes at width {width} and {}x{} make layers too large to compute",
                o.classes, size.0, size.1
            );
            Error::at("--classes, --width, --size", cause).fix("give smaller ones")
        })?;
        Ok(cfg)
    }

    /// The published anchors and the side of the square input that they were clustered for.
    fn published_anchors(self) -> (&'static [[f32; 2]], f32) {
        match self {
            Self::YoloV3 | Self::YoloV3Spp => (&yolov3::ANCHORS, 416.0),
            Self::YoloV3Tiny | Self::YoloV4Tiny => (&yolov3::TINY_ANCHORS, 416.0),
            Self::YoloV4 => (&yolov4::ANCHORS, 608.0),
        }
    }

    fn scaled_anchors(self, (width, height): (usize, usize)) -> Vec<[f32; 2]> {
        let (anchors, side) = self.published_anchors();
        let scale = |v: f32, to: usize| (v * to as f32 / side).round().max(1.0);
        anchors.iter().map(|a| [scale(a[0], width), scale(a[1], height)]).collect()
    }

    /// The lines of `[net]` that Darknet trains by. The published number of updates is COCO's; what Darknet's own advice gives
    /// fewer classes is 2000 for each, and 6000 at least, with the rate down at four fifths and nine tenths of them.
    fn training_keys(self, classes: usize) -> String {
        let (keys, published) = match self {
            Self::YoloV3 | Self::YoloV3Spp | Self::YoloV3Tiny => (yolov3::TRAINING, yolov3::UPDATES),
            Self::YoloV4 | Self::YoloV4Tiny => (yolov4::TRAINING, yolov4::UPDATES),
        };
        let updates = (2000 * classes).clamp(6000, published);
        let (first, second) = (updates / 10 * 8, updates / 10 * 9);
        format!("{keys}max_batches={updates}\npolicy=steps\nsteps={first},{second}\nscales=.1,.1\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::cost;

    const ALL: [Architecture; 5] = [
        Architecture::YoloV3,
        Architecture::YoloV3Spp,
        Architecture::YoloV3Tiny,
        Architecture::YoloV4,
        Architecture::YoloV4Tiny,
    ];

    fn options(classes: usize, width: f64, side: usize) -> CfgOptions {
        CfgOptions { classes, width, size: (side, side), anchors: None }
    }

    fn graph(architecture: Architecture, options: &CfgOptions) -> Graph {
        Graph::from_cfg(&architecture.cfg(options).unwrap()).unwrap()
    }

    #[test]
    fn the_published_counts_of_parameters_come_out() {
        // Trained numbers of the published cfgs: kernels, biases, gammas and betas.
        let cases = [
            (Architecture::YoloV3, 61_949_149),
            (Architecture::YoloV3Spp, 62_998_749),
            (Architecture::YoloV3Tiny, 8_852_366),
            (Architecture::YoloV4, 64_363_101),
            (Architecture::YoloV4Tiny, 6_056_606),
        ];
        for (architecture, params) in cases {
            assert_eq!(cost::parameters(&graph(architecture, &options(80, 1.0, 416))), params, "{architecture:?}");
        }
    }

    #[test]
    fn how_long_darknet_trains_goes_by_the_number_of_classes() {
        for (classes, updates, steps) in
            [(2, "6000", "4800,5400"), (20, "40000", "32000,36000"), (999, "500200", "400160,450180")]
        {
            let cfg = Architecture::YoloV3.cfg(&options(classes, 0.1, 416)).unwrap();
            let [max_batches, at] = ["max_batches", "steps"].map(|key| cfg.net().get(key).unwrap().to_owned());
            assert_eq!((&*max_batches, &*at), (updates, steps));
        }
    }

    #[test]
    fn each_anchor_of_a_data_set_has_a_head() {
        for architecture in ALL {
            let anchors = (1..=architecture.anchor_count()).map(|i| [i as f32; 2]).collect();
            let graph = graph(architecture, &CfgOptions { anchors: Some(anchors), ..options(3, 0.1, 416) });
            let mut used: Vec<f32> =
                graph.heads().flat_map(|(_, yolo)| &yolo.anchors).map(|anchor| anchor[0]).collect();
            used.sort_by(f32::total_cmp);
            assert_eq!(
                used,
                (1..=architecture.anchor_count()).map(|i| i as f32).collect::<Vec<_>>(),
                "{architecture:?}"
            );
        }
    }

    #[test]
    fn width_thins_every_layer_but_the_heads() {
        for architecture in ALL {
            let whole = graph(architecture, &options(3, 1.0, 416));
            let thin = graph(architecture, &options(3, 0.3, 416));
            for ((i, a), (_, b)) in whole.convolutions().zip(thin.convolutions()) {
                let head = !a.batch_normalize;
                assert_eq!(a.filters == b.filters, head || a.filters == 8, "{architecture:?} layer {i}");
                assert!(head || b.filters % 8 == 0);
            }
        }
    }

    #[test]
    fn anchors_grow_with_the_input() {
        let heads = |side| {
            let graph = graph(Architecture::YoloV3, &options(2, 0.25, side));
            graph.heads().map(|(_, y)| y.anchors[0]).collect::<Vec<_>>()
        };
        assert_eq!(heads(416), [[116.0, 90.0], [30.0, 61.0], [10.0, 13.0]]);
        assert_eq!(heads(832), [[232.0, 180.0], [60.0, 122.0], [20.0, 26.0]]);
    }

    #[test]
    fn what_makes_no_net_is_refused() {
        let cases = [
            (options(0, 1.0, 416), "--classes: 0 classes; give 1 to"),
            (options(MOST_CLASSES + 1, 1.0, 416), "--classes: 32769 classes; give 1 to 32768"),
            (options(1, 0.01, 416), "--width: 0.01 is out of range; give 0.05 to 16"),
            (options(1, f64::NAN, 416), "--width: NaN"),
            (options(1, 17.0, 416), "--width: 17"),
            (options(1, 1.0, 100), "--size: 100x100 is no multiple of 32"),
            (options(MOST_CLASSES, 1.0, 16384), "--classes, --width, --size: 32768 classes at width 1 and 16384x16384"),
        ];
        for (bad, told) in cases {
            let message = Architecture::YoloV3Tiny.cfg(&bad).unwrap_err().to_string();
            assert!(message.starts_with(told), "{message}");
        }
        for architecture in ALL {
            architecture.cfg(&options(MOST_CLASSES, *WIDTHS.end(), 64)).unwrap();
        }
    }
}
