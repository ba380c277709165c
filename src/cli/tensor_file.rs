//! NumPy's files: `.npy` in, `.npz` out.

use std::io::{Cursor, Seek, Write};
use std::path::Path;

use npyz::{NpyFile, Order, WriterBuilder};
use yoloslim_core::{Error, Result, files};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Images as a chip or another runtime takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// Images, channels, rows, columns.
    pub shape: [usize; 4],
    /// `[image][channel][row][column]`
    pub values: Vec<f32>,
}

/// Reads an `.npy` of four dimensions and float32.
pub fn read_images(path: &Path) -> Result<Images> {
    let bytes = files::read(path)?;
    let wants = "save it with numpy.save as a C-ordered float32 array [images, channels, height, width]";
    let bad = |cause: String| Error::at(path.display(), cause).fix(wants);
    let file = NpyFile::new(Cursor::new(bytes)).map_err(|e| bad(format!("no .npy file: {e}")))?;
    let shape: Vec<usize> = file.shape().iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
    let shape: [usize; 4] = shape.try_into().map_err(|s: Vec<usize>| bad(format!("it has {} dimensions", s.len())))?;
    if file.order() != Order::C {
        return Err(bad("it is in Fortran order".to_owned()));
    }
    let numbers = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    if numbers.is_none_or(|n| n == 0 || n > isize::MAX as usize / 4) {
        return Err(bad(format!("an array of {shape:?} holds no images")));
    }
    let dtype = file.dtype().descr();
    let values = file.into_vec::<f32>().map_err(|e| bad(format!("cannot read {dtype} as float32: {e}")))?;
    Ok(Images { shape, values })
}

/// The bytes of an uncompressed `.npz` of float32 arrays, as numpy.savez writes it.
pub fn npz(arrays: &[(String, Vec<usize>, Vec<f32>)]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let bad = |e: &dyn std::fmt::Display| Error::at("npz", e);
    for (name, shape, values) in arrays {
        zip.start_file(format!("{name}.npy"), options).map_err(|e| bad(&e))?;
        write_npy(&mut zip, shape, values).map_err(|e| bad(&e))?;
    }
    Ok(zip.finish().map_err(|e| bad(&e))?.into_inner())
}

fn write_npy(zip: &mut ZipWriter<impl Write + Seek>, shape: &[usize], values: &[f32]) -> std::io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(zip).begin_nd()?;
    writer.extend(values)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(shape: &[u64], values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape);
        let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Images> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read_images(file.path())
    }

    #[test]
    fn an_array_of_four_dimensions_is_read() {
        let images = read(&npy(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0])).unwrap();
        assert_eq!(images, Images { shape: [1, 2, 1, 2], values: vec![1.0, 2.0, 3.0, 4.0] });
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wanted() {
        let whole = npy(&[1, 1, 1, 2], &[1.0, 2.0]);
        for (bytes, wanted) in [
            (b"not numpy".to_vec(), "no .npy file"),
            (npy(&[2], &[1.0, 2.0]), "1 dimensions"),
            (npy(&[1, 3, 0, 0], &[]), "holds no images"),
            (npy(&[0, 3, 8, 8], &[]), "holds no images"),
            (whole[..whole.len() - 1].to_vec(), "cannot read"),
        ] {
            let message = read(&bytes).unwrap_err().to_string();
            assert!(message.contains(wanted) && message.ends_with("height, width]"), "{message}");
        }
    }

    #[test]
    fn every_array_is_in_the_archive_under_its_name() {
        let bytes = npz(&[("a".to_owned(), vec![2], vec![1.0, 2.0]), ("b".to_owned(), vec![0], vec![])]).unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let mut names: Vec<_> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        names.sort();
        assert_eq!(names, ["a.npy", "b.npy"]);
        let file = NpyFile::new(zip.by_name("a.npy").unwrap()).unwrap();
        assert_eq!(file.into_vec::<f32>().unwrap(), [1.0, 2.0]);
    }
}
