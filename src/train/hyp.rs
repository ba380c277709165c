//! Training as a Darknet cfg tells it: the schedule, the batch and the augmentation of its `[net]` section.

use yoloslim_core::Result;
use yoloslim_core::darknet::{Cfg, Section};

use super::TrainOptions;
use super::darknet_schedule::DarknetSchedule;
use super::loss::{BoxLoss, Normalise};

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

/// Epochs that nobody is likely to have meant.
const VERY_MANY: usize = 1000;

/// Settles how long a run by Darknet's schedule takes over `images` images, unless the epochs are `chosen` already; gives what
/// should be said of it.
pub fn settle(options: &mut TrainOptions, images: usize, chosen: bool) -> Vec<String> {
    let Some(schedule) = options.darknet.clone() else { return Vec::new() };
    let (batch, mut warnings) = (options.batch * options.accumulate, Vec::new());
    if !chosen {
        match schedule.epochs(images, batch) {
            Some(epochs) => options.epochs = epochs,
            None => warnings
                .push(format!("the cfg has no max_batches: {} epochs, or as many as --epochs says", options.epochs)),
        }
        if options.epochs > VERY_MANY {
            warnings.push(format!(
                "max_batches={} are {} epochs of {images} images: set it to what your data need (2000 a class, say), its steps to \
                 four fifths and nine tenths of that, or give --epochs",
                schedule.max_batches, options.epochs
            ));
        }
        if batch == 1 {
            warnings.push(
                "the cfg has batch=1, as published for detection: every image is an update at the full rate; set batch and \
                 subdivisions as for training, 64 and 16 say"
                    .to_owned(),
            );
        }
    }
    let updates = options.epochs * images.div_ceil(batch.max(1));
    if updates <= schedule.burn_in {
        warnings.push(format!(
            "the {updates} updates of this run end within burn_in={}, in which the rate rises from nothing: set burn_in to a tenth \
             of them, or train longer",
            schedule.burn_in
        ));
    }
    warnings
}

/// Keys of `[net]` and `[yolo]` that change how Darknet trains, and do nothing here.
const WITHOUT_EFFECT: [&str; 17] = [
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
    fn how_long_a_run_takes_follows_from_the_cfg_and_what_is_odd_is_said() {
        let settled = |cfg: &str, images, chosen| {
            let mut options = read(cfg).unwrap();
            let warnings = settle(&mut options, images, chosen);
            (options.epochs, warnings)
        };
        assert_eq!(settled(CFG, 6400, false), (50, vec![]));
        assert_eq!(settled(CFG, 6400, true), (100, vec![]));
        let (epochs, warnings) = settled(CFG, 64, false);
        assert!(
            epochs == 5000 && warnings[0].starts_with("max_batches=5000 are 5000 epochs of 64 images"),
            "{warnings:?}"
        );
        let (_, warnings) = settled(CFG, 64, true);
        assert!(warnings.len() == 1 && warnings[0].starts_with("the 100 updates of this run end within burn_in=1000"));
        let (_, warnings) = settled(&CFG.replace("batch=64\nsubdivisions=16", "batch=1"), 6400, false);
        assert!(warnings.len() == 1 && warnings[0].starts_with("the cfg has batch=1"), "{warnings:?}");
        let (epochs, warnings) = settled(&CFG.replace("max_batches=5000\n", ""), 6400, false);
        assert!(epochs == 100 && warnings[0].contains("no max_batches"), "{warnings:?}");
    }

    #[test]
    fn a_cfg_that_does_not_say_how_long_has_no_epochs() {
        let silent = CFG.replace("max_batches=5000\n", "");
        assert_eq!(read(&silent).unwrap().darknet.unwrap().epochs(640, 64), None);
        assert_eq!(read(&silent.replace("iou_thresh=.213\n", "")).unwrap().loss.anchor_iou, 1.0);
    }
}
