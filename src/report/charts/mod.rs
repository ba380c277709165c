//! The drawings, one a file: each takes a run and gives figures, none where the run has nothing for them.

pub mod accuracy;
pub mod channels;
pub mod curves;
pub mod detections;
pub mod gamma_map;
pub mod gamma_ridges;
pub mod latency;
pub mod network;
pub mod tradeoff;
