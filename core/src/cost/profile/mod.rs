//! How long a net takes on a device, predicted layer by layer: a profile is a TOML file with the device's values.

mod fit;
mod least_squares;
mod mac_array;
mod measured;
mod table;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use fit::{Fit, fit};
pub use mac_array::{MacArray, Sourced, Work};
pub use measured::{Kind, Measured, Query};
pub use table::{Axis, Table};

use crate::graph::Graph;
use crate::{Error, Result, files};

/// What is known of a device's speed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The device's name.
    pub name: String,
    /// Whether its values come from measurements of the device, not from data sheets and reports.
    pub calibrated: bool,
    /// The nets that its values were fitted to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timed: Vec<TimedNet>,
    /// How its time is worked out.
    pub device: Device,
}

/// A net that somebody timed on the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedNet {
    /// The net's name, its cfg say.
    pub net: String,
    /// Milliseconds that it took.
    pub measured_ms: f64,
    /// Milliseconds that the profile predicts.
    pub predicted_ms: f64,
}

/// A relative error of a net's time beyond which a profile does not describe its device, or a time is wrong.
pub const TOLERANCE: f64 = 0.2;

impl TimedNet {
    /// Whether the prediction is within [`TOLERANCE`].
    #[must_use]
    pub fn is_predicted(&self) -> bool {
        (self.predicted_ms / self.measured_ms - 1.0).abs() <= TOLERANCE
    }
}

/// The models of devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// An array of multiply-add units behind a memory bus.
    MacArray(Box<MacArray>),
    /// A machine on which layers were timed one by one.
    Measured(Measured),
}

impl Profile {
    /// The built-in profiles, by name, as TOML.
    pub const BUILT_IN: [(&str, &str); 2] =
        [("hi3519a", include_str!("hi3519a.toml")), ("hi3559a", include_str!("hi3559a.toml"))];

    /// The file that `cpu` names: the one that `profile measure` writes unless told otherwise, in the folder where the
    /// program is started.
    pub const CPU_FILE: &str = "cpu.toml";

    /// The built-in profile of that name, this machine's for `cpu`, or else the file of that path.
    ///
    /// # Errors
    /// Neither is there, or the file is no profile.
    pub fn find(name_or_path: &str) -> Result<Self> {
        if let Some((name, text)) = Self::BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text).map_err(|e| e.inside(name));
        }
        let path = Path::new(if name_or_path == "cpu" { Self::CPU_FILE } else { name_or_path });
        if name_or_path == "cpu" && !path.exists() {
            return Err(Error::at("cpu", format!("this machine was not measured: there is no {}", Self::CPU_FILE))
                .fix("run yoloslim profile measure, or give the path of a profile"));
        }
        if !path.exists() {
            let names = Self::BUILT_IN.map(|(name, _)| name).join(", ");
            return Err(Error::at(name_or_path, "neither a built-in profile nor a file")
                .fix(format!("give {names}, cpu or the path of a profile")));
        }
        Self::parse(&files::read_text(path)?).map_err(|e| e.inside(path.display()))
    }

    /// A profile from its TOML.
    ///
    /// # Errors
    /// Text that is no profile, naming the line; values that no device has.
    pub fn parse(text: &str) -> Result<Self> {
        let profile: Self = toml::from_str(text).map_err(|e| {
            let line = files::line_of(text, e.span().map(|span| span.start));
            Error::at(line, e.message()).fix("correct the profile")
        })?;
        match &profile.device {
            Device::MacArray(array) => array.check()?,
            Device::Measured(measured) => measured.check()?,
        }
        Ok(profile)
    }

    /// The profile as TOML.
    ///
    /// # Errors
    /// None that values of a checked profile can cause.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::at(&self.name, e))
    }

    /// Predicted milliseconds of one layer for one image.
    #[must_use]
    pub fn layer_ms(&self, graph: &Graph, layer: usize) -> f64 {
        match &self.device {
            Device::MacArray(array) => array.layer_ms(graph, layer),
            Device::Measured(measured) => measured.layer_ms(graph, layer),
        }
    }

    /// Predicted milliseconds of the whole net for one image.
    #[must_use]
    pub fn milliseconds(&self, graph: &Graph) -> f64 {
        (0..graph.layers.len()).map(|layer| self.layer_ms(graph, layer)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_are_read_and_say_that_nobody_measured_them() {
        for (name, text) in Profile::BUILT_IN {
            let profile = Profile::find(name).unwrap();
            assert_eq!((profile.name.as_str(), profile.calibrated), (name, false));
            assert_eq!(Profile::parse(&profile.to_toml().unwrap()).unwrap(), profile, "{text}");
        }
    }

    #[test]
    fn what_is_no_profile_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chip.toml");
        let text = Profile::BUILT_IN[0].1;
        for (from, to, named) in [
            ("cores = ", "coers = ", "chip.toml:9: unknown field `coers`"),
            ("value = 840.0", "value = 0.0", "chip.toml:clock_mhz: 0 is"),
            ("value = 1.0, source = \"ass", "value = 1.5, source = \"ass", "chip.toml:clock_use: 1.5 is"),
        ] {
            assert!(text.contains(from));
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let message = Profile::find(path.to_str().unwrap()).unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
        let message = Profile::find("hi3520").unwrap_err().to_string();
        assert!(message.contains("give hi3519a, hi3559a, cpu or the path"), "{message}");
        let message = Profile::find("cpu").unwrap_err().to_string();
        assert!(message.contains("no cpu.toml; run yoloslim profile measure"), "{message}");
    }
}
