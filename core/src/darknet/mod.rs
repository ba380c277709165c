//! The two Darknet files: the `.cfg` that describes a net and the `.weights` that fill it.

pub mod cfg;
mod keys;
pub mod weights;

pub use cfg::{Cfg, Section};
pub use keys::probable_slips;
pub use weights::{Header, WeightsFile};
