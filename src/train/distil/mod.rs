//! Knowledge distillation: a teacher whose outputs are targets beside the truth.

mod adaptation;
mod bounded_box;
mod cache;
mod channel_wise;
mod features;
mod heads;
mod hint;
mod hints;
mod least_squares;
mod logits;
mod masked;
mod matching;
mod options;
mod row_softmax;
mod soft_targets;
mod teacher;
mod weighted_class;

use yoloslim_core::graph::{Graph, Yolo};
use yoloslim_core::{Error, Network, Result};
use yoloslim_kernels::SgdStep;

pub use bounded_box::BoundedBox;
pub use channel_wise::ChannelWise;
pub use hint::Hint;
pub use hints::HintLayer;
pub use masked::Masked;
pub use options::{DistilLoss, DistilOptions, TeacherFiles};
pub use row_softmax::{RowSoftmax, ScoreSoftmax};
pub use soft_targets::SoftTargets;
pub use weighted_class::WeightedClass;

use crate::data::Target;
use crate::model::{HeadMap, Tape, TrainNet};
use crate::train::LossOptions;
use crate::workers::Workers;
use adaptation::Adaptation;
use cache::Cache;
use features::Features;
use heads::{Heads, Totals};
use hints::Pair;
use matching::Matching;
use options::Seen;
use teacher::{Teacher, View};

/// A teacher that is ready to teach one student.
pub struct Distillation {
    teacher: Teacher,
    /// Where a loss on heads is asked for.
    matching: Option<Matching>,
    /// Where a loss on features is asked for, else empty.
    hints: Vec<Pair>,
    adaptation: Adaptation,
    losses: Vec<DistilLoss>,
    /// Who shares the batches.
    workers: Workers,
    /// The losses of the last batch, in the order of `losses`.
    parts: Vec<f64>,
}

/// The teacher that `options` name, checked to fit the student; none where there is nothing to distil.
///
/// # Errors
/// Options without a teacher, a file that can't be read, a teacher that does not fit.
pub fn read_teacher(options: Option<&DistilOptions>, student: &Graph) -> Result<Option<Network>> {
    let Some(options) = options else { return Ok(None) };
    let Some(files) = &options.teacher else { return Err(no_teacher()) };
    let teacher = files.read()?;
    check(&teacher.graph, student, options)?;
    Ok(Some(teacher))
}

/// Checks that a teacher fits a student, before any work.
///
/// # Errors
/// Options out of range; a teacher that does not fit, with the reason.
pub fn check(teacher: &Graph, student: &Graph, options: &DistilOptions) -> Result<()> {
    fit(teacher, student, options).map(drop)
}

pub(super) fn no_teacher() -> Error {
    Error::at("--distil", "there is no teacher").fix("give --teacher CFG WEIGHTS")
}

/// How a teacher's heads and layers stand for the student's, as far as the losses ask.
fn fit(teacher: &Graph, student: &Graph, options: &DistilOptions) -> Result<(Option<Matching>, Vec<Pair>)> {
    options.check()?;
    matching::check_classes(student, teacher)?;
    let losses = options.losses_or_default();
    let on_heads = losses.iter().any(|loss| matches!(loss.seen(), Seen::Heads(_)));
    let matching = if on_heads { Some(Matching::new(student, teacher)?) } else { None };
    let on_features = losses.iter().any(|loss| matches!(loss.seen(), Seen::Features(_)));
    if !on_features && !options.hint_layers.is_empty() {
        return Err(Error::at("--hint-layers", "of no effect: none of the losses looks at maps inside")
            .fix("add hint, masked or channel-wise to --distil, or leave it out"));
    }
    let hints = if on_features { hints::pairs(&options.hint_layers, student, teacher)? } else { Vec::new() };
    Ok((matching, hints))
}

fn other_size(lesson: &Lesson) -> Error {
    let (width, height) = lesson.size;
    Error::at("--teacher", format!("its maps have another size than the student's at {width}x{height}"))
        .fix("train at a multiple of both nets' strides")
}

/// A student's forward pass over a batch.
pub(super) struct Lesson<'a> {
    /// Images of this worker's share of the batch.
    pub count: usize,
    /// Images of the whole batch.
    pub whole: usize,
    /// Width and height of the input in pixels.
    pub size: (usize, usize),
    /// The objects on them.
    pub targets: &'a [Target],
    /// The student's heads and their raw maps.
    pub heads: &'a [&'a Yolo],
    pub maps: &'a [HeadMap],
    /// The hard loss that distillation is added to.
    pub hard: &'a LossOptions,
    /// What gradients with respect to features are multiplied with: the batch's share of an update.
    pub share: f64,
}

/// Gradients with respect to the outputs of layers.
pub(super) type FeatureGradients = Vec<(usize, Vec<f32>)>;

impl Distillation {
    /// Makes `teacher` ready to teach `student`.
    ///
    /// # Errors
    /// Options out of range; a teacher that does not fit the student, with the reason; a folder of the cache that can't be
    /// made.
    pub fn new(teacher: Network, student: &Graph, options: &DistilOptions, workers: &Workers) -> Result<Self> {
        let (matching, hints) = fit(&teacher.graph, student, options)?;
        let losses = options.losses_or_default();
        let channels: Vec<_> = hints.iter().map(|pair| pair.channels).collect();
        Ok(Self {
            teacher: Teacher::new(
                teacher,
                hints.iter().map(|pair| pair.teacher).collect(),
                options.cache.as_deref().map(Cache::open).transpose()?,
            ),
            matching,
            adaptation: Adaptation::new(&channels),
            hints,
            parts: vec![0.0; losses.len()],
            losses,
            workers: workers.clone(),
        })
    }

    /// Checks that the teacher takes images of `size` (width, height).
    ///
    /// # Errors
    /// A size that does not fit it.
    pub(super) fn fits(&self, size: (usize, usize)) -> Result<()> {
        self.teacher.fits(size)
    }

    /// Computes all losses of a forward pass: adds their gradients with respect to the student's head maps to
    /// `gradients` and gives those with respect to its features.
    ///
    /// # Errors
    /// An input size that does not fit the teacher.
    pub(super) fn teach(
        &mut self,
        lesson: &Lesson,
        net: &mut TrainNet,
        tape: &mut Tape,
        gradients: &mut [HeadMap],
    ) -> Result<FeatureGradients> {
        let View { heads, maps } = match lesson.count {
            // A worker whose share of a batch is empty.
            0 => View { heads: lesson.maps.to_vec(), maps: self.hints.iter().map(Pair::empty).collect() },
            count => {
                let View { heads, maps } = self.teacher.look(tape.images(), count, lesson.size)?;
                let aligned = self.matching.as_ref().map(|matching| matching.align(heads));
                let grid = |map: &HeadMap| (map.rows, map.cols);
                if aligned.as_ref().is_some_and(|maps| !maps.iter().map(grid).eq(lesson.maps.iter().map(grid))) {
                    return Err(other_size(lesson));
                }
                View { heads: aligned.unwrap_or_default(), maps }
            }
        };
        self.parts.fill(0.0);
        if self.matching.is_some() {
            let mut heads = Heads {
                heads: lesson.heads,
                student: lesson.maps,
                teacher: &heads,
                input: lesson.size,
                targets: lesson.targets,
                hard: lesson.hard,
                totals: Totals::default(),
            };
            heads.totals = heads.sums().sum(&self.workers);
            for (part, loss) in self.parts.iter_mut().zip(&self.losses) {
                if let Seen::Heads(loss) = loss.seen() {
                    *part = loss.add(&heads, gradients);
                }
            }
        }
        let mut features = Vec::with_capacity(maps.len());
        for (index, teacher) in maps.iter().enumerate() {
            let layer = self.hints[index].student;
            let student = net.map(layer, tape);
            features.push((layer, self.hint(index, lesson, student, teacher)?));
        }
        self.workers.sum(&mut self.parts);
        Ok(features)
    }

    /// Computes all losses on one pair of maps; gives the gradient with respect to the student's.
    fn hint(&mut self, index: usize, lesson: &Lesson, student: &[f32], teacher: &HeadMap) -> Result<Vec<f32>> {
        let pair = &self.hints[index];
        let (channels_in, channels) = pair.channels;
        let cells = teacher.values.len() / channels;
        if student.len() != cells * channels_in {
            return Err(other_size(lesson));
        }
        self.adaptation.fit(index, student, &teacher.values, &self.workers);
        let adapted = self.adaptation.forward(index, student);
        let features = Features {
            student: &adapted,
            teacher: &teacher.values,
            images: lesson.count,
            whole: lesson.whole,
            workers: &self.workers,
            grid: (teacher.rows, teacher.cols),
            channels,
            anchors: &pair.anchors,
            input: lesson.size,
            targets: lesson.targets,
        };
        let mut gradient = vec![0.0; adapted.len()];
        let pairs = self.hints.len() as f64;
        for (part, loss) in self.parts.iter_mut().zip(&self.losses) {
            if let Seen::Features(loss) = loss.seen() {
                *part += loss.add(&features, lesson.share / pairs, &mut gradient) / lesson.share;
            }
        }
        Ok(self.adaptation.backward(index, student, &gradient))
    }

    /// Why something beside the losses was given up, told once.
    pub(super) fn complaint(&mut self) -> Option<Error> {
        self.teacher.complaint()
    }

    /// Moves the adaptation layers by the gradients that were gathered.
    pub(super) fn update(&mut self, step: &SgdStep) {
        self.adaptation.update(step);
    }

    /// Adds up what all workers have gathered, before it is looked at.
    pub(super) fn collect(&mut self) {
        self.adaptation.collect(&self.workers);
    }

    /// Forgets the gradients that were gathered, and layers that a batch without numbers was fitted to.
    pub(super) fn drop_gathered(&mut self) {
        self.adaptation.drop_gathered();
    }

    /// Whether all that was gathered is numbers.
    pub(super) fn is_finite(&self) -> bool {
        self.adaptation.is_finite()
    }

    /// Tells teachers apart.
    pub(super) fn fingerprint(&self) -> &str {
        self.teacher.fingerprint()
    }

    /// Parameters, velocity and gathered gradients of the adaptation layers, which going on needs.
    pub(super) fn state(&self) -> [&[f32]; 3] {
        self.adaptation.state()
    }

    /// Puts a [`Distillation::state`] back; false if it is none of this teacher and student.
    pub(super) fn restore(&mut self, state: [Vec<f32>; 3]) -> bool {
        self.adaptation.restore(state)
    }

    /// Names and values of the last batch's losses.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.losses.iter().map(DistilLoss::name).zip(self.parts.iter().copied())
    }
}

#[cfg(test)]
mod tests;
