//! The cheapest way of quantising that keeps the detections: other rules for the ranges and corrected biases cost the
//! chip nothing, layers in floating point do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use yoloslim_core::Result;
use yoloslim_core::quant::Calibration;

use super::{Calibrated, LayerSensitivity, Quantised, high_precision};

/// What costs nothing on the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// How ranges of activations are chosen.
    pub calibration: Calibration,
    /// Shift biases so that the mean of each filter stays what it was.
    pub bias_correction: bool,
}

/// One way that was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// What costs nothing.
    #[serde(flatten)]
    pub setting: Setting,
    /// How many convolutions were in floating point.
    pub float_layers: usize,
    /// What accuracy was lost.
    pub lost: f64,
}

/// What was found.
pub struct Found {
    /// The net.
    pub quantised: Quantised,
    /// How it was quantised.
    pub setting: Setting,
    /// What accuracy it loses; none where nothing was tried.
    pub lost: Option<f64>,
    /// All that was tried, in order.
    pub trials: Vec<Trial>,
}

/// What there is to choose from.
pub struct Levers<'a> {
    /// The net, observed.
    pub calibrated: &'a Calibrated,
    /// Images for the correction of biases.
    pub paths: &'a [PathBuf],
    /// Settings to try, the preferred first.
    pub settings: &'a [Setting],
    /// Convolutions in floating point in any case.
    pub always: &'a BTreeSet<usize>,
    /// The loss that is small enough.
    pub most: f64,
    /// Is told how many steps of how many a correction of biases has done.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Levers<'_> {
    /// Quantises as the first setting says.
    ///
    /// # Errors
    /// An image that can't be read.
    ///
    /// # Panics
    /// If there is no setting.
    pub fn plain(&self) -> Result<Found> {
        let setting = self.settings[0];
        Ok(Found { quantised: self.quantise(setting, self.always)?, setting, lost: None, trials: Vec::new() })
    }

    /// The first setting that loses little enough by `loss`; if none does, the one that loses least, with as few of the
    /// most sensitive layers in floating point as keep the loss small, `sensitivity` telling which these are.
    ///
    /// # Errors
    /// Whatever `loss` and `sensitivity` fail on; an image that can't be read.
    ///
    /// # Panics
    /// If there is no setting.
    pub fn search(
        &self,
        loss: &mut dyn FnMut(&Quantised) -> Result<f64>,
        sensitivity: &mut dyn FnMut(&Calibrated) -> Result<Vec<LayerSensitivity>>,
    ) -> Result<Found> {
        let mut trials: Vec<Trial> = Vec::new();
        let mut measure = |setting: Setting, float: &BTreeSet<usize>| -> Result<(Quantised, f64)> {
            let quantised = self.quantise(setting, float)?;
            let lost = loss(&quantised)?;
            trials.push(Trial { setting, float_layers: float.len(), lost });
            Ok((quantised, lost))
        };
        let mut best: Option<(Setting, f64)> = None;
        for setting in self.settings {
            let (quantised, lost) = measure(*setting, self.always)?;
            if lost <= self.most {
                return Ok(Found { quantised, setting: *setting, lost: Some(lost), trials });
            }
            if best.is_none_or(|(_, least)| lost < least) {
                best = Some((*setting, lost));
            }
        }
        let (setting, least) = best.expect("there is a setting");
        let table = sensitivity(&self.calibrated.by(setting.calibration))?;
        // The last net that loses little enough is the one that is found, and need not be made again.
        let mut last: Option<(BTreeSet<usize>, Quantised, f64)> = None;
        let float = high_precision(self.always, &table, self.most, &mut |float| {
            if float == self.always {
                return Ok(least);
            }
            let (quantised, lost) = measure(setting, float)?;
            if lost <= self.most || last.is_none() {
                last = Some((float.clone(), quantised, lost));
            }
            Ok(lost)
        })?;
        let (quantised, lost) = match last.filter(|(layers, ..)| *layers == float) {
            Some((_, quantised, lost)) => (quantised, Some(lost)),
            None => (self.quantise(setting, &float)?, (float == *self.always).then_some(least)),
        };
        Ok(Found { quantised, setting, lost, trials })
    }

    fn quantise(&self, setting: Setting, float: &BTreeSet<usize>) -> Result<Quantised> {
        let mut quantised = self.calibrated.by(setting.calibration).with_float(float.clone());
        if setting.bias_correction {
            quantised.correct_biases(self.paths, &mut |done, of| (self.progress)(done, of))?;
        }
        Ok(quantised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use crate::quant::QuantiseOptions;
    use std::path::Path;
    use yoloslim_core::Network;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::quant::{Profile, Scheme};

    const CFG: &str = "[net]\nwidth=32\nheight=32\n\
        [convolutional]\nfilters=4\nsize=3\nstride=4\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=4\nactivation=leaky\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=8,8\nclasses=2\n";

    const SETTINGS: [Setting; 3] = [
        Setting { calibration: Calibration::Mse, bias_correction: false },
        Setting { calibration: Calibration::Mse, bias_correction: true },
        Setting { calibration: Calibration::MinMax, bias_correction: false },
    ];

    fn pictures(folder: &Path) -> Vec<PathBuf> {
        synthetic::generate(folder, 1, 2, 1, 96).unwrap();
        let files = std::fs::read_dir(folder.join("images/train")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    #[test]
    fn what_costs_nothing_is_tried_before_layers_in_floating_point() {
        let folder = tempfile::tempdir().unwrap();
        let paths = pictures(folder.path());
        let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        let scheme = Scheme::Int8(Profile::OnnxRuntime);
        let options = QuantiseOptions { scheme, calibration: Calibration::Mse, equalise: false };
        let calibrated = Calibrated::new(&network, &paths, &options, &mut |_| {}).unwrap();
        let always = BTreeSet::from([2]);
        // What the settings lose, and what a layer in floating point wins back.
        let searched = |losses: [f64; 3], won: f64| {
            let levers = Levers {
                calibrated: &calibrated,
                paths: &paths,
                settings: &SETTINGS,
                always: &always,
                most: 0.01,
                progress: &|_, _| {},
            };
            let mut asked = 0;
            let mut loss = |quantised: &Quantised| {
                asked += 1;
                let layers = quantised.quantisation.float_layers.len() - 1;
                Ok(if layers == 0 { losses[asked - 1] } else { losses[1] - won * layers as f64 })
            };
            let layer = |layer, head_error| LayerSensitivity { layer, place: String::new(), head_error };
            let mut sensitivity = |_: &Calibrated| Ok(vec![layer(0, 0.1), layer(1, 0.5), layer(2, 0.9)]);
            levers.search(&mut loss, &mut sensitivity).unwrap()
        };
        let first = searched([0.01, 0.0, 0.0], 0.0);
        assert_eq!((first.lost, searched([0.02, 0.005, 0.0], 0.0).lost), (Some(0.01), Some(0.005)));
        assert!(first.setting == SETTINGS[0] && first.trials.len() == 1 && first.quantised.network == network.folded());
        let second = searched([0.02, 0.005, 0.0], 0.0);
        assert!(second.setting == SETTINGS[1] && second.trials.len() == 2);
        assert_ne!(second.quantised.network.conv(0).bias, network.conv(0).bias, "biases are corrected");
        let layers = searched([0.04, 0.03, 0.05], 0.02);
        assert_eq!((layers.setting, layers.trials.len()), (SETTINGS[1], 4));
        assert_eq!(layers.quantised.quantisation.float_layers, BTreeSet::from([1, 2]));
        assert_eq!(layers.trials[3].float_layers, 2);
        assert!((layers.lost.unwrap() - 0.01).abs() < 1e-9, "{:?}", layers.lost);
    }
}
