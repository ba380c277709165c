//! `detect`: the objects of pictures, as a list, as JSON and drawn.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use yoloslim::data::{self, Rgb};
use yoloslim::detect::Detector;
use yoloslim::draw;
use yoloslim::run_folder::CLASS_NAMES;
use yoloslim_core::boxes::Detection;
use yoloslim_core::{Error, Result, files, labels, path_text};

use super::classes::ClassArgs;
use super::inference::InferenceArgs;
use super::net::NetArgs;
use super::numbers::share;
use super::origin;
use crate::term::{self, Next, Term, beside};

/// Find objects in pictures
#[derive(Debug, Args)]
pub struct Detect {
    #[command(flatten)]
    net: NetArgs,
    /// Pictures, or folders of pictures; turned as their EXIF data say
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder for the pictures with their boxes drawn
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Least score of a detection
    #[arg(long, default_value_t = 0.25, value_name = "F", value_parser = share::<f32>)]
    conf: f32,
    #[command(flatten)]
    inference: InferenceArgs,
    /// Class names, one a line [default: classes.names beside the cfg or above it, as runs have it]
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    #[command(flatten)]
    classes: ClassArgs,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// One detection, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Found {
    /// The picture.
    #[serde(serialize_with = "path_text::one")]
    image: PathBuf,
    /// Class index.
    class: usize,
    /// Class name; its index where there are no names.
    name: String,
    /// 0 to 1.
    score: f32,
    /// x0, y0, x1, y1 in pixels of the picture.
    #[serde(rename = "box")]
    bbox: [f64; 4],
}

impl Detect {
    pub fn run(self, term: Term) -> Result<()> {
        let network = self.net.read(term)?;
        let names = self.class_names(network.graph.classes())?;
        let chosen = self.classes.among(&names)?;
        let pictures = find_pictures(&self.paths, term)?;
        let options = self.inference.options(self.conf, 1);
        let mut detector = Detector::new(&network, options).map_err(|e| e.inside(self.net.cfg.display()))?;
        let drawings = self.output.as_deref().map(|folder| Drawings::new(folder, &pictures)).transpose()?;
        let bar = term.progress(pictures.len(), "detecting");
        let (mut all, mut unread, mut undrawn) = (Vec::new(), Vec::new(), None);
        for (i, picture) in pictures.iter().enumerate() {
            let mut image = match Rgb::open_upright(picture) {
                Ok(image) => image,
                Err(error) if pictures.len() == 1 => return Err(error),
                Err(error) => {
                    unread.push(error);
                    bar.inc();
                    continue;
                }
            };
            let mut detections = detector.detect(&image)?;
            detections.retain(|d| chosen.as_ref().is_none_or(|chosen| chosen.contains(&d.class)));
            all.extend(detections.iter().map(|d| found(picture, d, &names)));
            // What is found is worth more than its drawing: a full disk does not cost the list.
            if let Some(drawings) = drawings.as_ref().filter(|_| undrawn.is_none()) {
                draw::draw_detections(&mut image, &detections, &names);
                undrawn = data::save(&image, &drawings.files[i]).err();
            }
            bar.inc();
        }
        bar.finish_and_clear();
        unread.iter().for_each(|error| term.warn(error));
        let read = counted(pictures.len() - unread.len(), "picture");
        if self.json {
            term::print_json(&all)?;
        } else {
            term::print(&all.iter().map(line).collect::<String>())?;
            term.note(format!("{} in {read}", counted(all.len(), "object")));
            if all.is_empty() && self.conf > LOW {
                term.note(format!("a lower --conf, {LOW} say, shows what the net is less sure of"));
            }
        }
        if let Some(error) = undrawn {
            return Err(error);
        }
        if let Some(folder) = self.output.as_ref().filter(|_| !self.json) {
            term.wrote(format!("{read} to {}", folder.display()));
        }
        if !unread.is_empty() {
            let cause = format!("{} can't be read", counted(unread.len(), "picture"));
            return Err(Error::at("detect", cause).fix("see the warnings above; all others are done"));
        }
        if !self.json {
            term.next(self.next());
        }
        Ok(())
    }

    /// The pictures themselves; once they are there, figures.
    fn next(&self) -> Next {
        let NetArgs { cfg, weights } = &self.net;
        if self.output.is_some() {
            return Next::new("eval").path(cfg).path(weights).data(origin::data(cfg).as_deref());
        }
        // Not beside the pictures, where a data set would take them for its own.
        let folder = beside(&self.paths[0], "found");
        Next::typed().output(folder.file_name().map_or_else(|| folder.clone(), PathBuf::from))
    }

    fn class_names(&self, classes: usize) -> Result<Vec<String>> {
        let found = self.names.is_none().then(|| names_near(&self.net.cfg)).flatten();
        let Some(path) = self.names.as_ref().or(found.as_ref()) else {
            return Ok((0..classes).map(|c| c.to_string()).collect());
        };
        let names = labels::read_names(path)?;
        if names.len() != classes && found.is_some() {
            return Ok((0..classes).map(|c| c.to_string()).collect());
        }
        if names.len() != classes {
            return Err(Error::at(path.display(), format!("{} names, but the net has {classes} classes", names.len()))
                .fix("give the names that the net was trained with"));
        }
        Ok(names)
    }
}

/// Warns where a data set's classes are not those that the net of a run was trained for, as many as they may be.
pub fn warn_of_other_classes(cfg: &Path, names: &[String], term: Term) {
    let Some(trained) = names_near(cfg).and_then(|path| labels::read_names(&path).ok()) else { return };
    if trained != names {
        let (trained, here) = (trained.join(", "), names.join(", "));
        term.warn(format!("the net was trained for the classes {trained}, and the data set has {here}"));
    }
}

/// The class names of the run that a cfg lies in, or in a stage of which it lies.
fn names_near(cfg: &Path) -> Option<PathBuf> {
    let cfg = std::path::absolute(cfg).ok()?;
    cfg.ancestors().skip(1).take(2).map(|folder| folder.join(CLASS_NAMES)).find(|path| path.is_file())
}

/// A confidence at which most nets find something.
const LOW: f32 = 0.05;

/// Where the drawn pictures go.
struct Drawings {
    files: Vec<PathBuf>,
}

impl Drawings {
    /// Makes the folder and chooses the names, before any work, so that nothing is overwritten.
    fn new(folder: &Path, pictures: &[PathBuf]) -> Result<Self> {
        let (mut files, mut taken) = (Vec::with_capacity(pictures.len()), HashSet::new());
        for picture in pictures {
            let name = Path::new(picture.file_name().unwrap_or_default());
            let mut file = folder.join(name).with_extension("png");
            if taken.contains(&file) {
                // `a.jpeg` beside `a.jpg`, say.
                file = folder.join(format!("{}.png", name.display()));
            }
            if !taken.insert(file.clone()) {
                return Err(Error::at(picture.display(), "two of the pictures have that name")
                    .fix("draw pictures of equal names one run at a time, each into a folder of its own"));
            }
            if file.exists() {
                return Err(Error::at(file.display(), "it is there already, and nothing is overwritten")
                    .fix("choose another folder"));
            }
            files.push(file);
        }
        files::create_folder(folder)?;
        Ok(Self { files })
    }
}

/// A number and what is counted.
fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn found(image: &Path, d: &Detection, names: &[String]) -> Found {
    let b = d.bbox;
    let bbox = [b.x0, b.y0, b.x1, b.y1];
    Found { image: image.to_owned(), class: d.class, name: names[d.class].clone(), score: d.score, bbox }
}

fn line(f: &Found) -> String {
    let [x0, y0, x1, y1] = f.bbox;
    format!("{}  {} {:.3}  {x0:.1} {y0:.1} {x1:.1} {y1:.1}\n", f.image.display(), f.name, f.score)
}

/// The pictures that are named, those of a folder in the order of their names.
fn find_pictures(paths: &[PathBuf], term: Term) -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for path in paths {
        if !path.is_dir() {
            pictures.push(path.clone());
            continue;
        }
        let (inside, left_out) = labels::images_in(path)?;
        if inside.is_empty() {
            return Err(
                Error::at(path.display(), "the folder has no pictures").fix("give a folder of JPEG, PNG or BMP")
            );
        }
        if let Some(left_out) = left_out {
            term.warn(format!("{}: {left_out}", path.display()));
        }
        pictures.extend(inside);
    }
    Ok(pictures)
}
