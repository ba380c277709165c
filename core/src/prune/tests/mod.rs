//! Pruning as a whole: on random nets, on rules small enough to check by hand, and on real files.

mod budgets;
mod multiples;
pub(crate) mod random_net;
mod random_nets;
mod real_files;
mod rules;
