//! Where a run took place and on what.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::path_text;

/// A machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Environment {
    /// Operating system and processor family, such as `linux x86_64`.
    pub system: String,
    /// The processor's name, where the system tells it.
    pub processor: Option<String>,
    /// The commit that the program was built from; empty in records of old versions.
    #[serde(default)]
    pub commit: String,
    /// The features that it was built with, separated by commas.
    #[serde(default)]
    pub features: String,
    /// Instructions that the kernels use, such as `avx2+fma`.
    pub instructions: String,
    /// Threads that the run may use.
    pub threads: usize,
    /// The folder that the command was typed in: relative paths start there.
    #[serde(serialize_with = "path_text::one")]
    pub folder: PathBuf,
    /// Seconds from the start of 1970 (UTC) to the start of the run.
    pub started: u64,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DataRecord {
    /// Class names, in the order of their indices.
    pub names: Vec<String>,
    /// Images to train on.
    pub train_images: usize,
    /// Labelled objects on them.
    pub train_objects: usize,
    /// Images to measure on.
    pub val_images: usize,
    /// Labelled objects on them.
    pub val_objects: usize,
    /// Tells them from other images and labels; none in records of old versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}
