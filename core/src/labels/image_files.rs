//! Image files: where they are and how large.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};

use imagesize::{ImageError, ImageType};

use crate::{Error, Result, files};

/// The extensions of images that can be decoded.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "bmp"];

/// Whether the name ends like that of an image that can be decoded.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(e)))
}

/// The extensions of images that can't.
const UNREAD: [&str; 9] = ["avif", "gif", "heic", "heif", "jp2", "jxl", "tif", "tiff", "webp"];

/// Images of kinds that are not read, counted by extension: they are left out, but not in silence.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<&'static str, usize>);

impl Unread {
    fn count(&mut self, path: &Path) {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if let Some(known) = UNREAD.iter().find(|known| known.eq_ignore_ascii_case(extension)) {
            *self.0.entry(known).or_default() += 1;
        }
    }

    /// A warning of those that were met beside the `read` images that `source` lists.
    ///
    /// # Errors
    /// There are no others.
    pub fn warning(&self, read: &[PathBuf], source: &Path) -> Result<Option<String>> {
        let count: usize = self.0.values().sum();
        let kinds = self.0.keys().copied().collect::<Vec<_>>().join(", ");
        let (images, are) = if count == 1 { ("image", "is") } else { ("images", "are") };
        match (count, read) {
            (0, _) => Ok(None),
            (_, []) => Err(Error::at(
                source.display(),
                format!("all it has is {count} {images} of kinds that are not read ({kinds})"),
            )
            .fix(CONVERT)),
            _ => Ok(Some(format!("{count} {images} of kinds that are not read ({kinds}) {are} left out; {CONVERT}"))),
        }
    }
}

/// What to do about images that are not read.
const CONVERT: &str = "convert them to JPEG or PNG";

/// The images of a folder and the folders in it, sorted by path; those of kinds that are not read go to `unread`.
pub(super) fn in_folder(folder: &Path, unread: &mut Unread) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    let mut folders = vec![folder.to_owned()];
    // By their real names, so that a loop of links ends.
    let mut seen = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        if !seen.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone())) {
            continue;
        }
        for path in entries(&folder)? {
            if path.is_dir() {
                folders.push(path);
            } else if is_image(&path) {
                images.push(path);
            } else {
                unread.count(&path);
            }
        }
    }
    images.sort();
    Ok(images)
}

/// The images that lie in a folder itself, sorted by path, and a warning of those whose kinds are not read.
///
/// # Errors
/// The folder can't be listed, or all its images are of kinds that are not read.
pub fn images_in(folder: &Path) -> Result<(Vec<PathBuf>, Option<String>)> {
    let (images, others): (Vec<PathBuf>, Vec<PathBuf>) =
        entries(folder)?.into_iter().filter(|path| path.is_file()).partition(|path| is_image(path));
    let mut unread = Unread::default();
    others.iter().for_each(|path| unread.count(path));
    let warning = unread.warning(&images, folder)?;
    Ok((images, warning))
}

/// The paths in a folder, sorted.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: std::io::Error| Error::at(folder.display(), format!("cannot list the folder: {e}"));
    let listed: std::io::Result<Vec<PathBuf>> =
        std::fs::read_dir(folder).map_err(fail)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = listed.map_err(fail)?;
    paths.sort();
    Ok(paths)
}

/// The images that a list file names, one a line; relative ones are looked for from each of `bases`.
pub(super) fn in_list(list: &Path, bases: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let text = files::read_text(list)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(|line| resolve(line, bases).unwrap_or_else(|| join(bases, line))).collect())
}

/// The existing file or folder that `entry` means, relative to the first of `bases` that has it. An entry
/// with backslashes, as lists made on Windows have, is also tried with slashes.
pub(super) fn resolve(entry: &str, bases: &[PathBuf]) -> Option<PathBuf> {
    let slashed = entry.replace('\\', "/");
    let spellings = if slashed == entry { vec![entry] } else { vec![entry, slashed.as_str()] };
    let candidates = spellings.iter().flat_map(|spelling| bases.iter().map(move |base| join_plain(base, spelling)));
    candidates.into_iter().find(|path| path.exists())
}

/// Where `entry` was first looked for, to name it in an error.
fn join(bases: &[PathBuf], entry: &str) -> PathBuf {
    bases.first().map_or_else(|| PathBuf::from(entry), |base| join_plain(base, entry))
}

fn join_plain(base: &Path, entry: &str) -> PathBuf {
    base.join(entry.strip_prefix("./").unwrap_or(entry))
}

/// Width and height of every image from its header.
///
/// # Errors
/// Names the first missing image and how many there are, or the first whose header cannot be read. `source` is
/// what lists the images.
pub(super) fn sizes(images: &[PathBuf], source: &Path) -> Result<Vec<(usize, usize)>> {
    let mut sizes = Vec::with_capacity(images.len());
    let mut missing: Vec<&PathBuf> = Vec::new();
    for (image, read) in images.iter().zip(read_sizes(images)) {
        match read {
            Ok(size) => sizes.push(size),
            Err(_) if !image.is_file() => missing.push(image),
            Err(error) => return Err(error),
        }
    }
    match missing.first() {
        None => Ok(sizes),
        Some(first) => Err(Error::at(
            first.display(),
            format!("this image is missing, {} of the {} in {} are", missing.len(), images.len(), source.display()),
        )
        .fix("put the images there or take them off the list")),
    }
}

/// Headers are small and far apart on the disk, so that several threads wait for them.
fn read_sizes(images: &[PathBuf]) -> Vec<Result<(usize, usize)>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |part: &[PathBuf]| part.iter().map(|image| size(image)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let parts = images.chunks(images.len().div_ceil(threads).max(1));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
        running.into_iter().flat_map(|part| part.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}

fn size(image: &Path) -> Result<(usize, usize)> {
    let fix = "replace the file or take it off the list";
    let unreadable = |e| Error::at(image.display(), format!("cannot read the image's header: {e}")).fix(fix);
    let mut header = BufReader::new(File::open(image).map_err(|e| unreadable(e.into()))?);
    let kind = imagesize::reader_type(&mut header).map_err(unreadable)?;
    // A name says nothing: browsers save WebP as .jpg.
    if !matches!(kind, ImageType::Jpeg | ImageType::Png | ImageType::Bmp) {
        let cause = format!("this is a {kind:?} file, whatever its name says, and only JPEG, PNG and BMP are read");
        return Err(Error::at(image.display(), cause).fix("convert it or take it off the list"));
    }
    let size = header.rewind().map_err(ImageError::from).and_then(|()| imagesize::reader_size(&mut header));
    let size = size.map_err(unreadable)?;
    if size.width == 0 || size.height == 0 {
        return Err(Error::at(image.display(), "the image has no pixels").fix(fix));
    }
    Ok((size.width, size.height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::Folder;

    #[test]
    fn a_list_with_windows_line_ends_and_a_byte_order_mark_is_read() {
        let folder = Folder::new();
        folder.image("images/a.png", 4, 3);
        folder.image("images/b c.png", 4, 3);
        let list = folder.text("list.txt", "\u{feff}./images/a.png\r\n\r\nimages\\b c.png\r\nimages/gone.png\r\n");
        let found = in_list(&list, &[folder.path(""), folder.path("images")]).unwrap();
        assert_eq!(found, [folder.path("images/a.png"), folder.path("images/b c.png"), folder.path("images/gone.png")]);
    }

    #[test]
    fn folders_are_searched_through_and_sorted() {
        let folder = Folder::new();
        let expected = [folder.image("a/2.png", 1, 1), folder.image("b.PNG", 1, 1)];
        folder.text("a/notes.txt", "");
        let mut unread = Unread::default();
        assert_eq!(in_folder(&folder.path(""), &mut unread).unwrap(), expected);
        assert_eq!(unread.warning(&expected, &folder.path("")), Ok(None));
    }

    #[cfg(unix)]
    #[test]
    fn linked_folders_are_searched_once_and_a_loop_of_links_ends() {
        let folder = Folder::new();
        folder.image("train/a.png", 1, 1);
        folder.image("elsewhere/b.png", 1, 1);
        std::os::unix::fs::symlink(folder.path("elsewhere"), folder.path("train/linked")).unwrap();
        std::os::unix::fs::symlink(folder.path("train"), folder.path("train/loop")).unwrap();
        let found = in_folder(&folder.path("train"), &mut Unread::default()).unwrap();
        assert_eq!(found, [folder.path("train/a.png"), folder.path("train/linked/b.png")]);
    }

    #[test]
    fn images_of_kinds_that_are_not_read_are_told() {
        let folder = Folder::new();
        for name in ["a.webp", "sub/b.WEBP", "c.tif", "notes.txt"] {
            folder.text(name, "");
        }
        let mut unread = Unread::default();
        let none = in_folder(&folder.path(""), &mut unread).unwrap();
        let message = unread.warning(&none, Path::new("a.yaml")).unwrap_err().to_string();
        let expected =
            "a.yaml: all it has is 3 images of kinds that are not read (tif, webp); convert them to JPEG or PNG";
        assert_eq!(message, expected);
        let read = [folder.image("d.png", 1, 1)];
        let warning = unread.warning(&read, Path::new("a.yaml")).unwrap().unwrap();
        assert_eq!(
            warning,
            "3 images of kinds that are not read (tif, webp) are left out; convert them to JPEG or PNG"
        );
    }

    #[test]
    fn images_directly_in_a_folder_are_those_of_kinds_that_are_read() {
        let folder = Folder::new();
        folder.image("sub/a.png", 1, 1);
        folder.text("b.webp", "");
        assert!(
            images_in(&folder.path("")).unwrap_err().to_string().contains("1 image of kinds that are not read (webp)")
        );
        let image = folder.image("c.JPG", 1, 1);
        let (images, warning) = images_in(&folder.path("")).unwrap();
        assert_eq!(images, [image]);
        assert!(warning.unwrap().starts_with("1 image of kinds that are not read (webp) is left out"));
    }

    #[test]
    fn missing_images_are_counted_and_the_first_is_named() {
        let folder = Folder::new();
        let images = [folder.image("a.png", 7, 5), folder.path("b.png"), folder.path("c.png")];
        let message = sizes(&images, Path::new("list.txt")).unwrap_err().to_string();
        assert!(message.contains("b.png: this image is missing, 2 of the 3 in list.txt are"), "{message}");
        assert_eq!(sizes(&images[..1], Path::new("list.txt")).unwrap(), [(7, 5)]);
    }

    #[test]
    fn a_file_that_is_no_image_is_named() {
        let folder = Folder::new();
        let broken = folder.text("a.jpg", "not an image");
        let message = sizes(&[broken], Path::new("list.txt")).unwrap_err().to_string();
        assert!(message.contains("a.jpg: cannot read the image's header"), "{message}");
        let renamed = folder.write("b.jpg", b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0\x30\x01\0\x9d\x01\x2a\x08\0\x08\0\0\0");
        let message = sizes(&[renamed], Path::new("list.txt")).unwrap_err().to_string();
        assert!(message.contains("b.jpg: this is a Webp file, whatever its name says"), "{message}");
    }
}
