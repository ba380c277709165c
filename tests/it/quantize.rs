//! Nets in 8 bits.

use yoloslim_core::Network;
use yoloslim_core::quant::{Quantisation, Scheme};

use crate::fixtures::{Scene, json, stdout, yoloslim};

fn scene() -> (Scene, [String; 3]) {
    let scene = Scene::new();
    let data = scene.data(2, "0 0.5 0.5 0.5 0.5\n");
    let net = [scene.arg("net.cfg"), scene.arg("net.weights"), data];
    (scene, net)
}

#[test]
fn int8_writes_an_onnx_file_and_what_its_heads_should_be() {
    let (scene, [cfg, weights, data]) = scene();
    let out = scene.arg("int8");
    let report = json(&[
        "quantize",
        &cfg,
        &weights,
        "--data",
        &data,
        "-o",
        &out,
        "--equalise",
        "--bias-correction",
        "--sensitivity",
        "--float-layers",
        "0",
    ]);
    let float: Vec<_> = report["float_layers"].as_array().unwrap().iter().map(|l| l["layer"].clone()).collect();
    assert_eq!(float, [0, 6, 9]);
    assert_eq!(report["quantised_layers"], 3);
    assert_eq!(report["sensitivity"].as_array().unwrap().len(), 6);
    assert!(report["after"]["map50"].as_f64().is_some());
    for file in ["quantised.onnx", "quantised.cfg", "quantised.weights", "quantisation.json", "report.json"] {
        assert!(scene.path("int8").join(file).is_file(), "{file}");
    }
    let net = Network::read(&scene.path("int8/quantised.cfg"), &scene.path("int8/quantised.weights")).unwrap();
    assert!(net.weights.iter().flatten().all(|w| w.norm.is_none()));
    let input = scene.npy("x.npy", [1, 3, 32, 32]);
    let quantisation = scene.arg("int8/quantisation.json");
    let (cfg, weights) = (scene.arg("int8/quantised.cfg"), scene.arg("int8/quantised.weights"));
    for (name, extra) in [("float.npz", &[][..]), ("rounded.npz", &["--quantisation", &quantisation])] {
        let to = scene.arg(name);
        stdout(&[&["heads", &cfg, &weights, "--input", &input, "-o", &to], extra].concat());
    }
    let [float, rounded] = ["float.npz", "rounded.npz"].map(|name| std::fs::read(scene.path(name)).unwrap());
    assert_ne!(float, rounded, "8 bits move the heads");
}

#[test]
fn nnie_names_the_layers_of_16_bits() {
    let (scene, [cfg, weights, data]) = scene();
    let out = scene.arg("nnie");
    stdout(&["quantize", &cfg, &weights, "--data", &data, "-o", &out, "--scheme", "nnie", "--equalise"]);
    let hp: Vec<usize> = serde_json::from_slice(&std::fs::read(scene.path("nnie/hp.json")).unwrap()).unwrap();
    assert!(hp.contains(&6) && hp.contains(&9), "heads are: {hp:?}");
    let net = Network::read(&scene.path("nnie/quantised.cfg"), &scene.path("nnie/quantised.weights")).unwrap();
    let quantisation = Quantisation::read(&scene.path("nnie/quantisation.json"), &net.graph).unwrap();
    assert_eq!(quantisation.scheme, Scheme::Nnie);
    assert!(!scene.path("nnie/quantised.onnx").exists());
}

#[test]
fn fine_tuning_trains_the_rounded_net() {
    let (scene, [cfg, weights, data]) = scene();
    for (out, extra) in [("whole", "0"), ("tuned", "2")] {
        let out = scene.arg(out);
        let report = json(&["quantize", &cfg, &weights, "--data", &data, "-o", &out, "--fine-tune-epochs", extra]);
        assert_eq!(report["fine_tuned"].is_null(), extra == "0");
    }
    let [whole, tuned] =
        ["whole", "tuned"].map(|out| std::fs::read(scene.path(out).join("quantised.weights")).unwrap());
    assert!(whole.len() == tuned.len() && whole != tuned);
    let files = std::fs::read_dir(scene.path("tuned")).unwrap().count();
    assert_eq!(files, std::fs::read_dir(scene.path("whole")).unwrap().count(), "checkpoints do not stay");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let (scene, [cfg, weights, data]) = scene();
    let cases: [(&[&str], &str); 4] = [
        (&["--float-layers", "3"], "no convolution of that number"),
        (&["--float-layers", "99"], "no convolution of that number"),
        (&["--scheme", "nnie", "--calibration", "mse"], "largest value"),
        (&["--scheme", "nnie", "--profile", "tensorrt"], "--profile"),
    ];
    let before = scene.listing();
    for (extra, word) in cases {
        let out = scene.arg("out");
        let output = yoloslim(&[&["quantize", &cfg, &weights, "--data", &data, "-o", &out], extra].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{extra:?}");
        assert!(message.contains(word) && message.contains("; "), "{message}");
        assert_eq!(scene.listing(), before, "{extra:?} wrote something");
    }
}
