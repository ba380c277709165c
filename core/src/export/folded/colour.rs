//! The order of the colours that a net reads.

use super::{FoldedNet, Operator, Value};
use crate::{Error, Result};

impl FoldedNet {
    /// The same net for images whose channels come in reverse: a net for RGB becomes one for BGR. The input channels of
    /// the convolutions that read the image change places.
    ///
    /// # Errors
    /// A layer other than a plain convolution that reads the image.
    pub fn with_reversed_colours(mut self) -> Result<Self> {
        for node in self.nodes.iter_mut().filter(|node| node.inputs.contains(&Value::Image)) {
            match &mut node.operator {
                Operator::Convolution(c) if c.groups == 1 => {
                    let taps = c.size * c.size;
                    for filter in c.kernel.chunks_exact_mut(taps * self.input.channels) {
                        let reversed: Vec<f32> = filter.chunks_exact(taps).rev().flatten().copied().collect();
                        filter.copy_from_slice(&reversed);
                    }
                }
                _ => {
                    let cause = "it reads the image, and only plain convolutions can be given their colours in reverse";
                    return Err(Error::at(&node.place, cause).fix("keep the net's own order, RGB"));
                }
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::darknet::Cfg;

    fn net(layers: &str) -> FoldedNet {
        let text = format!("[net]\nwidth=4\nheight=4\n{layers}");
        FoldedNet::of(&Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap())
    }

    #[test]
    fn the_first_kernels_change_places_and_back() {
        let rgb = net("[convolutional]\nfilters=2\nsize=3\nactivation=linear\n");
        let bgr = rgb.clone().with_reversed_colours().unwrap();
        let kernel = |net: &FoldedNet| net.convolutions().next().unwrap().1.kernel.clone();
        assert_eq!(kernel(&bgr)[..9], kernel(&rgb)[18..27]);
        assert_eq!(kernel(&bgr)[9..18], kernel(&rgb)[9..18]);
        assert_eq!(kernel(&bgr)[27..36], kernel(&rgb)[45..54]);
        assert_eq!(bgr.with_reversed_colours().unwrap(), rgb);
    }

    #[test]
    fn what_else_reads_the_image_is_named() {
        let message = net("[maxpool]\nsize=2\nstride=2\n").with_reversed_colours().unwrap_err().to_string();
        assert!(message.contains("[maxpool] #0") && message.contains("keep the net's own order"), "{message}");
    }
}
