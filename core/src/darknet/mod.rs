//! The two Darknet files: the `.cfg` that describes a net and the `.weights` that fill it.

pub mod cfg;
pub mod weights;

pub use cfg::{Cfg, Section};
pub use weights::{Header, WeightsFile};
