//! A folder that appears whole or not at all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use yoloslim_core::{Error, Result};

/// A folder in the making: a temporary sibling that gets its name at the end. Dropped before, it leaves nothing. Where an empty
/// folder is there, which may be the current one, a link or a mount and can't be replaced, the files are moved into it instead.
pub struct NewFolder {
    target: PathBuf,
    /// Held for its lock, which tells other processes that the draft is alive; closed before the draft is removed.
    lock: File,
    draft: TempDir,
    /// Whether the target was there.
    fills: bool,
}

impl NewFolder {
    /// Begins the folder `target`, so that what can't be written fails before any work.
    ///
    /// # Errors
    /// A target that is a file or a folder with something in it, or a place that can't be written.
    pub fn begin(target: &Path) -> Result<Self> {
        let cannot = |e: io::Error| {
            Error::at(target.display(), format!("cannot make this folder: {e}")).fix("choose a folder you can write to")
        };
        if target.is_file() {
            return Err(Error::at(target.display(), "there is a file of that name").fix("choose another folder"));
        }
        if target.is_dir() {
            remove_dead_drafts(target);
        }
        if target.is_dir() && std::fs::read_dir(target).map_err(cannot)?.next().is_some() {
            return Err(Error::at(target.display(), "the folder is not empty, and nothing is overwritten")
                .fix("choose another folder or empty it"));
        }
        let here = Path::new(".");
        let fills = target.is_dir();
        let above = target.ancestors().skip(usize::from(!fills));
        let above = above.map(|a| if a.as_os_str().is_empty() { here } else { a });
        let nearest = above.into_iter().find(|a| a.exists()).unwrap_or(here);
        remove_dead_drafts(nearest);
        // Which temporary file could not be made is of no interest.
        let unnamed = |e: io::Error| cannot(io::Error::from(e.kind()));
        let draft = tempfile::Builder::new().prefix(DRAFT).tempdir_in(nearest).map_err(unnamed)?;
        let lock = File::create(draft.path().join(LOCK)).map_err(unnamed)?;
        // Where a file system has no locks, drafts of killed processes stay.
        let _ = lock.try_lock();
        Ok(Self { target: target.to_owned(), lock, draft, fills })
    }

    /// Where to write for now.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.draft.path()
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// Something that came to be at the target meanwhile, or a place that can't be written.
    pub fn finish(self) -> Result<()> {
        let Self { target, lock, draft, fills } = self;
        let cannot = |e: io::Error| {
            Error::at(target.display(), format!("cannot make this folder: {e}")).fix("choose another folder")
        };
        drop(lock);
        std::fs::remove_file(draft.path().join(LOCK)).map_err(cannot)?;
        if fills {
            return fill(&target, draft.path()).map_err(cannot);
        }
        rename(draft.path(), &target).map_err(cannot)?;
        // It has moved: nothing is left to remove.
        let _ = draft.keep();
        Ok(())
    }
}

/// How the names of temporary folders begin.
const DRAFT: &str = ".yoloslim-folder-";

/// The file in a draft that its process holds a lock of: process numbers say nothing of other containers and machines.
const LOCK: &str = ".lock";

/// Removes the drafts of processes that were killed. What can't be removed stays.
fn remove_dead_drafts(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let is_draft = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.starts_with(DRAFT));
    for entry in entries.flatten().filter(|entry| is_draft(&entry.file_name())) {
        let dead = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if dead {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Moves what is in `draft`, which lies in `target`, out into it.
fn fill(target: &Path, draft: &Path) -> io::Result<()> {
    let others = std::fs::read_dir(target)?.count() - 1;
    if others > 0 {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else has come to be in it"));
    }
    for entry in std::fs::read_dir(draft)? {
        let entry = entry?;
        std::fs::rename(entry.path(), target.join(entry.file_name()))?;
    }
    Ok(())
}

fn rename(draft: &Path, target: &Path) -> io::Result<()> {
    if target.is_dir() {
        std::fs::remove_dir(target)?;
    } else if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    open_to_readers(draft)?;
    std::fs::rename(draft, target)
}

/// Temporary folders are private; one that stays is like any other.
#[cfg(unix)]
fn open_to_readers(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open_to_readers(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn the_folder_is_there_with_its_files_only_once_it_is_finished() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("a/b");
        let folder = NewFolder::begin(&target).unwrap();
        std::fs::write(folder.path().join("x"), "1").unwrap();
        assert!(!target.exists());
        folder.finish().unwrap();
        assert_eq!(std::fs::read_to_string(target.join("x")).unwrap(), "1");
        assert_eq!(entries(root.path()), 1);
    }

    #[test]
    fn dropped_before_it_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        drop(NewFolder::begin(&root.path().join("a/b")).unwrap());
        assert_eq!(entries(root.path()), 0);
    }

    #[test]
    fn what_is_there_is_not_overwritten_and_an_empty_folder_is_fine() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        for taken in [root.path().to_owned(), file.clone(), file.join("below")] {
            assert!(NewFolder::begin(&taken).is_err(), "{}", taken.display());
        }
        let empty = root.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        NewFolder::begin(&empty).unwrap().finish().unwrap();
        assert!(empty.is_dir());
    }

    #[test]
    fn what_a_killed_process_left_is_cleared_away_and_what_a_live_one_makes_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (dead, live) = (root.path().join(".yoloslim-folder-x"), root.path().join("a"));
        let killed = || {
            std::fs::create_dir(&dead).unwrap();
            std::fs::write(dead.join(LOCK), "").unwrap();
        };
        killed();
        let first = NewFolder::begin(&live).unwrap();
        assert!(!dead.exists());
        let second = NewFolder::begin(&root.path().join("b")).unwrap();
        assert!(first.path().is_dir() && second.path().is_dir());
        killed();
        drop((first, second));
        NewFolder::begin(root.path()).unwrap();
        assert_eq!(entries(root.path()), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_an_empty_folder_is_filled_and_stays_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (empty, link) = (root.path().join("empty"), root.path().join("link"));
        std::fs::create_dir(&empty).unwrap();
        std::os::unix::fs::symlink(&empty, &link).unwrap();
        let folder = NewFolder::begin(&link).unwrap();
        std::fs::write(folder.path().join("x"), "1").unwrap();
        folder.finish().unwrap();
        assert!(link.is_symlink() && entries(&empty) == 1 && empty.join("x").is_file());
        std::fs::remove_file(empty.join("x")).unwrap();
        let folder = NewFolder::begin(&empty).unwrap();
        std::fs::write(empty.join("other"), "").unwrap();
        assert!(folder.finish().is_err() && entries(&empty) == 1, "what came meanwhile stays alone");
    }
}
