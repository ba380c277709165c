//! Training as a Darknet cfg tells it: the schedule, the batch and the augmentation of its `[net]` section.

use serde::{Deserialize, Serialize};
use yoloslim_core::darknet::{Cfg, Section};
use yoloslim_core::{Error, Result};

use super::TrainOptions;
use super::loss::{BoxLoss, Normalise};

/// A learning rate over updates, as a share of the largest (Darknet's `get_current_rate`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DarknetSchedule {
    /// Updates over which the rate rises.
    pub burn_in: usize,
    /// The power of that rise, and of `poly`'s fall.
    pub power: f64,
    /// Updates in all; 0 where the cfg does not say.
    pub max_batches: usize,
    /// How it falls.
    pub policy: Policy,
}

/// How the rate falls after the rise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It does not.
    Constant,
    /// At each of these updates it is multiplied with its factor.
    Steps(Vec<(usize, f64)>),
    /// Half a cosine wave down to nothing.
    Cosine,
    /// `(1 - update / max_batches) ^ power`.
    Poly,
    /// `gamma ^ update`.
    Exp(f64),
}

impl DarknetSchedule {
    fn read(net: &Section) -> Result<Self> {
        let policy = match net.get("policy").unwrap_or("constant") {
            "constant" => Policy::Constant,
            "steps" => {
                let (steps, scales) = (net.numbers("steps")?, net.numbers("scales")?);
                if steps.len() != scales.len() {
                    let cause = format!("{} steps and {} scales", steps.len(), scales.len());
                    return Err(Error::at(net.place(), cause).fix("give each step its scale"));
                }
                Policy::Steps(steps.into_iter().zip(scales).collect())
            }
            "cosine" => Policy::Cosine,
            "poly" => Policy::Poly,
            "exp" => Policy::Exp(net.number_or("gamma", 1.0)?),
            other => {
                return Err(Error::at(net.place(), format!("policy={other} is not known here"))
                    .fix("set it to steps, cosine, poly, exp or constant"));
            }
        };
        let (burn_in, power) = (net.number_or("burn_in", 0)?, net.number_or("power", 4.0)?);
        let max_batches = net.number_or("max_batches", 0)?;
        if max_batches == 0 && matches!(policy, Policy::Cosine | Policy::Poly) {
            return Err(Error::at(net.place(), "its policy falls over max_batches, which is not there")
                .fix("set max_batches to the number of updates"));
        }
        Ok(Self { burn_in, power, max_batches, policy })
    }

    /// The rate of `update`, from 0, as a share of the largest.
    #[must_use]
    pub fn factor(&self, update: usize) -> f64 {
        let number = update + 1;
        if number < self.burn_in {
            return (number as f64 / self.burn_in as f64).powf(self.power);
        }
        let progress = (number as f64 / self.max_batches.max(1) as f64).min(1.0);
        match &self.policy {
            Policy::Constant => 1.0,
            Policy::Steps(steps) => {
                steps.iter().take_while(|(step, _)| *step <= number).map(|(_, scale)| scale).product()
            }
            Policy::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Policy::Poly => (1.0 - progress).powf(self.power),
            Policy::Exp(gamma) => gamma.powi(number as i32),
        }
    }

    /// The epochs over `images` images that `max_batches` updates with batches of `batch` make; none without `max_batches`.
    #[must_use]
    pub fn epochs(&self, images: usize, batch: usize) -> Option<usize> {
        let epochs = self.max_batches.div_ceil(images.div_ceil(batch.max(1)).max(1));
        (epochs > 0).then_some(epochs)
    }
}

/// Gradients of sums over anchors are large, and Darknet does not clip them.
const UNCLIPPED: f64 = 1e9;

/// Writes what the cfg says over the options.
///
/// Darknet adds up an image's errors over all anchors and divides by the images, so the loss is normalised likewise
/// ([`Normalise::Darknet`]), with the normalisers of the first `[yolo]` section as weights; a truth's best anchor answers
/// for it, with those that fit it by more than `iou_thresh`, and objectness aims at 1 there. Then `learning_rate` and
/// `decay` mean here what they mean there. What stays different: momentum is Nesterov's, saturation and exposure change by
/// as much down as up, `jitter` becomes a change of scale and half as large a shift, boxes that the cfg trains by
/// squared errors (`iou_loss=mse`) are trained by GIoU, weights are averaged also without `ema_alpha`, and the last tenth of
/// the epochs has no mosaics. [`ignored`] names what does nothing.
///
/// # Errors
/// A value that is none, or a policy that is not known.
pub fn apply(cfg: &Cfg, options: &mut TrainOptions) -> Result<()> {
    let net = cfg.net();
    let (batch, subdivisions): (usize, usize) = (net.number_or("batch", 1)?, net.number_or("subdivisions", 1)?);
    options.accumulate = subdivisions.max(1);
    options.batch = (batch / options.accumulate).max(1);
    options.learning_rate = net.number_or("learning_rate", 0.001)?;
    options.momentum = net.number_or("momentum", 0.9)?;
    options.weight_decay = net.number_or("decay", 0.0001)?;
    options.clip_norm = UNCLIPPED;
    options.ema_decay = net.number_or("ema_alpha", options.ema_decay)?;
    options.darknet = Some(DarknetSchedule::read(net)?);
    let head = cfg.layers().iter().find(|section| section.kind() == "yolo");
    augment(net, head, options)?;
    head.map_or(Ok(()), |head| loss(head, options))
}

/// Keys of `[net]` and `[yolo]` that change how Darknet trains, and do nothing here.
const WITHOUT_EFFECT: [&str; 18] = [
    "adam",
    "angle",
    "aspect",
    "blur",
    "cutmix",
    "dynamic_minibatch",
    "focal_loss",
    "gaussian_noise",
    "letter_box",
    "max_delta",
    "mixup",
    "mosaic_bound",
    "resize",
    "resize_step",
    "sgdr_cycle",
    "contrastive",
    "counters_per_class",
    "objectness_smooth",
];

/// The keys that change how Darknet trains, have a value other than 0, and do nothing here, each once.
#[must_use]
pub fn ignored(cfg: &Cfg) -> Vec<&'static str> {
    let sections = || std::iter::once(cfg.net()).chain(cfg.layers().iter().filter(|section| section.kind() == "yolo"));
    let set = |key: &&str| sections().any(|section| section.get(key).is_some_and(|value| value.trim() != "0"));
    WITHOUT_EFFECT.into_iter().filter(set).collect()
}

/// What a cfg asks of training that is not done here, whatever the options come from: dropout of whole regions by
/// `dropblock`, and the frozen layers of `stopbackward`.
#[must_use]
pub fn passed_over(cfg: &Cfg) -> Vec<&'static str> {
    let set = |key: &&str| cfg.layers().iter().any(|l| l.get(key).is_some_and(|value| value.trim() != "0"));
    ["dropblock", "stopbackward"].into_iter().filter(set).collect()
}

fn augment(net: &Section, head: Option<&Section>, options: &mut TrainOptions) -> Result<()> {
    let change = |key: &str| Ok((net.number_or(key, 1.0_f32)? - 1.0).clamp(0.0, 1.0));
    options.augment.saturation = change("saturation")?;
    options.augment.value = change("exposure")?;
    options.augment.hue = net.number_or("hue", 0.0_f32)?.clamp(0.0, 0.5);
    options.augment.mosaic = if net.number_or("mosaic", 0)? == 0 { 0.0 } else { 1.0 };
    options.augment.flip = if net.number_or("flip", 1)? == 0 { 0.0 } else { 0.5 };
    let Some(head) = head else { return Ok(()) };
    let jitter = head.number_or("jitter", 0.2_f32)?.clamp(0.0, 0.9);
    (options.augment.scale, options.augment.translate) = (jitter, jitter / 2.0);
    options.multi_scale |= head.number_or("random", 0.0)? > 0.0;
    Ok(())
}

fn loss(head: &Section, options: &mut TrainOptions) -> Result<()> {
    let loss = &mut options.loss;
    loss.normalise = Normalise::Darknet;
    loss.box_weight = head.number_or("iou_normalizer", 0.75)?;
    loss.objectness_weight = head.number_or("obj_normalizer", 1.0)?;
    loss.class_weight = head.number_or("cls_normalizer", 1.0)?;
    loss.anchor_iou = head.number_or("iou_thresh", 1.0)?;
    loss.iou_ratio = Some(0.0);
    loss.ignore_thresh = head.number_or("ignore_thresh", 0.5)?;
    loss.label_smoothing = head.number_or("label_smooth_eps", 0.0)?;
    loss.box_loss = match head.get("iou_loss") {
        Some("ciou") => BoxLoss::Ciou,
        Some("diou") => BoxLoss::Diou,
        _ => BoxLoss::Giou,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Augment;

    const CFG: &str = "[net]\nwidth=64\nheight=64\nbatch=64\nsubdivisions=16\nmomentum=0.95\ndecay=0.0005\n\
        saturation=1.5\nexposure=1.4\nhue=.1\nmosaic=1\nlearning_rate=0.002\nburn_in=1000\nmax_batches=5000\n\
        policy=steps\nsteps=4000,4500\nscales=.1,.1\nema_alpha=0.9998\n\
        [convolutional]\nfilters=6\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=8,8\nclasses=1\njitter=.3\nrandom=1\niou_loss=ciou\niou_normalizer=0.07\nignore_thresh=.7\niou_thresh=.213\n";

    fn read(cfg: &str) -> Result<TrainOptions> {
        let mut options = TrainOptions::default();
        apply(&Cfg::parse(cfg.as_bytes())?, &mut options)?;
        options.check()?;
        Ok(options)
    }

    #[test]
    fn a_cfg_of_darknet_says_how_it_is_trained() {
        let options = read(CFG).unwrap();
        assert_eq!((options.batch, options.accumulate, options.multi_scale), (4, 16, true));
        assert_eq!((options.learning_rate, options.weight_decay, options.ema_decay), (0.002, 0.0005, 0.9998));
        assert_eq!((options.momentum, options.augment.mosaic), (0.95, 1.0));
        let Augment { saturation, value, hue, scale, translate, .. } = options.augment;
        let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert!(
            near(saturation, 0.5) && near(value, 0.4) && near(hue, 0.1) && near(scale, 0.3) && near(translate, 0.15)
        );
        assert_eq!(
            (options.loss.box_loss, options.loss.box_weight, options.loss.ignore_thresh),
            (BoxLoss::Ciou, 0.07, 0.7)
        );
        assert_eq!((options.loss.anchor_iou, options.loss.iou_ratio), (0.213, Some(0.0)));
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<TrainOptions>(&text).unwrap(), options);
        assert_eq!(options.darknet.unwrap().epochs(640, 64), Some(500));
    }

    #[test]
    fn what_does_nothing_here_is_named_unless_it_is_off() {
        let cfg = |text: &str| Cfg::parse(text.as_bytes()).unwrap();
        assert!(ignored(&cfg(CFG)).is_empty());
        let more = CFG.replace("hue=.1", "hue=.1\nangle=7\nmixup=0\ncutmix=1") + "max_delta=5\n";
        assert_eq!(ignored(&cfg(&more)), ["angle", "cutmix", "max_delta"]);
        assert!(passed_over(&cfg(CFG)).is_empty());
        let more = format!("{CFG}[dropout]\nprobability=.5\ndropblock=1\n[convolutional]\nfilters=7\nstopbackward=1\n");
        assert_eq!(passed_over(&cfg(&more)), ["dropblock", "stopbackward"]);
        assert!(passed_over(&cfg(&more.replace("=1", "=0"))).is_empty());
    }

    #[test]
    fn a_cfg_that_does_not_say_how_long_has_no_epochs_and_no_fall() {
        let silent = CFG.replace("max_batches=5000\n", "");
        assert_eq!(read(&silent).unwrap().darknet.unwrap().epochs(640, 64), None);
        assert_eq!(read(&silent.replace("iou_thresh=.213\n", "")).unwrap().loss.anchor_iou, 1.0);
        for policy in ["poly", "cosine"] {
            let message = read(&silent.replace("policy=steps", &format!("policy={policy}"))).unwrap_err().to_string();
            assert!(message.contains("max_batches"), "{message}");
        }
    }

    #[test]
    fn the_rate_rises_by_the_power_of_four_and_falls_as_the_policy_says() {
        let schedule = read(CFG).unwrap().darknet.unwrap();
        assert!((schedule.factor(499) - 0.0625).abs() < 1e-12);
        let at = [998, 1000, 3998, 3999, 4499].map(|update| schedule.factor(update));
        assert!((at[0] - 0.999_f64.powi(4)).abs() < 1e-12 && at[1] == 1.0 && at[2] == 1.0);
        assert!((at[3] - 0.1).abs() < 1e-12 && (at[4] - 0.01).abs() < 1e-12);
        let policy = |text: &str| read(&CFG.replace("policy=steps", text)).map(|options| options.darknet.unwrap());
        assert!((policy("policy=cosine").unwrap().factor(2499) - 0.5).abs() < 1e-12);
        assert!((policy("policy=poly").unwrap().factor(2499) - 0.0625).abs() < 1e-12);
        assert!((policy("policy=exp\ngamma=0.999").unwrap().factor(1999) - 0.999_f64.powi(2000)).abs() < 1e-12);
        assert!(policy("policy=random").unwrap_err().to_string().contains("policy=random"));
        assert!(
            read(&CFG.replace("scales=.1,.1", "scales=.1")).unwrap_err().to_string().contains("2 steps and 1 scales")
        );
    }
}
