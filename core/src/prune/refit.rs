//! A saved plan on the net at hand.

use super::decide::with_budgets;
use super::{Cost, PrunePlan, apply};
use crate::{Network, Result};

impl PrunePlan {
    /// The plan with the figures of `network`, which may have another input size than the net that it was made for: what a net
    /// costs depends on that, what goes does not.
    ///
    /// # Errors
    /// As [`apply()`]; a profile that can't be read.
    pub fn on(self, network: &Network) -> Result<Self> {
        let before = Cost::of(&network.graph);
        let slim = apply(network, &self)?.compact;
        if before == self.before {
            return Ok(self);
        }
        let budgets = with_budgets(network, &self.options, |budgets| {
            budgets.iter().map(|budget| budget.spent(&network.graph, &slim.graph)).collect()
        })?;
        Ok(Self { before, after: Cost::of(&slim.graph), budgets, ..self })
    }
}

#[cfg(test)]
mod tests {
    use crate::Network;
    use crate::darknet::Cfg;
    use crate::prune::{Evidence, PruneOptions, Target, plan};

    fn net(size: usize, filters: usize) -> Network {
        let layer = format!("[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize=3\npad=1\nactivation=leaky\n");
        let cfg = format!("[net]\nwidth={size}\nheight={size}\n{layer}{layer}[convolutional]\nfilters=7\n");
        Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap()
    }

    #[test]
    fn a_plan_has_the_figures_of_the_size_it_is_used_at_and_is_refused_for_another_net() {
        let options = PruneOptions { target: Target::Flops(0.5), ..PruneOptions::default() };
        let made = plan(&net(16, 12), &options, &Evidence::default()).unwrap();
        assert_eq!(made.clone().on(&net(16, 12)).unwrap(), made);
        let twice = made.clone().on(&net(32, 12)).unwrap();
        assert_eq!(twice, plan(&net(32, 12), &options, &Evidence::default()).unwrap());
        assert_eq!((twice.before.flops, twice.after.flops), (4.0 * made.before.flops, 4.0 * made.after.flops));
        let other = made.on(&net(16, 8)).unwrap_err().to_string();
        assert!(other.starts_with("plan: it has 12 filters"), "{other}");
    }
}
