//! What each command gives on good input.

use std::io::Read;

use yoloslim_core::{Network, files};

use crate::fixtures::{Scene, json, stdout, yoloslim};

#[test]
fn info_counts_and_names_residual_groups() {
    let scene = Scene::new();
    let info = json(&["info", &scene.arg("net.cfg"), &scene.arg("net.weights")]);
    assert_eq!(info["params"], scene.network().parameters());
    assert_eq!(info["layers"].as_array().unwrap().len(), 11);
    assert_eq!(info["residual_groups"][0]["members"], serde_json::json!([0, 2]));
    assert_eq!(info["residual_groups"][0]["width"], 8);
    assert!(info["bflops"].as_f64().unwrap() > 0.0);
    assert!((info["gamma"]["quantiles"][0].as_f64().unwrap() - 0.1).abs() < 1e-6);
    let text = stdout(&["info", &scene.arg("net.cfg")]);
    assert!(text.contains("BFLOPs") && !text.contains("gamma"), "{text}");
}

#[test]
fn init_writes_a_net_for_the_classes_and_anchors_of_the_data() {
    let scene = Scene::new();
    let lines: String = (1..8).map(|i| format!("{} 0.5 0.5 0.{i} 0.{i}\n", i % 3)).collect();
    let data = scene.data(3, &lines);
    stdout(&["init", "yolov3-tiny", "--data", &data, "--width", "0.25", "--size", "64", "-o", &scene.arg("new.cfg")]);
    let network = Network::random(&scene.path("new.cfg"), 0).unwrap();
    assert_eq!((network.graph.classes(), network.graph.input.width), (3, 64));
    let largest = network.graph.heads().next().unwrap().1.anchors[2];
    assert!((40.0..=45.0).contains(&largest[0]), "{largest:?}");
    let again = yoloslim(&["init", "yolov3-tiny", "--classes", "3", "-o", &scene.arg("new.cfg")]);
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
}

#[test]
fn heads_writes_one_array_a_head_in_nchw() {
    let scene = Scene::new();
    let input = scene.npy("x.npy", [2, 3, 32, 32]);
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("out.npz"));
    stdout(&["heads", &cfg, &weights, "--input", &input, "-o", &out]);
    stdout(&["heads", &cfg, &weights, "--input", &input, "-o", &out]);
    let mut other = zip::ZipWriter::new(std::fs::File::create(scene.path("other.npz")).unwrap());
    other.start_file("embeddings.npy", zip::write::SimpleFileOptions::default()).unwrap();
    other.finish().unwrap();
    let refused = yoloslim(&["heads", &cfg, &weights, "--input", &input, "-o", &scene.arg("other.npz")]);
    assert_eq!(refused.status.code(), Some(1), "another's arrays are not overwritten");
    let mut zip = zip::ZipArchive::new(std::fs::File::open(out).unwrap()).unwrap();
    for (name, shape) in [("head0.npy", [2, 14, 8, 8]), ("head1.npy", [2, 14, 16, 16])] {
        let mut array = Vec::new();
        zip.by_name(name).unwrap().read_to_end(&mut array).unwrap();
        assert_eq!(npyz::NpyFile::new(&array[..]).unwrap().shape(), shape, "{name}");
    }
}

#[test]
fn detect_prints_what_it_draws() {
    let scene = Scene::new();
    let picture = scene.picture("p/a.png", 120);
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("drawn"));
    let found = json(&["detect", &cfg, &weights, &scene.arg("p"), "--conf", "0", "-o", &out]);
    let first = &found.as_array().unwrap()[0];
    assert_eq!(first["image"], picture);
    assert_eq!(first["name"], first["class"].to_string());
    assert!(first["score"].as_f64().unwrap() <= 1.0);
    let edges: Vec<f64> = first["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(edges[0] < edges[2] && edges[2] <= 40.0 && edges[1] < edges[3] && edges[3] <= 30.0, "{edges:?}");
    assert!(scene.path("drawn/a.png").is_file());
}

#[test]
fn one_bad_picture_does_not_keep_detect_from_the_others() {
    let scene = Scene::new();
    scene.picture("p/a.png", 120);
    let bad = scene.write("p/b.jpg", "no picture");
    scene.picture("p/c.png", 60);
    scene.write("p/d.webp", "of a kind that is not read");
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("drawn"));
    let output = yoloslim(&["detect", &cfg, &weights, &scene.arg("p"), "--conf", "0", "-o", &out]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && told.contains(&bad) && told.contains("1 picture can't be read"),
        "{told}"
    );
    assert!(told.contains("1 image of kinds that are not read (webp)"), "{told}");
    assert!(told.contains("wrote: 2 pictures") && scene.path("drawn/c.png").is_file(), "{told}");
}

#[test]
fn eval_gives_the_metrics_of_the_split() {
    let scene = Scene::new();
    let data = scene.data(2, "0 0.5 0.5 0.5 0.5\n");
    let result = json(&["eval", &scene.arg("net.cfg"), &scene.arg("net.weights"), "--data", &data]);
    assert_eq!((result["images"].as_u64(), result["labels"].as_u64()), (Some(1), Some(1)));
    let [map, map50] = ["map", "map50"].map(|figure| result[figure].as_f64().unwrap());
    // Of one class with labels the mean is its own, and a box that overlaps by more counts at 0.5 too.
    assert!(result["classes"][0]["ap50"].as_f64() == Some(map50) && map <= map50, "{result}");
    assert_eq!(result["classes"][0]["name"], "kind0");
}

#[test]
fn prune_writes_a_slim_net_with_its_proof() {
    let scene = Scene::new();
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("a/slim"));
    let pruned = json(&["prune", &cfg, &weights, "--channels", "0.4", "-o", &out]);
    assert!(pruned["proof_max_relative_difference"].as_f64().unwrap() <= 1e-4);
    let slim = Network::read(&scene.path("a/slim/slim.cfg"), &scene.path("a/slim/slim.weights")).unwrap();
    assert_eq!(pruned["params_after"], slim.parameters());
    assert_eq!(pruned["params_before"], scene.network().parameters());
    assert!(pruned["bflops_after"].as_f64() < pruned["bflops_before"].as_f64());
    assert!(scene.path("a/slim/plan.json").is_file());
    let again = yoloslim(&["prune", &cfg, &weights, "--channels", "0.4", "-o", &out]);
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
}

#[test]
fn prune_measures_what_it_removes_on_given_images() {
    let scene = Scene::new();
    let data = scene.data(2, "");
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("slim"));
    let pruned = json(&["prune", &cfg, &weights, "--channels", "0.4", "--data", &data, "-o", &out]);
    assert!(pruned["proof_max_relative_difference"].as_f64().unwrap() <= 1e-4);
    let plan: serde_json::Value = serde_json::from_slice(&files::read(&scene.path("slim/plan.json")).unwrap()).unwrap();
    assert_eq!(plan["layers"][0]["means"].as_array().unwrap().len(), 8);
}

#[test]
fn a_net_that_detects_nothing_is_refused_and_nothing_is_written() {
    let scene = Scene::new();
    let data = scene.data(2, "0 0.5 0.5 0.5 0.5\n");
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("slim"));
    let before = scene.listing();
    let output = yoloslim(&["prune", &cfg, &weights, "--channels", "0.4", "--data", &data, "-o", &out]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("detects next to nothing even before"), "{told}");
    assert_eq!(scene.listing(), before);
    let empty = scene.data(2, "");
    for (data, named) in [(Some(&empty), "could not be measured"), (None, "accuracy was not measured")] {
        let out = scene.arg(named);
        let data = data.map_or(vec![], |data| vec!["--data", data]);
        let output = yoloslim(&[&["prune", &cfg, &weights, "--channels", "0.4", "-o", &out][..], &data].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.contains(named), "{told}");
    }
}

#[test]
fn a_saved_plan_is_carried_out_and_several_budgets_hold() {
    let scene = Scene::new();
    let (cfg, weights, first, again) =
        (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("first"), scene.arg("again"));
    let pruned = json(&["prune", &cfg, &weights, "--target-flops", "0.3", "--target-params", "0.5", "-o", &first]);
    let left = |what: &str| {
        let number = |when: &str| pruned[format!("{what}_{when}")].as_f64().unwrap();
        number("after") / number("before")
    };
    assert!(left("bflops") <= 0.7 && left("params") <= 0.5, "{pruned}");
    stdout(&["prune", &cfg, &weights, "--plan", &scene.arg("first/plan.json"), "-o", &again]);
    for file in ["slim.cfg", "slim.weights"] {
        let [a, b] = ["first", "again"].map(|run| std::fs::read(scene.path(run).join(file)).unwrap());
        assert!(a == b, "{file} is the same");
    }
    let (slim_cfg, slim_weights) = (scene.arg("first/slim.cfg"), scene.arg("first/slim.weights"));
    let plan = scene.arg("first/plan.json");
    let output = yoloslim(&["prune", &slim_cfg, &slim_weights, "--plan", &plan, "-o", &scene.arg("none")]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("plan"), "{told}");
    assert!(!scene.path("none").exists());
}

#[test]
fn slim_fails_at_once_on_what_pruning_would_fail_on() {
    let scene = Scene::new();
    let data = scene.data(2, "0 0.5 0.5 0.3 0.4\n");
    let (cfg, out) = (scene.arg("net.cfg"), scene.arg("run"));
    for (typed, named) in [
        (&["--score", "sensitivity"][..], "score sensitivity"),
        (&["--layers", "5"], "layers: 5"),
        (&["--target-flops", "0.9", "--min-keep", "0.9"], "target-flops"),
        (&["--block-score", "accuracy", "--layers", "1"], "--block-score accuracy"),
        (&["--target-latency", "1", "--profile", "cpu"], "run yoloslim profile measure"),
    ] {
        let output = yoloslim(&[&["slim", &cfg, "--data", &data, "-o", &out], typed].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && told.contains(named), "{told}");
        assert!(!scene.path("run").exists());
    }
}

#[test]
fn every_score_prunes_and_those_that_need_data_say_so() {
    let scene = Scene::new();
    let data = scene.data(2, "0 0.5 0.5 0.5 0.5\n");
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    for score in ["gamma", "gamma-norm", "l1", "l2", "median", "taylor", "taylor-mean", "deviation"] {
        let out = scene.arg(score);
        let args = ["prune", &cfg, &weights, "--channels", "0.4", "--score", score, "--join", "mean", "--data", &data];
        let pruned = json(&[&args[..], &["-o", &out, "--anyway"]].concat());
        assert!(pruned["params_after"].as_u64() < pruned["params_before"].as_u64(), "{score}");
    }
    for score in ["taylor", "deviation"] {
        let output = yoloslim(&["prune", &cfg, &weights, "--score", score, "-o", &scene.arg("none")]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && message.contains("give --data"), "{message}");
        assert!(!scene.path("none").exists());
    }
}

#[test]
fn sensitivity_measures_each_part_and_pruning_goes_by_it() {
    let scene = Scene::new();
    let data = scene.data(2, "0 0.5 0.5 0.3 0.4\n1 0.2 0.3 0.2 0.2\n");
    let (cfg, weights, output) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("sensitivity"));
    let args = ["sensitivity", &cfg, &weights, "--data", &data, "-o", &output, "--ratios", "0.25,0.5"];
    let measured = json(&args);
    assert_eq!(measured["groups"][0]["layers"], serde_json::json!([0, 2]));
    assert_eq!(measured["groups"][0]["losses"].as_array().unwrap().len(), 2);
    assert_eq!(measured["blocks"][0]["shortcut"], 3);
    let file = scene.arg("sensitivity/sensitivity.json");
    let table = std::fs::read_to_string(scene.path("sensitivity/sensitivity.txt")).unwrap();
    assert!(table.contains("block of") && table.contains("0 2"), "{table}");
    let by_plan = scene.arg("by-plan");
    stdout(&["prune", &cfg, &weights, "--plan", &scene.arg("sensitivity/plan.json"), "-o", &by_plan]);
    let slim = scene.arg("slim");
    let by_it = "--target-flops 0.3 --layers 1 --block-score accuracy --candidates 4 --anyway";
    let mut args = vec!["prune", &cfg, &weights, "-o", &slim, "--sensitivity", &file, "--data", &data];
    args.extend(by_it.split(' '));
    let pruned = json(&args);
    assert_eq!(pruned["blocks_removed"], 1);
    assert!(pruned["map50_before"].is_number() && pruned["map50_after"].is_number(), "{pruned}");
    assert!(pruned["bflops_after"].as_f64().unwrap() <= 0.7 * pruned["bflops_before"].as_f64().unwrap());
    let heads = ["prune", &cfg, &weights, "--dry-run", "--layers", "1", "--block-score", "heads"];
    let told = String::from_utf8(yoloslim(&heads).stderr).unwrap();
    assert!(told.contains("give --data"), "{told}");
    stdout(&[&heads[..], &["--data", &data]].concat());
}

#[test]
fn profile_shows_each_layer_and_their_sum() {
    let scene = Scene::new();
    let shown = json(&["profile", "show", "hi3519a", &scene.arg("net.cfg")]);
    assert_eq!(shown["calibrated"], false);
    let layers = shown["layers"].as_array().unwrap();
    assert_eq!((layers.len(), layers[0]["kind"].as_str()), (11, Some("conv")));
    let sum: f64 = layers.iter().map(|l| l["ms"].as_f64().unwrap()).sum();
    assert!(sum > 0.0 && (sum - shown["ms"].as_f64().unwrap()).abs() < 1e-12);
    assert!(stdout(&["profile", "show", "hi3519a", &scene.arg("net.cfg")]).contains("uncalibrated"));
    assert!(stdout(&["profile", "show", "hi3519a"]).contains("[device.mac-array.clock_mhz]"));
}

#[test]
fn a_profile_is_fitted_to_timed_nets_and_used_as_a_budget() {
    let scene = Scene::new();
    let (cfg, weights, chip) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("chip.toml"));
    let timed = format!("{cfg}=12.5");
    let fitted = json(&["profile", "fit", "hi3519a", "--measured", &timed, "-o", &chip]);
    assert_eq!(fitted["fitted"], serde_json::json!(["clock_use"]));
    assert!((fitted["nets"][0]["predicted_ms"].as_f64().unwrap() - 12.5).abs() < 1e-6);
    let shown = json(&["profile", "show", &chip, &cfg]);
    assert_eq!(shown["calibrated"], true);
    let again = yoloslim(&["profile", "fit", "hi3519a", "--measured", &timed, "-o", &chip]);
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");

    let out = scene.arg("slim");
    let pruned = json(&["prune", &cfg, &weights, "--target-latency", "11", "--profile", &chip, "-o", &out]);
    assert!((pruned["ms_before"].as_f64().unwrap() - 12.5).abs() < 1e-6);
    let slim = json(&["profile", "show", &chip, &scene.arg("slim/slim.cfg")]);
    assert!((pruned["ms_after"].as_f64().unwrap() - slim["ms"].as_f64().unwrap()).abs() < 1e-9);
    assert!(slim["ms"].as_f64().unwrap() <= 11.0);

    for (target, profile, named) in [("0.001", chip.as_str(), "can't be reached"), ("9", "hi35", "neither a built-in")]
    {
        let args = ["prune", &cfg, &weights, "--target-latency", target, "--profile", profile, "-o", &scene.arg("no")];
        let output = yoloslim(&args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && message.contains(named), "{message}");
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let scene = Scene::new();
    let before = scene.listing();
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("slim"));
    let plan = json(&["prune", &cfg, &weights, "--channels", "0.4", "--dry-run", "-o", &out]);
    assert!(plan["proof_max_relative_difference"].is_null());
    assert_eq!(scene.listing(), before);
}

#[test]
fn anchors_are_ready_to_paste() {
    let scene = Scene::new();
    let data = scene.data(1, "0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.9 0.9\n");
    let text = stdout(&["anchors", "--data", &data, "--count", "2", "--size", "40"]);
    assert_eq!(text, "anchors = 8,6, 36,27\n");
}

#[test]
fn bench_gives_seconds_and_images_a_second() {
    let scene = Scene::new();
    for what in ["infer", "train"] {
        let cfg = scene.arg("net.cfg");
        let result = json(&["bench", what, &cfg, "--steps", "3", "--batch", "2", "--threads", "1"]);
        let number = |key: &str| result[key].as_f64().unwrap();
        assert!(number("s_min") > 0.0 && number("s_min") <= number("s_median"));
        assert!((number("images_per_s") * number("s_median") - 2.0).abs() < 1e-6);
        assert_eq!((number("threads"), number("steps")), (1.0, 3.0));
    }
}

#[test]
fn completions_know_the_commands() {
    assert!(stdout(&["completions", "bash"]).contains("anchors"));
}

#[test]
fn what_makes_no_command_is_a_usage_error() {
    let scene = Scene::new();
    let cfg = scene.arg("net.cfg");
    for args in [
        &["nonsense"][..],
        &["info"],
        &["info", &cfg, "--device", "toaster"],
        &["info", &cfg, "--threads", "0"],
        &["prune", &cfg, &cfg, "-o", "x", "--channels", "0.5", "--target-flops", "0.5"],
        &["prune", &cfg, &cfg, "-o", "x", "--target-latency", "9"],
        &["prune", &cfg, &cfg, "-o", "x", "--profile", "hi3519a"],
        &["prune", &cfg, &cfg, "-o", "x", "--plan", "plan.json", "--channels", "0.5"],
        &["train", &cfg, "--data", "d", "-o", "x", "--target-flops", "0.5"],
        &["train", &cfg, "--data", "d", "-o", "x", "--sparsity", "0.01", "--layers", "1"],
        &["train", &cfg, "--data", "d", "-o", "x", "--sparsity", "auto", "--sparsity-strategy", "decay"],
        &["slim", &cfg, "--data", "d", "-o", "x", "--sparsity-strategy", "decay"],
        &["slim", &cfg, "--data", "d", "-o", "x", "--sparse-epochs", "0", "--sparsity", "0.01"],
        &["train", &cfg, "--data", "d", "--find-lr", "--lr", "0.01"],
        &["profile", "fit", "hi3519a", "--measured", &cfg, "-o", "x"],
        &["prune", &cfg, &cfg, "-o", "x", "--target-flops", "70"],
        &["prune", &cfg, &cfg, "-o", "x", "--multiple-of", "0"],
        &["train", &cfg, "--data", "d", "-o", "x", "--batch", "0"],
        &["train", &cfg, "--data", "d", "-o", "x", "--lr", "-0.1"],
        &["train", &cfg, "--data", "d", "-o", "x", "--size", "0x32"],
        &["slim", &cfg, "--data", "d", "-o", "x", "--max-drop", "5"],
        &["quantize", &cfg, &cfg, "--data", "d", "-o", "x", "--fine-tune-lr", "nan"],
        &["init", "yolov3", "--classes", "99999999", "-o", "x"],
        &["init", "yolov3", "--classes", "2", "--width", "17", "-o", "x"],
        &["init", "yolov3", "--classes", "2", "--size", "100", "-o", "x"],
    ] {
        assert_eq!(yoloslim(args).status.code(), Some(2), "{args:?}");
    }
}
