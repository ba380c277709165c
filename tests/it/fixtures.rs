//! A small net, a small data set, and running the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use npyz::WriterBuilder;
use tempfile::TempDir;
use yoloslim_core::Network;
use yoloslim_core::darknet::Cfg;

/// Two classes, a residual block, two heads.
pub const CFG: &str = "\
[net]
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=8
size=1
activation=leaky

[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
activation=leaky

[shortcut]
from=-3
activation=linear

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=12
size=3
pad=1
activation=leaky

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=2,3
anchors=4,4, 6,6, 10,10, 16,16
classes=2
num=4

[route]
layers=3

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=0,1
anchors=4,4, 6,6, 10,10, 16,16
classes=2
num=4
";

/// A folder with `net.cfg` and `net.weights`, gone when dropped.
pub struct Scene {
    folder: TempDir,
}

impl Scene {
    pub fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        scene.network().write(scene.folder.path(), "net").unwrap();
        scene
    }

    /// The net; its gammas differ, so that pruning has something to choose by.
    pub fn network(&self) -> Network {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 7).unwrap();
        for weights in network.weights.iter_mut().flatten() {
            let Some(norm) = &mut weights.norm else { continue };
            for (i, gamma) in norm.gamma.iter_mut().enumerate() {
                *gamma = 0.1 + i as f32 / 10.0;
            }
        }
        network
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and gives its path as an argument.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A data set of one picture for training and another for validation, each with `label` as its label file.
    /// Gives the path of its `.data`.
    pub fn data(&self, classes: usize, label: &str) -> String {
        for (split, grey) in [("train", 90), ("val", 160)] {
            self.picture(&format!("images/{split}.png"), grey);
            self.write(&format!("labels/{split}.txt"), label);
            let list = format!("{}\n", self.arg(&format!("images/{split}.png")));
            self.write(&format!("{split}.txt"), list);
        }
        let names: String = (0..classes).map(|c| format!("kind{c}\n")).collect();
        let names = self.write("kinds.names", names);
        let (train, val) = (self.arg("train.txt"), self.arg("val.txt"));
        self.write("set.data", format!("classes={classes}\ntrain={train}\nvalid={val}\nnames={names}\n"))
    }

    pub fn picture(&self, name: &str, grey: u8) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        yoloslim::data::save(&yoloslim::data::Rgb::filled(40, 30, [grey; 3]), &path).unwrap();
        path.display().to_string()
    }

    /// Writes a .npy of that shape and gives its path as an argument.
    pub fn npy(&self, name: &str, shape: [u64; 4]) -> String {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
        let mut npy = options.writer(&mut bytes).begin_nd().unwrap();
        npy.extend((0..shape.iter().product::<u64>()).map(|i| (i % 17) as f32 / 17.0)).unwrap();
        npy.finish().unwrap();
        self.write(name, bytes)
    }

    /// Everything in the folder, folders too, sorted.
    pub fn listing(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        let mut open = vec![self.folder.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                all.push(path);
            }
        }
        all.sort();
        all
    }
}

/// Runs the program.
pub fn yoloslim<S: AsRef<str>>(args: &[S]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yoloslim")).args(args.iter().map(AsRef::as_ref)).output().unwrap()
}

/// Runs the program, which must succeed; gives its stdout.
pub fn stdout<S: AsRef<str>>(args: &[S]) -> String {
    let output = yoloslim(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program with `--json`; gives the one document on stdout.
pub fn json<S: AsRef<str>>(args: &[S]) -> serde_json::Value {
    let mut args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    args.push("--json");
    serde_json::from_str(&stdout(&args)).unwrap()
}

/// The files of the shared real data, in `YOLOSLIM_SHARED` or `../shared` beside the checkout, none with a message where they
/// are not there.
///
/// # Panics
/// If there are none and `YOLOSLIM_REQUIRE_SHARED` is set.
pub fn shared(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let root = std::env::var_os("YOLOSLIM_SHARED").map_or_else(beside, PathBuf::from);
    let mut files: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(root.join(folder)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    if files.is_empty() {
        assert!(std::env::var_os("YOLOSLIM_REQUIRE_SHARED").is_none(), "{} has no .{extension}", root.display());
        eprintln!("skipped: {} has no .{extension} in {folders:?}", root.display());
    }
    files.sort();
    files
}
