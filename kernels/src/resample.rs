//! Nearest-neighbour upsampling and Darknet's reorg, NHWC.

use rayon::prelude::*;

/// Repeats each pixel `factor` times along rows and columns.
/// `x: [batch][height][width][channels]`, `y: [batch][height * factor][width * factor][channels]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn upsample_nearest(
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    factor: usize,
    x: &[f32],
    y: &mut [f32],
) {
    upsample_nearest_into(batch, height, width, channels, factor, x, y, channels, 0);
}

/// [`upsample_nearest`] to channels `to..to + channels` of `y`, which has `y_channels`: an upsampling and a concatenation
/// in one.
///
/// # Panics
/// If the lengths do not fit.
#[expect(clippy::too_many_arguments, reason = "a map, a factor and a strided range")]
pub fn upsample_nearest_into(
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    factor: usize,
    x: &[f32],
    y: &mut [f32],
    y_channels: usize,
    to: usize,
) {
    let (line, y_line) = (width * channels, width * factor * y_channels);
    assert!(x.len() == batch * height * line && y.len() == batch * height * factor * y_line);
    assert!(to + channels <= y_channels);
    if x.is_empty() || factor == 0 {
        return;
    }
    y.par_chunks_mut(y_line).enumerate().for_each(|(row, y)| {
        let x = &x[row / factor * line..][..line];
        for (y, x) in y.chunks_exact_mut(y_channels * factor).zip(x.chunks_exact(channels)) {
            y.chunks_exact_mut(y_channels).for_each(|y| y[to..to + channels].copy_from_slice(x));
        }
    });
}

/// Backward of [`upsample_nearest`]: adds to each pixel of `dx` the gradients of its copies.
///
/// # Panics
/// If the lengths do not fit.
pub fn upsample_nearest_backward(
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    factor: usize,
    dy: &[f32],
    dx: &mut [f32],
) {
    let line = width * channels;
    assert!(dx.len() == batch * height * line && dy.len() == dx.len() * factor * factor);
    if dy.is_empty() {
        return;
    }
    dx.par_chunks_mut(line).zip(dy.par_chunks(line * factor * factor)).for_each(|(dx, dy)| {
        for dy in dy.chunks_exact(line * factor) {
            for (dx, dy) in dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels * factor)) {
                for dy in dy.chunks_exact(channels) {
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
                }
            }
        }
    });
}

/// Darknet's `[reorg]` as YOLOv2 uses it: `[height][width][channels]` becomes
/// `[height / stride][width / stride][channels * stride^2]`.
///
/// Darknet (`reorg_cpu` with `forward = 0`) works on flat NCHW memory and takes the sizes of the input for those of the
/// output, so this is no plain space-to-depth. With `C = channels / stride^2`, the output value at flat index
/// `i + width (j + height k)` of an image is the input value at flat index
/// `w2 + width stride (h2 + height stride (k mod C))`, where `w2 = i stride + (k / C) mod stride` and
/// `h2 = j stride + (k / C) / stride`. Both flat indices are then read as NCHW of their own tensor.
///
/// # Panics
/// If the lengths do not fit, or sizes do not divide: `stride` both sides, `stride^2` the channels.
pub fn reorg(batch: usize, height: usize, width: usize, channels: usize, stride: usize, x: &[f32], y: &mut [f32]) {
    let image = check_reorg(batch, height, width, channels, stride, x.len(), y.len());
    y.par_chunks_mut(image.max(1)).zip(x.par_chunks(image.max(1))).for_each(|(y, x)| {
        for_each_reorg(height, width, channels, stride, |from, to| y[to] = x[from]);
    });
}

/// Backward of [`reorg`]: adds `dy` to `dx`.
///
/// # Panics
/// As [`reorg`].
pub fn reorg_backward(
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    stride: usize,
    dy: &[f32],
    dx: &mut [f32],
) {
    let image = check_reorg(batch, height, width, channels, stride, dx.len(), dy.len());
    dx.par_chunks_mut(image.max(1)).zip(dy.par_chunks(image.max(1))).for_each(|(dx, dy)| {
        for_each_reorg(height, width, channels, stride, |from, to| dx[from] += dy[to]);
    });
}

/// Values of an image.
fn check_reorg(
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    stride: usize,
    input: usize,
    output: usize,
) -> usize {
    let image = height * width * channels;
    assert!(input == batch * image && output == input);
    assert!(stride > 0 && height.is_multiple_of(stride) && width.is_multiple_of(stride));
    assert!(channels.is_multiple_of(stride * stride));
    image
}

/// Calls `visit(input index, output index)`, both NHWC, for each value of an image.
fn for_each_reorg(height: usize, width: usize, channels: usize, stride: usize, mut visit: impl FnMut(usize, usize)) {
    let (out_height, out_width) = (height / stride, width / stride);
    let folded = channels / (stride * stride);
    let nhwc = |flat: usize, height: usize, width: usize, channels: usize| {
        let (pixel, channel) = (flat % (height * width), flat / (height * width));
        pixel * channels + channel
    };
    for k in 0..channels {
        let (c2, offset) = (k % folded, k / folded);
        for j in 0..height {
            let h2 = j * stride + offset / stride;
            for i in 0..width {
                let w2 = i * stride + offset % stride;
                let from = w2 + width * stride * (h2 + height * stride * c2);
                let to = i + width * (j + height * k);
                visit(nhwc(from, height, width, channels), nhwc(to, out_height, out_width, channels * stride * stride));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upsampling_repeats_pixels_and_its_gradient_adds_them() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let mut y = [0.0; 16];
        upsample_nearest(1, 1, 2, 2, 2, &x, &mut y);
        assert_eq!(y, [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
        let mut dx = [10.0; 4];
        upsample_nearest_backward(1, 1, 2, 2, 2, &y, &mut dx);
        assert_eq!(dx, [14.0, 18.0, 22.0, 26.0]);
    }

    #[test]
    fn reorg_follows_darknets_flat_indices() {
        // Input NCHW [4][2][2] holding 0..16. Worked by hand from the formula with C = 1, width = height = stride = 2.
        let x: Vec<f32> = (0..16).map(|nhwc| (nhwc % 4 * 4 + nhwc / 4) as f32).collect();
        let mut y = vec![0.0; 16];
        reorg(1, 2, 2, 4, 2, &x, &mut y);
        let want = [0.0, 2.0, 8.0, 10.0, 1.0, 3.0, 9.0, 11.0, 4.0, 6.0, 12.0, 14.0, 5.0, 7.0, 13.0, 15.0];
        assert_eq!(y, want);
    }

    #[test]
    fn reorg_backward_brings_every_value_back() {
        let x: Vec<f32> = (0..2 * 4 * 6 * 8).map(|v| v as f32).collect();
        let (mut y, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        reorg(2, 4, 6, 8, 2, &x, &mut y);
        assert_ne!(x, y);
        reorg_backward(2, 4, 6, 8, 2, &y, &mut back);
        assert_eq!(x, back);
    }
}
