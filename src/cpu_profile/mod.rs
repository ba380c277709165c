//! A profile of this machine: layers of every kind timed over a grid of sizes.

mod grid;
mod steps;
mod stopwatch;

use std::collections::BTreeMap;

use yoloslim_core::Result;
use yoloslim_core::cost::profile::{Axis, Device, Kind, Measured, Profile, Table, TimedNet};
use yoloslim_core::graph::{Activation, Graph};

use stopwatch::Stopwatch;

use crate::architectures::{Architecture, CfgOptions};

/// Milliseconds of a layer whose like on larger maps isn't timed: it is as fast for its size.
const ENOUGH: f64 = 3.0;
/// No layer is faster, in milliseconds.
const LEAST: f64 = 1e-5;
/// Nor takes less for a number, in nanoseconds: differences of times can be less than nothing.
const LEAST_NS: f64 = 0.02;

/// A layer that takes this many times as long as the next larger one of its kind is timed again.
const SUSPECT: f64 = 2.0;
/// So often.
const ROUNDS: usize = 2;

/// How many times [`measure`] tells its progress.
#[must_use]
pub fn points() -> usize {
    grid::KINDS.iter().map(|kind| grid_points(&grid::axes(*kind)).len()).sum()
}

/// Times this machine with the threads that are there; `progress` is told after every grid point.
///
/// # Errors
/// None that a machine can cause.
pub fn measure(progress: &mut dyn FnMut()) -> Result<Profile> {
    let watch = Stopwatch::new();
    let mut tables = BTreeMap::new();
    for kind in grid::KINDS {
        let mut table = time_kind(&watch, kind, progress)?;
        steps::find(&watch, kind, &mut table)?;
        tables.insert(kind, table);
    }
    let measured = Measured {
        processor: yoloslim_kernels::cpu_path().to_owned(),
        threads: rayon::current_num_threads(),
        activation_ns: time_activations(&watch)?,
        tables,
    };
    compare(&watch, measured)
}

/// Times whole nets and corrects all layers by what nets take longer than the sum of theirs; where nets disagree about that,
/// the profile is marked as uncalibrated.
fn compare(watch: &Stopwatch, measured: Measured) -> Result<Profile> {
    let name = "cpu".to_owned();
    let mut profile = Profile { name, calibrated: true, timed: Vec::new(), device: Device::Measured(measured.clone()) };
    for (name, architecture, size) in [
        ("yolov3-tiny", Architecture::YoloV3Tiny, 416),
        ("yolov4-tiny", Architecture::YoloV4Tiny, 416),
        ("yolov3", Architecture::YoloV3, 416),
        ("yolov3", Architecture::YoloV3, 608),
    ] {
        let cfg = architecture.cfg(&CfgOptions { classes: 3, width: 0.5, size: (size, size), anchors: None })?;
        let text = String::from_utf8_lossy(&cfg.to_bytes()).into_owned();
        let (net, measured_ms) = (format!("{name}, half as wide, at {size}"), watch.net(&text)?);
        let predicted_ms = profile.milliseconds(&Graph::from_cfg(&cfg)?);
        profile.timed.push(TimedNet { net, measured_ms, predicted_ms });
    }
    let longer: f64 = profile.timed.iter().map(|net| (net.measured_ms / net.predicted_ms).ln()).sum();
    let factor = (longer / profile.timed.len() as f64).exp();
    profile.timed.iter_mut().for_each(|net| net.predicted_ms *= factor);
    profile.calibrated = profile.timed.iter().all(TimedNet::is_predicted);
    profile.device = Device::Measured(measured.slower(factor));
    Ok(profile)
}

fn time_kind(watch: &Stopwatch, kind: Kind, progress: &mut dyn FnMut()) -> Result<Table> {
    let axes = grid::axes(kind);
    let mut ms: Vec<f64> = Vec::new();
    for sizes in grid_points(&axes) {
        let last = &axes[axes.len() - 1];
        let place = ms.len() % last.at.len();
        let smaller = ms.last().filter(|smaller| place > 0 && (**smaller > ENOUGH || !grid::is_timed(kind, &sizes)));
        let scaled = smaller.map(|smaller| smaller * growth(last, place));
        ms.push(scaled.map_or_else(|| time(watch, kind, &sizes), Ok)?);
        progress();
    }
    let mut table = Table { axes, ms };
    time_again(&mut table, &mut |sizes| time(watch, kind, sizes))?;
    Ok(table)
}

/// How much more of a map's numbers there are at this place of an axis than at the one before.
fn growth(axis: &Axis, place: usize) -> f64 {
    let ratio = axis.at[place] / axis.at[place - 1];
    if axis.name == "side" { ratio * ratio } else { ratio }
}

/// Times anew what took longer than a much larger layer: the machine was at something else.
fn time_again(table: &mut Table, time: &mut dyn FnMut(&[f64]) -> Result<f64>) -> Result<()> {
    let points = grid_points(&table.axes);
    let strides: Vec<usize> =
        (0..table.axes.len()).map(|axis| table.axes[axis + 1..].iter().map(|a| a.at.len()).product()).collect();
    for _ in 0..ROUNDS {
        for (i, sizes) in points.iter().enumerate() {
            let larger = |axis: usize| {
                let at = i / strides[axis] % table.axes[axis].at.len();
                (at + 1 < table.axes[axis].at.len()).then(|| table.ms[i + strides[axis]])
            };
            if (0..strides.len()).filter_map(larger).any(|larger| table.ms[i] > SUSPECT * larger) {
                table.ms[i] = table.ms[i].min(time(sizes)?);
            }
        }
    }
    Ok(())
}

/// Milliseconds of one layer.
fn time(watch: &Stopwatch, kind: Kind, sizes: &[f64]) -> Result<f64> {
    let sample = grid::sample(kind, sizes);
    if kind == Kind::Shortcut {
        // Inference adds on the way of the convolution before: only the difference shows what that takes.
        let without = sample.cfg.split("[shortcut]").next().unwrap_or_default();
        return Ok(watch.difference(&sample.cfg, without)?.max(LEAST_NS * 1e-6 * sizes.iter().product::<f64>()));
    }
    Ok(watch.layer(&sample.cfg, sample.layer)?.max(LEAST))
}

/// All points of a grid, the last axis running fastest.
fn grid_points(axes: &[Axis]) -> Vec<Vec<f64>> {
    axes.iter().fold(vec![Vec::new()], |points, axis| {
        let with = |point: &Vec<f64>, at: &f64| [&point[..], &[*at]].concat();
        points.iter().flat_map(|point| axis.at.iter().map(move |at| with(point, at))).collect()
    })
}

/// What each activation takes longer than leaky, in nanoseconds a number.
fn time_activations(watch: &Stopwatch) -> Result<BTreeMap<String, f64>> {
    const SIDE: usize = 96;
    const FILTERS: usize = 64;
    let time = |activation: Activation| {
        let name = activation.name();
        let net = format!("[net]\nwidth={SIDE}\nheight={SIDE}\nchannels=8\n");
        watch.layer(&format!("{net}[convolutional]\nfilters={FILTERS}\nactivation={name}\n"), 0)
    };
    let leaky = time(Activation::Leaky)?;
    let numbers = (SIDE * SIDE * FILTERS) as f64;
    let mut more = BTreeMap::new();
    for activation in Activation::ALL {
        let ns = (time(activation)? - leaky) * 1e6 / numbers;
        more.insert(activation.name().to_owned(), ns.max(0.0));
    }
    Ok(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_grow_with_the_square_of_their_sides_and_with_their_numbers() {
        let axis = |name: &str| Axis { name: name.to_owned(), step: 1, at: vec![4.0, 8.0, 24.0] };
        assert_eq!([1, 2].map(|place| growth(&axis("side"), place)), [4.0, 9.0]);
        assert_eq!([1, 2].map(|place| growth(&axis("numbers"), place)), [2.0, 3.0]);
        for kind in grid::KINDS {
            let axes = grid::axes(kind);
            assert!(["side", "numbers"].contains(&axes[axes.len() - 1].name.as_str()), "{kind:?}");
        }
    }
}
