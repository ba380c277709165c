//! 1x1 convolutions that bring the student's maps to the teacher's channels. They are trained along and belong to
//! neither net: a checkpoint holds them, the weights don't.

use std::ops::Range;

use yoloslim_kernels::{self as k, Activation, ConvShape, Epilogue, Scratch, SgdStep};

use super::least_squares;
use crate::workers::Workers;

/// The adaptation layers of all hints, on flat parameters.
pub(super) struct Adaptation {
    layers: Vec<Layer>,
    /// Kernels, `[out][in]` each; empty until the first batch has fitted them.
    parameters: Vec<f32>,
    velocity: Vec<f32>,
    gradients: Vec<f32>,
    scratch: Scratch,
}

struct Layer {
    channels_in: usize,
    channels_out: usize,
    kernel: Range<usize>,
}

impl Layer {
    fn shape(&self, cells: usize) -> ConvShape {
        dense(cells, self.channels_in, self.channels_out)
    }
}

/// A 1x1 convolution over `cells` cells.
fn dense(cells: usize, channels_in: usize, channels_out: usize) -> ConvShape {
    ConvShape {
        batch: 1,
        height: cells,
        width: 1,
        channels_in,
        channels_out,
        size: 1,
        stride_y: 1,
        stride_x: 1,
        pad: 0,
        dilation: 1,
        groups: 1,
    }
}

impl Adaptation {
    /// Layers between `channels`, (student, teacher) each.
    pub fn new(channels: &[(usize, usize)]) -> Self {
        let mut end = 0;
        let layers = channels.iter().map(|&(channels_in, channels_out)| {
            let start = end;
            end += channels_in * channels_out;
            Layer { channels_in, channels_out, kernel: start..end }
        });
        let layers: Vec<Layer> = layers.collect();
        let zeros = vec![0.0; end];
        Self { layers, parameters: Vec::new(), velocity: zeros.clone(), gradients: zeros, scratch: Scratch::default() }
    }

    /// Parameters, velocity and gathered gradients.
    pub fn state(&self) -> [&[f32]; 3] {
        [&self.parameters, &self.velocity, &self.gradients]
    }

    /// Puts a [`Adaptation::state`] back; false, with nothing changed, if it is of other layers.
    pub fn restore(&mut self, [parameters, velocity, gradients]: [Vec<f32>; 3]) -> bool {
        let len = self.gradients.len();
        let fits = [0, len].contains(&parameters.len()) && velocity.len() == len && gradients.len() == len;
        if fits {
            (self.parameters, self.velocity, self.gradients) = (parameters, velocity, gradients);
        }
        fits
    }

    /// Sets layer `index` to what takes `student` nearest to `teacher` (`[cell][channel]`), unless it was set before. Layers are
    /// set in their order.
    ///
    /// A random layer would pull the student to a random projection of the teacher until it is trained, which takes
    /// longer than many a fine-tuning.
    ///
    /// All workers fit the same layer, each with its share of the maps.
    pub fn fit(&mut self, index: usize, student: &[f32], teacher: &[f32], workers: &Workers) {
        let layer = &self.layers[index];
        if self.parameters.len() >= layer.kernel.end {
            return;
        }
        let (n, cells) = (layer.channels_in, student.len() / layer.channels_in);
        let (mut gram, mut products) = (vec![0.0; n * n], vec![0.0; layer.kernel.len()]);
        if cells > 0 {
            k::conv_backward_weights(&dense(cells, n, n), student, student, &mut gram, &mut self.scratch);
            k::conv_backward_weights(&layer.shape(cells), student, teacher, &mut products, &mut self.scratch);
        }
        sum(workers, &mut gram);
        sum(workers, &mut products);
        self.parameters.extend(least_squares::solve(&gram, &products, n));
    }

    /// The student's map in the teacher's channels, `[cell][channel]`.
    pub fn forward(&mut self, index: usize, student: &[f32]) -> Vec<f32> {
        if student.is_empty() {
            return Vec::new();
        }
        let layer = &self.layers[index];
        let shape = layer.shape(student.len() / layer.channels_in);
        let mut out = vec![0.0; shape.height * layer.channels_out];
        let kernel = &self.parameters[layer.kernel.clone()];
        let epilogue = Epilogue::new(None, Activation::Linear);
        k::conv_forward_once(&shape, kernel, student, epilogue, &mut out, &mut self.scratch);
        out
    }

    /// Gathers the gradient of layer `index` and gives that of the student's map.
    pub fn backward(&mut self, index: usize, student: &[f32], out_gradient: &[f32]) -> Vec<f32> {
        if student.is_empty() {
            return Vec::new();
        }
        let layer = &self.layers[index];
        let shape = layer.shape(student.len() / layer.channels_in);
        let gradient = &mut self.gradients[layer.kernel.clone()];
        k::conv_backward_weights(&shape, student, out_gradient, gradient, &mut self.scratch);
        let mut dx = vec![0.0; student.len()];
        let kernel = &self.parameters[layer.kernel.clone()];
        k::conv_backward_data(&shape, kernel, out_gradient, &mut dx, false, &mut self.scratch);
        dx
    }

    /// Puts the sum of all workers' gradients in place of this one's.
    pub fn collect(&mut self, workers: &Workers) {
        sum(workers, &mut self.gradients);
    }

    /// Forgets what was gathered; layers that were fitted to no numbers are fitted again.
    pub fn drop_gathered(&mut self) {
        self.gradients.fill(0.0);
        if !self.parameters.iter().all(|p| p.is_finite()) {
            self.parameters.clear();
            self.velocity.fill(0.0);
        }
    }

    /// Whether all parameters, velocities and gradients are numbers.
    pub fn is_finite(&self) -> bool {
        self.state().into_iter().flatten().all(|v| v.is_finite())
    }

    /// Moves the parameters by what was gathered.
    pub fn update(&mut self, step: &SgdStep) {
        if self.parameters.len() == self.gradients.len() {
            // No average is kept: these layers are dropped in the end.
            let mut unused = vec![0.0; self.parameters.len()];
            k::sgd_nesterov(&mut self.parameters, &mut self.gradients, &mut self.velocity, &mut unused, step);
        }
    }
}

fn sum(workers: &Workers, values: &mut [f32]) {
    if let Some(sum) = workers.start_sum(values) {
        values.copy_from_slice(&sum.wait());
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn a_fitted_layer_gives_what_is_a_linear_function_of_the_students_map() {
        let mut adaptation = Adaptation::new(&[(3, 5)]);
        let student = noise(60 * 3, 1);
        let kernel = noise(15, 2);
        let teacher: Vec<f32> = student
            .chunks_exact(3)
            .flat_map(|x| kernel.chunks_exact(3).map(move |w| w.iter().zip(x).map(|(w, x)| w * x).sum()))
            .collect();
        adaptation.fit(0, &student, &teacher, &Workers::alone());
        let adapted = adaptation.forward(0, &student);
        let distance: f32 = adapted.iter().zip(&teacher).map(|(a, t)| (a - t).powi(2)).sum();
        let norm: f32 = teacher.iter().map(|t| t * t).sum();
        assert!(distance < 1e-4 * norm, "{distance} of {norm}");
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let mut adaptation = Adaptation::new(&[(2, 2), (3, 4)]);
        adaptation.parameters = noise(adaptation.gradients.len(), 5);
        let (student, slopes) = (noise(6 * 3, 3), noise(6 * 4, 4));
        let objective = |a: &mut Adaptation, student: &[f32]| -> f64 {
            a.forward(1, student).iter().zip(&slopes).map(|(o, s)| f64::from(o * s)).sum()
        };
        let dx = adaptation.backward(1, &student, &slopes);
        for (i, slope) in dx.iter().enumerate() {
            let mut at = |step: f32| {
                let mut student = student.clone();
                student[i] += step;
                objective(&mut adaptation, &student)
            };
            let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((f64::from(*slope) - difference).abs() < 1e-4, "input {i}: {slope} {difference}");
        }
        let gradients = adaptation.gradients.clone();
        assert!(gradients[..4].iter().all(|g| *g == 0.0));
        for (i, slope) in gradients.iter().enumerate().skip(4) {
            let mut at = |step: f32| {
                adaptation.parameters[i] += step;
                let value = objective(&mut adaptation, &student);
                adaptation.parameters[i] -= step;
                value
            };
            let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((f64::from(*slope) - difference).abs() < 1e-4, "weight {i}: {slope} {difference}");
        }
    }
}
