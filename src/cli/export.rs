//! `export`: a net in the files of another runtime.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use yoloslim::calibration_images::letterboxed;
use yoloslim::data::spread;
use yoloslim::input_size::InputSize;
use yoloslim::new_folder::NewFolder;
use yoloslim::shell;
use yoloslim_core::export::caffe::{self, CaffeOptions, Dialect, Finding, IMAGE_FOLDER, IMAGE_LIST, Severity};
use yoloslim_core::export::{Colour, ExportedFile, FoldedNet, darknet, describe_heads, ncnn, onnx, safetensors};
use yoloslim_core::labels::{self, Split};
use yoloslim_core::{Error, Network, Result, files, path_text};

use super::export_knobs::{CaffeKnobs, OnnxKnobs};
use super::net::NetArgs;
use super::origin;
use crate::term::{self, Next, Term};

const EXAMPLES: &str = "\
Examples:
  yoloslim export slim.cfg slim.weights --format onnx -o onnx
  yoloslim export slim.cfg slim.weights --format caffe --hp heads --data faces.data -o nnie
  yoloslim export slim.cfg slim.weights --check nnie";

/// Its three parts are reading, turning and writing.
const EXPORTING: &str = "exporting";

/// Write a net for another runtime: Caffe for HiSilicon's chips, ONNX, ncnn, Darknet, safetensors
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Export {
    #[command(flatten)]
    net: NetArgs,
    /// What to write
    #[arg(long, value_enum, required_unless_present = "check")]
    format: Option<Format>,
    /// Folder for the files, new or empty
    #[arg(short, long, value_name = "DIR", required_unless_present = "check")]
    output: Option<PathBuf>,
    /// Write nothing, tell what the chip's known limits say about the net
    #[arg(long, value_enum, value_name = "CHIP", conflicts_with_all = ["format", "output"])]
    check: Option<Chip>,
    /// Input size, 416 or 608x352 [default: the cfg's]
    #[arg(long, value_name = "N")]
    size: Option<InputSize>,
    /// Order of the colours in the images that the exported net reads
    #[arg(long, value_enum, default_value = "rgb", value_name = "ORDER")]
    color: ColourName,
    #[command(flatten)]
    onnx: OnnxKnobs,
    #[command(flatten)]
    caffe: CaffeKnobs,
    /// Print one JSON document
    #[arg(long, help_heading = "Options")]
    json: bool,
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// .prototxt and .caffemodel, for nnie_mapper or svp_atc
    Caffe,
    /// .onnx, operator set 13
    Onnx,
    /// .param and .bin
    Ncnn,
    /// .cfg and .weights with the normalisation folded in: the same in every reader of Darknet's files
    Darknet,
    /// .safetensors, every number by name, for programs in Python
    Safetensors,
}

/// What a net can be checked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Chip {
    /// HiSilicon's NNIE
    Nnie,
    /// HiSilicon's SVP NPU
    #[value(name = "svp_npu")]
    SvpNpu,
}

/// [`Colour`] as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ColourName {
    /// Red first, as Darknet's nets are trained
    Rgb,
    /// Blue first: the first convolution's input channels change places
    Bgr,
}

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    format: Format,
    #[serde(serialize_with = "path_text::list")]
    files: Vec<PathBuf>,
    colours: &'static str,
    /// Names of the outputs to read.
    outputs: Vec<String>,
    /// Names of the outputs to ignore.
    unused: Vec<String>,
    calibration_images: usize,
}

/// A net in another runtime's files.
#[derive(Default)]
struct Written {
    files: Vec<ExportedFile>,
    outputs: Vec<String>,
    unused: Vec<String>,
    colour: Colour,
    calibration_images: usize,
    /// What to do with the files.
    next: String,
}

impl Export {
    /// Fails where an option would be of no effect, or two say different things.
    pub fn check(&self) -> Result<()> {
        match (self.check, self.format) {
            (Some(Chip::Nnie), _) if self.caffe.is_for_svp_npu() => {
                return Err(Error::at("--dialect svp_npu", "it is for another chip").fix("give --check svp_npu"));
            }
            (Some(_), _) => {
                if let Some(option) = self.onnx.typed() {
                    return Err(Error::at(option, "this option is for ONNX").fix("leave it out"));
                }
            }
            (None, Some(format)) => self.refuse_others_options(format)?,
            (None, None) => {}
        }
        let dialect = if let Some(Chip::SvpNpu) = self.check { Dialect::SvpNpu } else { self.caffe.dialect() };
        self.caffe.refuse_contradictions(dialect)
    }

    pub fn run(mut self, term: Term) -> Result<()> {
        if let Some(chip) = self.check {
            return self.check_for(chip, term);
        }
        let (Some(format), Some(output)) = (self.format, &self.output) else { return Ok(()) };
        let folder = NewFolder::begin(output)?;
        let mut works = term.works();
        let network = self.read(term)?;
        works.show(EXPORTING, 1, 3);
        let name = self.name();
        let written = match format {
            Format::Caffe => self.caffe(&network, &name, term)?,
            Format::Onnx => self.onnx(&network, &name)?,
            Format::Ncnn => self.ncnn(&network, &name)?,
            Format::Darknet => Written {
                files: darknet::write(&network, &name),
                colour: Colour::of(network.graph.input.channels),
                next: "the normalisation is folded in: run it by Darknet or OpenCV, but train the net it came from"
                    .into(),
                ..Written::default()
            },
            Format::Safetensors => Written {
                files: safetensors::write(&network, &name)?,
                colour: Colour::of(network.graph.input.channels),
                next: format!(
                    "in Python: safetensors.numpy.load_file(\"{name}.safetensors\")[\"layers.0.conv.weight\"]"
                ),
                ..Written::default()
            },
        };
        works.show(EXPORTING, 2, 3);
        for file in &written.files {
            let path = folder.path().join(&file.name);
            path.parent().map_or(Ok(()), files::create_folder)?;
            files::write_whole(&path, &file.bytes)?;
        }
        folder.finish()?;
        works.finish();
        self.tell(format, written, term)
    }

    /// Options of one format mean nothing to another.
    fn refuse_others_options(&self, format: Format) -> Result<()> {
        let colour = (self.color == ColourName::Bgr).then_some("--color bgr");
        let strange = match format {
            Format::Caffe => self.onnx.typed(),
            Format::Onnx => self.caffe.typed(),
            Format::Ncnn => self.onnx.typed().or(self.caffe.typed()),
            Format::Darknet | Format::Safetensors => self.onnx.typed().or(self.caffe.typed()).or(colour),
        };
        strange.map_or(Ok(()), |option| {
            let name = format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            Err(Error::at(option, format!("of no effect with --format {name}"))
                .fix("leave it out, or choose the format that it is for"))
        })
    }

    /// The net at the size it is to have.
    fn read(&self, term: Term) -> Result<Network> {
        let mut network = self.net.read(term)?;
        if let Some(InputSize { width, height }) = self.size {
            let place = |e: Error| e.inside(format!("--size {width}x{height}: {}", self.net.cfg.display()));
            network.graph = network.graph.resized(&network.cfg, width, height).map_err(place)?;
            network.cfg.net_mut().set("width", width);
            network.cfg.net_mut().set("height", height);
        }
        Ok(network)
    }

    /// The files' name: the cfg's, with what a prototxt or a mapper's cfg could stumble on replaced.
    fn name(&self) -> String {
        let stem = self.net.cfg.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        stem.chars().map(plain).collect()
    }

    /// The net's nodes for images of the order of colours asked for.
    fn folded(&self, network: &Network) -> Result<(FoldedNet, Colour)> {
        let net = FoldedNet::of(network);
        match self.color {
            ColourName::Rgb => Ok((net, Colour::of(network.graph.input.channels))),
            ColourName::Bgr if network.graph.input.channels != 3 => {
                let cause =
                    format!("the net reads {} channels, which have no order of colours", network.graph.input.channels);
                Err(Error::at("--color bgr", cause).fix("leave it out"))
            }
            ColourName::Bgr => Ok((net.with_reversed_colours().map_err(|e| self.inside(e))?, Colour::Bgr)),
        }
    }

    fn inside(&self, error: Error) -> Error {
        error.inside(self.net.cfg.display())
    }

    fn onnx(&self, network: &Network, name: &str) -> Result<Written> {
        let (net, colour) = self.folded(network)?;
        let options = self.onnx.options(colour);
        let bytes = onnx::write(&net, options).map_err(|e| self.inside(e))?;
        let mut files = vec![ExportedFile { name: format!("{name}.onnx"), bytes }];
        files.push(onnx::describe(&net, name, options)?);
        let outputs = if options.decode { vec![onnx::BOXES.to_owned()] } else { head_names(&net) };
        let file = self.output.clone().unwrap_or_default().join(format!("{name}.onnx"));
        let next = format!(
            "in Python: onnxruntime.InferenceSession({:?}).run(None, {{\"images\": x}})",
            file.display().to_string()
        );
        Ok(Written { files, outputs, colour, next, ..Written::default() })
    }

    fn ncnn(&self, network: &Network, name: &str) -> Result<Written> {
        let (net, colour) = self.folded(network)?;
        let mut files = ncnn::write(&net, name).map_err(|e| self.inside(e))?;
        let outputs = head_names(&net);
        files.push(describe_heads(&net, name, ncnn::INPUT, &outputs, colour)?);
        let next = format!("on the device: net.load_param(\"{name}.param\"), net.load_model(\"{name}.bin\")");
        Ok(Written { files, outputs, colour, next, ..Written::default() })
    }

    fn caffe(&self, network: &Network, name: &str, term: Term) -> Result<Written> {
        let (net, colour) = self.folded(network)?;
        let (net, options) = self.caffe.options(net, colour)?;
        let export = caffe::write(&net, &options, name).map_err(|e| self.inside(e))?;
        // What is worse was refused.
        caffe::check(&net, &options).iter().for_each(|found| term.note(line(found)));
        let mut files = export.files;
        files.push(describe_heads(&net, name, caffe::INPUT, &export.heads, colour)?);
        let pictures = self.calibration(&net, term)?;
        let calibration_images = pictures.len();
        files.extend(image_files(pictures));
        let next = next_for_caffe(name, &options, calibration_images);
        Ok(Written { files, outputs: export.heads, unused: export.unused, colour, calibration_images, next })
    }

    /// Calibration images, spread evenly over the training images.
    fn calibration(&self, net: &FoldedNet, term: Term) -> Result<Vec<Vec<u8>>> {
        let Some(path) = &self.caffe.data else { return Ok(Vec::new()) };
        let dataset = labels::load(path, &Split::Train)?;
        dataset.warnings.iter().for_each(|warning| term.warn(warning));
        let paths = spread(&dataset, self.caffe.calibration.into());
        let bar = term.progress(paths.len(), "calibration images");
        let pictures = letterboxed(paths, net.input, &mut |done| bar.set_position(done as u64));
        bar.finish_and_clear();
        pictures
    }

    /// Says what the chip's limits are for the net, and fails if it can't run whole.
    fn check_for(&mut self, chip: Chip, term: Term) -> Result<()> {
        if let Chip::SvpNpu = chip {
            self.caffe.for_svp_npu();
        }
        let (net, colour) = self.folded(&self.read(term)?)?;
        let (net, options) = self.caffe.options(net, colour)?;
        let found = caffe::check(&net, &options);
        if self.json {
            term::print_json(&found)?;
        } else {
            let lines: String = found.iter().map(|f| format!("{:<15} {}\n", f.severity.to_string(), line(f))).collect();
            term::print(&lines)?;
        }
        match found.iter().filter(|f| f.severity != Severity::Note).count() {
            0 => {
                if !self.json {
                    term.note("no known limit keeps this net off the chip");
                    term.next(self.in_earnest());
                }
                Ok(())
            }
            n => Err(Error::at(
                self.net.cfg.display(),
                format!("{n} things keep this net from running whole on the chip"),
            )
            .fix("do what is listed for each")),
        }
    }

    /// What was checked, to be written.
    fn in_earnest(&self) -> Next {
        let cfg = &self.net.cfg;
        let export = Next::typed_without_option("--check").with("--format caffe");
        let export = match (self.caffe.is_for_svp_npu(), self.caffe.data.is_some()) {
            (true, _) if shell::typed().iter().any(|word| word.starts_with("--dialect")) => export,
            (true, _) => export.with("--dialect svp_npu"),
            (false, true) => export,
            (false, false) => export.data(origin::data(cfg).as_deref()),
        };
        export.output(origin::beside_net(cfg, "caffe"))
    }

    fn tell(&self, format: Format, written: Written, term: Term) -> Result<()> {
        let output = self.output.clone().unwrap_or_default();
        let folder = format!("{IMAGE_FOLDER}/");
        let names = written.files.iter().filter(|file| !file.name.starts_with(&folder));
        let files: Vec<PathBuf> = names.map(|file| output.join(&file.name)).collect();
        let colours = written.colour.name();
        if self.json {
            let (outputs, unused) = (written.outputs, written.unused);
            let calibration_images = written.calibration_images;
            return term::print_json(&Summary { format, files, colours, outputs, unused, calibration_images });
        }
        let list: String = files.iter().map(|path| format!("{}\n", path.display())).collect();
        term::print(&list)?;
        if format != Format::Darknet && format != Format::Safetensors {
            let colours = if written.colour == Colour::Unordered { String::new() } else { format!("{colours}, ") };
            term.note(format!("the net reads {colours}values 0 to 1; outputs: {}", written.outputs.join(", ")));
        }
        let count = written.files.len();
        term.wrote(format!("{count} {} to {}", if count == 1 { "file" } else { "files" }, output.display()));
        term.next(written.next);
        Ok(())
    }
}

fn head_names(net: &FoldedNet) -> Vec<String> {
    net.heads.iter().map(|head| head.name.clone()).collect()
}

fn line(finding: &Finding) -> String {
    format!("{}: {}; {}", finding.place, finding.cause, finding.fix)
}

/// The pictures as files, and the list of them.
fn image_files(pictures: Vec<Vec<u8>>) -> Vec<ExportedFile> {
    let mut files = Vec::with_capacity(pictures.len() + 1);
    let mut list = String::new();
    for (i, bytes) in pictures.into_iter().enumerate() {
        let name = format!("{IMAGE_FOLDER}/{i:04}.jpg");
        list += &format!("./{name}\n");
        files.push(ExportedFile { name, bytes });
    }
    if !files.is_empty() {
        files.push(ExportedFile { name: IMAGE_LIST.to_owned(), bytes: list.into_bytes() });
    }
    files
}

fn next_for_caffe(name: &str, options: &CaffeOptions, images: usize) -> String {
    match (options.dialect, images) {
        (Dialect::SvpNpu, _) => format!("give {name}.prototxt and {name}.caffemodel to svp_atc"),
        (Dialect::Nnie, 0) => {
            format!(
                "list 20 to 50 letterboxed images in {IMAGE_LIST} (--data writes them), then: nnie_mapper {name}.nnie.cfg"
            )
        }
        (Dialect::Nnie, _) => format!("in that folder: nnie_mapper {name}.nnie.cfg"),
    }
}
