//! How commands end: what they wrote and what makes sense next, unless they were told to be quiet; and what `-q`, `-v`
//! and `NO_COLOR` do to the rest.

use std::process::Command;

use crate::fixtures::{Scene, json, stdout, yoloslim};

/// Enough sizes of boxes for six anchors, and one object of the second class.
const LABEL: &str = "0 0.5 0.5 0.3 0.4\n0 0.5 0.5 0.5 0.6\n0 0.5 0.5 0.2 0.3\n0 0.5 0.5 0.7 0.5\n0 0.5 0.5 0.9 0.9\n\
                     0 0.5 0.5 0.4 0.2\n1 0.2 0.3 0.2 0.2\n";

/// A command line, what it is to say that it wrote, and how the next command is to begin.
struct Case {
    args: Vec<String>,
    wrote: &'static str,
    next: String,
}

/// A case; `@` stands for the scene's folder, `DATA` for its data set.
fn case(scene: &Scene, data: &str, args: &str, wrote: &'static str, next: &str) -> Case {
    let folder = scene.arg("");
    let fill = |text: &str| text.replace('@', &folder).replace("DATA", data);
    Case { args: fill(args).split(' ').map(str::to_owned).collect(), wrote, next: fill(next) }
}

/// Every command but `demo` and `profile measure`, which take minutes, those that print a document for a program
/// (`completions`, `man`), and `report --watch`, which doesn't end.
fn cases(scene: &Scene, data: &str) -> Vec<Case> {
    let new = |args, wrote, next| case(scene, data, args, wrote, next);
    vec![
        new("info @net.cfg", "", "bench infer @net.cfg"),
        new("info @net.cfg @net.weights", "", "eval @net.cfg @net.weights --data D"),
        new("init yolov3-tiny --data DATA --width 0.25 --size 64 -o @new.cfg", "new.cfg", "train @new.cfg --data DATA"),
        new(
            "anchors --data DATA --count 6 --refine 2",
            "",
            "init yolov3-tiny --data DATA --size 416 --refine 2 -o my.cfg",
        ),
        new("detect @net.cfg @net.weights @images", "", "detect @net.cfg @net.weights @images -o images-found"),
        new("detect @net.cfg @net.weights @images -o @found", "2 pictures", "eval @net.cfg @net.weights"),
        new("heads @net.cfg @net.weights --input @x.npy -o @o.npz", "o.npz", "eval @net.cfg @net.weights"),
        new("eval @net.cfg @net.weights --data DATA", "", "train @net.cfg @net.weights --data DATA -o @net-more"),
        new("bench infer @net.cfg --steps 1", "", "profile show hi3519a @net.cfg"),
        new("bench train @net.cfg --steps 1", "", "train @net.cfg --data D"),
        new("profile show hi3519a", "", "profile show hi3519a CFG"),
        new("profile show hi3519a @net.cfg", "", "prune @net.cfg @net.weights --data D --target-latency"),
        new("profile fit hi3519a --measured @net.cfg=9 -o @p.toml", "p.toml", "profile show @p.toml @net.cfg"),
        new("prune @net.cfg @net.weights --dry-run", "", "prune @net.cfg @net.weights -o @net-slim"),
        new(
            "prune @net.cfg @net.weights --data DATA --anyway -o @slim",
            "slim/slim.weights",
            "train @slim/slim.cfg @slim/slim.weights --data DATA --teacher @net.cfg @net.weights -o @slim-tuned",
        ),
        new("eval @slim/slim.cfg @slim/slim.weights --data DATA", "", "train @slim/slim.cfg @slim/slim.weights"),
        new(
            "sensitivity @net.cfg @net.weights --data DATA --ratios 0.5 -o @parts",
            "sensitivity.json, this table",
            "prune @net.cfg @net.weights --data DATA --plan @parts/plan.json",
        ),
        new("export @net.cfg @net.weights --format darknet -o @folded", "2 files to", "the normalisation is folded"),
        new(
            "export @net.cfg @net.weights --check nnie",
            "",
            "export @net.cfg @net.weights --format caffe --data D -o @net-caffe",
        ),
        new(
            "quantize @net.cfg @net.weights --data DATA --images 1 -o @int8",
            "int8/quantised.onnx",
            "heads @int8/quantised.cfg @int8/quantised.weights --quantisation @int8/quantisation.json",
        ),
        new(
            "train @net.cfg @net.weights --data DATA --epochs 2 --batch 1 -o @base",
            "base/last.cfg",
            "train @base/last.cfg @base/last.weights --data DATA --epochs 4 -o @base-more",
        ),
        new(
            "slim @net.cfg --data DATA --baseline-epochs 1 --sparse-epochs 1 --fine-tune-epochs 1 --batch 1 -o @run",
            "run/slim.weights",
            "export @run/slim.cfg @run/slim.weights --format onnx -o @run-onnx",
        ),
        new("report @run", "run/report.html", "export @run/slim.cfg @run/slim.weights"),
        new("report @base", "base/report.html", "eval @base/last.cfg @base/last.weights"),
        new("man -o @pages", "pages to", "man -l @pages/yoloslim.1"),
    ]
}

/// The texts of the lines with this label.
fn labelled<'t>(told: &'t str, label: &str) -> Vec<&'t str> {
    told.lines().filter_map(|line| line.strip_prefix(label)).map(str::trim).collect()
}

/// A command line that is told must be one: its words are known, whatever the files hold.
fn assert_is_a_command(line: &str) {
    let words: Vec<&str> = line.split(' ').skip(1).chain(["--help"]).collect();
    let output = yoloslim(&words);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_command_ends_by_what_it_wrote_and_the_next_command() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    scene.npy("x.npy", [1, 3, 32, 32]);
    for Case { args, wrote, next } in cases(&scene, &data) {
        let output = yoloslim(&args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {told}");
        match (labelled(&told, "wrote:").as_slice(), wrote) {
            ([], "") => {}
            ([line, ..], wrote) => assert!(!wrote.is_empty() && line.contains(wrote), "{args:?}: {told}"),
            (none, _) => panic!("{args:?} says that it wrote {none:?}: {told}"),
        }
        let last = told.lines().last().unwrap_or_default().strip_prefix("next: ").unwrap_or_default();
        let last = last.strip_prefix("yoloslim ").unwrap_or(last);
        assert!(last.starts_with(&next), "{args:?}: {told}\nnext should be {next}");
        if told.contains("next: yoloslim") {
            assert_is_a_command(&format!("yoloslim {last}"));
        }
    }
}

#[test]
fn a_quiet_command_and_one_that_prints_json_say_nothing_but_results() {
    for flag in ["-q", "--json"] {
        let scene = Scene::new();
        let data = scene.data(2, LABEL);
        scene.npy("x.npy", [1, 3, 32, 32]);
        for Case { mut args, .. } in cases(&scene, &data) {
            let program = args[0].clone();
            let prints_toml = args.join(" ") == "profile show hi3519a";
            if flag == "--json" && (program == "man" || prints_toml) {
                continue;
            }
            args.push(flag.to_owned());
            let output = yoloslim(&args);
            let (out, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            assert!(output.status.success(), "{args:?}: {told}");
            let labels = ["wrote:", "next:"].map(|label| labelled(&told, label).len());
            assert_eq!(labels, [0, 0], "{args:?}: {told}");
            if flag == "--json" {
                let parsed: Result<serde_json::Value, _> = serde_json::from_str(&out);
                assert!(parsed.is_ok(), "{args:?} printed {out}");
            } else {
                let only_warnings = told.lines().all(|line| line.starts_with("warning: "));
                assert!(only_warnings, "{args:?}: {told}");
            }
        }
    }
}

#[test]
fn verbose_tells_threads_kernels_and_time() {
    let scene = Scene::new();
    let told = |flags: &[&str]| {
        let output = yoloslim(&[&["info", &scene.arg("net.cfg"), "--threads", "1"][..], flags].concat());
        String::from_utf8(output.stderr).unwrap()
    };
    let verbose = told(&["-v"]);
    let details = labelled(&verbose, "detail:");
    assert!(details[0].starts_with("1 threads, kernels for ") && details[1].ends_with(" s"), "{verbose}");
    assert!(labelled(&told(&[]), "detail:").is_empty());
    let many = yoloslim(&["info", &scene.arg("net.cfg"), "--threads", "100000", "-v"]);
    let (many, processors) = (String::from_utf8(many.stderr).unwrap(), std::thread::available_parallelism().unwrap());
    assert!(labelled(&many, "warning:")[0].starts_with("--threads: more than there are processors"), "{many}");
    assert!(labelled(&many, "detail:")[0].starts_with(&format!("{processors} threads")), "{many}");
    assert_eq!(yoloslim(&["info", "x.cfg", "-v", "-q"]).status.code(), Some(2), "talkative and quiet at once");
}

/// What `script` shows of a command on a pseudo-terminal, colours and all; none where there is no `script`.
fn on_a_terminal(command: &str, environment: &[(&str, &str)]) -> Option<String> {
    let mut script = Command::new("script");
    script.args(["-qec", command, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
    let output = script.envs(environment.iter().copied()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_terminal_has_colours_unless_no_color_is_set() {
    let scene = Scene::new();
    let command = format!("{} info {}", env!("CARGO_BIN_EXE_yoloslim"), scene.arg("net.cfg"));
    let Some(coloured) = on_a_terminal(&command, &[]) else {
        eprintln!("skipped: there is no program `script` to make a terminal");
        return;
    };
    assert!(coloured.contains("\x1b[1;36mnext:\x1b[0m"), "{coloured:?}");
    for (value, plain) in [("1", true), ("", false)] {
        let shown = on_a_terminal(&command, &[("NO_COLOR", value)]).unwrap();
        assert_eq!(!shown.contains("\x1b["), plain, "NO_COLOR={value}: {shown:?}");
    }
    let piped = String::from_utf8(yoloslim(&["info", &scene.arg("net.cfg")]).stderr).unwrap();
    assert!(piped.contains("next: ") && !piped.contains('\x1b'), "{piped:?}");
}

#[test]
fn what_is_asked_of_classes_by_name_is_a_filter_with_a_suggestion() {
    let scene = Scene::new();
    let data = scene.data(2, LABEL);
    let (cfg, weights) = (scene.arg("net.cfg"), scene.arg("net.weights"));
    let eval = ["eval", &cfg, &weights, "--data", &data];
    let one = json(&[&eval[..], &["--class", "kind1"]].concat());
    assert_eq!((one["labels"].as_u64(), one["classes"][1]["labels"].as_u64()), (Some(1), Some(1)));
    assert_eq!(one["map50"], one["classes"][1]["ap50"]);
    let output = yoloslim(&[&eval[..], &["--class", "kinds1"]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("did you mean `kind1`?"), "{told}");
    let (picture, names) = (scene.arg("images/val.png"), scene.arg("kinds.names"));
    let detect = ["detect", &cfg, &weights, &picture, "--conf", "0", "--names", &names, "--class", "kind0"];
    let found = json(&detect);
    let found = found.as_array().unwrap();
    assert!(!found.is_empty() && found.iter().all(|object| object["name"] == "kind0"), "{found:?}");
    assert!(stdout(&["info", &cfg]).lines().all(|line| line.chars().count() <= 80));
}
