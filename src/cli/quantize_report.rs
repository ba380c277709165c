//! What `quantize` has to say.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use yoloslim::quant::{Found, Kept, LayerSensitivity, QuantiseOptions, Setting, Trial};
use yoloslim_core::Result;
use yoloslim_core::eval::Evaluation;
use yoloslim_core::quant::Scheme;

use crate::term::{self, Next, Term, beside, wrapped};

/// A loss of mAP@0.5 that quantisation should stay below: one point.
pub const MOST_LOST: f64 = 0.01;

/// The name of the written files, without their endings.
pub const STEM: &str = "quantised";

/// Accuracy on the validation images, 0 to 1; 0 where they hold no objects.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    pub map: f64,
    pub map50: f64,
}

impl Accuracy {
    /// The two figures of an evaluation.
    pub fn of(evaluation: &Evaluation) -> Self {
        Self { map: evaluation.map.unwrap_or(0.0), map50: evaluation.map50.unwrap_or(0.0) }
    }
}

/// What fine-tuning came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FineTuning {
    /// Of the tuned net.
    #[serde(flatten)]
    pub accuracy: Accuracy,
    /// The net that was written, by images held out of training.
    pub kept: Kept,
}

/// What was measured.
pub struct Outcome {
    pub images: usize,
    pub before: Accuracy,
    pub after: Accuracy,
    pub tuned: Option<FineTuning>,
    pub sensitivity: Vec<LayerSensitivity>,
}

/// All that was measured; `report.json` and what `--json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    scheme: Scheme,
    #[serde(flatten)]
    setting: Setting,
    images: usize,
    equalise: bool,
    /// What was tried on training images before.
    tried: Vec<Trial>,
    /// Convolutions in floating point, of 16 bits on NNIE.
    float_layers: Vec<FloatLayer>,
    /// Convolutions of 8 bits.
    quantised_layers: usize,
    before: Accuracy,
    after: Accuracy,
    fine_tuned: Option<FineTuning>,
    sensitivity: Vec<LayerSensitivity>,
}

/// A convolution that is not quantised.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct FloatLayer {
    layer: usize,
    place: String,
}

impl Report {
    pub fn new(options: &QuantiseOptions, found: &Found, outcome: Outcome) -> Self {
        let Outcome { images, before, after, tuned, sensitivity } = outcome;
        let graph = &found.quantised.network.graph;
        let float = &found.quantised.quantisation.float_layers;
        let named = |layer: &usize| FloatLayer { layer: *layer, place: graph.layers[*layer].place.clone() };
        Self {
            scheme: options.scheme,
            setting: found.setting,
            images,
            equalise: options.equalise,
            tried: found.trials.clone(),
            float_layers: float.iter().map(named).collect(),
            quantised_layers: graph.convolutions().count() - float.len(),
            before,
            after,
            fine_tuned: tuned,
            sensitivity,
        }
    }

    /// mAP@0.5 lost in the end.
    fn lost(&self) -> f64 {
        let tuned = self.fine_tuned.filter(|tuned| tuned.kept == Kept::Tuned);
        self.before.map50 - tuned.map_or(self.after, |tuned| tuned.accuracy).map50
    }

    /// Prints the result, warns if too much is lost, and tells what can be done next.
    pub fn tell(&self, json: bool, output: &Path, data: &Path, term: Term) -> Result<()> {
        if self.lost() > MOST_LOST {
            term.warn(self.advice());
        }
        if json {
            return term::print_json(self);
        }
        term::print(&self.table())?;
        let folder = output.display();
        match self.scheme {
            Scheme::Int8(_) => {
                term.wrote(format!(
                    "{folder}/{STEM}.onnx and {STEM}.heads.json; the same net in floating point as {STEM}.cfg and .weights, report.json and \
                     quantisation.json beside it"
                ));
                // To compare with what the runtime gives.
                let heads = Next::new("heads").net(output, STEM).with("--quantisation");
                let heads = heads.path(output.join("quantisation.json")).with("--input X.npy");
                term.next(heads.output(beside(output, "heads.npz")));
            }
            Scheme::Nnie => {
                term.wrote(format!(
                    "{folder}/{STEM}.cfg and .weights, report.json, quantisation.json and hp.json beside them"
                ));
                let layers: Vec<String> = self.float_layers.iter().map(|l| l.layer.to_string()).collect();
                let export = Next::new("export").net(output, STEM).with("--format caffe --hp").with(&layers.join(","));
                // The chip's compiler should see the images that the prediction is for.
                let export = export.data(Some(data)).with(&format!("--calibration {}", self.images));
                term.next(export.output(beside(output, "caffe")));
            }
        }
        Ok(())
    }

    fn advice(&self) -> String {
        let mut ways = Vec::new();
        if !self.equalise {
            ways.push("--equalise");
        }
        if !self.setting.bias_correction {
            ways.push("--bias-correction");
        }
        if self.fine_tuned.is_none() {
            ways.push("--fine-tune-epochs 10");
        }
        ways.push("--float-layers for the most sensitive");
        format!("{:.1} points of mAP@0.5 are lost; try {}", self.lost() * 100.0, ways.join(", "))
    }

    fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let mut line = |text: String| {
            let _ = writeln!(out, "{text}");
        };
        line(format!("{:<24} {:>8} {:>8}", "validation images", "mAP@0.5", "mAP"));
        let eight = if self.scheme == Scheme::Nnie { "on the chip, simulated" } else { "8 bits, simulated" };
        let tuned = match self.fine_tuned.map(|tuned| tuned.kept) {
            Some(Kept::Untuned) => "fine-tuned, not kept",
            _ => "fine-tuned, kept",
        };
        let tuned = (tuned, self.fine_tuned.map(|tuned| tuned.accuracy));
        let rows = [("float", Some(self.before)), (eight, Some(self.after)), tuned];
        for (name, accuracy) in rows.iter().filter_map(|(name, a)| Some((name, (*a)?))) {
            line(format!("{name:<24} {:>8.4} {:>8.4}", accuracy.map50, accuracy.map));
        }
        let kind = if self.scheme == Scheme::Nnie { "16 bits (_hp)" } else { "floating point" };
        let layers: Vec<String> = self.float_layers.iter().map(|l| l.layer.to_string()).collect();
        let sum = format!("{} convolutions of 8 bits; in {kind}: {}", self.quantised_layers, layers.join(", "));
        line(wrapped(&sum, 2));
        let rule = self.setting.calibration.name();
        let corrected = if self.setting.bias_correction { "biases corrected" } else { "biases as they were" };
        let ways = if self.tried.len() < 2 { String::new() } else { format!(", of {} ways tried", self.tried.len()) };
        line(format!("ranges by {rule}, {corrected}{ways}"));
        if !self.sensitivity.is_empty() {
            line(format!("\n{:<28} {:>10}", "layer, quantised alone", "head error"));
        }
        for s in &self.sensitivity {
            line(format!("{:<28} {:>8.2} %", s.place, s.head_error * 100.0));
        }
        out
    }
}
