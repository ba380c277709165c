//! From a cfg to a graph: resolves references, derives every shape, and refuses what it can't compute.

use std::path::Path;

use super::layer::{Layer, Op, Shape, Source};
use super::{Graph, read_layer};
use crate::darknet::{Cfg, Section};
use crate::{Error, Result, files};

impl Graph {
    /// Derives the graph that `cfg` describes.
    ///
    /// # Errors
    /// An unknown layer kind or option, a reference to a layer that does not come earlier, shapes that do not fit,
    /// a head whose convolution has the wrong number of filters; each with line, kind and index.
    pub fn from_cfg(cfg: &Cfg) -> Result<Self> {
        let net = cfg.net();
        let side = |key: &str, default: usize| -> Result<usize> {
            let value = net.number_or(key, default)?;
            if value == 0 || value > 1 << 14 {
                return Err(Error::at(net.place(), format!("{key}={value}")).fix("give 1 to 16384"));
            }
            Ok(value)
        };
        let input = Shape { channels: side("channels", 3)?, height: side("height", 416)?, width: side("width", 416)? };
        let mut graph = Self { input, layers: Vec::with_capacity(cfg.layers().len()) };
        for section in cfg.layers() {
            let layer = Builder { graph: &graph, section }.build()?;
            graph.layers.push(layer);
        }
        graph.check_heads()?;
        Ok(graph)
    }

    /// Reads a cfg file and derives its graph.
    ///
    /// # Errors
    /// A file that can't be read or ends before its first layer; else as [`Graph::from_cfg`]. Each names the file.
    pub fn read(path: &Path) -> Result<(Cfg, Self)> {
        let name = path.display();
        let cfg = Cfg::parse(&files::read(path)?).map_err(|e| e.inside(&name))?;
        let graph = Self::from_cfg(&cfg).map_err(|e| e.inside(&name))?;
        if graph.layers.is_empty() {
            return Err(Error::at(name, "it has no layers: it ends after [net]").fix("use a complete copy of it"));
        }
        Ok((cfg, graph))
    }

    /// The same layers for another input size.
    ///
    /// # Errors
    /// A size at which some layer would have no pixel left or inputs would no longer fit.
    pub fn resized(&self, cfg: &Cfg, width: usize, height: usize) -> Result<Self> {
        let mut cfg = cfg.clone();
        cfg.net_mut().set("width", width);
        cfg.net_mut().set("height", height);
        Self::from_cfg(&cfg)
    }

    fn check_heads(&self) -> Result<()> {
        let mut heads = self.heads();
        let Some((_, first)) = heads.next() else { return Ok(()) };
        match heads.find(|(_, y)| y.classes != first.classes) {
            None => Ok(()),
            Some((i, y)) => Err(Error::at(
                &self.layers[i].place,
                format!("classes={}, but the first [yolo] layer has {}", y.classes, first.classes),
            )
            .fix("give all heads the same number of classes")),
        }
    }
}

/// Reads one section in the context of the layers before it.
pub(super) struct Builder<'a> {
    pub graph: &'a Graph,
    pub section: &'a Section,
}

/// The product, if a map or a layer's weights may hold so many numbers.
fn product(factors: [usize; 4]) -> Option<usize> {
    let product = factors.into_iter().try_fold(1, usize::checked_mul)?;
    (product <= 1 << 31).then_some(product)
}

impl Builder<'_> {
    fn build(&self) -> Result<Layer> {
        let (op, inputs) = read_layer::read(self)?;
        let shape = self.output_shape(&op, &inputs)?;
        if product([shape.channels, shape.height, shape.width, 1]).is_none_or(|numbers| numbers == 0) {
            return Err(self
                .error(format!(
                    "the output would be {}x{}x{} (width x height x channels)",
                    shape.width, shape.height, shape.channels
                ))
                .fix("check the net's width and height and the layer's size, stride and padding"));
        }
        if let Op::Convolution(c) = &op {
            let channels = self.graph.shape(inputs[0]).channels / c.groups;
            if product([c.filters, channels, c.size, c.size]).is_none() {
                return Err(self
                    .error(format!("{} filters of {channels}x{}x{} are too many weights", c.filters, c.size, c.size))
                    .fix("check the layer's filters and size"));
            }
        }
        Ok(Layer { op, inputs, shape, place: self.section.place() })
    }

    pub fn error(&self, cause: impl std::fmt::Display) -> Error {
        Error::at(self.section.place(), cause)
    }

    pub fn previous(&self) -> Source {
        self.graph.layers.len().checked_sub(1).map_or(Source::Image, Source::Layer)
    }

    /// A reference as Darknet writes it: negative counts back from this layer, else absolute.
    pub fn reference(&self, key: &str, index: i64) -> Result<Source> {
        let here = self.graph.layers.len();
        let target = if index < 0 { here as i64 + index } else { index };
        if (0..here as i64).contains(&target) {
            return Ok(Source::Layer(target as usize));
        }
        Err(self
            .error(format!("{key}={index} points to layer #{target}, which does not come before layer #{here}"))
            .fix(format!("point {key} to an earlier layer")))
    }

    pub fn references(&self, key: &str) -> Result<Vec<Source>> {
        let indices = self.section.numbers::<i64>(key)?;
        if indices.is_empty() {
            return Err(self.error(format!("{key} is missing")).fix(format!("write {key}= with one or more layers")));
        }
        indices.into_iter().map(|i| self.reference(key, i)).collect()
    }

    fn output_shape(&self, op: &Op, inputs: &[Source]) -> Result<Shape> {
        let first = self.graph.shape(inputs[0]);
        let with = |channels, height, width| Ok(Shape { channels, height, width });
        match op {
            Op::Convolution(c) => {
                let extent = c.dilation * (c.size - 1) + 1;
                let along = |n: usize, stride| (n + 2 * c.pad).checked_sub(extent).map_or(0, |n| n / stride + 1);
                with(c.filters, along(first.height, c.stride_y), along(first.width, c.stride_x))
            }
            Op::MaxPool(p) => {
                let along = |n: usize, stride| (n + p.padding).checked_sub(p.size).map_or(0, |n| n / stride + 1);
                with(first.channels, along(first.height, p.stride_y), along(first.width, p.stride_x))
            }
            Op::Upsample { stride } => with(first.channels, first.height * stride, first.width * stride),
            Op::Reorg { stride } => {
                if !first.height.is_multiple_of(*stride)
                    || !first.width.is_multiple_of(*stride)
                    || !first.channels.is_multiple_of(stride * stride)
                {
                    return Err(self
                        .error(format!(
                            "stride={stride} does not divide {}x{}x{} (width x height x channels)",
                            first.width, first.height, first.channels
                        ))
                        .fix(format!(
                            "reorg a map whose width and height are multiples of {stride} and its channels of {}; the \
                         net's width and height must often be multiples of 32",
                            stride * stride
                        )));
                }
                with(first.channels * stride * stride, first.height / stride, first.width / stride)
            }
            Op::AveragePool => with(first.channels, 1, 1),
            Op::Route { groups, .. } => self.route_shape(inputs, *groups),
            Op::Shortcut { .. } => self.same_area(inputs).map(|()| first),
            Op::Dropout { .. } | Op::Yolo(_) => Ok(first),
            Op::ScaleChannels { .. } => {
                let map = self.graph.shape(inputs[1]);
                if first.area() != 1 || first.channels != map.channels {
                    return Err(self
                        .error(format!(
                            "the scales are {}x{}x{}, but the map has {} channels",
                            first.width, first.height, first.channels, map.channels
                        ))
                        .fix(format!(
                            "scale by what [avgpool] and a convolution with filters={} give, or correct from",
                            map.channels
                        )));
                }
                Ok(map)
            }
            Op::Sam { .. } => {
                let map = self.graph.shape(inputs[1]);
                if map != first {
                    return Err(self
                        .error(format!(
                            "the layer before is {}x{}x{} and that of from {}x{}x{} (width x height x channels)",
                            first.width, first.height, first.channels, map.width, map.height, map.channels
                        ))
                        .fix("join maps of the same shape: correct from, or the filters of the layer before"));
                }
                Ok(first)
            }
        }
    }

    fn route_shape(&self, inputs: &[Source], groups: usize) -> Result<Shape> {
        self.same_area(inputs)?;
        let mut channels = 0;
        for &source in inputs {
            let c = self.graph.shape(source).channels;
            if !c.is_multiple_of(groups) {
                return Err(self
                    .error(format!("groups={groups} does not divide an input's {c} channels"))
                    .fix("choose groups that divide the channels of every input"));
            }
            channels += c / groups;
        }
        Ok(Shape { channels, ..self.graph.shape(inputs[0]) })
    }

    fn same_area(&self, inputs: &[Source]) -> Result<()> {
        let first = self.graph.shape(inputs[0]);
        for &source in inputs {
            let s = self.graph.shape(source);
            if (s.width, s.height) != (first.width, first.height) {
                return Err(self.error(format!(
                    "an input is {}x{} and another {}x{}",
                    first.width, first.height, s.width, s.height
                ))
                .fix("join maps of the same width and height only; the net's width and height must often be multiples of 32"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(layers: &str) -> Result<Graph> {
        Graph::from_cfg(&Cfg::parse(format!("[net]\nwidth=64\nheight=32\n{layers}").as_bytes())?)
    }

    fn shape(layers: &str) -> (usize, usize, usize) {
        let s = graph(layers).unwrap().layers.last().unwrap().shape;
        (s.width, s.height, s.channels)
    }

    #[test]
    fn shapes_are_darknets() {
        let cases = [
            ("[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\n", (32, 16, 8)),
            ("[convolutional]\nfilters=8\nsize=5\npadding=1\nstride_x=2\n", (31, 30, 8)),
            ("[convolutional]\nfilters=8\nsize=3\npad=1\ndilation=2\n", (64, 32, 8)),
            ("[maxpool]\nsize=2\nstride=1\n", (64, 32, 3)),
            ("[maxpool]\nsize=2\nstride=2\n", (32, 16, 3)),
            ("[maxpool]\nsize=13\nstride=1\n", (64, 32, 3)),
            ("[maxpool]\nstride=2\npadding=0\n", (32, 16, 3)),
            ("[upsample]\nstride=3\n", (192, 96, 3)),
            ("[avgpool]\n", (1, 1, 3)),
            ("[convolutional]\nfilters=4\n[reorg]\nstride=2\n", (32, 16, 16)),
            ("[convolutional]\nfilters=4\n[convolutional]\nfilters=6\n[route]\nlayers=-1,0\n", (64, 32, 10)),
            ("[convolutional]\nfilters=4\n[route]\nlayers=-1\ngroups=2\ngroup_id=1\n", (64, 32, 2)),
            ("[convolutional]\nfilters=4\n[convolutional]\nfilters=6\n[shortcut]\nfrom=-2\n", (64, 32, 6)),
        ];
        for (layers, wanted) in cases {
            assert_eq!(shape(layers), wanted, "{layers}");
        }
    }

    #[test]
    fn what_a_head_lacks_is_named() {
        let head = "[convolutional]\nfilters=24\nactivation=linear\n";
        let yolo = |keys: &str| format!("{head}[yolo]\n{keys}");
        let cases = [
            (yolo("mask=0\nclasses=3\n"), "[yolo] #1: anchors is missing; write anchors=w,h"),
            (yolo("mask=9\nclasses=3\nanchors=1,1\n"), "mask names anchor 9, but there are 1 anchors; count masks"),
            (
                yolo("masks=0,1,2\nclasses=3\nanchors=1,1,2,2,3,3,4,4,5,5,6,6\n"),
                "filters=24, but a [yolo] layer with 6 anchors (it has no mask=, so all of them count) and 3 classes reads \
                 48; write mask= into [yolo]",
            ),
            (
                yolo("mask=0\nanchors=1,1\n"),
                "20 classes (it has no classes=, so Darknet's 20) reads 25; write classes= into",
            ),
            (yolo("anchors=1,1\n"), "write mask= and classes= into [yolo]"),
            (
                "[maxpool]\n[yolo]\nmask=0\nanchors=1,1\nclasses=3\n".to_owned(),
                "[yolo] #1: the layer before has 3 channels, but a [yolo] layer with 1 anchors and 3 classes reads 8; put a \
                 [convolutional] with filters=8",
            ),
        ];
        for (layers, wanted) in cases {
            let message = graph(&layers).unwrap_err().to_string();
            assert!(message.contains(wanted), "{layers} gave {message}");
        }
        for scale in ["nan", "0", "-1.1", "inf"] {
            let message = graph(&yolo(&format!("mask=0\nclasses=19\nanchors=1,1\nscale_x_y={scale}\n"))).unwrap_err();
            assert!(message.to_string().contains("; give scale_x_y a number above 0"), "{message}");
        }
        graph(&yolo("mask=0\nclasses=19\nanchors=1,1\nscale_x_y=1.05\n")).unwrap();
    }

    #[test]
    fn what_darknet_takes_for_granted_is() {
        let of = |layer: &str| graph(&format!("[convolutional]\nfilters=4\n{layer}")).unwrap().layers.pop().unwrap();
        assert_eq!(of("[dropout]\n").op, Op::Dropout { probability: 0.2 });
        let Op::Convolution(c) = of("[convolutional]\nsize=1\npadding=1\ndilation=2\ncbn=1\n").op else { panic!() };
        assert_eq!((c.dilation, c.pad, c.batch_normalize), (1, 1, true));
    }

    #[test]
    fn what_cannot_be_computed_is_refused_with_place_and_fix() {
        let cases = [
            ("[lstm]\n", "4 [lstm] #0: the layer kind [lstm] is not supported; use only"),
            ("[route]\nlayers=-1\n", "4 [route] #0: layers=-1 points to layer #-1"),
            (
                "[convolutional]\n[route]\nlayers=1\n",
                "5 [route] #1: layers=1 points to layer #1, which does not come before",
            ),
            ("[convolutional]\n[shortcut]\nfrom=7\n", "from=7 points to layer #7"),
            ("[convolutional]\nfilters=0\n", "filters=0"),
            ("[convolutional]\nactivation=maxout\n", "activation=maxout is not supported; use one of linear"),
            ("[convolutional]\nfilters=4\ngroups=3\n", "groups=3 does not divide the 3 input channels|4 filters"),
            ("[convolutional]\nsize=99\n", "the output would be 0x0x1"),
            (
                "[convolutional]\nfilters=254\n[yolo]\nmask=0,1,2\nanchors=1,1,2,2,3,3\nclasses=80\n",
                "4 [convolutional] #0: filters=254, but a [yolo] layer with 3 anchors and 80 classes reads 255; write filters=255",
            ),
            (
                "[maxpool]\nstride=2\n[convolutional]\nfilters=4\n[upsample]\n[route]\nlayers=-1,0\n",
                "an input is 64x32 and another 32x16",
            ),
            (
                "[convolutional]\nfilters=6\n[route]\nlayers=-1\ngroups=4\n",
                "groups=4 does not divide an input's 6 channels; choose groups that divide",
            ),
            ("[reorg]\nstride=2\n", "does not divide 64x32x3 (width x height x channels); reorg a map"),
            (
                "[convolutional]\nfilters=6\n[avgpool]\n[convolutional]\nfilters=4\n[scale_channels]\nfrom=0\n",
                "the scales are 1x1x4, but the map has 6 channels; scale by what [avgpool] and a convolution with filters=6",
            ),
            (
                "[convolutional]\nfilters=6\n[convolutional]\nfilters=4\n[sam]\nfrom=0\n",
                "the layer before is 64x32x4 and that of from 64x32x6 (width x height x channels); join maps",
            ),
            ("[reorg]\nstride=2\nreverse=1\n", "reverse"),
            ("[convolutional]\nstretch=1\n", "stretch"),
            ("[dropout]\nprobability=1\n", "probability=1; give probability 0 or more, and less than 1"),
        ];
        for (layers, wanted) in cases {
            let message = graph(layers).unwrap_err().to_string();
            assert!(wanted.split('|').any(|w| message.contains(w)), "{layers} gave {message}");
        }
    }
}
