//! The network that teaches: in evaluation mode, without gradients, on the student's batches.

use rayon::prelude::*;
use yoloslim_core::{Network, Result};

use super::cache::{Cache, hash};
use crate::model::{HeadMap, Predictor};

/// A teacher, made ready for the input size that it saw last.
pub(super) struct Teacher {
    network: Network,
    fingerprint: String,
    /// Layers whose maps are asked for.
    layers: Vec<usize>,
    predictor: Option<((usize, usize), Predictor)>,
    /// What it has made of images before.
    cache: Option<Cache>,
}

/// What a teacher makes of a batch.
#[derive(Default)]
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
        Self { network, fingerprint, layers, predictor: None, cache }
    }

    /// A hash of its cfg and weights.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What the teacher makes of `count` images, `[image][row][column][channel]`, of `size` (width, height).
    ///
    /// # Errors
    /// A size that does not fit the teacher; a cache that can't be written.
    pub fn look(&mut self, images: &[f32], count: usize, size: (usize, usize)) -> Result<View> {
        let mut all = match &self.cache {
            None => self.run(images, count, size)?,
            Some(_) => self.remember(images, count, size)?,
        };
        let maps = all.split_off(all.len() - self.layers.len());
        Ok(View { heads: all, maps })
    }

    /// The maps of all heads, then those of the layers.
    fn run(&mut self, images: &[f32], count: usize, size: (usize, usize)) -> Result<Vec<HeadMap>> {
        let predictor = match self.predictor.take() {
            Some((ready, predictor)) if ready == size => predictor,
            // One size at a time: packed kernels are as large as the net.
            _ => Predictor::with_size(&self.network, size.0, size.1).map_err(|e| e.inside("--teacher"))?,
        };
        let (_, predictor) = self.predictor.insert((size, predictor));
        let (heads, maps) = predictor.heads_with(images, count, &self.layers);
        Ok([heads, maps].concat())
    }

    /// [`Teacher::run`] on those images alone that the cache does not have.
    fn remember(&mut self, images: &[f32], count: usize, size: (usize, usize)) -> Result<Vec<HeadMap>> {
        let Some(cache) = self.cache.take() else { return Ok(Vec::new()) };
        let mut seed = blake3::Hasher::new();
        seed.update(format!("{} {:?} {size:?}", self.fingerprint, self.layers).as_bytes());
        let images: Vec<&[f32]> = images.chunks_exact((images.len() / count).max(1)).collect();
        let keys: Vec<blake3::Hash> = images.par_iter().map(|image| hash(seed.clone(), image)).collect();
        let mut known: Vec<Option<Vec<HeadMap>>> = keys.par_iter().map(|key| cache.read(key)).collect();
        let new: Vec<usize> = (0..count).filter(|&image| known[image].is_none()).collect();
        if !new.is_empty() {
            let unknown = new.iter().map(|&image| images[image]).collect::<Vec<_>>().concat();
            let seen = self.run(&unknown, new.len(), size)?;
            for (at, &image) in new.iter().enumerate() {
                let maps: Vec<HeadMap> =
                    seen.iter().map(|map| HeadMap { values: map.image(at).to_vec(), ..*map }).collect();
                cache.write(&keys[image], &maps)?;
                known[image] = Some(maps);
            }
        }
        self.cache = Some(cache);
        let known: Vec<Vec<HeadMap>> = known.into_iter().flatten().collect();
        let map = |at: usize| {
            let values = known.iter().flat_map(|maps| &maps[at].values).copied().collect();
            HeadMap { values, ..known[0][at] }
        };
        Ok((0..known[0].len()).map(map).collect())
    }
}

#[cfg(test)]
mod tests {
    use yoloslim_core::darknet::Cfg;

    use super::*;

    #[test]
    fn a_teacher_remembers_images_in_any_company_and_looks_at_new_ones() {
        let cfg = "[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=6\nsize=3\nstride=8\npad=1\nactivation=leaky\n\
            [convolutional]\nfilters=8\nactivation=linear\n[yolo]\nmask=0\nanchors=8,8\nclasses=3\n";
        let network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let image = |seed: usize| (0..32 * 32 * 3).map(move |i| ((i * 7 + seed * 13) % 19) as f32 / 19.0);
        let batch = |seeds: &[usize]| seeds.iter().flat_map(|&seed| image(seed)).collect::<Vec<f32>>();
        let mut plain = Teacher::new(network.clone(), vec![0], None);
        for (seeds, files) in [(vec![1, 2, 3], 3), (vec![3, 4, 1, 3], 4), (vec![2], 4)] {
            let mut cached = Teacher::new(network.clone(), vec![0], Some(Cache::open(folder.path()).unwrap()));
            let [want, got] = [&mut plain, &mut cached].map(|t| t.look(&batch(&seeds), seeds.len(), (32, 32)).unwrap());
            for (want, got) in want.heads.iter().chain(&want.maps).zip(got.heads.iter().chain(&got.maps)) {
                assert_eq!((want.rows, want.cols, want.channels), (got.rows, got.cols, got.channels));
                let largest = want.values.iter().zip(&got.values).map(|(w, g)| (w - g).abs()).fold(0.0, f32::max);
                assert!(want.values.len() == got.values.len() && largest < 1e-5, "{largest}");
            }
            let kept = std::fs::read_dir(folder.path()).unwrap().flatten();
            assert_eq!(kept.map(|f| std::fs::read_dir(f.path()).unwrap().count()).sum::<usize>(), files);
            assert_eq!(cached.predictor.is_some(), seeds != [2], "it looks only where it must");
        }
    }
}
