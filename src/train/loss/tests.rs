//! Tests of the whole loss.

use super::*;

fn head(new_coords: bool) -> Yolo {
    Yolo { anchors: vec![[20.0, 30.0], [50.0, 40.0]], classes: 3, scale_x_y: 1.05, new_coords }
}

fn maps(new_coords: bool) -> Vec<HeadMap> {
    let values = (0..2 * 4 * 5 * 16).map(|i| ((i * 37 % 101) as f32 / 101.0 - 0.5) * 3.0);
    let values = values.map(|v| if new_coords { 1.0 / (1.0 + (-v).exp()) } else { v }).collect();
    vec![HeadMap { rows: 4, cols: 5, channels: 16, values }]
}

fn targets() -> Vec<Target> {
    vec![
        Target { image: 0, class: 1, cx: 0.3, cy: 0.55, w: 0.2, h: 0.25 },
        Target { image: 1, class: 2, cx: 0.91, cy: 0.08, w: 0.4, h: 0.3 },
        Target { image: 1, class: 0, cx: 0.5, cy: 0.5, w: 0.1, h: 0.1 },
    ]
}

/// Objectness aims at the overlap, which the gradient takes as given: its part is checked apart.
#[test]
fn gradients_agree_with_finite_differences() {
    let plain = LossOptions::default();
    let all = LossOptions {
        iou_ratio: Some(0.7),
        label_smoothing: 0.1,
        focal: Some(Focal { gamma: 1.5, alpha: 0.4 }),
        class_weights: Some(ClassWeights::Given(vec![0.5, 2.0, 1.0])),
        ..LossOptions::default()
    };
    let darknet = LossOptions { normalise: Normalise::Darknet, ignore_thresh: 0.5, ..all.clone() };
    for (options, new_coords) in [&plain, &all, &darknet].into_iter().flat_map(|o| [(o, false), (o, true)]) {
        let head = head(new_coords);
        let maps = maps(new_coords);
        let run = |maps: &[HeadMap]| yolo_loss(options, &[&head], maps, (100, 100), Labels::of(&targets()));
        let (_, gradient) = run(&maps);
        let mut checked = 0;
        for i in (0..maps[0].values.len()).filter(|i| gradient[0].values[*i] != 0.0) {
            let part = |delta: f32| {
                let mut maps = maps.clone();
                maps[0].values[i] += delta;
                let p = run(&maps).0;
                if i % 8 < 4 { p.boxes } else { p.objectness + p.class }
            };
            let difference = (part(1e-3) - part(-1e-3)) / 2e-3;
            let slope = f64::from(gradient[0].values[i]);
            assert!((slope - difference).abs() < 2e-3 * (1.0 + slope.abs()), "{i}: {slope} against {difference}");
            checked += 1;
        }
        assert!(checked > 80, "{checked} gradients are not zero");
    }
}

#[test]
fn shares_of_a_batch_add_up_to_its_loss_and_gradient() {
    let (head, maps, targets) = (head(false), maps(false), targets());
    let (options, heads) = (LossOptions::default(), [&head]);
    let (whole, slopes) = yolo_loss(&options, &heads, &maps, (100, 100), Labels::of(&targets));
    let population = Population { share: 0.5, ..Population::of(&options, &heads, (100, 100), &targets, 2) };
    let (mut sum, mut values) = (LossParts::default(), Vec::new());
    for image in 0..2 {
        let half = maps[0].values[image * 320..][..320].to_vec();
        let map = HeadMap { values: half, ..maps[0] };
        let mine = targets.iter().filter(|t| t.image == image).map(|t| Target { image: 0, ..*t });
        let (parts, slopes) =
            yolo_loss_share(&options, &heads, &[map], (100, 100), Labels::of(&mine.collect::<Vec<_>>()), &population);
        sum.add(&parts, 1.0);
        values.extend(slopes[0].values.iter().copied());
    }
    let empty = HeadMap { values: Vec::new(), ..maps[0] };
    let nobody = Population { share: 0.0, ..population };
    let (parts, _) = yolo_loss_share(&options, &heads, &[empty], (100, 100), Labels::of(&[]), &nobody);
    assert_eq!(parts, LossParts::default(), "an empty share adds nothing");
    for (a, b) in [(sum.boxes, whole.boxes), (sum.objectness, whole.objectness), (sum.class, whole.class)] {
        assert!((a - b).abs() < 1e-9, "{sum:?} against {whole:?}");
    }
    assert!(values.iter().zip(&slopes[0].values).all(|(a, b)| (a - b).abs() < 1e-7));
}

#[test]
fn the_probability_of_a_single_class_is_trained() {
    let head = Yolo { classes: 1, ..head(false) };
    let maps = vec![HeadMap { rows: 4, cols: 5, channels: 12, values: vec![0.0; 2 * 4 * 5 * 12] }];
    let one = [Target { class: 0, ..targets()[0] }];
    let (parts, gradient) = yolo_loss(&LossOptions::default(), &[&head], &maps, (100, 100), Labels::of(&one));
    let pushed_up = gradient[0].values.chunks_exact(6).filter(|row| row[5] < 0.0).count();
    assert!(parts.class > 0.0 && pushed_up > 0, "{parts:?}");
    assert!(gradient[0].values.chunks_exact(6).all(|row| (row[5] != 0.0) == (row[0] != 0.0)), "positives alone");
}

#[test]
fn an_anchor_that_two_truths_share_aims_at_the_overlap_with_the_nearer_one() {
    let (head, maps) = (head(false), vec![HeadMap { rows: 4, cols: 5, channels: 16, values: vec![0.0; 320] }]);
    let near = Target { image: 0, class: 0, cx: 0.5, cy: 0.625, w: 0.2, h: 0.3 };
    let far = Target { cx: 0.42, cy: 0.55, w: 0.4, h: 0.2, ..near };
    let objectness = |targets: &[Target]| {
        let gradient = yolo_loss(&LossOptions::default(), &[&head], &maps, (100, 100), Labels::of(targets)).1;
        gradient[0].values.chunks_exact(8).map(|row| row[4]).collect::<Vec<_>>()
    };
    let both = objectness(&[near, far]);
    assert_eq!(both, objectness(&[far, near]), "whatever their order");
    let alone = objectness(&[near]);
    let shared = both.iter().zip(&alone).filter(|(both, alone)| both == alone && **both < 0.0).count();
    assert!(shared > 0, "the nearer truth decides: {both:?} {alone:?}");
}

#[test]
fn without_targets_only_objectness_is_trained() {
    let (head, maps) = (head(false), maps(false));
    let (parts, gradient) = yolo_loss(&LossOptions::default(), &[&head], &maps, (100, 100), Labels::of(&[]));
    assert!(parts.boxes == 0.0 && parts.class == 0.0 && parts.objectness > 0.0);
    let touched = gradient[0].values.iter().enumerate().all(|(i, g)| (*g != 0.0) == (i % 8 == 4));
    assert!(touched, "the gradient touches objectness and nothing else");
}

#[test]
fn a_prediction_in_an_ignored_region_or_on_a_truth_is_no_background() {
    let head = head(false);
    let maps = vec![HeadMap { rows: 4, cols: 5, channels: 16, values: vec![0.0; 640] }];
    let trained = |options: &LossOptions, labels: Labels| {
        let gradient = yolo_loss(options, &[&head], &maps, (100, 100), labels).1;
        gradient[0].values.chunks_exact(8).map(|row| row[4] != 0.0).collect::<Vec<_>>()
    };
    let options = LossOptions::default();
    assert!(trained(&options, Labels::of(&[])).iter().all(|t| *t));
    let region = Target { image: 1, class: 0, cx: 0.5, cy: 0.25, w: 1.0, h: 0.5 };
    let let_be = trained(&options, Labels { targets: &[], ignored: &[region] });
    let (first, second) = let_be.split_at(40);
    assert!(first.iter().all(|t| *t), "the region is on the other image");
    // Rows 0 and 1 of 4 lie inside; boxes are centred in their cells.
    assert!(second[..20].iter().all(|t| !*t) && second[20..].iter().all(|t| *t), "{second:?}");
    // A truth inside the region is found all the same.
    let truth = [Target { image: 1, class: 0, cx: 0.5, cy: 0.125, w: 0.2, h: 0.3 }];
    let found = trained(&options, Labels { targets: &truth, ignored: &[region] });
    assert!(found[40..60].iter().any(|t| *t) && found[40..60].iter().any(|t| !*t));
    let thresh = LossOptions { ignore_thresh: 0.6, ..LossOptions::default() };
    let sharp = trained(&thresh, Labels::of(&[Target { cx: 0.5, cy: 0.375, w: 0.2, h: 0.36, ..truth[0] }]));
    assert!(sharp.iter().filter(|t| !**t).count() == 0, "the anchor itself answers for it: {sharp:?}");
    let beside = trained(&LossOptions { ignore_thresh: 0.2, ..thresh }, Labels::of(&truth));
    assert!(beside.iter().filter(|t| !**t).count() > 0, "its neighbours overlap it");
}

#[test]
fn with_a_plain_iou_as_aim_objectness_is_that_of_the_ratio() {
    let (head, maps, targets) = (head(false), maps(false), targets());
    let run = |ratio| {
        let options = LossOptions { iou_ratio: Some(ratio), ..LossOptions::default() };
        let gradient = yolo_loss(&options, &[&head], &maps, (100, 100), Labels::of(&targets[2..])).1;
        gradient[0].values.chunks_exact(8).map(|row| f64::from(row[4])).collect::<Vec<_>>()
    };
    let (one, none) = (run(1.0), run(0.0));
    let weight = LossOptions::default().objectness_weight / one.len() as f64;
    let ious: Vec<f64> =
        one.iter().zip(&none).map(|(a, b)| 1.0 - (a - b) / weight).filter(|iou| *iou < 1.0 - 1e-6).collect();
    assert!(!ious.is_empty() && ious.iter().all(|iou| *iou >= 0.0), "{ious:?}");
}
