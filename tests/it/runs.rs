//! Runs that take a while: what they leave, and how they go on after a stop.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use yoloslim_core::Network;
use yoloslim_core::record::RunRecord;

use crate::fixtures::{CFG, Scene, stdout, yoloslim};

const LABEL: &str = "0 0.5 0.5 0.3 0.4\n1 0.2 0.3 0.2 0.2\n";

fn slim_args(scene: &Scene, data: &str, output: &str) -> Vec<String> {
    let fixed = "--baseline-epochs 12 --sparse-epochs 12 --fine-tune-epochs 12 --sparsity 0.3 --target-flops 0.4 \
                 --layers 1 --batch 2 --validate-every 6";
    let mut args =
        vec!["slim".to_owned(), scene.arg("net.cfg"), "--data".into(), data.into(), "-o".into(), output.into()];
    args.extend(fixed.split_whitespace().map(str::to_owned));
    args
}

#[test]
fn what_a_config_says_of_the_penalty_holds_unless_it_is_typed() {
    let scene = Scene::new();
    let (cfg, data) = (scene.arg("net.cfg"), scene.data(2, LABEL));
    let config = scene.write("c.toml", "[sparsity]\ns = 0.5\nstrategy = \"decay\"\nmax_drop = 0.2\n");
    let line =
        format!("train {cfg} --data {data} -o {} --epochs 1 --config {config} --sparsity 0.03", scene.arg("run"));
    stdout(&line.split(' ').collect::<Vec<_>>());
    let written = std::fs::read_to_string(scene.path("run/config.toml")).unwrap();
    for said in ["s = 0.03", "strategy = \"decay\"", "max_drop = 0.2"] {
        assert!(written.contains(said), "{written}");
    }
    // A run that is complete says so again, and leaves its record alone.
    let record = || std::fs::read(scene.path("run/record.json")).unwrap();
    let before = record();
    let told = yoloslim(&["train", "--resume", &scene.arg("run")]);
    assert!(told.status.success() && String::from_utf8_lossy(&told.stderr).contains("the run is complete"));
    assert!(record() == before && String::from_utf8_lossy(&told.stdout).contains("train"));
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_costs_no_checkpoint() {
    let scene = Scene::new();
    let (cfg, data) = (scene.arg("net.cfg"), scene.data(2, LABEL));
    let train = |run: &str| {
        let line = format!("train {cfg} --data {data} -o {} --epochs 40 --batch 2 --validate-every 20", scene.arg(run));
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    stdout(&train("whole"));
    kill_when_there(&train("full"), &scene.path("full/last.safetensors"));
    let checkpoint = || std::fs::read(scene.path("full/last.safetensors")).unwrap();
    let before = checkpoint();
    // No file may grow beyond two kilobytes: as on a full disk, writing fails in the middle of a file.
    let limited = "trap '' XFSZ; ulimit -f 4; exec \"$0\" train --resume \"$1\"";
    let program = env!("CARGO_BIN_EXE_yoloslim");
    let output = Command::new("sh").args(["-c", limited, program, &scene.arg("full")]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && message.contains("error"), "{message}");
    assert!(before == checkpoint(), "the checkpoint before is whole");
    stdout(&["train", "--resume", &scene.arg("full")]);
    let [a, b] = ["whole", "full"].map(|run| std::fs::read(scene.path(run).join("last.weights")).unwrap());
    assert!(a == b, "the weights are the same to the bit");
}

/// Starts the program, and kills it as soon as `file` is there.
fn kill_when_there(args: &[String], file: &Path) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_yoloslim")).args(args).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn slim_that_was_killed_goes_on_to_the_same_net() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let whole = scene.arg("whole");
    let table = stdout(&slim_args(&scene, &data, &whole));
    for stage in ["baseline", "sparse", "pruned", "fine-tuned"] {
        assert!(table.contains(stage), "{table}");
    }
    let [cfg, weights] = ["whole/fine-tuned/result.cfg", "whole/fine-tuned/result.weights"].map(|file| scene.arg(file));
    let found = stdout(&["detect", &cfg, &weights, &scene.arg("images"), "--conf", "0", "--class", "kind0"]);
    assert!(found.contains(" kind0 "), "the run names the classes: {found}");
    let wrong = String::from_utf8(yoloslim(&["train", "--resume", &whole]).stderr).unwrap();
    assert!(wrong.contains(&format!("go on with yoloslim slim --resume {whole}")), "{wrong}");
    let killed = scene.arg("killed");
    kill_when_there(&slim_args(&scene, &data, &killed), &scene.path("killed/sparse/last.safetensors"));
    assert!(!scene.path("killed/slim.weights").exists(), "it was killed in time");
    stdout(&["slim", "--resume", &killed]);
    for file in ["slim.cfg", "slim.weights"] {
        let [a, b] = ["whole", "killed"].map(|run| std::fs::read(scene.path(run).join(file)).unwrap());
        assert!(a == b, "{file} is the same to the bit");
    }
    let record = RunRecord::read(&scene.path("killed/record.json")).unwrap();
    assert_eq!(record.stages.len(), 4);
    assert!(record.stages[3].bflops <= 0.6 * record.stages[0].bflops);
    let report = std::fs::read_to_string(scene.path("killed/report.html")).unwrap();
    for chart in ["tradeoff-flops", "network-drawing", "channels-pruned", "gamma-map", "gamma-ridges", "detections-0"] {
        assert!(report.contains(&format!("id=\"{chart}\"")), "the report has no {chart}");
    }
    assert!(!report.contains("http://") && !report.contains("https://"), "the report asks nothing of a network");
    let events = std::fs::read_dir(scene.path("killed/sparse")).unwrap().flatten();
    let events = events.filter(|file| file.file_name().to_string_lossy().starts_with("events.out.tfevents.")).count();
    assert!(events > 0, "there are no events for TensorBoard");
    Network::read(&scene.path("killed/slim.cfg"), &scene.path("killed/slim.weights")).unwrap();
}

/// Starts the program, sends it what Ctrl-C sends as soon as `file` is there, and gives what it says at its end.
#[cfg(unix)]
fn interrupt_when_there(args: &[String], file: &Path) -> std::process::Output {
    let child = Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(args)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_in_good_order_and_it_goes_on_to_the_same_net() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let train = |run: &str| {
        let args =
            ["train", &scene.arg("net.cfg"), "--data", &data, "-o", &scene.arg(run), "--epochs", "60", "--batch", "1"];
        args.map(str::to_owned)
    };
    stdout(&train("whole"));
    let output = interrupt_when_there(&train("stopped"), &scene.path("stopped/last.safetensors"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let go_on = format!("go on with: yoloslim train --resume {}", scene.arg("stopped"));
    assert!(output.status.code() == Some(1) && told.contains("stopped ") && told.contains(&go_on), "{told}");
    assert!(told.contains("once more ends it at once"), "{told}");
    let report = std::fs::read_to_string(scene.path("stopped/report.html")).unwrap();
    assert!(report.contains("of 60</span>"), "the report of a run that goes on says how far it is");
    stdout(&["train", "--resume", &scene.arg("stopped")]);
    let [a, b] = ["whole", "stopped"].map(|run| std::fs::read(scene.path(run).join("last.weights")).unwrap());
    assert!(a == b, "the weights are the same to the bit");
    let args = slim_args(&scene, &data, &scene.arg("slim"));
    let output = interrupt_when_there(&args, &scene.path("slim/sparse/last.safetensors"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let go_on = format!("go on with: yoloslim slim --resume {}", scene.arg("slim"));
    assert!(output.status.code() == Some(1) && told.contains(&go_on), "{told}");
    stdout(&["slim", "--resume", &scene.arg("slim")]);
    assert_eq!(RunRecord::read(&scene.path("slim/record.json")).unwrap().stages.len(), 4);
}

#[test]
fn a_run_starts_from_the_config_of_another_and_takes_no_options_when_it_goes_on() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let (cfg, first, second) = (scene.arg("net.cfg"), scene.arg("first"), scene.arg("second"));
    stdout(&["train", &cfg, "--data", &data, "-o", &first, "--epochs", "2", "--batch", "3", "--lr", "0.002"]);
    let config = scene.arg("first/config.toml");
    stdout(&["train", &cfg, "--data", &data, "-o", &second, "--config", &config, "--epochs", "1"]);
    let text = std::fs::read_to_string(scene.path("second/config.toml")).unwrap();
    assert!(["epochs = 1\n", "batch = 3\n", "learning_rate = 0.002\n"].iter().all(|o| text.contains(o)), "{text}");
    let wide = scene.arg("wide");
    stdout(&["train", &cfg, "--data", &data, "-o", &wide, "--config", &config, "--epochs", "1", "--size", "64x32"]);
    let [config, cfg] = ["wide/config.toml", "wide/last.cfg"].map(|f| std::fs::read_to_string(scene.path(f)).unwrap());
    assert!(config.contains("size = \"64x32\"") && cfg.contains("width=64\nheight=32\n"), "{config}{cfg}");
    for typed in [["--lr", "0.1"], ["--batch", "2"], ["--sparsity", "0.1"], ["--distil", "hint"], ["--on-nan", "skip"]]
    {
        let output = yoloslim(&["train", "--resume", &first, typed[0], typed[1]]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains("--resume"), "{typed:?}: {told}");
    }
    let output = yoloslim(&["slim", "--resume", &first, "--baseline-epochs", "2"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn train_is_taught_by_a_teacher_and_slim_by_its_baseline() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    let fixed = format!("train {cfg} --data {data} -o {} --epochs 2 --batch 1", scene.arg("run"));
    let taught = format!("{fixed} --teacher {cfg} {weights} --distil soft-targets,hint=0.25");
    stdout(&taught.split(' ').collect::<Vec<_>>());
    let distilled = |stage: &yoloslim_core::record::StageRecord| {
        stage.epochs.iter().map(|epoch| epoch.distilled.keys().cloned().collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let record = RunRecord::read(&scene.path("run/record.json")).unwrap();
    assert_eq!(distilled(&record.stages[0]), [["hint", "soft-targets"], ["hint", "soft-targets"]]);
    assert!(record.stages[0].epochs[0].distilled.values().all(|loss| *loss > 0.0));
    let slim = "--baseline-epochs 1 --sparse-epochs 0 --fine-tune-epochs 1 --target-flops 0.4 --batch 1";
    for (run, more, expected) in [("taught", "", 1), ("alone", " --no-teacher", 0)] {
        let line = format!("slim {cfg} --data {data} -o {} {slim}{more}", scene.arg(run));
        stdout(&line.split(' ').collect::<Vec<_>>());
        let record = RunRecord::read(&scene.path(run).join("record.json")).unwrap();
        let counts: Vec<usize> = record.stages.iter().flat_map(distilled).map(|names| names.len()).collect();
        assert_eq!(counts, [0, expected], "the baseline is taught by nobody, {run}");
    }
}

#[test]
fn rates_are_tried_and_nothing_is_written() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let before = scene.listing();
    let table = stdout(&["train", &scene.arg("net.cfg"), "--data", &data, "--batch", "1", "--find-lr"]);
    assert!(table.starts_with("rate ") && table.lines().count() > 10, "{table}");
    assert_eq!(scene.listing(), before);
}

#[test]
fn a_cfg_says_how_it_is_trained_and_patience_ends_it_early() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let how = "[net]\nbatch=4\nsubdivisions=2\nburn_in=10\nmax_batches=40\nlearning_rate=0.0001\n";
    let cfg = scene.write("how.cfg", CFG.replacen("[net]\n", how, 1));
    let run = scene.arg("run");
    stdout(&["train", &cfg, "--data", &data, "-o", &run, "--hyp", "cfg", "--patience", "3"]);
    let text = std::fs::read_to_string(scene.path("run/config.toml")).unwrap();
    for option in ["epochs = 40", "batch = 2", "accumulate = 2", "learning_rate = 0.0001", "normalise = \"darknet\""] {
        assert!(text.contains(option), "{option}: {text}");
    }
    let record = RunRecord::read(&scene.path("run/record.json")).unwrap();
    let epochs = &record.stages[0].epochs;
    assert!(epochs.len() < 40 && epochs.len() >= 4, "{} epochs", epochs.len());
    // An update stays one of as many images.
    let small = scene.arg("small");
    stdout(&["train", &cfg, "--data", &data, "-o", &small, "--hyp", "cfg", "--batch", "1", "--epochs", "1"]);
    let text = std::fs::read_to_string(scene.path("small/config.toml")).unwrap();
    assert!(["batch = 1", "accumulate = 4", "epochs = 1"].iter().all(|option| text.contains(option)), "{text}");
}

#[test]
fn slim_in_steps_numbers_its_stages_and_arrives_at_the_target() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let mut args = slim_args(&scene, &data, &scene.arg("steps"));
    let more = "--iterations 2 --candidates 3 --max-drop 1 --block-score heads --keep-statistics --images 1";
    args.extend(more.split(' ').map(str::to_owned));
    stdout(&args);
    let record = RunRecord::read(&scene.path("steps/record.json")).unwrap();
    let names: Vec<&str> = record.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["baseline", "sparse", "pruned-1", "fine-tuned-1", "pruned-2", "fine-tuned-2"]);
    assert_eq!(record.stages[5].epochs.len(), 6, "half of the epochs of fine-tuning");
    let bflops: Vec<f64> = record.stages.iter().map(|stage| stage.bflops).collect();
    assert!(bflops[2] < bflops[0] && bflops[4] < bflops[2] && bflops[5] <= 0.6 * bflops[0], "{bflops:?}");
}

/// Runs three short steps, then writes what mAP@0.5 its stages are said to have reached and what floor holds, forgets
/// what `slim` came to and the stages from `forget` on, and resumes it; what it says.
fn resumed_with(scene: &Scene, map50: &[(&str, f64)], forget: &str) -> String {
    let data = scene.data(2, LABEL);
    let run = scene.arg("steps");
    let fixed = "--baseline-epochs 1 --sparse-epochs 0 --fine-tune-epochs 3 --target-flops 0.4 --batch 2 --iterations 3 \
                 --max-drop 1 --no-teacher";
    let mut args = vec!["slim".to_owned(), scene.arg("net.cfg"), "--data".into(), data, "-o".into(), run.clone()];
    args.extend(fixed.split_whitespace().map(str::to_owned));
    stdout(&args);
    let path = scene.path("steps/record.json");
    let mut record = RunRecord::read(&path).unwrap();
    let stays = record.stages.iter().position(|stage| stage.name == forget).unwrap_or(record.stages.len());
    for stage in record.stages.drain(stays..) {
        std::fs::remove_dir_all(scene.path("steps").join(stage.name)).unwrap();
    }
    for (name, map50) in map50 {
        let stage = record.stages.iter_mut().find(|stage| stage.name == *name).unwrap();
        stage.evaluation.as_mut().unwrap().map50 = Some(*map50);
    }
    record.write(&path).unwrap();
    let config = scene.path("steps/config.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("max_drop = 1.0", "max_drop = 0.05");
    std::fs::write(config, text).unwrap();
    ["slim.cfg", "slim.weights"].iter().for_each(|file| std::fs::remove_file(scene.path("steps").join(file)).unwrap());
    let output = yoloslim(&["slim", "--resume", &run]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    told
}

/// Whether the result is what that stage ended with.
fn result_is(scene: &Scene, stage: &str) -> bool {
    let read = |file: String| std::fs::read(scene.path("steps").join(file)).unwrap();
    read("slim.weights".into()) == read(format!("{stage}/result.weights"))
}

#[test]
fn a_resumed_run_looks_at_each_step_as_an_uninterrupted_one_does() {
    let scene = Scene::new();
    let steps = [("baseline", 0.9), ("fine-tuned-1", 0.88), ("fine-tuned-2", 0.87), ("fine-tuned-3", 0.1)];
    let told = resumed_with(&scene, &steps, "none");
    let record = RunRecord::read(&scene.path("steps/record.json")).unwrap();
    assert_eq!(record.result.as_deref(), Some("fine-tuned-2"));
    assert!(told.contains("fine-tuned-3 costs 0.8000") && !told.contains("fine-tuned-2 costs"), "{told}");
    assert!(result_is(&scene, "fine-tuned-2"));
}

#[test]
fn slim_stops_at_the_floor_and_says_when_no_net_meets_it() {
    let scene = Scene::new();
    let told = resumed_with(&scene, &[("baseline", 0.9), ("fine-tuned-1", 0.1)], "pruned-2");
    assert!(
        told.contains("fine-tuned-1 costs 0.8000") && told.contains("no net of this run meets the floor"),
        "{told}"
    );
    assert!(result_is(&scene, "fine-tuned-1") && !scene.path("steps/pruned-2").exists());
}

#[test]
fn train_takes_weights_for_other_classes_and_says_so() {
    let scene = Scene::new();
    let data = scene.data(3, "2 0.5 0.5 0.3 0.4\n");
    let cfg = scene.write("three.cfg", CFG.replace("filters=14", "filters=16").replace("classes=2", "classes=3"));
    let run = scene.arg("run");
    let args = ["train", &cfg, &scene.arg("net.weights"), "--data", &data, "-o", &run, "--epochs", "2", "--batch", "1"];
    let output = yoloslim(&args);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("for 2 classes and the cfg for 3"), "{told}");
    for file in ["config.toml", "record.json", "last.safetensors", "last.cfg", "last.weights", "best.weights"] {
        assert!(scene.path("run").join(file).is_file(), "{file} is there");
    }
    let again = yoloslim(&args);
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(1) && told.contains("nothing is overwritten"), "{told}");
}

#[test]
fn pictures_without_objects_are_trained_on() {
    let scene = Scene::new();
    let data = scene.data(2, "");
    let run = scene.arg("run");
    let output =
        yoloslim(&["train", &scene.arg("net.cfg"), "--data", &data, "-o", &run, "--epochs", "2", "--batch", "4"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("hold no object, so there is nothing to learn"), "{told}");
}

#[test]
fn a_run_goes_on_with_the_labels_it_was_started_on_and_not_with_a_damaged_record() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let line =
        format!("slim {} --data {data} -o {} --target-flops 0.3 --batch 2", scene.arg("net.cfg"), scene.arg("run"));
    let epochs = " --baseline-epochs 2 --sparse-epochs 0 --fine-tune-epochs 1";
    stdout(&(line + epochs).split_whitespace().collect::<Vec<_>>());
    let refused = |why: &str| {
        let output = yoloslim(&["slim", "--resume", &scene.arg("run")]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(why), "{told}");
    };
    scene.write("labels/val.txt", "0 0.5 0.5 0.3 0.4\n");
    refused("started on other images or labels");
    scene.write("labels/val.txt", LABEL);
    stdout(&["slim", "--resume", &scene.arg("run")]);
    let slim = std::fs::read(scene.path("run/slim.weights")).unwrap();
    std::fs::remove_file(scene.path("run/baseline/result.weights")).unwrap();
    refused("remove record.json from the run's folder");
    scene.write("run/record.json", "{\"command\":");
    refused("remove it, and --resume makes it anew");
    std::fs::remove_file(scene.path("run/record.json")).unwrap();
    stdout(&["slim", "--resume", &scene.arg("run")]);
    assert!(std::fs::read(scene.path("run/slim.weights")).unwrap() == slim);
}
