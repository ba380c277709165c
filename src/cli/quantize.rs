//! `quantize`: a net in 8 bits, and what accuracy that costs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueEnum};
use yoloslim::data::spread;
use yoloslim::detect::{DetectOptions, Detector};
use yoloslim::new_folder::NewFolder;
use yoloslim::quant::{self, Calibrated, Found, Kept, LayerSensitivity, Levers, QuantiseOptions, Quantised, Setting};
use yoloslim::search::{Judge, require_objects};
use yoloslim_core::eval::NEXT_TO_NOTHING;
use yoloslim_core::export::caffe::{self, CaffeOptions};
use yoloslim_core::export::onnx::{self, OnnxOptions};
use yoloslim_core::export::{Colour, FoldedNet};
use yoloslim_core::graph::{Graph, Op};
use yoloslim_core::quant::{Calibration, Profile, Scheme, float_by_default, qdq};
use yoloslim_core::{Error, Network, Result, files};

use super::detect::warn_of_other_classes;
use super::export_knobs::OnnxKnobs;
use super::knobs::Data;
use super::net::NetArgs;
use super::numbers::{count, positive};
use super::quantize_report::{Accuracy, FineTuning, MOST_LOST, Outcome, Report, STEM};
use super::train_progress::TrainProgress;
use crate::term::Term;

/// The learning rate of quantisation-aware fine-tuning: a hundredth of training's, for it starts from a trained net and
/// has no normalisation to steady it.
const FINE_TUNE_RATE: f64 = 1e-4;

/// Training images that calibrate int8.
const IMAGES: u32 = 128;
/// Those that calibrate NNIE: as many as `export --data` writes for the chip's mapper.
const MAPPER_IMAGES: u32 = 32;
/// Training images that ways of quantising are chosen by.
const JUDGE_IMAGES: usize = 128;

/// Quantise a net to 8 bits by the user's own images, and measure what accuracy that costs
///
/// int8 writes an ONNX file for integer kernels; nnie predicts what a HiSilicon NNIE will lose. Where more than 1 point of
/// mAP@0.5 is lost on training images, corrected biases are tried, and then as few layers as keep the loss below it stay in
/// floating point (in 16 bits on NNIE). Training images calibrate and choose, validation images
/// measure.
#[derive(Debug, Args)]
pub struct Quantize {
    #[command(flatten)]
    net: NetArgs,
    /// Data set: a Darknet .data, a YOLO .yaml, a COCO .json, or a folder of VOC, VisDrone or COCO
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// Folder for what is written, new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The codes of 8 bits
    #[arg(long, value_enum, default_value = "int8", value_name = "SCHEME")]
    scheme: SchemeName,
    /// The runtime that int8 is made for [default: onnxruntime]
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<ProfileName>,
    /// How the ranges of activations are chosen [default: mse; for nnie minmax, as the chip's mapper does]
    #[arg(long, value_enum, value_name = "RULE")]
    calibration: Option<CalibrationName>,
    /// Training images that calibrate [default: 128; for nnie 32, the same that `export --data` writes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// Convolutions in floating point (16 bits on NNIE) beside the heads, by number: 0 is the first layer
    #[arg(long, value_delimiter = ',', value_name = "N,..")]
    float_layers: Vec<usize>,
    /// Move scales between neighbouring layers, so that all channels fill their grids; the float net stays the same
    #[arg(long)]
    equalise: bool,
    /// Shift biases so that the mean of each filter stays what it was, also where little is lost without it
    #[arg(long)]
    bias_correction: bool,
    /// Quantise as told, and try nothing to lose less
    #[arg(long)]
    plain: bool,
    /// Tell how far the heads move when each layer alone is quantised (nnie always does)
    #[arg(long)]
    sensitivity: bool,
    /// Train for so many epochs as the quantised net computes, when more than 1 point of mAP@0.5 is lost; the float net
    /// teaches, and training images that are held out tell whether the tuned net is kept [default: none]
    #[arg(long, value_name = "N", value_parser = count)]
    fine_tune_epochs: Option<usize>,
    /// Largest learning rate of that [default: 0.0001]
    #[arg(long, value_name = "RATE", value_parser = positive, requires = "fine_tune_epochs")]
    fine_tune_lr: Option<f64>,
    #[command(flatten)]
    onnx: OnnxKnobs,
    /// Print one JSON document
    #[arg(long, help_heading = "Options")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SchemeName {
    /// Uniform, as ONNX's QuantizeLinear
    Int8,
    /// Logarithmic, as HiSilicon's NNIE
    Nnie,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileName {
    /// Asymmetric activations, all arithmetic in integers
    #[value(name = "onnxruntime")]
    OnnxRuntime,
    /// Symmetric activations
    #[value(name = "tensorrt")]
    TensorRt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
enum CalibrationName {
    /// All that was seen
    MinMax,
    /// All but the outermost ten-thousandth
    Percentile,
    /// What keeps the shape of the distribution best
    Entropy,
    /// What has the least mean squared error
    Mse,
}

impl Quantize {
    /// Fails where an option would be of no effect.
    pub fn check(&self) -> Result<()> {
        self.options().map(drop)
    }

    pub fn run(self, term: Term) -> Result<()> {
        let (options, settings) = self.options()?;
        let folder = NewFolder::begin(&self.output)?;
        let network = self.net.read(term)?;
        expressible(&network, options.scheme).map_err(|e| e.inside(self.net.cfg.display()))?;
        let always = self.float_layers(&network.graph)?;
        let data = Data::read(&self.data, network.graph.classes(), term)?;
        warn_of_other_classes(&self.net.cfg, &data.val.names, term);
        let paths = spread(&data.train, self.images() as usize);
        for (images, what) in [(&data.train, "training"), (&data.val, "validation")] {
            if require_objects(images, "").is_err() {
                term.warn(format!("the {what} images hold no objects: what is lost on them can't be told"));
            }
        }
        let before = self.accuracy(Detector::new(&network, DetectOptions::for_evaluation(None))?, &data, term)?;
        if before.map50 < NEXT_TO_NOTHING {
            term.warn("the net finds next to nothing as it is, so that nothing can be lost: train it first");
        }

        let bar = term.progress(paths.len(), "calibrating");
        let mut progress = |done| bar.set_position(done as u64);
        let calibrated = Calibrated::new(&network, &paths, &options, &mut progress)?;
        bar.finish_and_clear();
        let sensitivity = self.measure_sensitivity(&calibrated, &paths, term)?;
        let works = Mutex::new(term.works());
        let levers = Levers {
            calibrated: &calibrated,
            paths: &paths,
            settings: &settings,
            always: &always,
            most: MOST_LOST,
            progress: &|done, of| {
                works.lock().unwrap_or_else(PoisonError::into_inner).show("correcting biases", done, of);
            },
        };
        let mut found = self.choose(&levers, &network, &sensitivity, &data, term)?;
        works.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        let after = self.simulated_accuracy(&found.quantised, &data, term)?;
        let tuned = self.fine_tune(&network, &calibrated.network, &mut found, &data, folder.path(), term)?;

        let outcome = Outcome { images: paths.len(), before, after, tuned, sensitivity };
        let report = Report::new(&options, &found, outcome);
        self.write(&found.quantised, &report, folder.path())?;
        folder.finish()?;
        report.tell(self.json, &self.output, &self.data, term)
    }

    /// How many images calibrate.
    fn images(&self) -> u32 {
        self.images.unwrap_or(match self.scheme {
            SchemeName::Int8 => IMAGES,
            SchemeName::Nnie => MAPPER_IMAGES,
        })
    }

    /// What was typed, as the library has it, and the settings to choose from.
    fn options(&self) -> Result<(QuantiseOptions, Vec<Setting>)> {
        let scheme = match (self.scheme, self.profile) {
            (SchemeName::Nnie, None) => Scheme::Nnie,
            (SchemeName::Nnie, Some(_)) => {
                return Err(Error::at("--profile", "it is for runtimes of int8").fix("leave it out with --scheme nnie"));
            }
            (SchemeName::Int8, Some(ProfileName::TensorRt)) => Scheme::Int8(Profile::TensorRt),
            (SchemeName::Int8, _) => Scheme::Int8(Profile::OnnxRuntime),
        };
        if let (Scheme::Nnie, Some(option)) = (scheme, self.onnx.typed()) {
            return Err(Error::at(option, "it is for the ONNX file of int8").fix("leave it out with --scheme nnie"));
        }
        let calibration = self.calibration(scheme)?;
        let setting = |bias_correction| Setting { calibration, bias_correction };
        let settings = if self.bias_correction { vec![setting(true)] } else { vec![setting(false), setting(true)] };
        Ok((QuantiseOptions { scheme, calibration, equalise: self.equalise }, settings))
    }

    /// The rule for ranges.
    fn calibration(&self, scheme: Scheme) -> Result<Calibration> {
        let nnie = scheme == Scheme::Nnie;
        let Some(name) = self.calibration else {
            return Ok(if nnie { Calibration::MinMax } else { Calibration::Mse });
        };
        if nnie && name != CalibrationName::MinMax {
            let cause = format!("{name:?} is nothing that the chip's mapper does: it takes the largest value");
            return Err(Error::at("--calibration", cause).fix("leave it out with --scheme nnie"));
        }
        Ok(match name {
            CalibrationName::MinMax => Calibration::MinMax,
            CalibrationName::Percentile => Calibration::Percentile,
            CalibrationName::Entropy => Calibration::Entropy,
            CalibrationName::Mse => Calibration::Mse,
        })
    }

    /// The heads and the layers that were typed.
    fn float_layers(&self, graph: &Graph) -> Result<BTreeSet<usize>> {
        for layer in &self.float_layers {
            if !graph.layers.get(*layer).is_some_and(|l| matches!(l.op, Op::Convolution(_))) {
                let place = format!("--float-layers {layer}");
                return Err(Error::at(place, "the net has no convolution of that number").fix("see them with info"));
            }
        }
        Ok(float_by_default(graph).into_iter().chain(self.float_layers.iter().copied()).collect())
    }

    fn accuracy(&self, mut detector: Detector, data: &Data, term: Term) -> Result<Accuracy> {
        let bar = term.progress(data.val.samples.len(), "evaluating");
        let evaluation = detector.evaluate_with(&data.val, &mut |done| bar.set_position(done as u64));
        bar.finish_and_clear();
        Ok(Accuracy::of(&evaluation?))
    }

    fn simulated_accuracy(&self, quantised: &Quantised, data: &Data, term: Term) -> Result<Accuracy> {
        let options = DetectOptions::for_evaluation(None);
        self.accuracy(Detector::with_engine(&quantised.network, quantised.simulation(), options)?, data, term)
    }

    fn measure_sensitivity(
        &self,
        calibrated: &Calibrated,
        paths: &[PathBuf],
        term: Term,
    ) -> Result<Vec<LayerSensitivity>> {
        if !self.sensitivity && self.scheme == SchemeName::Int8 {
            return Ok(Vec::new());
        }
        let bar = term.progress(1, "quantising each layer");
        let measured = quant::sensitivity(calibrated, paths, &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        measured
    }

    /// The way of quantising, chosen on training images: what is chosen by validation images can't be reported on them.
    fn choose(
        &self,
        levers: &Levers,
        network: &Network,
        sensitivity: &[LayerSensitivity],
        data: &Data,
        term: Term,
    ) -> Result<Found> {
        if self.plain {
            return levers.plain();
        }
        let judge = Judge::new(&data.train, JUDGE_IMAGES);
        let bar = term.progress(0, "looking for a way that loses little");
        let float = judge.accuracy(network)?;
        let mut loss = |quantised: &Quantised| {
            bar.inc();
            Ok(float - judge.accuracy_of(network, quantised.simulation())?)
        };
        let mut measured = |calibrated: &Calibrated| match sensitivity {
            [] => quant::sensitivity(calibrated, levers.paths, &mut |_, _| bar.inc()),
            known => Ok(known.to_vec()),
        };
        let found = levers.search(&mut loss, &mut measured);
        bar.finish_and_clear();
        found
    }

    /// Trains the net as it computes when quantised; afterwards it is the better one on images held out.
    fn fine_tune(
        &self,
        network: &Network,
        teacher: &Network,
        found: &mut Found,
        data: &Data,
        folder: &Path,
        term: Term,
    ) -> Result<Option<FineTuning>> {
        let Some(epochs) = self.fine_tune_epochs else { return Ok(None) };
        let quantised = &mut found.quantised;
        let lost = match found.lost {
            Some(lost) => lost,
            None => {
                let judge = Judge::new(&data.train, JUDGE_IMAGES);
                judge.accuracy(network)? - judge.accuracy_of(network, quantised.simulation())?
            }
        };
        if lost <= MOST_LOST {
            let points = lost * 100.0;
            term.note(format!("{points:.1} points of mAP@0.5 are lost on training images: fine-tuning is left out"));
            return Ok(None);
        }
        let rate = self.fine_tune_lr.unwrap_or(FINE_TUNE_RATE);
        let options = quant::fine_tune_options(epochs, rate, data.train.samples.len());
        // Gone when it is dropped: of checkpoints only the result is kept.
        let run = tempfile::tempdir_in(folder).map_err(|e| Error::at(folder.display(), e))?;
        let mut progress = TrainProgress::new(term, options.epochs);
        let mut observe = |event: yoloslim::train::Event| progress.show(event);
        let tuned = quant::fine_tune(quantised, teacher, &data.train, &options, run.path(), &mut observe)?;
        let candidate = Quantised { network: tuned.network, quantisation: quantised.quantisation.clone() };
        let accuracy = self.simulated_accuracy(&candidate, data, term)?;
        if tuned.kept == Kept::Tuned {
            *quantised = candidate;
        }
        Ok(Some(FineTuning { accuracy, kept: tuned.kept }))
    }

    /// Writes the float net, the grids, the report and, for int8, the ONNX file with the description of its outputs.
    fn write(&self, quantised: &Quantised, report: &Report, folder: &Path) -> Result<()> {
        let json = |name: &str, bytes: serde_json::Result<Vec<u8>>| {
            files::write_whole(&folder.join(name), &bytes.map_err(|e| Error::at(name, e))?)
        };
        quantised.network.write(folder, STEM)?;
        json("quantisation.json", serde_json::to_vec_pretty(&quantised.quantisation))?;
        json("report.json", serde_json::to_vec_pretty(report))?;
        match quantised.quantisation.scheme {
            Scheme::Nnie => json("hp.json", serde_json::to_vec_pretty(&quantised.quantisation.float_layers)),
            Scheme::Int8(_) => {
                let options: OnnxOptions = self.onnx.options(Colour::of(quantised.network.graph.input.channels));
                let heads = onnx::describe(&FoldedNet::of(&quantised.network), STEM, options)?;
                files::write_whole(&folder.join(&heads.name), &heads.bytes)?;
                let onnx = qdq::write(&quantised.network, &quantised.quantisation, options)?;
                files::write_whole(&folder.join(format!("{STEM}.onnx")), &onnx)
            }
        }
    }
}

/// Refuses a net that can't be written in the end, before any work.
fn expressible(network: &Network, scheme: Scheme) -> Result<()> {
    let net = FoldedNet::of(network);
    match scheme {
        Scheme::Int8(_) => net.check_pools("ONNX"),
        Scheme::Nnie => caffe::expressible(&net, &CaffeOptions::default()),
    }
}
