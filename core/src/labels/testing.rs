//! A folder of made-up images and label files for tests.

use std::path::PathBuf;

pub(super) use crate::shared_files::shared;

/// A temporary folder that goes when the test ends.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One folder down, for some readers look beside the folder they are given, where others' files may lie.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("set").join(name)
    }

    pub fn text(&self, name: &str, text: &str) -> PathBuf {
        self.write(name, text.as_bytes())
    }

    /// A PNG header of the given size, which is all that reading labels looks at.
    pub fn image(&self, name: &str, width: u32, height: u32) -> PathBuf {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0]);
        self.write(name, &bytes)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}
