//! Random nets of every layer kind, with random statistics and some gammas exactly zero.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::Network;
use crate::darknet::Cfg;
use crate::graph::{Activation, Convolution, Graph};
use crate::prune::{Evidence, PerFilter};

/// A random net of about `steps` layers and one or two heads, the same for the same seed.
pub fn random_net(seed: u64, steps: usize) -> Network {
    let mut draft = Draft::new(seed);
    for _ in 0..steps {
        draft.grow();
    }
    let heads = draft.rng.random_range(1..3);
    for _ in 0..heads {
        draft.head();
    }
    let cfg = Cfg::parse(draft.text.as_bytes()).unwrap();
    let mut network = Network::initialise(cfg, seed).unwrap();
    randomise(&mut network, &mut draft.rng);
    network
}

/// A random image for a net.
pub fn random_image(network: &Network, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x1234_5678);
    (0..network.graph.input.len()).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Random biases and statistics; a quarter of the gammas exactly zero.
pub fn randomise(network: &mut Network, rng: &mut ChaCha8Rng) {
    for weights in network.weights.iter_mut().flatten() {
        weights.bias.iter_mut().for_each(|b| *b = rng.random_range(-1.0..1.0));
        if let Some(norm) = &mut weights.norm {
            norm.gamma.iter_mut().for_each(|g| {
                *g = if rng.random_bool(0.25) { 0.0 } else { rng.random_range(-1.5..1.5) };
            });
            norm.mean.iter_mut().for_each(|m| *m = rng.random_range(-0.5..0.5));
            norm.variance.iter_mut().for_each(|v| *v = rng.random_range(0.3..2.0));
        }
    }
}

struct Draft {
    rng: ChaCha8Rng,
    text: String,
    graph: Graph,
}

impl Draft {
    fn new(seed: u64) -> Self {
        let text = "[net]\nwidth=12\nheight=8\nchannels=3\n".to_owned();
        let graph = Graph::from_cfg(&Cfg::parse(text.as_bytes()).unwrap()).unwrap();
        let mut draft = Self { rng: ChaCha8Rng::seed_from_u64(seed), text, graph };
        assert!(draft.push("[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\npad=1\nactivation=leaky\n"));
        draft
    }

    /// Adds sections if they make a valid, small net.
    fn push(&mut self, sections: &str) -> bool {
        let text = format!("{}{sections}", self.text);
        let Ok(graph) = Graph::from_cfg(&Cfg::parse(text.as_bytes()).unwrap()) else { return false };
        if graph.layers.iter().any(|l| l.shape.channels > 40 || l.shape.area() > 200) {
            return false;
        }
        (self.text, self.graph) = (text, graph);
        true
    }

    fn grow(&mut self) {
        for _ in 0..40 {
            let section = self.section();
            if self.push(&section) {
                return;
            }
        }
    }

    fn activation(&mut self) -> &'static str {
        Activation::ALL[self.rng.random_range(0..Activation::ALL.len())].name()
    }

    /// A reference to a random earlier layer, relative or absolute, `ahead` sections after the last one.
    fn reference(&mut self, ahead: usize) -> i64 {
        let layers = self.graph.layers.len();
        let target = self.rng.random_range(0..layers);
        if self.rng.random_bool(0.5) { target as i64 } else { target as i64 - (layers + ahead) as i64 }
    }

    fn references(&mut self, most: usize) -> String {
        let n = self.rng.random_range(1..=most);
        (0..n).map(|_| self.reference(0).to_string()).collect::<Vec<_>>().join(", ")
    }

    fn channels(&self) -> usize {
        self.graph.layers.last().map_or(3, |l| l.shape.channels)
    }

    fn convolution(&mut self) -> String {
        let size = [1, 1, 3, 3, 5][self.rng.random_range(0..5)];
        let stride = if self.rng.random_bool(0.1) { 2 } else { 1 };
        let groups = [1, 1, 1, 2, 3][self.rng.random_range(0..5)];
        let filters = groups * self.rng.random_range(1..8);
        let pad = i32::from(self.rng.random_bool(0.8));
        let dilation = if self.rng.random_bool(0.1) { 2 } else { 1 };
        let norm = i32::from(self.rng.random_bool(0.8));
        let activation = self.activation();
        format!(
            "[convolutional]\nbatch_normalize={norm}\nfilters={filters}\nsize={size}\nstride={stride}\npad={pad}\n\
             dilation={dilation}\ngroups={groups}\nactivation={activation}\n"
        )
    }

    fn depthwise(&mut self) -> String {
        let channels = self.channels();
        let filters = channels * self.rng.random_range(1..3);
        let activation = self.activation();
        format!(
            "[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize=3\npad=1\ngroups={channels}\n\
             activation={activation}\n"
        )
    }

    /// Squeeze and excitation.
    fn excitation(&mut self) -> String {
        let (channels, activation) = (self.channels(), self.activation());
        format!(
            "[avgpool]\n[convolutional]\nbatch_normalize=1\nfilters=3\nactivation=relu\n\
             [convolutional]\nbatch_normalize=1\nfilters={channels}\nactivation=logistic\n\
             [scale_channels]\nfrom=-4\nactivation={activation}\n"
        )
    }

    /// A residual block of any length.
    fn residual(&mut self) -> String {
        let channels = self.channels();
        let activation = if self.rng.random_bool(0.7) { "linear" } else { self.activation() };
        let n = self.rng.random_range(1..4);
        let mut text = String::new();
        for i in 0..n {
            let filters = if i + 1 == n { channels } else { self.rng.random_range(1..8) };
            let own = self.activation();
            text +=
                &format!("[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize=3\npad=1\nactivation={own}\n");
        }
        format!("{text}[shortcut]\nfrom=-{}\nactivation={activation}\n", n + 1)
    }

    fn section(&mut self) -> String {
        match self.rng.random_range(0..20) {
            0..6 => self.convolution(),
            6 | 7 => self.depthwise(),
            8 | 9 => self.residual(),
            10 => {
                let (size, stride) = (self.rng.random_range(2..6), self.rng.random_range(1..3));
                format!("[maxpool]\nsize={size}\nstride={stride}\n")
            }
            11 => "[upsample]\nstride=2\n".to_owned(),
            12 | 13 => format!("[route]\nlayers={}\n", self.references(3)),
            14 => {
                let groups = self.rng.random_range(2..4);
                let id = self.rng.random_range(0..groups);
                format!("[route]\nlayers={}\ngroups={groups}\ngroup_id={id}\n", self.references(2))
            }
            15 | 16 => {
                let activation = self.activation();
                format!("[shortcut]\nfrom={}\nactivation={activation}\n", self.references(2))
            }
            17 => self.excitation(),
            18 => {
                let activation = self.activation();
                format!("[sam]\nfrom={}\nactivation={activation}\n", self.reference(0))
            }
            _ => ["[dropout]\nprobability=.2\n", "[reorg]\nstride=2\n", "[reorg]\nstride=1\n"]
                [self.rng.random_range(0..3)]
            .to_owned(),
        }
    }

    fn head(&mut self) {
        let layer = self.reference(0);
        let pushed = self.push(&format!(
            "[route]\nlayers={layer}\n[convolutional]\nsize=3\npad=1\nfilters=6\nactivation=linear\n\
             [yolo]\nmask=0\nanchors=4,4\nclasses=1\n"
        ));
        assert!(pushed);
    }
}

/// Means that each activation can give, deviations and Taylor scores, the same for the same net.
pub fn some_evidence(network: &Network) -> Evidence {
    let per_filter = |value: &dyn Fn(&Convolution, usize) -> f32| -> PerFilter {
        let values = |(layer, c): (usize, &Convolution)| (layer, (0..c.filters).map(|f| value(c, f)).collect());
        network.graph.convolutions().map(values).collect()
    };
    Evidence {
        means: Some(per_filter(&|c, f| c.activation.apply(0.37 * f as f32 - 1.1))),
        deviations: Some(per_filter(&|_, f| (f * 7 % 5) as f32 / 5.0)),
        taylor: Some(per_filter(&|_, f| (f * 5 % 7) as f32 * 1e-3)),
        taylor_mean: Some(per_filter(&|_, f| (f * 3 % 7) as f32 * 1e-3)),
        factors: Some(network.graph.convolutions().map(|(layer, _)| (layer, (layer % 3) as f32 + 0.5)).collect()),
        ..Evidence::default()
    }
}
