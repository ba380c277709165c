//! Training by one set of kernels beside training by another.

use std::process::{Command, Stdio};

use yoloslim_core::record::RunRecord;

use crate::fixtures::{Scene, stdout};

/// The losses of six epochs of yolov3-tiny, narrowed, with this environment.
fn losses_of_tiny(scene: &Scene, data: &str, run: &str, environment: &[(&str, &str)]) -> Vec<f64> {
    let output = scene.arg(run);
    let options = "--epochs 6 --batch 1 --size 96 --seed 5";
    let mut command = Command::new(env!("CARGO_BIN_EXE_yoloslim"));
    command.args(["train", &scene.arg("tiny.cfg"), "--data", data, "-o", &output]).args(options.split(' '));
    let status =
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{run}");
    let record = RunRecord::read(&scene.path(run).join("record.json")).unwrap();
    record.stages[0].epochs.iter().map(|e| e.loss.boxes + e.loss.objectness + e.loss.class).collect()
}

#[test]
fn training_with_the_fast_kernels_follows_the_plain_ones() {
    let scene = Scene::new();
    let data = scene.data(2, "0 0.5 0.5 0.3 0.4\n1 0.2 0.3 0.2 0.2\n");
    stdout(&["init", "yolov3-tiny", "--classes", "2", "--width", "0.25", "-o", &scene.arg("tiny.cfg")]);
    let fast = losses_of_tiny(&scene, &data, "fast", &[]);
    let plain = losses_of_tiny(
        &scene,
        &data,
        "plain",
        &[("YOLOSLIM_CPU_PATH", "portable"), ("YOLOSLIM_CONVOLUTION", "direct")],
    );
    assert_eq!((fast.len(), plain.len()), (6, 6));
    for (epoch, (fast, plain)) in fast.iter().zip(&plain).enumerate() {
        // From update to update training magnifies differences of rounding.
        let most = if epoch < 2 { 1e-3 } else { 3e-2 };
        assert!((fast - plain).abs() < most * plain, "epoch {epoch}: {fast} and {plain}");
    }
    assert!(fast[5] < fast[0], "and it learns: {fast:?}");
}
