//! `export`: what is written, and what is refused before anything is.

use yoloslim_core::darknet::Cfg;
use yoloslim_core::{Network, files};

use crate::fixtures::{CFG, Scene, json, stdout, yoloslim};

/// The names below a folder of the scene, sorted.
fn names(scene: &Scene, folder: &str) -> Vec<String> {
    let root = scene.path(folder);
    let below = scene.listing().into_iter().filter(|path| path.is_file());
    below.filter_map(|path| Some(path.strip_prefix(&root).ok()?.display().to_string())).collect()
}

#[test]
fn each_format_has_its_files() {
    let scene = Scene::new();
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    for (format, wanted) in [
        ("onnx", &["net.heads.json", "net.onnx"][..]),
        ("caffe", &["net.caffemodel", "net.heads.json", "net.nnie.cfg", "net.prototxt"]),
        ("ncnn", &["net.bin", "net.heads.json", "net.param"]),
        ("darknet", &["net.cfg", "net.weights"]),
        ("safetensors", &["net.safetensors"]),
    ] {
        let output = scene.arg(format);
        let summary = json(&["export", &cfg, &weights, "--format", format, "-o", &output]);
        assert_eq!(names(&scene, format), wanted);
        assert_eq!((&summary["format"], summary["files"].as_array().unwrap().len()), (&format.into(), wanted.len()));
        let again = yoloslim(&["export", &cfg, &weights, "--format", format, "-o", &output]);
        assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    }
}

#[test]
fn a_net_of_one_channel_has_no_order_of_colours() {
    let scene = Scene::new();
    let grey = Cfg::parse(CFG.replace("channels=3", "channels=1").as_bytes()).unwrap();
    Network::initialise(grey, 1).unwrap().write(&scene.path(""), "grey").unwrap();
    let (cfg, weights) = (scene.arg("grey.cfg"), scene.arg("grey.weights"));
    for format in ["caffe", "onnx", "ncnn", "darknet"] {
        let summary = json(&["export", &cfg, &weights, "--format", format, "-o", &scene.arg(format)]);
        assert_eq!(summary["colours"], "grayscale", "{format}");
    }
    let text = |name: &str| files::read_text(&scene.path(name)).unwrap();
    let mapper = text("caffe/grey.nnie.cfg");
    assert!(!mapper.contains("RGB") && mapper.ends_with("[data_scale] 0.0039215686\n"), "{mapper}");
    assert!(text("caffe/grey.prototxt").contains("Input: 1 channel (grayscale), 32 x 32"));
    for name in ["caffe/grey.heads.json", "onnx/grey.heads.json", "ncnn/grey.heads.json"] {
        assert!(text(name).contains("\"colours\": \"grayscale\""), "{name}");
    }
}

#[test]
fn caffe_comes_with_calibration_images_of_the_nets_size() {
    let scene = Scene::new();
    let data = scene.data(2, "");
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("nnie"));
    let args = ["export", &cfg, &weights, "--format", "caffe", "-o", &out, "--data", &data, "--size", "64x32"];
    let summary = json(&[&args[..], &["--hp", "heads", "--color", "bgr"]].concat());
    assert_eq!((&summary["calibration_images"], &summary["colours"]), (&1.into(), &"BGR".into()));
    let text = |name: &str| files::read_text(&scene.path(name)).unwrap();
    assert_eq!(text("nnie/images.txt"), "./images/0000.jpg\n");
    let picture = yoloslim::data::Rgb::open(&scene.path("nnie/images/0000.jpg")).unwrap();
    assert_eq!((picture.width, picture.height), (64, 32));
    let (prototxt, mapper) = (text("nnie/net.prototxt"), text("nnie/net.nnie.cfg"));
    assert!(prototxt.contains("3 channels (BGR), 64 x 32") && prototxt.contains("\"conv6_hp\""), "{prototxt}");
    assert!(mapper.contains("[RGB_order] BGR") && mapper.contains("[compile_mode] 2"), "{mapper}");
    let named: Vec<_> = summary["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap().to_owned()).collect();
    assert!(named.iter().any(|f| f.ends_with("images.txt")) && !named.iter().any(|f| f.ends_with(".jpg")), "{named:?}");
}

#[test]
fn a_net_that_is_called_like_the_calibration_images_is_named_too() {
    let scene = Scene::new();
    scene.network().write(&scene.path(""), "images-net").unwrap();
    let (cfg, weights, out) = (scene.arg("images-net.cfg"), scene.arg("images-net.weights"), scene.arg("onnx"));
    let summary = json(&["export", &cfg, &weights, "--format", "onnx", "-o", &out]);
    assert_eq!(summary["files"].as_array().unwrap().len(), 2);
}

#[test]
fn a_check_lists_what_it_finds_and_fails_when_the_chip_cannot_run_the_net() {
    let scene = Scene::new();
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    let found = json(&["export", &cfg, &weights, "--check", "nnie"]);
    assert_eq!(found[0]["severity"], "note");
    assert!(json(&["export", &cfg, &weights, "--check", "svp_npu"]).as_array().unwrap().is_empty());
    let output = yoloslim(&["export", &cfg, &weights, "--check", "nnie", "--dialect", "svp_npu"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("give --check svp_npu"));
    let mish = scene.write("mish.cfg", CFG.replacen("activation=leaky", "activation=mish", 2));
    let output = yoloslim(&["export", &mish, &weights, "--check", "nnie"]);
    let (told, failed) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(told.contains("leaves the chip") && told.contains("[convolutional] #1: activation=mish"), "{told}");
    assert!(output.status.code() == Some(1) && failed.contains("2 things keep this net"), "{failed}");
}

#[test]
fn a_net_that_a_format_cannot_express_is_refused_and_nothing_is_written() {
    let scene = Scene::new();
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("out"));
    let mish = scene.write("mish.cfg", CFG.replacen("activation=leaky", "activation=mish", 1));
    let four = scene.write("four.cfg", CFG.replacen("channels=3", "channels=4", 1));
    let four_weights = scene.arg("four.weights");
    let net =
        Network::initialise(Cfg::parse(CFG.replacen("channels=3", "channels=4", 1).as_bytes()).unwrap(), 1).unwrap();
    net.write(&scene.path(""), "four").unwrap();
    let before = scene.listing();
    for (args, words) in [
        (&[four.as_str(), "--format", "caffe"][..], &["four.cfg:", "4 input channels", "use 1 or 3"][..]),
        (&[mish.as_str(), "--format", "caffe"][..], &["mish.cfg:", "[convolutional] #0", "activation=leaky"][..]),
        (&[&cfg, "--format", "caffe", "--hp", "3"], &["--hp", "layer 3 is no convolution"]),
        (&[&cfg, "--format", "caffe", "--decode"], &["--decode", "of no effect with --format"]),
        (&[&cfg, "--format", "ncnn", "--hp", "heads"], &["--hp", "of no effect with --format"]),
        (&[&cfg, "--format", "darknet", "--color", "bgr"], &["--color bgr", "of no effect with --format"]),
        (&[&cfg, "--format", "caffe", "--dialect", "svp_npu", "--data", "x"], &["--data", "nnie_mapper only"]),
        (&[&cfg, "--format", "caffe", "--dialect", "svp_npu", "--hp", "heads"], &["--hp", "nnie_mapper only"]),
        (&[&cfg, "--format", "caffe", "--compile-mode", "8", "--hp", "heads"], &["--hp", "by-layer"]),
        (&[&cfg, "--format", "caffe", "--compile-mode", "by-layer"], &["--compile-mode by-layer", "--hp heads"]),
        (&[&cfg, "--format", "onnx", "--internal-stride", "32"], &["--internal-stride", "of no effect with --format"]),
        (&[&cfg, "--format", "caffe", "--data", "none.data"], &["none.data", "no such data set"]),
    ] {
        let (net, options) = args.split_first().unwrap();
        let weights = if *net == four { &four_weights } else { &weights };
        let output = yoloslim(&[&["export", net, weights, "-o", &out], options].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        // What was typed in vain is an error of usage, what the net or the data lack is not.
        let typed = words[0].starts_with("--") && !words[1].contains("no convolution");
        assert_eq!(output.status.code(), Some(if typed { 2 } else { 1 }), "{args:?}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{args:?}: {message}");
        assert_eq!(scene.listing(), before, "{args:?} wrote something");
    }
}

#[test]
fn a_check_for_one_chip_takes_no_options_of_another() {
    let scene = Scene::new();
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    for (options, named) in [
        (["--check", "svp_npu", "--hp", "heads"], "--hp"),
        (["--check", "nnie", "--dialect", "svp_npu"], "--dialect svp_npu"),
    ] {
        let output = yoloslim(&[&["export", &cfg, &weights], &options[..]].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && message.contains(named), "{options:?}: {message}");
    }
}

#[test]
fn the_help_shows_how_it_is_used() {
    assert!(stdout(&["export", "--help"]).contains("yoloslim export slim.cfg slim.weights --format caffe"));
}
