//! The real data, weights and cfgs that tests use where they are present.

use std::path::{Path, PathBuf};

/// A file or folder of the shared real data: in `YOLOSLIM_SHARED`, or `../shared` beside the workspace. None with a message
/// where it is not there.
///
/// # Panics
/// If it is not there and `YOLOSLIM_REQUIRE_SHARED` is set.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("YOLOSLIM_SHARED").map_or_else(beside, PathBuf::from).join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("YOLOSLIM_REQUIRE_SHARED").is_none(), "{} is not there", path.display());
    eprintln!("skipped: {} is not there", path.display());
    None
}
