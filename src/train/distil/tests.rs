//! Distillation as a whole: what it gives is the gradient of the losses that it tells.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use yoloslim_core::darknet::Cfg;

use super::*;

const CFG: &str = "[net]\nwidth=32\nheight=32\n\
    [convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=4\npad=1\nactivation=mish\n\
    [convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\npad=1\nactivation=mish\n\
    [convolutional]\nfilters=16\nactivation=linear\n\
    [yolo]\nmask=0,1\nanchors=6,6,12,12\nclasses=3\n";

/// A student in training with its teacher, and a batch.
struct Lecture {
    net: TrainNet,
    heads: Vec<Yolo>,
    distillation: Distillation,
    images: Vec<f32>,
    targets: Vec<Target>,
}

impl Lecture {
    fn new() -> Self {
        let network = |cfg: &str, seed| Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), seed).unwrap();
        let student = network(CFG, 1);
        let teacher = network(&CFG.replace("filters=6", "filters=9"), 2);
        let mut losses = DistilLoss::all();
        // So low a margin that every positive counts: at the bound the loss jumps.
        losses.iter_mut().for_each(|loss| {
            if let DistilLoss::BoundedBox(loss) = loss {
                loss.margin = -1e9;
            }
        });
        losses.retain(|loss| !matches!(loss, DistilLoss::ScoreSoftmax(_)));
        let options = DistilOptions { losses, ..DistilOptions::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        Self {
            heads: student.graph.heads().map(|(_, head)| head.clone()).collect(),
            distillation: Distillation::new(teacher, &student.graph, &options, &Workers::alone()).unwrap(),
            net: TrainNet::new(student),
            images: (0..2 * 32 * 32 * 3).map(|_| rng.random()).collect(),
            targets: vec![
                Target { image: 0, class: 1, cx: 0.3, cy: 0.55, w: 0.2, h: 0.25 },
                Target { image: 1, class: 2, cx: 0.8, cy: 0.2, w: 0.4, h: 0.3 },
            ],
        }
    }

    /// The sum of all losses and its gradient with respect to the student's parameters.
    fn run(&mut self) -> (f64, Vec<f32>) {
        let (maps, mut tape) = self.net.forward(self.images.clone(), 2, 32, 32).unwrap();
        let mut slopes: Vec<HeadMap> =
            maps.iter().map(|map| HeadMap { values: vec![0.0; map.values.len()], ..*map }).collect();
        let (heads, hard): (Vec<&Yolo>, _) = (self.heads.iter().collect(), LossOptions::default());
        let targets = &self.targets;
        let lesson =
            Lesson { count: 2, whole: 2, size: (32, 32), targets, heads: &heads, maps: &maps, hard: &hard, share: 1.0 };
        let features = self.distillation.teach(&lesson, &mut self.net, &mut tape, &mut slopes).unwrap();
        let mut gradient = vec![0.0; self.net.layout().parameters()];
        self.net.backward_watched(tape, slopes, features, &mut gradient, &mut ());
        (self.distillation.parts().map(|(_, part)| part).sum(), gradient)
    }
}

#[test]
fn the_gradient_of_all_losses_together_agrees_with_finite_differences_of_the_whole_net() {
    let mut lecture = Lecture::new();
    let (loss, gradient) = lecture.run();
    assert!(loss > 0.0 && lecture.distillation.parts().all(|(_, part)| part > 0.0));
    let start = lecture.net.parameters().to_vec();
    let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for direction in 0..4 {
        // Along the gradient itself first, then along it with a random half of the parameters held still.
        let half: Vec<f32> = gradient
            .iter()
            .map(|g| if direction == 0 || rng.random::<bool>() { *g / norm as f32 } else { 0.0 })
            .collect();
        let slope: f64 = gradient.iter().zip(&half).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let mut at = |step: f32| {
            let moved = start.iter().zip(&half).map(|(p, d)| p + step * d);
            lecture.net.parameters_mut().iter_mut().zip(moved).for_each(|(p, moved)| *p = moved);
            lecture.run().0
        };
        let difference = (at(2e-3) - at(-2e-3)) / 4e-3;
        assert!((slope - difference).abs() < 0.02 * slope.abs(), "direction {direction}: {slope} against {difference}");
    }
}
