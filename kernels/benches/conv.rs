//! Speed of the kernels in the shapes of yolov3-tiny, and of yolov3's layers with stride 2:
//! `cargo bench -p yoloslim-kernels -- [batch] [image size]`.
//!
//! On Linux times are those the processor spent on this program, summed over its threads, so that they hold on a busy
//! machine too; elsewhere they are those of the clock.

use std::time::Instant;
use yoloslim_kernels::{
    Activation, BatchNormView, ConvShape, Epilogue, PackedConv, PoolShape, Scratch, channel_mean_variance,
    conv_backward_data, conv_backward_weights, conv_forward, conv_forward_once, cpu_path, max_pool, max_pool_backward,
    norm_activate, norm_activate_backward,
};

#[global_allocator]
static ALLOCATOR: yoloslim_kernels::HugePages = yoloslim_kernels::HugePages;

/// `(image size / feature map size, channels in, channels out, kernel)` of each convolution of yolov3-tiny.
const LAYERS: [(usize, usize, usize, usize); 13] = [
    (1, 3, 16, 3),
    (2, 16, 32, 3),
    (4, 32, 64, 3),
    (8, 64, 128, 3),
    (16, 128, 256, 3),
    (32, 256, 512, 3),
    (32, 512, 1024, 3),
    (32, 1024, 256, 1),
    (32, 256, 512, 3),
    (32, 512, 255, 1),
    (32, 256, 128, 1),
    (16, 384, 256, 3),
    (16, 256, 255, 1),
];

/// `(image size / feature map size, channels in, channels out, kernel)` of yolov3's convolutions with stride 2.
const STRIDED: [(usize, usize, usize, usize); 5] =
    [(1, 32, 64, 3), (2, 64, 128, 3), (4, 128, 256, 3), (8, 256, 512, 3), (16, 512, 1024, 3)];

/// The least seconds of a few runs.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let once = || {
        let (clock, processor) = (Instant::now(), processor_seconds());
        run();
        match (processor, processor_seconds()) {
            (Some(start), Some(end)) => end - start,
            _ => clock.elapsed().as_secs_f64(),
        }
    };
    std::iter::repeat_with(once).take(7).fold(f64::INFINITY, f64::min)
}

/// Seconds that the threads of this program have run, as Linux counts them.
fn processor_seconds() -> Option<f64> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let counts = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += counts.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e9)
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (batch, image) = (numbers.next().unwrap_or(8), numbers.next().unwrap_or(416));
    println!("{}, {} threads, batch {batch}, {image} x {image}", cpu_path(), rayon::current_num_threads());
    let step = measure_layers(&LAYERS, 1, batch, image);
    println!("convolutions of a training step: {:.1} ms\nstride 2", step * 1e3);
    measure_layers(&STRIDED, 2, batch, image);
    measure_elementwise(batch, image);
}

/// Prints the speed of layers and returns the seconds that a training step takes for them.
fn measure_layers(layers: &[(usize, usize, usize, usize)], stride: usize, batch: usize, image: usize) -> f64 {
    println!("map  in   out  k |    once ms |  forward ms GFLOP/s |     data ms GFLOP/s |  weights ms GFLOP/s");
    let (mut totals, mut operations) = ([0.0; 4], 0.0);
    for &(shrink, channels_in, channels_out, size) in layers {
        let side = image / shrink;
        let shape = ConvShape {
            batch,
            height: side,
            width: side,
            channels_in,
            channels_out,
            size,
            stride_y: stride,
            stride_x: stride,
            pad: size / 2,
            dilation: 1,
            groups: 1,
        };
        let flops = 2.0 * (shape.weights_len() * batch * shape.out_height() * shape.out_width()) as f64;
        let times = measure(&shape);
        print!("{side:3} {channels_in:4} {channels_out:5} {size:2} | {:10.2}", times[0] * 1e3);
        for time in &times[1..] {
            print!(" | {:11.2} {:7.1}", time * 1e3, flops / time / 1e9);
        }
        println!();
        totals.iter_mut().zip(times).for_each(|(total, time)| *total += time);
        operations += flops;
    }
    print!("all                | {:9.2}", totals[0] * 1e3);
    for total in &totals[1..] {
        print!(" | {:11.2} {:7.1}", total * 1e3, operations / total / 1e9);
    }
    println!();
    totals[0] + totals[2] + totals[3]
}

/// Prints what memory bounds: normalisation, activation and pooling of the first layer's output.
fn measure_elementwise(batch: usize, image: usize) {
    let channels = 16;
    let pool =
        PoolShape { batch, height: image, width: image, channels, size: 2, stride_y: 2, stride_x: 2, padding: 1 };
    let z: Vec<f32> = (0..pool.input_len()).map(|v| (v * 7919 % 1009) as f32 / 1009.0 - 0.5).collect();
    let (mut y, mut dy) = (z.clone(), z.clone());
    let (mut mean, mut variance) = (vec![0.0; channels], vec![1.0; channels]);
    let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
    let show = |name: &str, seconds: f64| println!("{name:24} {:8.2} ms", seconds * 1e3);
    show("moments", seconds(|| channel_mean_variance(&z, channels, &mut mean, &mut variance)));
    let ones = vec![1.0; channels];
    let bn = BatchNormView { mean: &mean, inv_std: &ones, gamma: &ones, beta: &ones };
    for act in [Activation::Leaky, Activation::Mish] {
        show(&format!("norm, {act:?}"), seconds(|| norm_activate(&z, &bn, act, &mut y)));
        let backward = || norm_activate_backward(&z, &bn, act, &mut dy, &mut dgamma, &mut dbeta);
        show(&format!("norm backward, {act:?}"), seconds(backward));
    }
    let (mut pooled, mut places) = (vec![0.0; pool.output_len()], vec![0; pool.output_len()]);
    show("max pool", seconds(|| max_pool(&pool, &y, &mut pooled, Some(&mut places))));
    show("max pool backward", seconds(|| max_pool_backward(&pool, &places, &pooled, &mut dy, true)));
}

/// Seconds of the forward pass with packing, without it, and of the gradients of input and weights.
fn measure(shape: &ConvShape) -> [f64; 4] {
    let fill = |len: usize| -> Vec<f32> { (0..len).map(|v| (v * 7919 % 1009) as f32 / 1009.0 - 0.5).collect() };
    let (x, weights, dy) = (fill(shape.input_len()), fill(shape.weights_len()), fill(shape.output_len()));
    let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), weights.clone());
    let mut scratch = Scratch::default();
    let packed = PackedConv::new(shape, &weights);
    [
        seconds(|| conv_forward_once(shape, &weights, &x, Epilogue::default(), &mut y, &mut scratch)),
        seconds(|| conv_forward(&packed, shape, &x, Epilogue::default(), &mut y, &mut scratch)),
        seconds(|| conv_backward_data(shape, &weights, &dy, &mut dx, false, &mut scratch)),
        seconds(|| conv_backward_weights(shape, &x, &dy, &mut dw, &mut scratch)),
    ]
}
