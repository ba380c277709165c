//! Names of files that are odd or too long, and errors that must name the right one.

use std::process::{Command, Output};

use crate::fixtures::{CFG, Scene, yoloslim};

/// The one document on stdout.
#[cfg(unix)]
fn document(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[cfg(unix)]
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

#[test]
fn what_was_found_is_printed_though_it_cannot_be_drawn() {
    let scene = Scene::new();
    // Both would be drawn as the same .png; the second takes its own extension along, too long for a name.
    let long = "a".repeat(249);
    scene.picture(&format!("p/{long}.jpg"), 60);
    std::fs::copy(scene.path(&format!("p/{long}.jpg")), scene.path(&format!("p/{long}.png"))).unwrap();
    let (cfg, weights, out) = (scene.arg("net.cfg"), scene.arg("net.weights"), scene.arg("drawn"));
    let output = yoloslim(&["detect", &cfg, &weights, &scene.arg("p"), "--conf", "0", "-o", &out]);
    let (told, list) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    assert!(output.status.code() == Some(1) && told.contains("cannot write"), "{told}");
    assert!(!told.contains("wrote"), "{told}");
    assert!([".jpg  ", ".png  "].iter().all(|end| list.contains(end)), "{list}");
}

#[test]
fn images_of_a_size_that_a_line_of_the_cfg_cannot_take() {
    let scene = Scene::new();
    let tail = "\n[maxpool]\nsize=2\nstride=2\n\n[upsample]\nstride=2\n\n[route]\nlayers=-1,-3\n";
    let cfg = scene.write("odd.cfg", CFG.to_owned() + tail);
    let input = scene.npy("x.npy", [1, 3, 33, 33]);
    let args = ["heads", &cfg, &scene.arg("net.weights"), "--input", &input, "-o", &scene.arg("o.npz")];
    let told = String::from_utf8(yoloslim(&args).stderr).unwrap();
    assert!(told.contains("images of 33x33: ") && told.contains("odd.cfg:"), "{told}");
    assert!(told.contains("[route] #13") && !told.contains("x.npy"), "{told}");
}
