//! `auto` in place of numbers that training finds itself.

use serde::{Deserialize, Serialize};

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// The only one.
    Auto,
}
