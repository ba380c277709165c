//! NumPy's files: `.npy` in, `.npz` out.

use std::io::{Cursor, Seek, Write};
use std::path::Path;

use npyz::{NpyFile, Order, WriterBuilder};
use yoloslim_core::{Error, Result, files};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Images as a chip or another runtime takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// Images, channels, rows, columns.
    pub shape: [usize; 4],
    /// `[image][channel][row][column]`
    pub values: Vec<f32>,
}

impl Images {
    /// What is odd about the values of images that a net is to read.
    pub fn warning(&self) -> Option<String> {
        let [least, most] = self
            .values
            .iter()
            .fold([f32::INFINITY, f32::NEG_INFINITY], |[least, most], v| [least.min(*v), most.max(*v)]);
        let advice = if least >= 0.0 && most > 2.0 { "; divide values of 0 to 255 by 255" } else { "" };
        // Resizing may leave the range by what it rounds.
        let inside = least >= -1e-3 && most <= 1.001;
        (!inside).then(|| format!("values from {least} to {most}, but nets read 0 to 1{advice}"))
    }

    /// Image, channel, row and column of the first value that is no number.
    fn first_not_finite(&self) -> Option<[usize; 4]> {
        let at = self.values.iter().position(|v| !v.is_finite())?;
        let [_, channels, height, width] = self.shape;
        Some([at / (channels * height * width), at / (height * width) % channels, at / width % height, at % width])
    }
}

/// Reads an `.npy` of four dimensions and float32, all of them finite.
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
    let images = Images { shape, values };
    match images.first_not_finite() {
        None => Ok(images),
        Some(at) => Err(Error::at(path.display(), format!("the value at {at:?} is NaN or infinite"))
            .fix("give images without such values, 0 to 1")),
    }
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

/// Whether a file is an `.npz` of heads and nothing else.
pub fn holds_heads(path: &Path) -> bool {
    let is_head = |name: &[u8]| name.starts_with(b"head") && name.ends_with(b".npy");
    let archive = std::fs::File::open(path).ok().and_then(|file| ZipArchive::new(file).ok());
    archive.is_some_and(|archive| !archive.is_empty() && archive.file_names_raw().all(is_head))
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
    fn values_that_are_no_numbers_are_refused_and_those_of_another_scale_told() {
        let mut values = [0.5; 24];
        assert_eq!(read(&npy(&[2, 3, 2, 2], &values)).unwrap().warning(), None);
        for bad in [f32::NAN, f32::INFINITY] {
            values[19] = bad;
            let message = read(&npy(&[2, 3, 2, 2], &values)).unwrap_err().to_string();
            assert!(message.contains("the value at [1, 1, 1, 1] is NaN or infinite"), "{message}");
        }
        values[19] = 255.0;
        let warning = read(&npy(&[2, 3, 2, 2], &values)).unwrap().warning().unwrap();
        assert_eq!(warning, "values from 0.5 to 255, but nets read 0 to 1; divide values of 0 to 255 by 255");
        values[19] = -0.5;
        assert!(read(&npy(&[2, 3, 2, 2], &values)).unwrap().warning().unwrap().ends_with("0 to 1"));
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
