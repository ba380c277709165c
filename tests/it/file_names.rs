//! Names of files that are odd or too long, and errors that must name the right one.

#![cfg(unix)]

use std::process::{Command, Output};

use crate::fixtures::Scene;

/// The one document on stdout.
fn document(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_name_that_is_not_utf8_loses_no_results() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let strange = std::ffi::OsStr::from_bytes(b"b\xe9");
    let [picture, cfg] = ["png", "cfg"].map(|extension| scene.path("p").join(strange).with_extension(extension));
    scene.picture("p/a.png", 120);
    std::fs::copy(scene.path("p/a.png"), &picture).unwrap();
    std::fs::copy(scene.path("net.cfg"), &cfg).unwrap();
    let run = |args: &[&std::ffi::OsStr]| {
        document(&Command::new(env!("CARGO_BIN_EXE_yoloslim")).args(args).arg("--json").output().unwrap())
    };
    let [net, weights, folder] = [scene.path("net.cfg"), scene.path("net.weights"), scene.path("p")];
    let detect = ["detect".as_ref(), net.as_os_str(), weights.as_os_str(), folder.as_os_str(), "--conf=0".as_ref()];
    let found = run(&detect);
    let last = found.as_array().unwrap().last().unwrap()["image"].as_str().unwrap();
    assert!(last.ends_with("b\u{fffd}.png"), "{last}");
    let bench = run(&["bench".as_ref(), "infer".as_ref(), cfg.as_os_str(), "--steps=1".as_ref()]);
    assert!(bench["cfg"].as_str().unwrap().ends_with("b\u{fffd}.cfg"), "{bench}");
}
