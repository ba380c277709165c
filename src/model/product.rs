//! Products of maps: `[scale_channels]` and `[sam]`. They are rare and small, so plain loops do.

/// `out = map * scales`, the scales one number a channel: map `[count, area, channels]`, scales `[count, channels]`.
pub(super) fn scale_channels(area: usize, channels: usize, scales: &[f32], map: &[f32], out: &mut [f32]) {
    let images = map.chunks_exact(area * channels).zip(out.chunks_exact_mut(area * channels));
    for ((map, out), scales) in images.zip(scales.chunks_exact(channels)) {
        for (m, o) in map.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            o.iter_mut().zip(m).zip(scales).for_each(|((o, m), s)| *o = m * s);
        }
    }
}

/// Adds to `dscales` the gradient of [`scale_channels`]: `sum over the area of dout * map`.
pub(super) fn scales_backward(area: usize, channels: usize, map: &[f32], dout: &[f32], dscales: &mut [f32]) {
    let images = map.chunks_exact(area * channels).zip(dout.chunks_exact(area * channels));
    for ((map, dout), dscales) in images.zip(dscales.chunks_exact_mut(channels)) {
        for (m, d) in map.chunks_exact(channels).zip(dout.chunks_exact(channels)) {
            dscales.iter_mut().zip(m).zip(d).for_each(|((s, m), d)| *s += m * d);
        }
    }
}

/// `out += a * b`, element by element.
pub(super) fn multiply_add(a: &[f32], b: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(a).zip(b).for_each(|((o, a), b)| *o += a * b);
}
