//! Sections one after the other, with layer indices counted along.

use std::fmt::Write;

use super::CfgOptions;

/// A cfg that grows.
pub(super) struct Writer {
    text: String,
    layers: usize,
    width: f64,
    classes: usize,
    anchors: Vec<[f32; 2]>,
    /// Of the convolutions that follow.
    activation: &'static str,
}

impl Writer {
    /// Starts with `[net]`.
    pub fn new(training: &str, options: &CfgOptions, anchors: Vec<[f32; 2]>) -> Self {
        let (width, height) = options.size;
        let text = format!("[net]\nwidth={width}\nheight={height}\nchannels=3\n{training}");
        Self { text, layers: 0, width: options.width, classes: options.classes, anchors, activation: "leaky" }
    }

    pub fn text(self) -> String {
        self.text
    }

    /// The activation of all normalised convolutions from here on.
    pub fn activation(&mut self, name: &'static str) {
        self.activation = name;
    }

    /// The index of the last layer.
    pub fn last(&self) -> usize {
        self.layers - 1
    }

    fn section(&mut self, kind: &str, keys: &[(&str, &dyn std::fmt::Display)]) -> usize {
        // Writing to a String does not fail.
        let _ = write!(self.text, "\n[{kind}]\n");
        for (key, value) in keys {
            let _ = writeln!(self.text, "{key}={value}");
        }
        self.layers += 1;
        self.last()
    }

    /// A normalised convolution with `filters` at width 1.
    pub fn conv(&mut self, filters: usize, size: usize, stride: usize) -> usize {
        let filters = ((filters as f64 * self.width / 8.0).round() as usize * 8).max(8);
        let activation = self.activation;
        self.section(
            "convolutional",
            &[
                ("batch_normalize", &1),
                ("filters", &filters),
                ("size", &size),
                ("stride", &stride),
                ("pad", &1),
                ("activation", &activation),
            ],
        )
    }

    /// 1x1 convolutions of `filters` in turn with 3x3 convolutions of twice as many; the first and, if `count` is odd,
    /// the last are 1x1. Gives the last one's index.
    pub fn alternate(&mut self, filters: usize, count: usize) -> usize {
        for i in 0..count {
            if i % 2 == 0 {
                self.conv(filters, 1, 1)
            } else {
                self.conv(filters * 2, 3, 1)
            };
        }
        self.last()
    }

    /// A residual block: 1x1 of `inner`, 3x3 of `outer`, sum.
    pub fn residual(&mut self, inner: usize, outer: usize) {
        self.conv(inner, 1, 1);
        self.conv(outer, 3, 1);
        self.section("shortcut", &[("from", &-3), ("activation", &"linear")]);
    }

    pub fn maxpool(&mut self, size: usize, stride: usize) -> usize {
        self.section("maxpool", &[("size", &size), ("stride", &stride)])
    }

    pub fn upsample(&mut self) -> usize {
        self.section("upsample", &[("stride", &2)])
    }

    /// The channels of all `layers` in turn.
    pub fn route(&mut self, layers: &[usize]) -> usize {
        let list = layers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        self.section("route", &[("layers", &list)])
    }

    /// The second half of the last layer's channels.
    pub fn second_half(&mut self) -> usize {
        self.section("route", &[("layers", &-1), ("groups", &2), ("group_id", &1)])
    }

    /// Pools of 5, 9 and 13 pixels beside what they read (He et al. 2015, "Spatial Pyramid Pooling", as YOLOv3-SPP
    /// lays it out).
    pub fn pyramid(&mut self) {
        let source = self.last();
        let small = self.maxpool(5, 1);
        self.route(&[source]);
        let middle = self.maxpool(9, 1);
        self.route(&[source]);
        let large = self.maxpool(13, 1);
        self.route(&[large, middle, small, source]);
    }

    /// The plain convolution and the `[yolo]` layer of a head with the anchors of `mask`; `keys` are the lines that
    /// differ between architectures.
    pub fn head(&mut self, mask: [usize; 3], keys: &str) {
        let filters = mask.len() * (5 + self.classes);
        self.section(
            "convolutional",
            &[("size", &1), ("stride", &1), ("pad", &1), ("filters", &filters), ("activation", &"linear")],
        );
        let mask = mask.map(|m| m.to_string()).join(",");
        let anchors = self.anchors.iter().map(|[w, h]| format!("{w},{h}")).collect::<Vec<_>>().join(", ");
        let (classes, num) = (self.classes, self.anchors.len());
        self.section("yolo", &[("mask", &mask), ("anchors", &anchors), ("classes", &classes), ("num", &num)]);
        self.text.push_str(keys);
    }
}
