//! Inference: normalisation folded into the kernels, which are packed once.

use yoloslim_core::graph::{Graph, Layer, Op, Shape, Source};
use yoloslim_core::{Network, Result};
use yoloslim_kernels::{self as k, ConvShape, Epilogue, PackedConv, Scratch};

use super::forward::{self, Aside};
use super::fusion::Fusion;
use super::kernels;
use super::pool::{Buffer, Choice, Pool};
use super::program::Program;

/// The map of a layer: of one that a `[yolo]` layer reads, mostly, before any decoding.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadMap {
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub cols: usize,
    /// Numbers a cell: anchors times (5 + classes).
    pub channels: usize,
    /// `[image][row][column][channel]`
    pub values: Vec<f32>,
}

impl HeadMap {
    /// The map of one image, `[row][column][channel]`.
    #[must_use]
    pub fn image(&self, image: usize) -> &[f32] {
        let len = self.rows * self.cols * self.channels;
        &self.values[image * len..(image + 1) * len]
    }

    /// All values as `[image][channel][row][column]`.
    #[must_use]
    pub fn to_nchw(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.values.len()];
        let count = self.values.len() / (self.rows * self.cols * self.channels).max(1);
        k::nhwc_to_nchw(count, self.channels, self.rows, self.cols, &self.values, &mut out);
        out
    }
}

/// What runs a detector's net.
pub trait Engine: Send + Sync {
    /// The shape of one input image.
    fn input(&self) -> Shape;

    /// As [`Predictor::heads`].
    fn heads(&mut self, images: &[f32], count: usize) -> Vec<HeadMap>;
}

impl Engine for Predictor {
    fn input(&self) -> Shape {
        Self::input(self)
    }

    fn heads(&mut self, images: &[f32], count: usize) -> Vec<HeadMap> {
        Self::heads(self, images, count)
    }
}

/// A network made ready for inference at one input size.
pub struct Predictor {
    graph: Graph,
    program: Program,
    fusion: Fusion,
    convolutions: Vec<Option<Packed>>,
    pool: Pool<f32>,
    scratch: Scratch,
}

struct Packed {
    conv: PackedConv,
    bias: Vec<f32>,
}

impl Predictor {
    /// Prepares a network at its cfg's input size.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        Self::with_graph(network, network.graph.clone(), 1, PackedConv::new)
    }

    /// [`Predictor::new`] by direct sums alone: slower, but ready sooner, in a quarter of the memory, and with the least
    /// rounding. For a single image.
    #[must_use]
    pub fn direct(network: &Network) -> Self {
        Self::with_graph(network, network.graph.clone(), 1, PackedConv::direct)
    }

    /// Prepares a network at another input size, (width, height), for `count` images at a time: others may be fewer or more,
    /// but are not what its algorithms were chosen for.
    ///
    /// # Errors
    /// A size that does not fit the graph.
    pub fn with_size(network: &Network, (width, height): (usize, usize), count: usize) -> Result<Self> {
        let graph = network.graph.resized(&network.cfg, width, height)?;
        Ok(Self::with_graph(network, graph, count, PackedConv::new))
    }

    fn with_graph(network: &Network, graph: Graph, count: usize, pack: fn(&ConvShape, &[f32]) -> PackedConv) -> Self {
        let mut convolutions: Vec<Option<Packed>> = (0..graph.layers.len()).map(|_| None).collect();
        for (i, c) in graph.convolutions() {
            let (kernel, bias) = network.conv(i).folded();
            let shape = kernels::conv_shape(c, graph.input_shape(i), count);
            convolutions[i] = Some(Packed { conv: pack(&shape, &kernel), bias });
        }
        let program = Program::new(&graph);
        let fusion = Fusion::new(&graph, &program);
        Self { graph, program, fusion, convolutions, pool: Pool::new(Choice::Latest), scratch: Scratch::default() }
    }

    /// The shape of one input image.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.graph.input
    }

    /// The graph at this input size.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The raw head maps of `count` images, `[image][row][column][channel]`, values 0 to 1, in the order of the
    /// cfg's `[yolo]` layers. A net without such layers gives its last map.
    ///
    /// # Panics
    /// If `images` does not hold `count` images of the input's shape.
    pub fn heads(&mut self, images: &[f32], count: usize) -> Vec<HeadMap> {
        self.run(&self.fusion.clone(), images, count, &mut |_, _| {})
    }

    /// [`Predictor::heads`] with the outputs of `layers`.
    ///
    /// # Panics
    /// As [`Predictor::heads`], and if there is no such layer.
    pub fn heads_with(&mut self, images: &[f32], count: usize, layers: &[usize]) -> (Vec<HeadMap>, Vec<HeadMap>) {
        let homes: Vec<Source> = layers.iter().map(|layer| self.program.home(Source::Layer(*layer))).collect();
        let owners: Vec<usize> = homes.iter().filter_map(|home| home.layer()).collect();
        let fusion = self.fusion.keeping(&owners);
        let image = |home: &Source| if *home == Source::Image { images.to_vec() } else { Vec::new() };
        let mut values: Vec<Vec<f32>> = homes.iter().map(image).collect();
        let heads = self.run(&fusion, images, count, &mut |layer, map| {
            let asked = homes.iter().zip(&mut values).filter(|(home, _)| **home == Source::Layer(layer));
            asked.for_each(|(_, to)| *to = map.to_vec());
        });
        let maps = homes.iter().zip(values).map(|(home, values)| {
            let shape = self.graph.shape(*home);
            HeadMap { rows: shape.height, cols: shape.width, channels: shape.channels, values }
        });
        (heads, maps.collect())
    }

    /// [`Predictor::heads`] that shows every layer's index and map, `[image][row][column][channel]`, as it is computed.
    /// Layers that only pass a map on are not shown.
    ///
    /// # Panics
    /// As [`Predictor::heads`].
    pub fn heads_observed(
        &mut self,
        images: &[f32],
        count: usize,
        observe: &mut (dyn FnMut(usize, &[f32]) + Send),
    ) -> Vec<HeadMap> {
        self.heads_altered(images, count, &mut |layer, map| observe(layer, map))
    }

    /// [`Predictor::heads_observed`] that lets every map be changed before it is read.
    ///
    /// # Panics
    /// As [`Predictor::heads`].
    pub fn heads_altered(
        &mut self,
        images: &[f32],
        count: usize,
        alter: &mut (dyn FnMut(usize, &mut [f32]) + Send),
    ) -> Vec<HeadMap> {
        self.run(&Fusion::none(&self.graph), images, count, alter)
    }

    /// [`Predictor::heads`] that tells every layer's index when its work is done. What is fused into another layer is
    /// told with that one.
    pub(super) fn heads_stepwise(
        &mut self,
        images: &[f32],
        count: usize,
        done: &mut (dyn FnMut(usize) + Send),
    ) -> Vec<HeadMap> {
        self.run(&self.fusion.clone(), images, count, &mut |layer, _| done(layer))
    }

    fn run(
        &mut self,
        fusion: &Fusion,
        images: &[f32],
        count: usize,
        alter: &mut (dyn FnMut(usize, &mut [f32]) + Send),
    ) -> Vec<HeadMap> {
        assert_eq!(images.len(), count * self.graph.input.len(), "images of another shape than the net's input");
        k::awake(|| self.run_layers(fusion, images, count, alter))
    }

    fn run_layers(
        &mut self,
        fusion: &Fusion,
        images: &[f32],
        count: usize,
        alter: &mut (dyn FnMut(usize, &mut [f32]) + Send),
    ) -> Vec<HeadMap> {
        let mut buffers: Vec<Option<Buffer<f32>>> = vec![None; self.graph.layers.len()];
        for layer in 0..self.graph.layers.len() {
            if self.program.owns(layer) && !fusion.done_elsewhere(layer) {
                let mut out = self.run_layer(fusion, layer, images, count, &buffers);
                alter(layer, &mut out);
                buffers[fusion.written(layer)] = Some(out);
            }
            self.release(fusion, layer, layer, &mut buffers);
        }
        let heads = self.collect_heads(images, &mut buffers);
        buffers.into_iter().flatten().for_each(|b| self.pool.give(b));
        heads
    }

    fn run_layer(
        &mut self,
        fusion: &Fusion,
        layer: usize,
        images: &[f32],
        count: usize,
        buffers: &[Option<Buffer<f32>>],
    ) -> Buffer<f32> {
        let l = &self.graph.layers[layer];
        let mut out = self.pool.take(count * self.graph.layers[fusion.written(layer)].shape.len());
        match (&l.op, &self.convolutions[layer]) {
            (Op::Convolution(c), Some(packed)) => {
                let shape = kernels::conv_shape(c, self.graph.input_shape(layer), count);
                let mut epilogue = Epilogue::new(Some(&packed.bias), kernels::activation(c.activation));
                if let Some((_, other)) = fusion.residual(layer) {
                    epilogue = epilogue.with_residual(read(other, images, buffers));
                }
                if fusion.pooled(layer).is_some() {
                    epilogue = epilogue.with_max_pool();
                }
                let x = read(self.program.home(l.inputs[0]), images, buffers);
                k::conv_forward(&packed.conv, &shape, x, epilogue, &mut out, &mut self.scratch);
            }
            (Op::Route { groups: 1, .. }, _) => self.concatenate(fusion, layer, images, count, buffers, &mut out),
            (op, _) => {
                let inputs: Vec<&[f32]> =
                    l.inputs.iter().map(|s| read(self.program.home(*s), images, buffers)).collect();
                forward::run(&self.graph, layer, count, &inputs, &mut out, &mut Aside::default());
                k::activate(&mut out, kernels::activation(op.activation()));
            }
        }
        out
    }

    /// Concatenates the inputs of a route, upsampling those that were left to it.
    fn concatenate(
        &self,
        fusion: &Fusion,
        layer: usize,
        images: &[f32],
        count: usize,
        buffers: &[Option<Buffer<f32>>],
        out: &mut [f32],
    ) {
        let l = &self.graph.layers[layer];
        let mut to = 0;
        for source in &l.inputs {
            let (home, shape) = (self.program.home(*source), self.graph.shape(*source));
            let (channels, all) = (shape.channels, l.shape.channels);
            match home.layer().filter(|&home| fusion.done_elsewhere(home)).map(|home| (home, &self.graph.layers[home]))
            {
                Some((upsample, Layer { op: Op::Upsample { stride }, inputs, .. })) => {
                    let from = self.graph.input_shape(upsample);
                    let x = read(self.program.home(inputs[0]), images, buffers);
                    k::upsample_nearest_into(count, from.height, from.width, channels, *stride, x, out, all, to);
                }
                _ => {
                    let x = read(home, images, buffers);
                    k::copy_channels(count * shape.area(), x, channels, 0, channels, out, all, to, false);
                }
            }
            to += channels;
        }
    }

    /// Gives back the buffers that nothing reads after `now`, when `reader` was computed.
    fn release(&mut self, fusion: &Fusion, reader: usize, now: usize, buffers: &mut [Option<Buffer<f32>>]) {
        let is_upsample = |layer: usize| matches!(self.graph.layers[layer].op, Op::Upsample { .. });
        if reader == now && fusion.done_elsewhere(reader) && is_upsample(reader) {
            return; // Its input is read by the concatenation that does its work.
        }
        for source in self.graph.layers[reader].inputs.clone() {
            let Source::Layer(j) = self.program.home(source) else { continue };
            if fusion.done_elsewhere(j) && matches!(self.graph.layers[j].op, Op::Upsample { .. }) {
                self.release(fusion, j, now, buffers);
            }
            if self.program.is_over(j, now)
                && let Some(buffer) = buffers[j].take()
            {
                self.pool.give(buffer);
            }
        }
    }

    fn collect_heads(&mut self, images: &[f32], buffers: &mut [Option<Buffer<f32>>]) -> Vec<HeadMap> {
        let last = self.program.home(Source::Layer(self.graph.layers.len() - 1));
        let homes = if self.program.heads().is_empty() { vec![last] } else { self.program.heads().to_vec() };
        let map = |home: &Source| {
            let shape = self.graph.shape(*home);
            let values = read(*home, images, buffers).to_vec();
            HeadMap { rows: shape.height, cols: shape.width, channels: shape.channels, values }
        };
        homes.iter().map(map).collect()
    }
}

fn read<'a>(source: Source, images: &'a [f32], buffers: &'a [Option<Buffer<f32>>]) -> &'a [f32] {
    match source {
        Source::Image => images,
        Source::Layer(i) => buffers[i].as_deref().expect("a buffer lives until its last reader"),
    }
}
