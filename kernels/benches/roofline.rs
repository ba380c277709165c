//! What share of the machine's own limits each kind of layer reaches: `cargo bench -p yoloslim-kernels --bench roofline`.
//!
//! The limits are measured first: fused multiply-adds in registers, and reading and writing arrays larger than the caches,
//! both on all threads at once. Convolutions are counted as direct summation counts them, so that one on transformed
//! tiles, which multiplies less, can pass 100 %. Layers that memory bounds are counted by the bytes they must move.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use yoloslim_kernels::{
    Activation, BatchNormView, ConvShape, Epilogue, PackedConv, PoolShape, Scratch, add_into, channel_mean_variance,
    conv_backward_data, conv_backward_weights, conv_forward, cpu_path, max_pool, norm_activate, norm_activate_backward,
    upsample_nearest,
};

#[global_allocator]
static ALLOCATOR: yoloslim_kernels::HugePages = yoloslim_kernels::HugePages;

/// The least seconds of a few runs.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let once = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    std::iter::repeat_with(once).take(9).fold(f64::INFINITY, f64::min)
}

fn noise(len: usize) -> Vec<f32> {
    (0..len).map(|at| (at * 7919 % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn main() {
    let (peak, bandwidth) = (peak_gflops(), bandwidth());
    println!("{}, {} threads", cpu_path(), rayon::current_num_threads());
    println!("limits: {peak:.0} GFLOP/s in registers, {bandwidth:.1} GB/s from and to memory\n");
    println!("| layer | GFLOP/s | of the peak | gradient of the input | of the weights |");
    println!("|---|---|---|---|---|");
    for (name, shape) in convolutions() {
        let [forward, data, weights] = convolution_gflops(&shape);
        let share = |gflops: f64| format!("{:.0} %", 100.0 * gflops / peak);
        println!("| {name} | {forward:.0} | {} | {} | {} |", share(forward), share(data), share(weights));
    }
    println!("\n| layer | GB/s | of the bandwidth |");
    println!("|---|---|---|");
    for (name, gigabytes, seconds) in memory_bound() {
        println!("| {name} | {:.1} | {:.0} % |", gigabytes / seconds, 100.0 * gigabytes / seconds / bandwidth);
    }
}

/// Fused multiply-adds on values that never leave the registers, on all threads.
fn peak_gflops() -> f64 {
    const STEPS: usize = 4_000_000;
    let threads = rayon::current_num_threads();
    let time = seconds(|| {
        (0..threads).into_par_iter().for_each(|_| {
            black_box(multiply_add(STEPS));
        });
    });
    (threads * STEPS * LANES * 2) as f64 / time / 1e9
}

/// Sums in flight: 24 vectors of 8 or 12 of 16, enough for two products a cycle that take four or five cycles each.
const LANES: usize = 192;

fn multiply_add(steps: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor was just asked.
        return unsafe { multiply_add_avx512(steps) };
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor was just asked.
        return unsafe { multiply_add_avx2(steps) };
    }
    multiply_add_in(steps, |sum, a, b| sum * a + b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn multiply_add_avx512(steps: usize) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
    let mut sums = [_mm512_set1_ps(0.5); LANES / 16];
    for _ in 0..steps {
        sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, a, b));
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_add_avx2(steps: usize) -> f32 {
    multiply_add_in(steps, |sum, a, b| sum.mul_add(a, b))
}

#[inline(always)]
fn multiply_add_in(steps: usize, step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let (a, b) = (black_box(0.999), black_box(0.001));
    let mut sums = [0.5_f32; LANES];
    for _ in 0..steps {
        sums.iter_mut().for_each(|sum| *sum = step(*sum, a, b));
    }
    sums.iter().sum()
}

/// Bytes a second of `y += x` over arrays that no cache holds: two read, one written.
fn bandwidth() -> f64 {
    const LEN: usize = 32 << 20;
    let (mut y, x) = (vec![1.0; LEN], vec![1.0; LEN]);
    let time = seconds(|| add_into(&mut y, &x));
    (3 * 4 * LEN) as f64 / time / 1e9
}

fn convolutions() -> Vec<(&'static str, ConvShape)> {
    let conv = |side, channels_in, channels_out, size, stride, groups| ConvShape {
        batch: 4,
        height: side,
        width: side,
        channels_in,
        channels_out,
        size,
        stride_y: stride,
        stride_x: stride,
        pad: size / 2,
        dilation: 1,
        groups,
    };
    vec![
        ("3x3, first layer, 416x416, 3 to 32", conv(416, 3, 32, 3, 1, 1)),
        ("3x3, 104x104, 64 to 128", conv(104, 64, 128, 3, 1, 1)),
        ("3x3, 26x26, 256 to 512", conv(26, 256, 512, 3, 1, 1)),
        ("3x3, 13x13, 512 to 1024", conv(13, 512, 1024, 3, 1, 1)),
        ("3x3, 52x52, 19 to 231 (pruned)", conv(52, 19, 231, 3, 1, 1)),
        ("3x3 / 2, 104x104, 128 to 256", conv(104, 128, 256, 3, 2, 1)),
        ("3x3 / 2, 104x104, 93 to 231 (pruned)", conv(104, 93, 231, 3, 2, 1)),
        ("1x1, 52x52, 256 to 128", conv(52, 256, 128, 1, 1, 1)),
        ("1x1, 52x52, 231 to 19 (pruned)", conv(52, 231, 19, 1, 1, 1)),
        ("3x3 depth-wise, 52x52, 192", conv(52, 192, 192, 3, 1, 192)),
    ]
}

/// Forward, gradient of the input, gradient of the weights.
fn convolution_gflops(shape: &ConvShape) -> [f64; 3] {
    let (x, weights, dy) = (noise(shape.input_len()), noise(shape.weights_len()), noise(shape.output_len()));
    let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), weights.clone());
    let mut scratch = Scratch::default();
    let flops = 2.0 * (shape.output_len() * shape.weights_len() / shape.channels_out) as f64;
    let packed = PackedConv::new(shape, &weights);
    let bias = noise(shape.channels_out);
    let epilogue = Epilogue::new(Some(&bias), Activation::Leaky);
    let times = [
        seconds(|| conv_forward(&packed, shape, &x, epilogue, &mut y, &mut scratch)),
        seconds(|| conv_backward_data(shape, &weights, &dy, &mut dx, false, &mut scratch)),
        seconds(|| conv_backward_weights(shape, &x, &dy, &mut dw, &mut scratch)),
    ];
    times.map(|time| flops / time / 1e9)
}

/// Names, gigabytes that must move, seconds.
fn memory_bound() -> Vec<(&'static str, f64, f64)> {
    let (batch, side, channels) = (8, 208, 32);
    let len = batch * side * side * channels;
    let map = 4.0 * len as f64 / 1e9;
    let (z, mut y, mut dy) = (noise(len), noise(len), noise(len));
    let (mut mean, mut variance) = (vec![0.0; channels], vec![1.0; channels]);
    let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
    let ones = vec![1.0; channels];
    let moments = seconds(|| channel_mean_variance(&z, channels, &mut mean, &mut variance));
    let bn = BatchNormView { mean: &mean, inv_std: &ones, gamma: &ones, beta: &ones };
    let norm = seconds(|| norm_activate(&z, &bn, Activation::Leaky, &mut y));
    let backward = || norm_activate_backward(&z, &bn, Activation::Leaky, &mut dy, &mut dgamma, &mut dbeta);
    let backward = seconds(backward);
    let residual = seconds(|| add_into(&mut y, &z));
    let pool = PoolShape { batch, height: side, width: side, channels, size: 2, stride_y: 2, stride_x: 2, padding: 1 };
    let mut pooled = vec![0.0; pool.output_len()];
    let max = seconds(|| max_pool(&pool, &z, &mut pooled, None));
    let spp =
        PoolShape { batch, height: 26, width: 26, channels: 512, size: 13, stride_y: 1, stride_x: 1, padding: 12 };
    let (x, mut spread) = (noise(spp.input_len()), vec![0.0; spp.output_len()]);
    let windows = seconds(|| max_pool(&spp, &x, &mut spread, None));
    let upsample = seconds(|| upsample_nearest(batch, 104, 104, channels, 2, &z[..len / 4], &mut y));
    vec![
        ("mean and variance", map, moments),
        ("normalisation and activation", 2.0 * map, norm),
        ("its gradient, two passes", 5.0 * map, backward),
        ("sum of a shortcut", 3.0 * map, residual),
        ("2x2 max pool", 1.25 * map, max),
        ("13x13 max pool, stride 1", 8.0 * spp.input_len() as f64 / 1e9, windows),
        ("upsampling", 1.25 * map, upsample),
    ]
}
