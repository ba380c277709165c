//! Reading and writing whole files: every failure names its path, and every write is whole or not at all.

use std::io::Write;
use std::path::Path;

use crate::{Error, Result};

/// Reads a file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| cannot("read", path, &e))
}

/// Reads a file as UTF-8, bytes that are not UTF-8 replaced and the byte order mark that some editors begin it with left out.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// The number of the line, from 1, that byte `at` of `text` stands in; 1 where that is not known.
#[must_use]
pub fn line_of(text: &str, at: Option<usize>) -> usize {
    at.and_then(|at| text.get(..at)).map_or(1, |before| before.matches('\n').count() + 1)
}

/// Writes a file through a temporary sibling that is renamed at the end, so that a killed process or a
/// full disk leaves the old file or none, never half of the new one.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = draft(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e| cannot("write", path, &e))
}

fn cannot(what: &str, path: &Path, e: &std::io::Error) -> Error {
    let error = Error::at(path.display(), format!("cannot {what}: {e}"));
    match e.kind() {
        std::io::ErrorKind::NotFound => error.fix("check the path"),
        std::io::ErrorKind::PermissionDenied => error.fix("check the permissions of the file and its folder"),
        std::io::ErrorKind::StorageFull => {
            error.fix("free some disk space, then run the command again; a run that has begun goes on by --resume RUN")
        }
        _ => error.fix("check the path and the disk it is on"),
    }
}

/// Refuses a file that is there already, before any work is done for it.
///
/// # Errors
/// There is something of that name, or its folder is missing.
pub fn require_absent(path: &Path) -> Result<()> {
    if path.exists() {
        return Err(Error::at(path.display(), "the file is there already, and nothing is overwritten")
            .fix("give another name or remove it"));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Error::at(path.display(), format!("there is no folder {}", folder.display())).fix("make it first"))
        }
        _ => Ok(()),
    }
}

/// Refuses two files to write that are one: the second would be written over the first. Their folders must be there.
///
/// # Errors
/// Both paths lead to the same file.
pub fn require_apart(a: &Path, b: &Path) -> Result<()> {
    let place = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        // The folder's links and dots are followed; the file itself need not be there yet.
        Some((path.parent()?.canonicalize().ok()?, path.file_name()?.to_owned()))
    };
    if a == b || place(a).is_some_and(|there| place(b) == Some(there)) {
        return Err(Error::at(b.display(), format!("it is the same file as {}", a.display()))
            .fix("give each of the two files a name of its own"));
    }
    Ok(())
}

/// Fails where a file can't be written, before any work is done for it.
///
/// # Errors
/// The folder takes no files.
pub fn require_writable(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    draft(folder).map(drop).map_err(|e| cannot("write", path, &e))
}

/// How the names of temporary files begin.
const DRAFT: &str = ".yoloslim-";

/// Whether this is the name of a draft that a killed process has left of [`write_whole`].
#[must_use]
pub fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT)
}

/// Removes what killed processes have left of [`write_whole`] in a folder that no process writes to.
pub fn remove_drafts(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| cannot("read", folder, &e))?;
    for entry in entries.flatten().filter(|entry| is_draft(&entry.file_name().to_string_lossy())) {
        if entry.path().is_file() {
            std::fs::remove_file(entry.path()).map_err(|e| cannot("remove", &entry.path(), &e))?;
        }
    }
    Ok(())
}

/// A temporary file in `folder`.
#[cfg(not(unix))]
fn draft(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(DRAFT).tempfile_in(folder)
}

/// A temporary file in `folder` that whoever the umask lets may read: it stays.
#[cfg(unix)]
fn draft(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(DRAFT).permissions(mode).tempfile_in(folder)
}

/// Makes a folder and those above it; one that is there already is fine.
pub fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| cannot("create the folder", path, &e))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_as_readable_as_one_that_is_written_plainly() {
        let folder = tempfile::tempdir().unwrap();
        let [whole, plain] = ["whole", "plain"].map(|name| folder.path().join(name));
        write_whole(&whole, b"x").unwrap();
        std::fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&whole), mode(&plain));
    }

    #[test]
    fn two_paths_to_one_file_are_told_though_it_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        create_folder(&path("sub")).unwrap();
        std::os::unix::fs::symlink(path("sub"), path("link")).unwrap();
        for (a, b) in [("n.cfg", "n.cfg"), ("n.cfg", "./n.cfg"), ("n.cfg", "sub/../n.cfg"), ("sub/n", "link/n")] {
            let message = require_apart(&path(a), &path(b)).unwrap_err().to_string();
            assert!(message.contains("the same file") && message.contains(b), "{message}");
        }
        assert!(require_apart(Path::new("n.cfg"), Path::new("./n.cfg")).is_err());
        for (a, b) in [("n.cfg", "n.weights"), ("n.cfg", "sub/n.cfg")] {
            require_apart(&path(a), &path(b)).unwrap();
        }
    }
}
