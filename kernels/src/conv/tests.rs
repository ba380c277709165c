use super::*;
use crate::activation::Activation;
use crate::pool::max_pool;
use proptest::prelude::*;

/// Values that look random and repeat for the same seed.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Largest difference relative to the largest value.
fn error(got: &[f32], want: &[f64]) -> f64 {
    let scale = want.iter().fold(1e-3_f64, |scale, v| scale.max(v.abs()));
    // `max` would pass over what is not a number: values that nobody wrote, say.
    if got.len() != want.len() || got.iter().any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    got.iter().zip(want).fold(0.0_f64, |error, (&got, want)| error.max((got as f64 - want).abs())) / scale
}

fn check(shape: &ConvShape) -> Result<(), TestCaseError> {
    let (x, weights) = (noise(shape.input_len(), 1), noise(shape.weights_len(), 2));
    let (dy, bias) = (noise(shape.output_len(), 3), noise(shape.channels_out, 4));
    let scratch = Scratch::default();
    let mut want_y = reference::forward(shape, &x, &weights);
    want_y.iter_mut().enumerate().for_each(|(at, y)| {
        *y += bias[at % shape.channels_out] as f64;
        *y = y.max(0.1 * *y);
    });
    let want_dx = reference::backward_data(shape, &weights, &dy);
    let want_dw = reference::backward_weights(shape, &x, &dy);
    for path in Path::available() {
        let forced = |scheme: &Scheme| PackedConv::pack(shape, &weights, Algorithm::Transformed(*scheme), Vec::new());
        // As in training: in memory that others have used.
        let reused = PackedConv::in_scratch(path, shape, &weights, &scratch);
        let chosen = [PackedConv::new_on(path, shape, &weights), PackedConv::direct(shape, &weights), reused];
        let mut packings: Vec<_> = chosen.into_iter().chain(Scheme::fitting(shape).iter().map(forced)).collect();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if path == Path::Amx && shape.groups == 1 {
            packings.push(PackedConv::pack(shape, &weights, Algorithm::Split, Vec::new()));
        }
        for packed in &packings {
            let mut y = vec![f32::NAN; shape.output_len()];
            let epilogue = Epilogue::new(Some(&bias), Activation::Leaky);
            forward_on(path, packed, shape, &x, epilogue, &mut y, &scratch);
            prop_assert!(error(&y, &want_y) < 1e-4, "forward {path:?} {shape:?}: {}", error(&y, &want_y));
            forward_on(path, packed, shape, &x, epilogue.with_residual(&dy), &mut y, &scratch);
            let want: Vec<f64> = want_y.iter().zip(&dy).map(|(y, &residual)| y + f64::from(residual)).collect();
            prop_assert!(error(&y, &want) < 1e-4, "with residual {path:?} {shape:?}: {}", error(&y, &want));
        }
        if shape.out_height().is_multiple_of(2) && shape.out_width().is_multiple_of(2) && !want_y.is_empty() {
            let map: Vec<f32> = want_y.iter().map(|&y| y as f32).collect();
            let mut want = vec![0.0; map.len() / 4];
            max_pool(&shape.pooled(), &map, &mut want, None);
            let want: Vec<f64> = want.into_iter().map(f64::from).collect();
            for packed in &packings {
                let mut y = vec![f32::NAN; want.len()];
                let epilogue = Epilogue::new(Some(&bias), Activation::Leaky).with_max_pool();
                forward_on(path, packed, shape, &x, epilogue, &mut y, &scratch);
                prop_assert!(error(&y, &want) < 1e-4, "pooled {path:?} {shape:?}: {}", error(&y, &want));
            }
        }
        let mut dx = vec![f32::NAN; shape.input_len()];
        backward_data_on(path, shape, &weights, &dy, &mut dx, false, &scratch);
        prop_assert!(error(&dx, &want_dx) < 1e-3, "data {path:?} {shape:?}: {}", error(&dx, &want_dx));
        backward_data_on(path, shape, &weights, &dy, &mut dx, true, &scratch);
        let twice: Vec<f64> = want_dx.iter().map(|v| 2.0 * v).collect();
        prop_assert!(error(&dx, &twice) < 1e-3, "accumulated {path:?} {shape:?}: {}", error(&dx, &twice));
        let mut dw = vec![1.0; shape.weights_len()];
        backward_weights_on(path, shape, &x, &dy, &mut dw, &scratch);
        dw.iter_mut().for_each(|v| *v -= 1.0);
        prop_assert!(error(&dw, &want_dw) < 1e-3, "weights {path:?} {shape:?}: {}", error(&dw, &want_dw));
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if path == Path::Amx && shape.groups == 1 {
            let taps = shape.taps();
            let columns = Weights { values: &weights, group: 0, column: taps, channel: shape.channels_in * taps };
            split_backward_data(path, shape, columns, &dy, &mut dx, Epilogue::gradient(false), &scratch);
            prop_assert!(error(&dx, &want_dx) < 1e-3, "data by tiles {shape:?}: {}", error(&dx, &want_dx));
            dw.fill(0.0);
            split::add_weights_gradient(shape, &x, &dy, &mut dw, &scratch);
            prop_assert!(error(&dw, &want_dw) < 1e-3, "weights by tiles {shape:?}: {}", error(&dw, &want_dw));
        }
        for &scheme in Scheme::fitting(shape) {
            let epilogue = Epilogue::gradient(false);
            transformed_backward_data(path, scheme, shape, &weights, &dy, &mut dx, epilogue, &scratch);
            prop_assert!(error(&dx, &want_dx) < 1e-3, "data {scheme:?} {path:?} {shape:?}: {}", error(&dx, &want_dx));
            if scheme == Scheme::Small {
                continue;
            }
            dw.fill(0.0);
            weights_gradient::add_by_tiles(path, scheme, shape, &x, &dy, &mut dw, &scratch);
            prop_assert!(
                error(&dw, &want_dw) < 1e-3,
                "weights {scheme:?} {path:?} {shape:?}: {}",
                error(&dw, &want_dw)
            );
        }
    }
    Ok(())
}

prop_compose! {
    fn shapes()(
        (batch, height, width) in (1_usize..3, 1_usize..20, 1_usize..20),
        (size, dilation, pad) in (1_usize..8, 1_usize..3, 0_usize..4),
        (stride_y, stride_x) in (1_usize..4, 1_usize..4),
        (groups, multiplier, inputs, outputs) in (1_usize..4, 1_usize..3, 1_usize..9, 1_usize..20),
        depthwise in any::<bool>(),
        square in any::<bool>(),
    ) -> ConvShape {
        let (groups, channels_in, channels_out) = if depthwise {
            (inputs * 3, inputs * 3, inputs * 3 * multiplier)
        } else {
            (groups, groups * inputs, groups * outputs)
        };
        ConvShape {
            batch, height, width, channels_in, channels_out, size, stride_y,
            stride_x: if square { stride_y } else { stride_x },
            pad, dilation, groups,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_match_double_precision_on_every_path(shape in shapes()) {
        check(&shape)?;
    }

    #[test]
    fn three_by_three_convolutions_match_double_precision(
        (batch, height, width) in (1_usize..4, 1_usize..24, 1_usize..24),
        (channels_in, channels_out, pad) in (1_usize..40, 1_usize..40, 0_usize..3),
    ) {
        check(&three_by_three((batch, height, width), (channels_in, channels_out), 1, pad))?;
    }

    #[test]
    fn three_by_three_convolutions_with_stride_two_match_double_precision(
        (batch, height, width) in (1_usize..4, 1_usize..36, 1_usize..36),
        (channels_in, channels_out) in (1_usize..40, 1_usize..40),
    ) {
        check(&three_by_three((batch, height, width), (channels_in, channels_out), 2, 1))?;
    }
}

fn three_by_three(
    (batch, height, width): (usize, usize, usize),
    (channels_in, channels_out): (usize, usize),
    stride: usize,
    pad: usize,
) -> ConvShape {
    ConvShape {
        batch,
        height,
        width,
        channels_in,
        channels_out,
        size: 3,
        stride_y: stride,
        stride_x: stride,
        pad,
        dilation: 1,
        groups: 1,
    }
}

fn plain(size: usize, channels_in: usize, channels_out: usize) -> ConvShape {
    ConvShape {
        batch: 2,
        height: 26,
        width: 26,
        channels_in,
        channels_out,
        size,
        stride_y: 1,
        stride_x: 1,
        pad: size / 2,
        dilation: 1,
        groups: 1,
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let strided = ConvShape { stride_y: 2, stride_x: 2, ..plain(3, 24, 40) };
    let transformed = ConvShape { height: 104, width: 103, channels_in: 64, channels_out: 128, ..strided };
    assert_eq!(Scheme::of(&transformed, Work::Training), Some(Scheme::Strided));
    let depthwise = ConvShape { groups: 48, ..plain(3, 48, 48) };
    for shape in [plain(3, 3, 16), plain(3, 64, 96), plain(1, 40, 75), strided, transformed, depthwise] {
        let (x, weights, dy) =
            (noise(shape.input_len(), 1), noise(shape.weights_len(), 2), noise(shape.output_len(), 3));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut scratch = Scratch::default();
                let mut y = vec![0.0; shape.output_len()];
                let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; weights.len()]);
                let packed = PackedConv::new(&shape, &weights);
                let mish = Epilogue::new(None, Activation::Mish);
                conv_forward(&packed, &shape, &x, mish, &mut y, &mut scratch);
                conv_backward_data(&shape, &weights, &dy, &mut dx, false, &mut scratch);
                conv_backward_weights(&shape, &x, &dy, &mut dw, &mut scratch);
                let mut once = vec![0.0; y.len()];
                conv_forward_once(&shape, &weights, &x, mish, &mut once, &mut scratch);
                (y, once, dx, dw)
            })
        };
        assert!(run(1) == run(2), "{shape:?}");
    }
}

#[test]
fn gradients_of_very_many_weights_match_direct_sums() {
    let shape = ConvShape { batch: 3, height: 32, width: 29, ..plain(3, 390, 430) };
    let (x, dy) = (noise(shape.input_len(), 1), noise(shape.output_len(), 3));
    let mut dw = vec![1.0; shape.weights_len()];
    backward_weights_on(Path::detect(), &shape, &x, &dy, &mut dw, &Scratch::default());
    // One tap at a time, for a few input channels and all output channels.
    for (input, (ky, kx)) in [(0, (0, 0)), (5, (1, 2)), (389, (2, 1))] {
        let mut want = vec![1.0_f64; shape.channels_out];
        for (pixel, dy) in dy.chunks_exact(shape.channels_out).enumerate() {
            let (image, row, col) = (pixel / 928, pixel / 29 % 32 + ky, pixel % 29 + kx);
            if (1..=32).contains(&row) && (1..=29).contains(&col) {
                let x = f64::from(x[((image * 32 + row - 1) * 29 + col - 1) * 390 + input]);
                want.iter_mut().zip(dy).for_each(|(want, &dy)| *want += x * f64::from(dy));
            }
        }
        let got: Vec<f32> = (0..430).map(|out| dw[(out * 390 + input) * 9 + ky * 3 + kx]).collect();
        assert!(error(&got, &want) < 1e-3, "{}", error(&got, &want));
    }
}

/// Some of their input's gradient's grids are met by no output at all.
#[test]
fn gradients_of_inputs_that_no_output_reads_are_zero() {
    let one_line = ConvShape { batch: 1, height: 1, width: 20, stride_y: 2, dilation: 2, ..plain(7, 4, 5) };
    let two_lines = ConvShape { batch: 1, height: 2, width: 20, stride_y: 3, dilation: 3, ..plain(2, 128, 128) };
    for shape in [ConvShape { pad: 1, ..one_line }, ConvShape { pad: 1, ..two_lines }] {
        check(&shape).unwrap();
    }
}

/// Large maps are cut into strips, which small ones of other tests are not.
#[test]
fn large_maps_match_direct_sums() {
    let direct = Path::available().last().unwrap();
    let wide = ConvShape { batch: 2, height: 130, width: 112, ..plain(3, 40, 72) };
    let shapes = [wide, ConvShape { stride_y: 2, stride_x: 2, ..wide }, ConvShape { size: 1, pad: 0, ..wide }];
    for shape in shapes {
        let (x, weights) = (noise(shape.input_len(), 1), noise(shape.weights_len(), 2));
        let (dy, scratch) = (noise(shape.output_len(), 3), Scratch::default());
        let run = |path: Path, packed: PackedConv, pooled: bool| {
            let epilogue = Epilogue::new(None, Activation::Leaky);
            let epilogue = if pooled { epilogue.with_max_pool() } else { epilogue };
            let mut y = vec![f32::NAN; shape.output_len() / if pooled { 4 } else { 1 }];
            forward_on(path, &packed, &shape, &x, epilogue, &mut y, &scratch);
            y
        };
        let gradients = |path: Path| {
            let (mut dx, mut dw) = (vec![f32::NAN; x.len()], vec![0.0; weights.len()]);
            backward_data_on(path, &shape, &weights, &dy, &mut dx, false, &scratch);
            backward_weights_on(path, &shape, &x, &dy, &mut dw, &scratch);
            (dx, dw)
        };
        let wanted = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        let pooled = [false, shape.out_height().is_multiple_of(2)];
        let want_y = pooled.map(|pooled| wanted(run(direct, PackedConv::direct(&shape, &weights), pooled)));
        let (want_dx, want_dw) = gradients(direct);
        let (want_dx, want_dw) = (wanted(want_dx), wanted(want_dw));
        for path in Path::available() {
            for (pooled, want) in pooled.into_iter().zip(&want_y) {
                let y = run(path, PackedConv::new_on(path, &shape, &weights), pooled);
                assert!(error(&y, want) < 1e-4, "{path:?} {pooled} {shape:?}: {}", error(&y, want));
            }
            let (dx, dw) = gradients(path);
            assert!(error(&dx, &want_dx) < 1e-4, "{path:?} {shape:?}: {}", error(&dx, &want_dx));
            assert!(error(&dw, &want_dw) < 1e-3, "{path:?} {shape:?}: {}", error(&dw, &want_dw));
        }
    }
}

#[test]
fn transforms_lose_little_precision_over_many_channels() {
    let plain = ConvShape { batch: 1, ..plain(3, 256, 16) };
    let strided = ConvShape { channels_in: 512, stride_y: 2, stride_x: 2, ..plain };
    let transformed = [(plain, Scheme::Plain), (plain, Scheme::Small), (strided, Scheme::Strided)];
    let mut cases: Vec<_> = transformed.map(|(shape, scheme)| (shape, Algorithm::Transformed(scheme))).to_vec();
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if Path::available().any(|path| path == Path::Amx) {
        cases.push((strided, Algorithm::Split));
    }
    for (shape, algorithm) in cases {
        let (x, weights) = (noise(shape.input_len(), 1), noise(shape.weights_len(), 2));
        let want = reference::forward(&shape, &x, &weights);
        let packed = PackedConv::pack(&shape, &weights, algorithm, Vec::new());
        let mut y = vec![0.0; shape.output_len()];
        conv_forward(&packed, &shape, &x, Epilogue::default(), &mut y, &mut Scratch::default());
        assert!(error(&y, &want) < 1e-5, "{algorithm:?}: {}", error(&y, &want));
    }
}

#[test]
#[should_panic(expected = "packed for another kernel")]
fn weights_of_another_kernel_panic() {
    let shape = plain(3, 64, 64);
    let packed = PackedConv::new(&shape, &vec![0.0; shape.weights_len()]);
    let (x, mut y) = (vec![0.0; shape.input_len()], vec![0.0; shape.output_len()]);
    let wider = ConvShape { size: 5, pad: 2, ..shape };
    conv_forward(&packed, &wider, &x, Epilogue::default(), &mut y, &mut Scratch::default());
}

#[test]
#[should_panic(expected = "input of")]
fn a_slice_of_the_wrong_length_panics() {
    let shape = plain(1, 2, 2);
    let packed = PackedConv::new(&shape, &[0.0; 4]);
    conv_forward(&packed, &shape, &[0.0; 3], Epilogue::default(), &mut [0.0; 2], &mut Scratch::default());
}
