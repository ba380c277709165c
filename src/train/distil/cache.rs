//! What a teacher made of images, kept on disk: where the same image comes again, in another epoch or another run, it need not
//! look again.

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use yoloslim_core::{Result, files};

use crate::model::HeadMap;

/// Maps of single images by a hash of teacher and image, a file each: safetensors `0`, `1` and so on,
/// `[row][column][channel]`, and a checksum.
///
/// Files are written whole or not at all, so any number of processes may share a folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in a folder, which is made.
    ///
    /// # Errors
    /// A folder that can't be made.
    pub fn open(folder: &Path) -> Result<Self> {
        files::create_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The maps of an image, if they are there. A damaged file counts as none: it will be written again.
    pub fn read(&self, key: &blake3::Hash) -> Option<Vec<HeadMap>> {
        let bytes = std::fs::read(self.path(key)).ok()?;
        let (data, checksum) = bytes.split_at_checked(bytes.len().checked_sub(blake3::OUT_LEN)?)?;
        let tensors = SafeTensors::deserialize(data).ok().filter(|_| blake3::hash(data).as_bytes() == checksum)?;
        let map = |at: usize| {
            let tensor = tensors.tensor(&at.to_string()).ok()?;
            let &[rows, cols, channels] = tensor.shape() else { return None };
            let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            (tensor.dtype() == Dtype::F32).then_some(HeadMap { rows, cols, channels, values })
        };
        (0..tensors.len()).map(map).collect()
    }

    /// Keeps the maps of an image.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn write(&self, key: &blake3::Hash, maps: &[HeadMap]) -> Result<()> {
        let raw: Vec<Vec<u8>> =
            maps.iter().map(|map| map.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let views = maps.iter().zip(&raw).enumerate().map(|(at, (map, bytes))| {
            let shape = vec![map.rows, map.cols, map.channels];
            (at.to_string(), TensorView::new(Dtype::F32, shape, bytes).expect("a map of its own shape"))
        });
        let mut bytes = safetensors::serialize(views, None).expect("names are unique and shapes fit");
        bytes.extend(*blake3::hash(&bytes).as_bytes());
        let path = self.path(key);
        files::create_folder(path.parent().unwrap_or(&self.folder))?;
        files::write_whole(&path, &bytes)
    }

    /// Two letters of the hash are a folder, so that none has too many files.
    fn path(&self, key: &blake3::Hash) -> PathBuf {
        let name = key.to_hex();
        let (folder, file) = name.split_at(2);
        self.folder.join(folder).join(format!("{file}.safetensors"))
    }
}

/// The hash of some numbers after what was hashed before.
pub(super) fn hash(mut hasher: blake3::Hasher, values: &[f32]) -> blake3::Hash {
    let mut bytes = [0; 4096];
    for values in values.chunks(bytes.len() / 4) {
        let (whole, _) = bytes.as_chunks_mut::<4>();
        whole.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        hasher.update(&bytes[..values.len() * 4]);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> Vec<HeadMap> {
        let map = |rows, cols, channels| HeadMap {
            rows,
            cols,
            channels,
            values: (0..rows * cols * channels).map(|i| i as f32 * 0.1 - 1.0).collect(),
        };
        // More than ten: names must not come back in their alphabetical order.
        (1..13).map(|i| map(i, 2, 3)).collect()
    }

    #[test]
    fn what_was_kept_comes_back_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("new")).unwrap();
        let [key, other] = [1.0, 2.0].map(|value| hash(blake3::Hasher::new(), &vec![value; 3000]));
        assert_eq!(cache.read(&key), None);
        cache.write(&key, &maps()).unwrap();
        assert_eq!(cache.read(&key), Some(maps()));
        assert_eq!(cache.read(&other), None);
    }

    #[test]
    fn a_damaged_file_is_none_and_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let key = hash(blake3::Hasher::new(), &[]);
        cache.write(&key, &maps()).unwrap();
        let bytes = std::fs::read(cache.path(&key)).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() - blake3::OUT_LEN - 3] ^= 1;
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..9], b"", &flipped] {
            std::fs::write(cache.path(&key), damaged).unwrap();
            assert_eq!(cache.read(&key), None);
        }
        cache.write(&key, &maps()).unwrap();
        assert_eq!(cache.read(&key), Some(maps()));
    }

    #[test]
    fn a_hash_depends_on_every_number_and_on_what_was_hashed_before() {
        let values: Vec<f32> = (0..2500).map(|i| i as f32).collect();
        let plain = hash(blake3::Hasher::new(), &values);
        for at in [0, 1023, 1024, 2499] {
            let mut changed = values.clone();
            changed[at] += 0.5;
            assert_ne!(hash(blake3::Hasher::new(), &changed), plain, "{at}");
        }
        let mut before = blake3::Hasher::new();
        before.update(b"another teacher");
        assert_ne!(hash(before, &values), plain);
    }
}
