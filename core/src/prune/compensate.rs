//! Selecting what stays of a convolution, with what the removed inputs added moved to where it stays: into running
//! mean or bias, or onto a carrier's taps where a border would tell the difference.

use crate::network::{BatchNorm, ConvWeights};

/// What a convolution reads and how, in one group.
pub struct Inputs<'a> {
    /// For each input channel of the group, how it stands.
    pub channels: &'a [Input],
    /// Whether the convolution sees zeros beyond the border.
    pub padded: bool,
    /// Taps a channel: size times size.
    pub taps: usize,
}

/// How an input channel stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// It stays as it is.
    Kept,
    /// It was `constant` and goes.
    Gone {
        /// What it held everywhere.
        constant: f64,
    },
    /// It was `constant` and becomes a carrier.
    Carrier {
        /// What it held everywhere.
        constant: f64,
        /// What it holds now.
        carried: f64,
    },
}

/// The kernel of one filter over the inputs that stay, and what the others added everywhere.
#[must_use]
pub fn slim_filter(kernel: &[f32], inputs: &Inputs) -> (Vec<f32>, f64) {
    let mut constant_taps = vec![0.0f64; inputs.taps];
    for (taps, input) in kernel.chunks(inputs.taps).zip(inputs.channels) {
        if let Input::Gone { constant } | Input::Carrier { constant, .. } = input {
            constant_taps.iter_mut().zip(taps).for_each(|(sum, w)| *sum += f64::from(*w) * constant);
        }
    }
    let mut carried_already = !inputs.padded;
    let mut slim = Vec::new();
    for (taps, input) in kernel.chunks(inputs.taps).zip(inputs.channels) {
        match input {
            Input::Kept => slim.extend(taps),
            Input::Gone { .. } => {}
            Input::Carrier { carried, .. } if !carried_already => {
                slim.extend(constant_taps.iter().map(|sum| (sum / carried) as f32));
                constant_taps.fill(0.0);
                carried_already = true;
            }
            Input::Carrier { .. } => slim.extend(std::iter::repeat_n(0.0, inputs.taps)),
        }
    }
    (slim, constant_taps.iter().sum())
}

/// The filters of `weights` in `kept`, each over the inputs of its group (`groups` as there are groups).
#[must_use]
pub fn slim_convolution(weights: &ConvWeights, kept: &[usize], groups: &[Inputs]) -> ConvWeights {
    let filters = weights.bias.len();
    let row = weights.kernel.len() / filters.max(1);
    let select = |values: &[f32]| kept.iter().map(|f| values[*f]).collect::<Vec<f32>>();
    let mut slim = ConvWeights {
        bias: select(&weights.bias),
        norm: weights.norm.as_ref().map(|n| BatchNorm {
            gamma: select(&n.gamma),
            mean: select(&n.mean),
            variance: select(&n.variance),
        }),
        kernel: Vec::new(),
    };
    for (new, &old) in kept.iter().enumerate() {
        let group = &groups[old / (filters / groups.len())];
        let (kernel, added) = slim_filter(&weights.kernel[old * row..(old + 1) * row], group);
        slim.kernel.extend(kernel);
        let shift = |value: &mut f32, by: f64| *value = (f64::from(*value) + by) as f32;
        match &mut slim.norm {
            Some(norm) => shift(&mut norm.mean[new], -added),
            None => shift(&mut slim.bias[new], added),
        }
    }
    slim
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

    #[test]
    fn without_a_carrier_what_is_gone_adds_up_to_one_number() {
        let channels = [Input::Kept, Input::Gone { constant: 0.5 }, Input::Gone { constant: -1.0 }, Input::Kept];
        let inputs = Inputs { channels: &channels, padded: true, taps: 2 };
        assert_eq!(slim_filter(&KERNEL, &inputs), (vec![1.0, 2.0, 7.0, 8.0], 3.5 - 11.0));
    }

    #[test]
    fn the_first_carrier_takes_all_taps_of_a_padded_convolution_and_none_else() {
        let carrier = |constant| Input::Carrier { constant, carried: 2.0 };
        let channels = [Input::Gone { constant: 1.0 }, carrier(3.0), carrier(0.0), Input::Kept];
        let padded = Inputs { channels: &channels, padded: true, taps: 2 };
        // (1 + 9, 2 + 12) / 2
        assert_eq!(slim_filter(&KERNEL, &padded), (vec![5.0, 7.0, 0.0, 0.0, 7.0, 8.0], 0.0));
        let bare = Inputs { padded: false, ..padded };
        assert_eq!(slim_filter(&KERNEL, &bare), (vec![0.0, 0.0, 0.0, 0.0, 7.0, 8.0], 24.0));
    }
}
