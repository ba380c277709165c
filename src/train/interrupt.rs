//! A wish to stop, from Ctrl-C say, that training heeds after its next update.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use yoloslim_core::Error;

use crate::workers::Workers;

/// Whether somebody asked to stop, and how the run can go on afterwards.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    go_on: String,
}

impl Interrupt {
    /// One that is never asked for.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// Nobody has asked yet; `go_on` is the command that goes on with the run.
    #[must_use]
    pub fn new(go_on: impl Into<String>) -> Self {
        Self { asked: Arc::default(), go_on: go_on.into() }
    }

    /// Asks to stop; whether it had been asked before.
    pub fn ask(&self) -> bool {
        self.asked.swap(true, Ordering::Relaxed)
    }

    /// Whether it was asked for in this process.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether it was asked for in any of the workers' processes: all of them learn the same.
    #[must_use]
    pub fn asked_of_any(&self, workers: &Workers) -> bool {
        let mut asked = [f64::from(u8::from(self.asked()))];
        workers.sum(&mut asked);
        asked[0] > 0.0
    }

    /// What a run that has stopped ends with.
    #[must_use]
    pub fn stopped(&self, place: &str) -> Error {
        Error::at("", format!("stopped {place}")).fix(format!("go on with: {}", self.go_on))
    }
}
