//! Whatever is wrong with an input ends in one line that names place, cause and fix, and in nothing written.

use crate::fixtures::{CFG, Scene, yoloslim};

/// The command must fail with one line that has all of `words`, and leave the scene as it was.
fn fails(scene: &Scene, args: &[&str], words: &[&str]) {
    let before = scene.listing();
    let output = yoloslim(args);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
    assert!(output.stdout.is_empty(), "{args:?} printed {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("error: ") && message.contains("; "), "no place, cause and fix: {message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is missing from: {message}");
    }
    assert_eq!(scene.listing(), before, "{args:?} wrote something");
}

/// Prunes the net of these files, which reads cfg and weights and would write a folder.
fn prune_fails(scene: &Scene, cfg: &str, weights: &str, words: &[&str]) {
    fails(scene, &["prune", cfg, weights, "-o", &scene.arg("out")], words);
}

/// Prunes with a cfg in which `from` is written `to`.
fn cfg_fails(from: &str, to: &str, words: &[&str]) {
    assert!(CFG.contains(from));
    let scene = Scene::new();
    let cfg = scene.write("bad.cfg", CFG.replacen(from, to, 1));
    prune_fails(&scene, &cfg, &scene.arg("net.weights"), words);
}

/// Prunes with the weights' bytes changed.
fn weights_fail(change: impl Fn(&mut Vec<u8>), words: &[&str]) {
    let scene = Scene::new();
    let mut bytes = std::fs::read(scene.path("net.weights")).unwrap();
    change(&mut bytes);
    let weights = scene.write("bad.weights", bytes);
    prune_fails(&scene, &scene.arg("net.cfg"), &weights, words);
}

#[test]
fn a_missing_file() {
    let scene = Scene::new();
    let (cfg, weights, none) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("none"));
    prune_fails(&scene, &none, &weights, &[&none, "cannot read", "check the path"]);
    prune_fails(&scene, &cfg, &none, &[&none, "cannot read", "check the path"]);
    fails(&scene, &["info", &none], &[&none]);
    fails(&scene, &["eval", &cfg, &weights, "--data", &none], &[&none]);
    fails(&scene, &["detect", &cfg, &weights, &none], &[&none]);
    fails(&scene, &["heads", &cfg, &weights, "--input", &none, "-o", &scene.arg("o.npz")], &[&none]);
}

#[test]
fn truncated_weights() {
    weights_fail(|b| b.truncate(b.len() - 8), &["bad.weights", "[convolutional] #9", "ends inside", "use the cfg"]);
    weights_fail(|b| b.truncate(b.len() - 3), &["bad.weights", "ends inside a number"]);
    weights_fail(|b| b.truncate(7), &["bad.weights", "7 bytes"]);
}

#[test]
fn overlong_weights() {
    weights_fail(|b| b.extend([0; 8]), &["bad.weights", "2 floats are left after the last of 11 layers"]);
}

#[test]
fn numbers_that_are_none_in_weights() {
    weights_fail(
        |b| b[20..24].copy_from_slice(&f32::NAN.to_le_bytes()),
        &["bad.weights", "[convolutional] #0", "1 of", "NaN"],
    );
}

#[test]
fn an_unknown_layer() {
    cfg_fails("[maxpool]", "[lstm]", &["bad.cfg:", "[lstm] #4", "not supported", "use only"]);
}

#[test]
fn wrong_filters_before_yolo() {
    cfg_fails("filters=14", "filters=15", &["bad.cfg:", "[convolutional] #6", "filters=15", "reads 14", "filters=14"]);
}

#[test]
fn a_route_out_of_range_or_to_itself() {
    cfg_fails("layers=3", "layers=33", &["bad.cfg:", "[route] #8", "layers=33"]);
    cfg_fails("layers=3", "layers=8", &["bad.cfg:", "[route] #8", "does not come before"]);
    cfg_fails("from=-3", "from=5", &["bad.cfg:", "[shortcut] #3", "does not come before"]);
}

#[test]
fn a_corrupt_jpeg() {
    let scene = Scene::new();
    let whole = scene.picture("whole.jpg", 100);
    let bytes = std::fs::read(whole).unwrap();
    let cut = scene.write("cut.jpg", &bytes[..bytes.len() / 2]);
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    fails(&scene, &["detect", &cfg, &weights, &cut], &[&cut]);
    let text = scene.write("text.jpg", "no picture at all");
    fails(&scene, &["detect", &cfg, &weights, &text], &[&text]);
}

#[test]
fn a_label_out_of_range() {
    let scene = Scene::new();
    let data = scene.data(2, "0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n");
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    fails(&scene, &["eval", &cfg, &weights, "--data", &data], &["labels/val.txt:2", "7"]);
}

#[test]
fn another_number_of_classes_in_the_data() {
    let scene = Scene::new();
    let data = scene.data(3, "");
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    fails(&scene, &["eval", &cfg, &weights, "--data", &data], &["set.data", "3 classes", "2"]);
    let names = scene.arg("kinds.names");
    let picture = scene.arg("images/val.png");
    fails(&scene, &["detect", &cfg, &weights, &picture, "--names", &names], &["kinds.names", "3 names", "2 classes"]);
}

#[test]
fn an_output_folder_that_cannot_be_written() {
    let scene = Scene::new();
    // Permissions don't stop root: nothing can be made below a regular file, whoever asks.
    let below = format!("{}/slim", scene.arg("net.cfg"));
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    fails(&scene, &["prune", &cfg, &weights, "-o", &below], &[&below, "cannot make this folder", "choose"]);
    let picture = scene.picture("a.png", 10);
    fails(&scene, &["detect", &cfg, &weights, &picture, "-o", &below], &[&below]);
    fails(&scene, &["init", "yolov3-tiny", "--classes", "2", "-o", &below], &[&below]);
}

#[test]
fn a_gpu_in_a_build_for_the_cpu() {
    let scene = Scene::new();
    let cfg = scene.arg("net.cfg");
    for gpu in ["cuda:0", "vulkan:0", "metal"] {
        fails(&scene, &["info", &cfg, "--device", gpu], &[gpu, "this build has the CPU only", "give --device cpu"]);
    }
}

#[test]
fn what_does_not_fit_net_or_images_is_refused_before_there_is_a_run() {
    let scene = Scene::new();
    let (cfg, data, run) = (scene.arg("net.cfg"), scene.data(2, "0 0.5 0.5 0.3 0.4\n"), scene.arg("run"));
    let refuse = |command: &str, options: &str, named: &str| {
        let line = format!("{command} {cfg} --data {data} -o {run} --batch 2 {options}");
        fails(&scene, &line.split(' ').collect::<Vec<_>>(), &[named]);
    };
    refuse("slim", "--distil hint --hint-layers 99", "hint layer 99:99");
    refuse("slim", "--distil hint --hint-layers 1 --layers 1", "numbers the layers anew");
    refuse("slim", "--hint-layers head0", "--hint-layers: of no effect");
    for command in ["train", "slim"] {
        refuse(command, "--class-weights 1,2,3", "3 weights, and the net knows 2 classes");
        refuse(command, "--multi-scale --size 9", "isn't a multiple of");
    }
    let config = scene.write("fixed.toml", "[sparsity]\ns = 0.01\nstrategy = \"decay\"\n");
    refuse("train", &format!("--config {config} --target-flops 0.5"), "of effect with --sparsity auto only");
    let config = scene.write("auto.toml", "[sparsity]\ns = \"auto\"\n");
    refuse("slim", &format!("--config {config} --sparsity-strategy decay"), "of no effect with --sparsity auto");
    scene.write("labels/val.txt", "");
    refuse("train", "--patience 2", "the validation images hold no objects");
}

#[test]
fn a_cfg_that_was_cut_off_after_net() {
    let scene = Scene::new();
    let cut = scene.write("cut.cfg", "[net]\nwidth=32\nheight=32\n");
    for command in ["info", "bench infer"] {
        let args: Vec<&str> = command.split(' ').chain([cut.as_str()]).collect();
        fails(&scene, &args, &["cut.cfg", "it has no layers", "complete copy"]);
    }
}

#[test]
fn one_file_for_cfg_and_random_weights() {
    let scene = Scene::new();
    let (cfg, same) = (scene.arg("n3.cfg"), scene.arg("./n3.cfg"));
    let args = ["init", "yolov3-tiny", "--classes", "2", "-o", &cfg, "--random-weights", &same];
    fails(&scene, &args, &["--random-weights", "it is the same file", "a name of its own"]);
}

#[test]
fn a_net_for_grey_images_where_colours_are_read() {
    let scene = Scene::new();
    let grey = scene.write("grey.cfg", CFG.replace("channels=3", "channels=1"));
    let (data, out) = (scene.data(2, "0 0.5 0.5 0.3 0.4\n"), scene.arg("out"));
    let words = ["[net]", "channels=1", "use a net of channels=3"];
    fails(&scene, &["bench", "train", &grey], &words);
    fails(&scene, &["train", &grey, "--data", &data, "-o", &out, "--batch", "1"], &words);
}
