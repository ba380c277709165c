//! From image files to batches: decoding, augmentation and the threads that prefetch.
//!
//! Everything is plain slices in NHWC order, RGB, 0 to 1; nothing here knows of a tensor framework.

pub mod augment;
pub mod batch;
mod cache;
mod colour;
mod copy_paste;
mod fingerprint;
pub mod image;
pub mod inference;
pub mod letterbox;
pub mod loader;
mod mosaic;
mod placement;
mod prefetch;
mod random;
pub(crate) mod resample;
mod save;
mod share;
mod spread;
pub mod synthetic;

pub use augment::Augment;
pub use batch::{Batch, Labels, Target};
pub use fingerprint::fingerprint;
pub use image::Rgb;
pub use inference::{InferenceBatch, InferenceBatches, require_colours, require_detector};
pub use letterbox::fitted;
pub use loader::{Epoch, Loader, LoaderOptions};
pub use save::save;
pub(crate) use save::{encode, encode_grey};
pub use share::Share;
pub use spread::{spread, spread_over, spread_samples};
