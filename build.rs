//! Tells the program what it was built from, for `--version`.

use std::process::Command;

fn main() {
    println!("cargo::rustc-env=YOLOSLIM_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo::rustc-env=YOLOSLIM_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=YOLOSLIM_FEATURES={}", std::env::var("CARGO_CFG_FEATURE").unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=YOLOSLIM_COMMIT");
}

/// `YOLOSLIM_COMMIT` where a packager sets it, else what git says; none in a tree without git.
fn commit() -> Option<String> {
    if let Ok(given) = std::env::var("YOLOSLIM_COMMIT") {
        return Some(given);
    }
    // A new commit moves one of these.
    for file in ["HEAD", "refs/heads"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let at = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    Some(if changed { format!("{at} with changes") } else { at })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
