//! `quantize`: a net in 8 bits, and what accuracy that costs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use yoloslim::data::spread;
use yoloslim::detect::{DetectOptions, Detector};
use yoloslim::new_folder::NewFolder;
use yoloslim::quant::{self, Calibrated, LayerSensitivity, QuantiseOptions, Quantised};
use yoloslim::search::Judge;
use yoloslim::train::TrainOptions;
use yoloslim_core::export::onnx::OnnxOptions;
use yoloslim_core::graph::{Graph, Op};
use yoloslim_core::quant::{Calibration, Profile, Scheme, float_by_default, qdq};
use yoloslim_core::{Error, Network, Result, files};

use super::knobs::Data;
use super::net::NetArgs;
use super::quantize_report::{Accuracy, MOST_LOST, Report, STEM};
use super::train_progress::TrainProgress;
use crate::term::Term;

/// The learning rate of quantisation-aware fine-tuning: a tenth of training's, for it starts from a trained net and has
/// no normalisation to steady it.
const FINE_TUNE_RATE: f64 = 1e-3;

/// Quantise a net to 8 bits by the user's own images, and measure what accuracy that costs
///
/// int8 writes an ONNX file for integer kernels; nnie predicts what a HiSilicon NNIE will lose, and finds the layers to
/// compute in 16 bits. Training images calibrate, validation images measure.
#[derive(Debug, Args)]
pub struct Quantize {
    #[command(flatten)]
    net: NetArgs,
    /// Data set: a Darknet .data, a YOLO .yaml, a COCO .json or a VOC folder
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
    /// Training images that calibrate
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: u32,
    /// Convolutions in floating point (16 bits on NNIE) beside the heads, by number: 0 is the first layer
    #[arg(long, value_delimiter = ',', value_name = "N,..")]
    float_layers: Vec<usize>,
    /// Move scales between neighbouring layers, so that all channels fill their grids; the float net stays the same
    #[arg(long)]
    equalise: bool,
    /// Shift biases so that the mean of each filter stays what it was
    #[arg(long)]
    bias_correction: bool,
    /// Tell how far the heads move when each layer alone is quantised (nnie always does)
    #[arg(long)]
    sensitivity: bool,
    /// Train for so many epochs as the quantised net computes, when more than 1 point of mAP is lost
    #[arg(long, default_value_t = 0, value_name = "N")]
    fine_tune_epochs: usize,
    /// Largest learning rate of that
    #[arg(long, default_value_t = FINE_TUNE_RATE, value_name = "RATE")]
    fine_tune_lr: f64,
    /// Print one JSON document
    #[arg(long)]
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
    pub fn run(self, term: Term) -> Result<()> {
        let options = self.options()?;
        let folder = NewFolder::begin(&self.output)?;
        let network = self.net.read(term)?;
        let float_layers = self.float_layers(&network.graph)?;
        let data = Data::read(&self.data, network.graph.classes(), term)?;
        let paths = spread(&data.train, self.images as usize);
        let before = self.accuracy(Detector::new(&network, DetectOptions::for_evaluation(None))?, &data, term)?;

        let bar = term.progress(paths.len(), "calibrating");
        let mut progress = |done| bar.set_position(done as u64);
        let calibrated = Calibrated::new(&network, &paths, &options, &mut progress)?;
        bar.finish_and_clear();
        let sensitivity = self.measure_sensitivity(&calibrated, &paths, term)?;
        let float_layers = match options.scheme {
            Scheme::Nnie => self.high_precision(&network, &calibrated, &float_layers, &sensitivity, &data, term)?,
            Scheme::Int8(_) => float_layers,
        };
        let mut quantised = calibrated.with_float(float_layers);
        if options.bias_correction {
            let mut works = term.works();
            quantised.correct_biases(&paths, &mut |done, of| works.show("correcting biases", done, of))?;
            works.finish();
        }
        let after = self.simulated_accuracy(&quantised, &data, term)?;
        let fine_tuned = self.fine_tune(&mut quantised, &data, folder.path(), term)?;

        let report = Report::new(&options, &quantised, paths.len(), [before, after], fine_tuned, sensitivity);
        write(&quantised, &report, folder.path())?;
        folder.finish()?;
        report.tell(self.json, &self.output, term)
    }

    /// What was typed, as the library has it.
    fn options(&self) -> Result<QuantiseOptions> {
        let scheme = match (self.scheme, self.profile) {
            (SchemeName::Nnie, None) => Scheme::Nnie,
            (SchemeName::Nnie, Some(_)) => {
                return Err(Error::at("--profile", "it is for runtimes of int8").fix("leave it out with --scheme nnie"));
            }
            (SchemeName::Int8, Some(ProfileName::TensorRt)) => Scheme::Int8(Profile::TensorRt),
            (SchemeName::Int8, _) => Scheme::Int8(Profile::OnnxRuntime),
        };
        let calibration = match self.calibration {
            None if scheme == Scheme::Nnie => Calibration::MinMax,
            Some(CalibrationName::MinMax) => Calibration::MinMax,
            Some(rule) if scheme == Scheme::Nnie => {
                let cause = format!("{rule:?} is nothing that the chip's mapper does: it takes the largest value");
                return Err(Error::at("--calibration", cause).fix("leave it out with --scheme nnie"));
            }
            Some(CalibrationName::Percentile) => Calibration::Percentile,
            Some(CalibrationName::Entropy) => Calibration::Entropy,
            None | Some(CalibrationName::Mse) => Calibration::Mse,
        };
        let (equalise, bias_correction) = (self.equalise, self.bias_correction);
        Ok(QuantiseOptions { scheme, calibration, equalise, bias_correction })
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

    /// The layers to compute in 16 bits, chosen on training images: what is chosen by validation images can't be
    /// reported on them.
    fn high_precision(
        &self,
        network: &Network,
        calibrated: &Calibrated,
        always: &BTreeSet<usize>,
        sensitivity: &[LayerSensitivity],
        data: &Data,
        term: Term,
    ) -> Result<BTreeSet<usize>> {
        let judge = Judge::new(&data.train, self.images as usize);
        let float = judge.accuracy(network)?;
        let bar = term.progress(0, "looking for layers that need 16 bits");
        let found = quant::high_precision(always, sensitivity, MOST_LOST, &mut |layers| {
            bar.inc();
            let quantised = calibrated.with_float(layers.clone());
            Ok(float - judge.accuracy_of(network, quantised.simulation())?)
        });
        bar.finish_and_clear();
        found
    }

    fn fine_tune(&self, quantised: &mut Quantised, data: &Data, folder: &Path, term: Term) -> Result<Option<Accuracy>> {
        if self.fine_tune_epochs == 0 {
            return Ok(None);
        }
        let options = TrainOptions {
            epochs: self.fine_tune_epochs,
            learning_rate: self.fine_tune_lr,
            batch: TrainOptions::default().batch.min(data.train.samples.len()),
            ..TrainOptions::default()
        };
        // Gone when it is dropped: of checkpoints only the result is kept.
        let run = tempfile::tempdir_in(folder).map_err(|e| Error::at(folder.display(), e))?;
        let mut progress = TrainProgress::new(term, options.epochs);
        let splits = (&data.train, &data.val);
        let trained = quant::fine_tune(quantised, splits, &options, run.path(), &mut |event| progress.show(event))?;
        quantised.network = trained.network;
        Ok(trained.evaluation.as_ref().map(Accuracy::of))
    }
}

/// Writes the float net, the grids, the report and, for int8, the ONNX file.
fn write(quantised: &Quantised, report: &Report, folder: &Path) -> Result<()> {
    let json = |name: &str, bytes: serde_json::Result<Vec<u8>>| {
        files::write_whole(&folder.join(name), &bytes.map_err(|e| Error::at(name, e))?)
    };
    quantised.network.write(folder, STEM)?;
    json("quantisation.json", serde_json::to_vec_pretty(&quantised.quantisation))?;
    json("report.json", serde_json::to_vec_pretty(report))?;
    match quantised.quantisation.scheme {
        Scheme::Nnie => json("hp.json", serde_json::to_vec_pretty(&quantised.quantisation.float_layers)),
        Scheme::Int8(_) => {
            let onnx = qdq::write(&quantised.network, &quantised.quantisation, OnnxOptions::default())?;
            files::write_whole(&folder.join(format!("{STEM}.onnx")), &onnx)
        }
    }
}
