//! Nets in 8 bits.

use yoloslim_core::Network;
use yoloslim_core::quant::{Quantisation, Scheme};

use crate::fixtures::{CFG, Scene, json, stdout, yoloslim};

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
    assert_eq!((&report["calibration"], &report["bias_correction"]), (&"mse".into(), &true.into()));
    assert!(report["tried"][0]["lost"].is_number() && report["tried"][0]["float_layers"] == 3);
    for file in [
        "quantised.onnx",
        "quantised.heads.json",
        "quantised.cfg",
        "quantised.weights",
        "quantisation.json",
        "report.json",
    ] {
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
fn nnie_calibrates_by_the_images_that_the_export_gives_to_the_mapper() {
    let (scene, [cfg, weights, data]) = scene();
    let list: String = (0..50).map(|i| format!("{}\n", scene.picture(&format!("images/p{i}.png"), i))).collect();
    scene.write("train.txt", list);
    let out = scene.arg("nnie");
    let run = yoloslim(&["quantize", &cfg, &weights, "--data", &data, "-o", &out, "--scheme", "nnie", "--plain"]);
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scene.path("nnie/report.json")).unwrap()).unwrap();
    let hint = String::from_utf8(run.stderr).unwrap();
    let images = report["images"].as_u64().unwrap();
    assert!(images <= 32 && hint.contains(&format!("--data {data} --calibration {images} ")), "{images}: {hint}");
    let out = scene.arg("caffe");
    let count = images.to_string();
    let export = ["export", &cfg, &weights, "--format", "caffe", "--data", &data, "--calibration", &count, "-o", &out];
    assert_eq!(json(&export)["calibration_images"], images);
}

#[test]
fn the_onnx_file_of_8_bits_gives_boxes_of_any_batch_on_request() {
    let (scene, [cfg, weights, data]) = scene();
    let out = scene.arg("boxes");
    json(&["quantize", &cfg, &weights, "--data", &data, "-o", &out, "--decode", "--dynamic-batch"]);
    let heads: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scene.path("boxes/quantised.heads.json")).unwrap()).unwrap();
    assert_eq!((&heads["boxes"]["output"], &heads["boxes"]["count"]), (&"boxes".into(), &640.into()));
}

#[test]
fn fine_tuning_is_left_out_where_nothing_is_lost() {
    let (scene, [cfg, weights, data]) = scene();
    let out = scene.arg("whole");
    let run = yoloslim(&["quantize", &cfg, &weights, "--data", &data, "-o", &out, "--fine-tune-epochs", "2"]);
    let told = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success() && told.contains("fine-tuning is left out"), "{told}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scene.path("whole/report.json")).unwrap()).unwrap();
    assert!(report["fine_tuned"].is_null());
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let (scene, [cfg, weights, data]) = scene();
    let mish = scene.write("mish.cfg", CFG.replacen("activation=leaky", "activation=mish", 1));
    let cases: [(&[&str], &str); 6] = [
        (&["--float-layers", "3"], "no convolution of that number"),
        (&["--float-layers", "99"], "no convolution of that number"),
        (&["--scheme", "nnie", "--calibration", "mse"], "largest value"),
        (&["--scheme", "nnie", "--profile", "tensorrt"], "--profile"),
        (&["--scheme", "nnie", "--decode"], "--decode"),
        (&["--scheme", "nnie", "mish"], "[convolutional] #0: activation=mish"),
    ];
    let before = scene.listing();
    for (extra, word) in cases {
        let out = scene.arg("out");
        let (net, extra) = match extra {
            [rest @ .., "mish"] => (&mish, rest),
            _ => (&cfg, extra),
        };
        let output = yoloslim(&[&["quantize", net, &weights, "--data", &data, "-o", &out], extra].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        let of_the_net = word.contains("convolution");
        assert_eq!(output.status.code(), Some(if of_the_net { 1 } else { 2 }), "{extra:?}");
        assert!(message.contains(word) && message.contains("; "), "{message}");
        assert_eq!(scene.listing(), before, "{extra:?} wrote something");
    }
}
