//! What augmentation may do to a training sample.

use serde::{Deserialize, Serialize};
use yoloslim_core::{Error, Result};

/// The strengths of the augmentations; the defaults are those of the YOLOv3 trainings of 2019-2020
/// (ultralytics/yolov3's `hyp`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Probability that a sample is a mosaic of four images.
    pub mosaic: f32,
    /// Largest shift of the hue to either side, in turns of the colour circle.
    pub hue: f32,
    /// Largest change of the saturation: it is multiplied by 1 - saturation to 1 + saturation.
    pub saturation: f32,
    /// Largest change of the brightness: it is multiplied by 1 - value to 1 + value.
    pub value: f32,
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Largest change of the size: it is multiplied by 1 - scale to 1 + scale.
    pub scale: f32,
    /// Largest shift to either side, in sizes of the net's input.
    pub translate: f32,
    /// Boxes that end up at most this wide or high, in pixels of the net's input, are dropped. The YOLOv3
    /// trainings use 4, which takes a good part of the objects of small-object sets away.
    pub min_box: f32,
    /// Probability that a small object is pasted a second time, somewhere where nothing is labelled.
    #[serde(skip_serializing_if = "is_zero")]
    pub copy_paste: f32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &f32) -> bool {
    *number == 0.0
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            mosaic: 1.0,
            hue: 0.015,
            saturation: 0.7,
            value: 0.4,
            flip: 0.5,
            scale: 0.5,
            translate: 0.1,
            min_box: 2.0,
            copy_paste: 0.0,
        }
    }
}

impl Augment {
    /// No augmentation: training sees what inference sees.
    pub fn none() -> Self {
        Self {
            mosaic: 0.0,
            hue: 0.0,
            saturation: 0.0,
            value: 0.0,
            flip: 0.0,
            scale: 0.0,
            translate: 0.0,
            min_box: 0.0,
            copy_paste: 0.0,
        }
    }

    /// Checks that every strength lies where its meaning holds.
    ///
    /// # Errors
    /// Names the first field that doesn't and the range it must lie in.
    pub fn check(&self) -> Result<()> {
        let fields = [
            ("mosaic", self.mosaic, 1.0),
            ("hue", self.hue, 0.5),
            ("saturation", self.saturation, 1.0),
            ("value", self.value, 1.0),
            ("flip", self.flip, 1.0),
            ("scale", self.scale, 0.9),
            ("translate", self.translate, 0.9),
            ("min_box", self.min_box, 1000.0),
            ("copy_paste", self.copy_paste, 1.0),
        ];
        for (name, value, most) in fields {
            if !(0.0..=most).contains(&value) {
                let error = Error::at("augment", format!("{name} = {value} is out of range"));
                return Err(error.fix(format!("set {name} from 0 to {most}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_take_their_defaults_and_unknown_ones_are_refused() {
        let augment: Augment = toml::from_str("mosaic = 0.5").unwrap();
        assert_eq!(augment, Augment { mosaic: 0.5, ..Augment::default() });
        assert!(toml::from_str::<Augment>("mosiac = 0.5").unwrap_err().to_string().contains("mosiac"));
    }

    #[test]
    fn a_strength_out_of_range_is_named() {
        assert!(Augment::default().check().is_ok() && Augment::none().check().is_ok());
        for bad in [1.5, -0.1, f32::NAN] {
            let error = Augment { flip: bad, ..Augment::none() }.check().unwrap_err().to_string();
            assert!(error.contains("flip") && error.contains("from 0 to 1"), "{error}");
        }
    }
}
