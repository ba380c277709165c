//! Quantisation as arithmetic: how numbers fall on the grids of integer hardware, how the grids are chosen from what
//! was observed, and how a net is made ready for it. Nothing here runs a net.

pub mod calibration;
pub mod equalise;
mod histogram;
mod linear;
mod nnie_log;
mod placement;
mod plan;
pub mod qdq;
mod quantiser;
mod scheme;

pub use calibration::Calibration;
pub use equalise::equalise;
pub use histogram::Histogram;
pub use linear::{Linear, filter_scales};
pub use nnie_log::NnieLog;
pub use placement::{Places, float_by_default, places};
pub use plan::{Quantisation, Tensor};
pub use quantiser::Quantiser;
pub use scheme::{Profile, Scheme};
