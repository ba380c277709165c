//! What sizes are rounded up to: channels are computed in vectors and maps in tiles, so a convolution of 33 filters
//! may take as long as one of 40. Which steps a kernel has is found by timing sizes between them.

use yoloslim_core::Result;
use yoloslim_core::cost::profile::{Kind, Table};

use super::stopwatch::Stopwatch;
use super::time;

/// Steps that vectors have, and tiles of a 3x3 convolution. The grid's sizes are multiples of them.
const STEPS: [usize; 3] = [1, 4, 8];
/// Channels between them.
const CHANNELS: [f64; 6] = [17.0, 20.0, 25.0, 33.0, 40.0, 44.0];
/// Sides between them.
const SIDES: [f64; 5] = [13.0, 15.0, 19.0, 26.0, 30.0];
/// A step must predict what lies between this much better than none, for times scatter.
const CLEARLY: f64 = 0.5;

/// Sets the steps of a table's axes to those that predict best what lies between.
pub fn find(watch: &Stopwatch, kind: Kind, table: &mut Table) -> Result<()> {
    match kind {
        Kind::Conv1x1 | Kind::Conv3x3 | Kind::Conv3x3Strided => {
            choose(watch, kind, table, 1, &CHANNELS.map(|filters| vec![64.0, filters, 24.0]))?;
        }
        Kind::Depthwise | Kind::DepthwiseStrided => {
            choose(watch, kind, table, 0, &CHANNELS.map(|channels| vec![channels, 48.0]))?;
        }
        _ => {}
    }
    if kind == Kind::Conv3x3 {
        choose(watch, kind, table, 2, &SIDES.map(|side| vec![64.0, 128.0, side]))?;
    }
    Ok(())
}

/// Chooses the step of one axis by the times of `points`.
fn choose(watch: &Stopwatch, kind: Kind, table: &mut Table, axis: usize, points: &[Vec<f64>]) -> Result<()> {
    let mut timed = Vec::new();
    for sizes in points {
        timed.push((time(watch, kind, sizes)?, sizes));
    }
    let mut spreads = STEPS.map(|step| {
        table.axes[axis].step = step;
        (spread(table, &timed), step)
    });
    let without = spreads[0].0;
    spreads.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (best, step) = spreads[0];
    table.axes[axis].step = if best < CLEARLY * without { step } else { 1 };
    Ok(())
}

/// How much the errors differ from each other; all of them together may be off by what the grid's points are.
fn spread(table: &Table, timed: &[(f64, &Vec<f64>)]) -> f64 {
    let errors: Vec<f64> = timed.iter().map(|(ms, sizes)| (table.at(sizes) / ms).ln()).collect();
    let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
    errors.iter().map(|error| (error - mean).powi(2)).sum()
}
