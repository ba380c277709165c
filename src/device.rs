//! Where the numbers are crunched.

use std::fmt;
use std::str::FromStr;

use yoloslim_core::{Error, Result};

/// A device that `--device` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// All cores of this machine, or as many as `--threads` says.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
    /// A GPU that speaks Vulkan, by its number.
    Vulkan(usize),
    /// Apple's GPU.
    Metal,
}

impl Device {
    /// Fails unless this build can run on the device.
    ///
    /// # Errors
    /// Any GPU: this build has the CPU only.
    pub fn require(self) -> Result<()> {
        match self {
            Self::Cpu => Ok(()),
            _ => Err(Error::at(format!("--device {self}"), "this build has the CPU only").fix("give --device cpu")),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (kind, number) = text.split_once(':').unwrap_or((text, "0"));
        let number = number.parse::<usize>().ok();
        match (kind, number) {
            ("cpu", _) if text == "cpu" => Ok(Self::Cpu),
            ("metal", _) if text == "metal" => Ok(Self::Metal),
            ("cuda", Some(n)) => Ok(Self::Cuda(n)),
            ("vulkan", Some(n)) => Ok(Self::Vulkan(n)),
            _ => Err("give cpu, cuda:N, vulkan:N or metal".to_owned()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Vulkan(n) => write!(f, "vulkan:{n}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_as_it_was_typed() {
        for name in ["cpu", "cuda:0", "cuda:3", "vulkan:1", "metal"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for name in ["", "gpu", "cpu:1", "metal:0", "cuda:x", "cuda:-1"] {
            assert!(name.parse::<Device>().is_err(), "{name}");
        }
    }

    #[test]
    fn only_the_cpu_is_there() {
        assert!(Device::Cpu.require().is_ok());
        let message = Device::Cuda(1).require().unwrap_err().to_string();
        assert_eq!(message, "--device cuda:1: this build has the CPU only; give --device cpu");
    }
}
