//! Which images and labels these are.

use yoloslim_core::labels::Dataset;

/// Tells data sets apart by their classes and the images' names, sizes and labels: those to train on and those to measure
/// on. Folders may lie elsewhere on each machine, so that only the names in them count.
#[must_use]
pub fn fingerprint(train: &Dataset, val: Option<&Dataset>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (split, dataset) in [("train", Some(train)), ("val", val)] {
        hasher.update(format!("{split} {:?}\n", dataset.map(|dataset| &dataset.names)).as_bytes());
        for sample in dataset.iter().flat_map(|dataset| &dataset.samples) {
            let name = sample.image.file_name().unwrap_or_default().to_string_lossy();
            let (width, height) = (sample.width, sample.height);
            hasher.update(format!("{name}\0{width}x{height} {:?}\n", sample.objects).as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::labels::Sample;

    #[test]
    fn images_to_measure_on_count_and_folders_do_not() {
        let set = |image: &str| {
            let sample = Sample { image: image.into(), width: 9, height: 9, objects: Vec::new() };
            Dataset { samples: vec![sample], ..Dataset::default() }
        };
        let (a, b) = (set("x/a.png"), set("b.png"));
        assert_eq!(fingerprint(&a, Some(&b)), fingerprint(&set("y/a.png"), Some(&b)));
        assert_ne!(fingerprint(&a, Some(&b)), fingerprint(&a, Some(&a)));
        assert_ne!(fingerprint(&a, None), fingerprint(&set("b.png"), None));
    }
}
