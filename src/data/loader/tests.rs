use yoloslim_core::boxes::BBox;
use yoloslim_core::labels::Object;

use super::*;

fn dataset(folder: &std::path::Path, images: usize) -> Dataset {
    let sample = |i: usize| {
        let image = folder.join(format!("{i}.png"));
        let pixel = |x, y| image::Rgb([(x * 5) as u8, (y * 7) as u8, i as u8 * 20]);
        image::RgbImage::from_fn(48, 36, pixel).save(&image).unwrap();
        let bbox = BBox { x0: 8.0, y0: 9.0, x1: 30.0, y1: 27.0 };
        let object = Object { class: i % 3, bbox, area: 396.0, difficult: false, crowd: false };
        Sample { image, width: 48, height: 36, objects: vec![object; i % 2] }
    };
    Dataset { samples: (0..images).map(sample).collect(), ..Dataset::default() }
}

fn options() -> LoaderOptions {
    LoaderOptions { width: 64, height: 32, batch: 3, seed: 7, ..LoaderOptions::default() }
}

fn epoch(loader: &Loader, number: usize, first: usize) -> Vec<Batch> {
    loader.epoch(number, first).map(Result::unwrap).collect()
}

#[test]
fn any_number_of_threads_and_any_cache_give_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), 10);
    let reference = epoch(&Loader::new(&dataset, LoaderOptions { threads: 1, ..options() }).unwrap(), 1, 0);
    for (threads, cache_bytes) in [(1, 0), (2, 0), (4, 1 << 30), (3, 48 * 36 * 3 * 4)] {
        let loader = Loader::new(&dataset, LoaderOptions { threads, cache_bytes, ..options() }).unwrap();
        epoch(&loader, 0, 0);
        assert_eq!(epoch(&loader, 1, 0), reference, "{threads} threads, {cache_bytes} bytes");
    }
}

#[test]
fn an_epoch_holds_every_image_once_with_a_short_last_batch() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(&dataset(folder.path(), 10), options()).unwrap();
    let batches = epoch(&loader, 0, 0);
    assert_eq!(batches.iter().map(|b| b.count).collect::<Vec<_>>(), [3, 3, 3, 1]);
    assert!(batches.iter().all(|b| b.images.len() == b.count * 64 * 32 * 3 && b.indices.len() == b.count));
    let order: Vec<_> = batches.iter().flat_map(|b| b.indices.clone()).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..10).collect::<Vec<_>>());
    let next: Vec<_> = epoch(&loader, 1, 0).iter().flat_map(|b| b.indices.clone()).collect();
    assert_ne!(order, next, "epochs have orders of their own");
}

#[test]
fn with_a_cycle_the_same_batches_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(&dataset(folder.path(), 5), LoaderOptions { cycle: Some(2), ..options() }).unwrap();
    assert_eq!(epoch(&loader, 0, 0), epoch(&loader, 4, 0));
    assert_eq!(epoch(&loader, 1, 1), epoch(&loader, 3, 1));
    assert_ne!(epoch(&loader, 0, 0), epoch(&loader, 1, 0));
    assert_eq!(loader.tiles(1, 0), loader.tiles(5, 0));
}

#[test]
fn a_data_set_smaller_than_the_batch_is_one_short_batch() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(&dataset(folder.path(), 2), LoaderOptions { batch: 16, ..options() }).unwrap();
    assert_eq!(epoch(&loader, 0, 0).iter().map(|b| b.count).collect::<Vec<_>>(), [2]);
}

#[test]
fn workers_get_what_one_would_get_shared_among_them() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), 7);
    let whole = epoch(&Loader::new(&dataset, options()).unwrap(), 1, 0);
    for size in [2, 4] {
        let of = |rank| {
            let options = LoaderOptions { share: Share { rank, size }, ..options() };
            epoch(&Loader::new(&dataset, options).unwrap(), 1, 0)
        };
        let shares: Vec<_> = (0..size).map(of).collect();
        for (number, batch) in whole.iter().enumerate() {
            let of_batch = || shares.iter().map(|share| &share[number]);
            assert!(of_batch().all(|b| (b.whole, &b.indices) == (batch.count, &batch.indices)));
            assert!(of_batch().flat_map(|b| &b.images).eq(&batch.images), "batch {number} among {size}");
            let mut first = 0;
            let mut targets = Vec::new();
            for b in of_batch() {
                targets.extend(b.targets.iter().map(|t| Target { image: t.image + first, ..*t }));
                first += b.count;
            }
            assert_eq!(targets, batch.targets);
        }
    }
}

#[test]
fn an_epoch_entered_late_goes_on_as_if_it_had_been_followed() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(&dataset(folder.path(), 10), options()).unwrap();
    assert_eq!(epoch(&loader, 2, 2), epoch(&loader, 2, 0)[2..]);
    assert!(epoch(&loader, 2, 99).is_empty());
}

#[test]
fn the_tiles_of_a_batch_are_told_without_making_it() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(&dataset(folder.path(), 7), options()).unwrap();
    for (number, batch) in epoch(&loader, 1, 0).iter().enumerate() {
        let tiles = loader.tiles(1, number);
        assert_eq!(tiles.chunks(4).map(|four| four[0]).collect::<Vec<_>>(), batch.indices);
    }
    let plain = LoaderOptions { augment: Augment::none(), ..options() };
    let loader = Loader::new(&dataset(folder.path(), 7), plain).unwrap();
    assert_eq!(loader.tiles(0, 2), epoch(&loader, 0, 2)[0].indices);
}

#[test]
fn the_seed_changes_the_batches() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), 4);
    let [a, b] = [1, 2].map(|seed| Loader::new(&dataset, LoaderOptions { seed, ..options() }).unwrap());
    assert_ne!(epoch(&a, 0, 0), epoch(&b, 0, 0));
}

#[test]
fn a_flip_takes_the_boxes_along() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), 2);
    let batch = |flip| {
        let augment = Augment { flip, ..Augment::none() };
        epoch(&Loader::new(&dataset, LoaderOptions { augment, ..options() }).unwrap(), 0, 0).remove(0)
    };
    let (plain, mirrored) = (batch(0.0), batch(1.0));
    assert_eq!(plain.targets.len(), 1);
    assert!((plain.targets[0].cx + mirrored.targets[0].cx - 1.0).abs() < 1e-6);
    let pixel = |batch: &Batch, x: usize| batch.images[x * 3..][..3].to_vec();
    assert!((0..64).all(|x| pixel(&plain, x) == pixel(&mirrored, 63 - x)));
}

#[test]
fn multi_scale_sizes_are_multiples_of_the_stride_within_bounds_and_last_ten_batches() {
    let folder = tempfile::tempdir().unwrap();
    let options = LoaderOptions { width: 416, height: 320, multi_scale: true, ..options() };
    let loader = Loader::new(&dataset(folder.path(), 1), options).unwrap();
    let sizes: Vec<_> = (0..400).map(|number| loader.size(0, number)).collect();
    for (width, height) in &sizes {
        assert!(width % 32 == 0 && (278..=624).contains(width), "{width}");
        assert!(height % 32 == 0 && height.abs_diff(width * 320 / 416) <= 16, "{width}x{height}");
    }
    assert!(sizes.chunks(10).all(|ten| ten.iter().all(|size| *size == ten[0])));
    assert!(sizes.chunks(10).any(|ten| ten[0] != sizes[0]));
}

#[test]
fn a_damaged_image_is_an_error_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), 6);
    std::fs::write(&dataset.samples[4].image, b"not an image").unwrap();
    let options = LoaderOptions { batch: 1, augment: Augment::none(), ..options() };
    let loader = Loader::new(&dataset, options).unwrap();
    let results: Vec<_> = loader.epoch(0, 0).collect();
    let good: Vec<_> = results.iter().flatten().map(|b| b.indices[0]).collect();
    assert_eq!(good.len(), 5);
    let error = results.iter().find_map(|r| r.as_ref().err()).unwrap().to_string();
    assert!(error.contains("4.png") && error.contains("; "), "{error}");
}

#[test]
fn an_epoch_may_be_left_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(&dataset(folder.path(), 9), LoaderOptions { batch: 1, ..options() }).unwrap();
    let (sender, left) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for taken in 0..4 {
            let mut epoch = loader.epoch(0, 0);
            for _ in 0..taken {
                epoch.next().unwrap().unwrap();
            }
        }
        sender.send(()).unwrap();
    });
    left.recv_timeout(std::time::Duration::from_secs(60)).expect("no thread of the loader waits for ever");
}

#[test]
fn options_that_cannot_be_met_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let some = dataset(folder.path(), 1);
    let cases = [
        (&Dataset::default(), options(), "no images"),
        (&some, LoaderOptions { batch: 0, ..options() }, "at least 1"),
        (&some, LoaderOptions { width: 400, multi_scale: true, ..options() }, "set width to 384"),
        (&some, LoaderOptions { height: 0, ..options() }, "set height to 32"),
    ];
    for (dataset, options, expected) in cases {
        let error = Loader::new(dataset, options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
