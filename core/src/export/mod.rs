//! Nets for other runtimes. All formats but Darknet's start from a [`FoldedNet`]: batch normalisation folded, Darknet's
//! conventions resolved, only nodes that every runtime has a word for. Each writer gives bytes and touches no disk.

pub mod caffe;
pub mod darknet;
pub mod folded;
mod heads;
pub mod ncnn;
pub mod onnx;
pub mod proto;
pub mod safetensors;

pub use folded::FoldedNet;
pub use heads::describe_heads;

/// A file of an export, to be written into its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// Its name, below the folder.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The order of the colours in the images that a net reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Colour {
    /// Red first, as Darknet's nets are trained.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
    /// One channel.
    Grey,
    /// Channels that are no colours.
    Unordered,
}

impl Colour {
    /// What a net of so many input channels reads, as it was trained.
    #[must_use]
    pub fn of(channels: usize) -> Self {
        match channels {
            3 => Self::Rgb,
            1 => Self::Grey,
            _ => Self::Unordered,
        }
    }

    /// `RGB` or `BGR`, where there are colours to be in an order.
    #[must_use]
    pub fn order(self) -> Option<&'static str> {
        matches!(self, Self::Rgb | Self::Bgr).then(|| self.name())
    }

    /// `RGB`, `BGR`, `grayscale` or `none`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
            Self::Grey => "grayscale",
            Self::Unordered => "none",
        }
    }
}
