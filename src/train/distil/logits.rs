//! Raw outputs as logits, and what two of them differ by.

use yoloslim_core::graph::Yolo;

/// A number with its slope along a raw output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sloped {
    pub value: f64,
    pub slope: f64,
}

/// The logit that a raw score (objectness or class) of a head stands for. Heads whose scores went through the logistic
/// function before (scaled YOLOv4) give probabilities.
pub(super) fn logit(head: &Yolo, raw: f32) -> Sloped {
    let raw = f64::from(raw);
    if !head.new_coords {
        return Sloped { value: raw, slope: 1.0 };
    }
    let p = raw.clamp(1e-6, 1.0 - 1e-6);
    Sloped { value: (p / (1.0 - p)).ln(), slope: 1.0 / (p * (1.0 - p)) }
}

/// 1 / (1 + e^-x)
pub(super) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + e^x) without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The divergence KL(q || p) of two binary distributions given by logits, q = logistic(teacher) and
/// p = logistic(student), and its slope along the student's logit, p - q.
pub(super) fn binary_divergence(teacher: f64, student: f64) -> Sloped {
    let (q, p) = (logistic(teacher), logistic(student));
    Sloped { value: (softplus(student) - softplus(teacher) - q * (student - teacher)).max(0.0), slope: p - q }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_is_that_of_the_definition_and_its_slope_that_of_finite_differences() {
        for (teacher, student) in [(0.3, -1.2), (-4.0, 2.0), (5.0, 5.0), (-30.0, 1.0), (0.0, 40.0)] {
            let d = binary_divergence(teacher, student);
            let (q, p) = (logistic(teacher), logistic(student));
            if p < 1.0 {
                let defined = q * (q / p).ln() + (1.0 - q) * ((1.0 - q) / (1.0 - p)).ln();
                assert!((d.value - defined).abs() < 1e-9, "{teacher} {student}: {} {defined}", d.value);
            }
            let at = |step: f64| softplus(student + step) - q * (student + step);
            assert!((d.slope - (at(1e-5) - at(-1e-5)) / 2e-5).abs() < 1e-6, "{teacher} {student}");
        }
    }

    #[test]
    fn a_probability_is_the_logit_that_it_came_from() {
        let head = Yolo { anchors: vec![[1.0, 1.0]], classes: 1, scale_x_y: 1.0, new_coords: true };
        let found = logit(&head, logistic(1.7) as f32);
        assert!((found.value - 1.7).abs() < 1e-5);
        let step = (logit(&head, 0.501).value - logit(&head, 0.499).value) / 0.002;
        assert!((logit(&head, 0.5).slope - step).abs() < 1e-3);
    }
}
