//! The way to a target in several steps: how far each pruning goes.

use yoloslim_core::prune::channels::Channels;
use yoloslim_core::prune::scores::Scores;
use yoloslim_core::prune::{Evidence, PruneOptions, Target};
use yoloslim_core::{Error, Network, Result, cost};

/// A step of several; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which one.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

impl Step {
    /// The name of a stage of this step: numbered when there are several.
    #[must_use]
    pub fn name(self, stage: &str) -> String {
        if self.of == 1 { stage.to_owned() } else { format!("{stage}-{}", self.number) }
    }

    /// An error of this step's pruning: where there are several, what it says is of what the steps before left.
    #[must_use]
    pub fn explain(self, error: Error) -> Error {
        if self.of == 1 {
            return error;
        }
        error.inside(format!("step {} of {} (shares of what it begins with)", self.number, self.of))
    }

    /// The step after this one, if there is one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self.number < self.of).then_some(Self { number: self.number + 1, ..self })
    }

    /// What falls to this step of what all share, epochs or blocks.
    #[must_use]
    pub fn share_of(self, all: usize) -> usize {
        all * self.number / self.of - all * (self.number - 1) / self.of
    }

    /// The options of this step's pruning of `current`, which began as `original`: each step leaves the same share of
    /// what the one before left, so that the last arrives at the target. Blocks are spread evenly.
    ///
    /// # Errors
    /// A profile that can't be read.
    pub fn options(self, options: &PruneOptions, original: &Network, current: &Network) -> Result<PruneOptions> {
        if self.of == 1 {
            return Ok(options.clone());
        }
        let profile = if options.has_latency() { Some(options.latency_profile()?) } else { None };
        let of_step = |target: Target| {
            let price = |network: &Network| match (target, &profile) {
                (Target::Flops(_), _) => cost::flops(&network.graph),
                (Target::Params(_), _) => cost::parameters(&network.graph) as f64,
                (Target::Latency(_), Some(profile)) => profile.milliseconds(&network.graph),
                _ => prunable(network, options) as f64,
            };
            self.target(target, price(original), price(current))
        };
        Ok(PruneOptions {
            target: of_step(options.target),
            also: options.also.iter().copied().map(of_step).collect(),
            layers: self.share_of(options.layers),
            // Each floor is a share of what the step before left.
            min_keep: options.min_keep.powf(1.0 / self.of as f64),
            ..options.clone()
        })
    }

    /// What this step does of one target, of a net that costs `now` and cost `first`.
    fn target(self, target: Target, first: f64, now: f64) -> Target {
        let left = (self.of - self.number + 1) as f64;
        let end = match target {
            Target::Latency(ms) => ms,
            Target::Flops(share) | Target::Params(share) | Target::Channels(share) => first * (1.0 - share),
        };
        // Of nothing, each step takes the share that was asked for: planning says why nothing can go.
        if now <= 0.0 {
            return target;
        }
        let next = now * (end / now).min(1.0).powf(1.0 / left);
        let share = (1.0 - next / now).max(0.0);
        match target {
            Target::Flops(_) => Target::Flops(share),
            Target::Params(_) => Target::Params(share),
            Target::Latency(_) => Target::Latency(next),
            Target::Channels(_) => Target::Channels(share),
        }
    }
}

/// Classes of channels that may go.
fn prunable(network: &Network, options: &PruneOptions) -> usize {
    let channels = Channels::of(&network.graph);
    Scores::of(network, &channels, &options.without_evidence(), &Evidence::default()).candidates.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::prune;

    #[test]
    fn the_last_step_arrives_at_the_target_and_no_step_is_much_longer_than_another() {
        let c = "[convolutional]\nbatch_normalize=1\nfilters=64\nsize=3\npad=1\nactivation=leaky\n";
        let cfg = format!("[net]\nwidth=16\nheight=16\n{c}{c}{c}[convolutional]\nfilters=7\nactivation=linear\n");
        let first = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let options = PruneOptions { target: Target::Flops(0.8), ..PruneOptions::default() };
        let (mut network, mut shares) = (first.clone(), Vec::new());
        for number in 1..=3 {
            let step = Step { number, of: 3 }.options(&options, &first, &network).unwrap();
            let Target::Flops(share) = step.target else { panic!("{:?}", step.target) };
            shares.push(share);
            let plan = prune::plan(&network, &step, &Evidence::default()).unwrap();
            network = prune::apply(&network, &plan).unwrap().compact;
        }
        let left = cost::flops(&network.graph) / cost::flops(&first.graph);
        assert!((0.19..=0.2).contains(&left), "{left}");
        assert!(shares.iter().all(|share| (0.35..0.45).contains(share)), "{shares:?}");
        assert_eq!(
            (Step { number: 2, of: 3 }.name("pruned"), Step { number: 1, of: 1 }.name("pruned")),
            ("pruned-2".into(), "pruned".into())
        );
    }

    #[test]
    fn the_floor_of_the_last_step_is_the_one_asked_for_but_for_rounding_and_shares_of_channels_count_what_may_go() {
        let c = "[convolutional]\nbatch_normalize=1\nfilters=100\nsize=1\nactivation=leaky\n";
        let head = "[convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nanchors=4,4\nclasses=2\n";
        let cfg = format!("[net]\nwidth=16\nheight=16\n{c}{c}{head}");
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let first = network.clone();
        let options = PruneOptions { target: Target::Channels(0.8), min_keep: 0.15, ..PruneOptions::default() };
        for number in 1..=3 {
            let step = Step { number, of: 3 }.options(&options, &first, &network).unwrap();
            let plan = prune::plan(&network, &step, &Evidence::default()).unwrap();
            network = prune::apply(&network, &plan).unwrap().compact;
        }
        let filters: Vec<usize> = network.graph.convolutions().map(|(_, c)| c.filters).collect();
        assert!((40..=43).contains(&(filters[0] + filters[1])), "{filters:?}");
        assert!(filters[..2].iter().all(|filters| *filters >= 14), "{filters:?}");
    }

    #[test]
    fn multiples_hold_no_step_back_and_channels_without_a_score_count_for_no_share() {
        let c = "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\npad=1\nactivation=leaky\n";
        let cfg = format!("[net]\nwidth=16\nheight=16\n{c}{c}[convolutional]\nfilters=7\nactivation=linear\n");
        let first = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let arrive = |options: &PruneOptions, first: &Network, of: usize| {
            let mut network = first.clone();
            for number in 1..=of {
                let step = Step { number, of }.options(options, first, &network).unwrap();
                network = prune::apply(&network, &prune::plan(&network, &step, &Evidence::default()).unwrap())
                    .unwrap()
                    .compact;
            }
            network.graph.convolutions().map(|(_, c)| c.filters).collect::<Vec<_>>()
        };
        let flops = PruneOptions { target: Target::Flops(0.5), multiple_of: 16, ..PruneOptions::default() };
        assert_eq!(arrive(&flops, &first, 5), [16, 16, 7]);
        let plain = c.replace("batch_normalize=1\n", "");
        let mixed = net_of(&format!("[net]\nwidth=16\nheight=16\n{c}{plain}[convolutional]\nfilters=7\n"));
        let half = PruneOptions { target: Target::Channels(0.5), ..PruneOptions::default() };
        assert_eq!([1, 2, 4].map(|of| arrive(&half, &mixed, of)[0]), [16, 16, 16]);
    }

    fn net_of(cfg: &str) -> Network {
        Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap()
    }

    #[test]
    fn several_targets_are_all_met_in_the_last_step() {
        let c = "[convolutional]\nbatch_normalize=1\nfilters=64\nsize=3\npad=1\nactivation=leaky\n";
        let cfg = format!("[net]\nwidth=16\nheight=16\n{c}{c}[convolutional]\nfilters=7\nactivation=linear\n");
        let first = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let (target, also) = (Target::Flops(0.4), vec![Target::Params(0.6)]);
        let options = PruneOptions { target, also, ..PruneOptions::default() };
        let mut network = first.clone();
        for number in 1..=2 {
            let step = Step { number, of: 2 }.options(&options, &first, &network).unwrap();
            network =
                prune::apply(&network, &prune::plan(&network, &step, &Evidence::default()).unwrap()).unwrap().compact;
        }
        assert!(cost::flops(&network.graph) <= 0.6 * cost::flops(&first.graph));
        assert!(network.parameters() as f64 <= 0.4 * first.parameters() as f64);
    }

    #[test]
    fn blocks_are_spread_over_the_steps() {
        let cfg = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=2\n";
        let net = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let options = PruneOptions { layers: 5, ..PruneOptions::default() };
        let layers = |number| Step { number, of: 3 }.options(&options, &net, &net).unwrap().layers;
        assert_eq!([1, 2, 3].map(layers), [1, 2, 2]);
        assert_eq!([1, 2, 3].map(|number| Step { number, of: 3 }.share_of(100)), [33, 33, 34]);
    }
}
