//! The network that teaches: in evaluation mode, without gradients, on the student's batches.

use rayon::prelude::*;
use yoloslim_core::{Error, Network, Result};
use yoloslim_kernels::cpu_path;

use super::cache::{Cache, hash};
use crate::model::{HeadMap, Predictor};

/// A teacher, made ready for the input size that it saw last.
pub(super) struct Teacher {
    network: Network,
    fingerprint: String,
    /// Layers whose maps are asked for.
    layers: Vec<usize>,
    predictor: Option<((usize, usize), Predictor)>,
    /// What it has made of images before, and of how many maps that is.
    cache: Option<Cache>,
    maps: usize,
    complaint: Option<Error>,
}

/// What a teacher makes of a batch.
pub(super) struct View {
    /// Raw head maps.
    pub heads: Vec<HeadMap>,
    /// Maps of the layers that were asked for.
    pub maps: Vec<HeadMap>,
}

impl Teacher {
    pub fn new(network: Network, layers: Vec<usize>, cache: Option<Cache>) -> Self {
        // The same weights under another cfg (anchors, activations) teach something else.
        let mut hasher = blake3::Hasher::new();
        hasher.update(&network.cfg.to_bytes()).update(&network.to_weights_file().to_bytes());
        let fingerprint = hasher.finalize().to_hex().to_string();
        let maps = network.graph.heads().count().max(1) + layers.len();
        Self { network, fingerprint, layers, predictor: None, cache, maps, complaint: None }
    }

    /// A hash of its cfg and weights.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Checks that it takes images of `size` (width, height).
    ///
    /// # Errors
    /// A size that does not fit it.
    pub fn fits(&self, (width, height): (usize, usize)) -> Result<()> {
        self.network.graph.resized(&self.network.cfg, width, height).map(drop).map_err(|e| e.inside("--teacher"))
    }

    /// What the teacher makes of `count` images, `[image][row][column][channel]`, of `size` (width, height).
    ///
    /// # Errors
    /// A size that does not fit the teacher.
    pub fn look(&mut self, images: &[f32], count: usize, size: (usize, usize)) -> Result<View> {
        let keys = if self.cache.is_some() { self.keys(images, count, size) } else { Vec::new() };
        let mut all = match self.recall(&keys) {
            Some(maps) => maps,
            None => {
                let maps = self.run(images, count, size)?;
                self.keep(&keys, &maps);
                maps
            }
        };
        let maps = all.split_off(all.len() - self.layers.len());
        Ok(View { heads: all, maps })
    }

    /// Why the cache was given up, told once.
    pub fn complaint(&mut self) -> Option<Error> {
        self.complaint.take()
    }

    /// The maps of all heads, then those of the layers.
    fn run(&mut self, images: &[f32], count: usize, size: (usize, usize)) -> Result<Vec<HeadMap>> {
        if self.predictor.as_ref().is_none_or(|(ready, _)| *ready != size) {
            // One size at a time: packed kernels are as large as the net.
            self.predictor = None;
            let predictor = Predictor::with_size(&self.network, size, count).map_err(|e| e.inside("--teacher"))?;
            self.predictor = Some((size, predictor));
        }
        let Some((_, predictor)) = &mut self.predictor else { return Ok(Vec::new()) };
        let (heads, maps) = predictor.heads_with(images, count, &self.layers);
        Ok([heads, maps].concat())
    }

    /// A hash for each image of all that its maps depend on: the kernels' last bits and the version of the program too.
    fn keys(&self, images: &[f32], count: usize, size: (usize, usize)) -> Vec<blake3::Hash> {
        let mut seed = blake3::Hasher::new();
        let (version, kernels) = (env!("CARGO_PKG_VERSION"), cpu_path());
        seed.update(format!("{version} {kernels} {} {:?} {size:?}", self.fingerprint, self.layers).as_bytes());
        images.par_chunks_exact((images.len() / count).max(1)).map(|image| hash(seed.clone(), image)).collect()
    }

    /// The maps of a batch, if the cache has those of all its images. Of a part the rest would be looked at in other
    /// company, where sums may differ in their last bits.
    fn recall(&self, keys: &[blake3::Hash]) -> Option<Vec<HeadMap>> {
        let cache = self.cache.as_ref()?;
        let images: Vec<Vec<HeadMap>> = keys.par_iter().map(|key| cache.read(key)).collect::<Option<_>>()?;
        let first = images.first().filter(|maps| maps.len() == self.maps)?;
        let alike = |a: &HeadMap, b: &HeadMap| (a.rows, a.cols, a.channels) == (b.rows, b.cols, b.channels);
        let fits = |maps: &Vec<HeadMap>| maps.len() == first.len() && maps.iter().zip(first).all(|(a, b)| alike(a, b));
        if !images.iter().all(fits) {
            return None;
        }
        let map = |at: usize| {
            let values = images.iter().flat_map(|maps| &maps[at].values).copied().collect();
            HeadMap { values, ..first[at] }
        };
        Some((0..self.maps).map(map).collect())
    }

    /// Keeps the maps of a batch. A cache that can't be written is given up: training goes on without.
    fn keep(&mut self, keys: &[blake3::Hash], maps: &[HeadMap]) {
        let Some(cache) = &self.cache else { return };
        let kept = keys.par_iter().enumerate().try_for_each(|(image, key)| {
            let of_image = |map: &HeadMap| HeadMap { values: map.image(image).to_vec(), ..*map };
            cache.write(key, &maps.iter().map(of_image).collect::<Vec<_>>())
        });
        if let Err(error) = kept {
            self.complaint = Some(error.inside("--teacher-cache, which is given up"));
            self.cache = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use yoloslim_core::darknet::Cfg;

    use super::*;

    fn network() -> Network {
        let cfg = "[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=6\nsize=3\nstride=8\npad=1\nactivation=leaky\n\
            [convolutional]\nfilters=8\nactivation=linear\n[yolo]\nmask=0\nanchors=8,8\nclasses=3\n";
        Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap()
    }

    #[test]
    fn a_teacher_remembers_images_in_any_company_and_looks_where_one_is_new() {
        let network = network();
        let folder = tempfile::tempdir().unwrap();
        let image = |seed: usize| (0..32 * 32 * 3).map(move |i| ((i * 7 + seed * 13) % 19) as f32 / 19.0);
        let batch = |seeds: &[usize]| seeds.iter().flat_map(|&seed| image(seed)).collect::<Vec<f32>>();
        let mut plain = Teacher::new(network.clone(), vec![0], None);
        for (seeds, files) in [(vec![1, 2, 3], 3), (vec![3, 4, 1, 3], 4), (vec![4, 2], 4)] {
            let mut cached = Teacher::new(network.clone(), vec![0], Some(Cache::open(folder.path()).unwrap()));
            let [want, got] = [&mut plain, &mut cached].map(|t| t.look(&batch(&seeds), seeds.len(), (32, 32)).unwrap());
            for (want, got) in want.heads.iter().chain(&want.maps).zip(got.heads.iter().chain(&got.maps)) {
                assert_eq!((want.rows, want.cols, want.channels), (got.rows, got.cols, got.channels));
                let largest = want.values.iter().zip(&got.values).map(|(w, g)| (w - g).abs()).fold(0.0, f32::max);
                assert!(got.values.iter().all(|v| v.is_finite()));
                assert!(want.values.len() == got.values.len() && largest < 1e-5, "{largest}");
            }
            let kept = std::fs::read_dir(folder.path()).unwrap().flatten();
            assert_eq!(kept.map(|f| std::fs::read_dir(f.path()).unwrap().count()).sum::<usize>(), files);
            assert_eq!(cached.predictor.is_some(), seeds != [4, 2], "it looks only where it must");
            assert!(cached.complaint().is_none());
        }
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_given_up_with_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        std::fs::remove_dir(folder.path().join("cache")).unwrap();
        std::fs::write(folder.path().join("cache"), "no folder any more").unwrap();
        let mut teacher = Teacher::new(network(), vec![], Some(cache));
        let image = vec![0.5; 32 * 32 * 3];
        for complains in [true, false] {
            assert_eq!(teacher.look(&image, 1, (32, 32)).unwrap().heads.len(), 1);
            let complaint = teacher.complaint().map(|error| error.to_string());
            assert_eq!(complaint.is_some_and(|text| text.contains("given up")), complains);
        }
    }
}
