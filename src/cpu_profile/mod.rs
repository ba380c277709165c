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

/// Multiply-adds beyond which a convolution isn't timed: it is as fast for its size as the same on a smaller map.
const LARGE: f64 = 1e9;
/// Numbers read beyond which it isn't either.
const WIDE: f64 = 12e6;
/// No layer is faster, in milliseconds: differences of times can be less than nothing.
const LEAST: f64 = 1e-5;

/// A layer that takes this many times as long as the next larger one of its kind is timed again.
const SUSPECT: f64 = 2.0;
/// So often.
const ROUNDS: usize = 2;

/// A relative error of a whole net's predicted time beyond which a profile is no measure of the machine.
pub const TOLERANCE: f64 = 0.25;

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
    let mut watch = Stopwatch::new();
    let mut tables = BTreeMap::new();
    for kind in grid::KINDS {
        let mut table = time_kind(&mut watch, kind, progress)?;
        steps::find(&mut watch, kind, &mut table)?;
        tables.insert(kind, table);
    }
    let measured = Measured {
        processor: yoloslim_kernels::cpu_path().to_owned(),
        threads: rayon::current_num_threads(),
        activation_ns: time_activations(&mut watch)?,
        tables,
    };
    let mut profile =
        Profile { name: "cpu".to_owned(), calibrated: true, timed: Vec::new(), device: Device::Measured(measured) };
    check(&mut watch, &mut profile)?;
    Ok(profile)
}

/// Times whole nets to see whether the profile predicts them; where it does not, it is marked as uncalibrated.
fn check(watch: &mut Stopwatch, profile: &mut Profile) -> Result<()> {
    for (name, architecture, size) in [
        ("yolov3-tiny", Architecture::YoloV3Tiny, 416),
        ("yolov4-tiny", Architecture::YoloV4Tiny, 416),
        ("yolov3", Architecture::YoloV3, 256),
    ] {
        let options = CfgOptions { classes: 3, width: 0.5, size: (size, size), anchors: None };
        let cfg = architecture.cfg(&options)?;
        let predicted_ms = profile.milliseconds(&Graph::from_cfg(&cfg)?);
        let text = String::from_utf8_lossy(&cfg.to_bytes()).into_owned();
        let (net, measured_ms) = (format!("{name}, half as wide, at {size}"), watch.net(&text)?);
        profile.calibrated &= (predicted_ms / measured_ms - 1.0).abs() <= TOLERANCE;
        profile.timed.push(TimedNet { net, measured_ms, predicted_ms });
    }
    Ok(())
}

fn time_kind(watch: &mut Stopwatch, kind: Kind, progress: &mut dyn FnMut()) -> Result<Table> {
    let axes = grid::axes(kind);
    let mut ms: Vec<f64> = Vec::new();
    for sizes in grid_points(&axes) {
        let (macs, reads) = grid::work(kind, &sizes);
        let side = axes.last().map_or(&[][..], |axis| &axis.at);
        let place = ms.len() % side.len();
        let time = if place > 0 && (macs > LARGE || reads > WIDE) {
            ms[ms.len() - 1] * (side[place] / side[place - 1]).powi(2)
        } else {
            time(watch, kind, &sizes)?
        };
        ms.push(time);
        progress();
    }
    let mut table = Table { axes, ms };
    time_again(&mut table, &mut |sizes| time(watch, kind, sizes))?;
    Ok(table)
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
fn time(watch: &mut Stopwatch, kind: Kind, sizes: &[f64]) -> Result<f64> {
    let sample = grid::sample(kind, sizes);
    if kind == Kind::Shortcut {
        // Inference adds on the way of the convolution before: only the difference shows what that takes.
        let without = sample.cfg.split("[shortcut]").next().unwrap_or_default();
        return Ok((watch.net(&sample.cfg)? - watch.net(without)?).max(LEAST));
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
fn time_activations(watch: &mut Stopwatch) -> Result<BTreeMap<String, f64>> {
    const SIDE: usize = 96;
    const FILTERS: usize = 64;
    let mut time = |activation: Activation| {
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
