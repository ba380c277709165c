//! `f32` as sums of two bfloat16: the nearest one, and the nearest one to what is left.
//!
//! Both have eight significant bits, so that a value is off by at most 2^-17 of itself, and products that leave out that of the
//! lower halves by about as much. What is no finite number, or rounds to infinity (from 3.39e38 on), becomes no number; what
//! is smaller than 2^-126 becomes zero. A step may take what follows a pixel and multiply it by zero, so that what is no finite
//! number reaches outputs beside those that depend on it.

use std::arch::x86_64::*;

/// Values that are fetched ahead.
const AHEAD: usize = 512;

/// Upper and lower halves of 32 values, side by side.
type Halves = (__m512i, __m512i);

/// The halves of `first` and then of `second`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn halves(first: __m512, second: __m512) -> Halves {
    // SAFETY: both are 512 bits of any content.
    unsafe {
        let upper: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
        let value = |half: __m256i| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        let first = _mm512_sub_ps(first, value(_mm512_castsi512_si256(upper)));
        let second = _mm512_sub_ps(second, value(_mm512_extracti64x4_epi64::<1>(upper)));
        (upper, std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)))
    }
}

/// Writes the halves of `from`.
///
/// # Safety
/// As many values can be written at `upper` and at `lower`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn split(from: &[f32], upper: *mut u16, lower: *mut u16) {
    for (at, part) in from.chunks(32).enumerate() {
        let (upper, lower) = (upper.wrapping_add(32 * at), lower.wrapping_add(32 * at));
        // SAFETY: `part` has that many values, and so have the places for its halves.
        unsafe {
            if part.len() == 32 {
                _mm_prefetch::<_MM_HINT_T0>(part.as_ptr().wrapping_add(AHEAD).cast());
                _mm_prefetch::<_MM_HINT_T0>(part.as_ptr().wrapping_add(AHEAD + 16).cast());
                let (up, low) = halves(_mm512_loadu_ps(part.as_ptr()), _mm512_loadu_ps(part.as_ptr().add(16)));
                _mm512_storeu_si512(upper.cast(), up);
                _mm512_storeu_si512(lower.cast(), low);
            } else {
                let mask = (1_u32 << part.len()) - 1;
                let first = _mm512_maskz_loadu_ps(mask as u16, part.as_ptr());
                let second = _mm512_maskz_loadu_ps((mask >> 16) as u16, part.as_ptr().wrapping_add(16));
                let (up, low) = halves(first, second);
                _mm512_mask_storeu_epi16(upper.cast(), mask, up);
                _mm512_mask_storeu_epi16(lower.cast(), mask, low);
            }
        }
    }
}

/// Writes the halves of every `step`th pixel of `from`, `apart` values from each other, and zeros behind its channels up to whole
/// 32 values if there is room for them.
///
/// # Safety
/// As many pixels can be written at `upper` and at `lower`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn split_pixels(
    from: &[f32],
    channels: usize,
    step: usize,
    apart: usize,
    upper: *mut u16,
    lower: *mut u16,
) {
    let whole = channels / 32 * 32;
    let room = apart >= channels.next_multiple_of(32);
    for (at, pixel) in from.chunks_exact(channels).step_by(step).enumerate() {
        let (upper, lower) = (upper.wrapping_add(at * apart), lower.wrapping_add(at * apart));
        // SAFETY: as the caller promises.
        unsafe {
            if room && whole < channels {
                split(&pixel[..whole], upper, lower);
                let mask = (1_u32 << (channels - whole)) - 1;
                let first = _mm512_maskz_loadu_ps(mask as u16, pixel.as_ptr().add(whole));
                let second = _mm512_maskz_loadu_ps((mask >> 16) as u16, pixel.as_ptr().wrapping_add(whole + 16));
                let (up, low) = halves(first, second);
                _mm512_storeu_si512(upper.wrapping_add(whole).cast(), up);
                _mm512_storeu_si512(lower.wrapping_add(whole).cast(), low);
            } else {
                split(pixel, upper, lower);
            }
        }
    }
}

/// Writes the halves of `channels` values from each of these places of `from` on, those of a channel side by side and `row`
/// after those of the channel before; zero where there is no place, and in channels up to `rows`.
///
/// # Safety
/// There are such values, and 32 can be written for each row at `upper` and at `lower`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn split_transposed(
    from: &[f32],
    places: &[Option<usize>; 32],
    channels: usize,
    rows: usize,
    (upper, lower): (*mut u16, *mut u16),
    row: usize,
) {
    for first in (0..rows).step_by(16) {
        let count = channels.saturating_sub(first).min(16);
        // No closures: those that others call are compiled without these instructions.
        let mut pixels = [[_mm512_setzero_ps(); 16]; 2];
        for (values, place) in pixels.as_flattened_mut().iter_mut().zip(places) {
            if let Some(place) = place {
                // SAFETY: as the caller promises.
                *values = unsafe { load(from.as_ptr().wrapping_add(place + first), count) };
            }
        }
        // SAFETY: compiled for the same instructions.
        let (first_half, second_half) = unsafe { (transpose(pixels[0]), transpose(pixels[1])) };
        for at in 0..16 {
            let start = (first + at) * row;
            // SAFETY: as the caller promises.
            unsafe {
                let (up, low) = halves(first_half[at], second_half[at]);
                _mm512_storeu_si512(upper.wrapping_add(start).cast(), up);
                _mm512_storeu_si512(lower.wrapping_add(start).cast(), low);
            }
        }
    }
}

/// Rows for columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn transpose(rows: [__m512; 16]) -> [__m512; 16] {
    let zero = _mm512_setzero_ps();
    let (mut pairs, mut fours, mut eights, mut columns) = ([zero; 16], [zero; 16], [zero; 16], [zero; 16]);
    for at in 0..8 {
        pairs[2 * at] = _mm512_unpacklo_ps(rows[2 * at], rows[2 * at + 1]);
        pairs[2 * at + 1] = _mm512_unpackhi_ps(rows[2 * at], rows[2 * at + 1]);
    }
    // Of each four rows, column `k` of every four columns.
    for at in 0..4 {
        for part in 0..2 {
            let first = _mm512_castps_pd(pairs[4 * at + part]);
            let second = _mm512_castps_pd(pairs[4 * at + 2 + part]);
            fours[4 * at + 2 * part] = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second));
            fours[4 * at + 2 * part + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(first, second));
        }
    }
    // Of each eight rows, columns `k` and `k + 8`, then `k + 4` and `k + 12`.
    for half in 0..2 {
        for k in 0..4 {
            let (first, second) = (fours[8 * half + k], fours[8 * half + 4 + k]);
            eights[8 * half + k] = _mm512_shuffle_f32x4::<0x88>(first, second);
            eights[8 * half + 4 + k] = _mm512_shuffle_f32x4::<0xdd>(first, second);
        }
    }
    for k in 0..8 {
        columns[k] = _mm512_shuffle_f32x4::<0x88>(eights[k], eights[8 + k]);
        columns[8 + k] = _mm512_shuffle_f32x4::<0xdd>(eights[k], eights[8 + k]);
    }
    columns
}

/// `count` values that lie `apart` from each other, zero in the other lanes.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn gather(from: *const f32, apart: usize, count: usize) -> __m512 {
    let places = _mm512_mullo_epi32(
        _mm512_set1_epi32(apart as i32),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    );
    let mask = ((1_u32 << count) - 1) as u16;
    // SAFETY: only lanes of the mask are read.
    unsafe { _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), mask, places, from) }
}

/// The first `count` values, zero in the other lanes.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn load(from: *const f32, count: usize) -> __m512 {
    // SAFETY: only lanes of the mask are read.
    unsafe { _mm512_maskz_loadu_ps(((1_u32 << count) - 1) as u16, from) }
}

/// Writes the halves of sixteen columns at two steps as a row of a right tile: of each column both steps side by side.
///
/// # Safety
/// 32 values can be written at `upper` and at `lower`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn split_pair(first: __m512, second: __m512, upper: *mut u16, lower: *mut u16) {
    /// One lane of the first sixteen and one of the second in turn.
    const IN_TURN: [u16; 32] = {
        let (mut order, mut at) = ([0; 32], 0);
        while at < 32 {
            order[at] = (at / 2 + at % 2 * 16) as u16;
            at += 1;
        }
        order
    };
    // SAFETY: as the caller promises.
    unsafe {
        let order = _mm512_loadu_si512(IN_TURN.as_ptr().cast());
        let (up, low) = halves(first, second);
        _mm512_storeu_si512(upper.cast(), _mm512_permutexvar_epi16(order, up));
        _mm512_storeu_si512(lower.cast(), _mm512_permutexvar_epi16(order, low));
    }
}

/// Adds the values at these places to `to`.
///
/// # Safety
/// There are such values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn add_gathered(from: &[f32], places: &[i32], to: &mut [f32]) {
    for (places, to) in places.chunks(16).zip(to.chunks_mut(16)) {
        let mask = ((1_u32 << to.len()) - 1) as u16;
        // SAFETY: only lanes of the mask are read and written.
        unsafe {
            let places = _mm512_maskz_loadu_epi32(mask, places.as_ptr());
            let values = _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), mask, places, from.as_ptr());
            let sums = _mm512_add_ps(values, _mm512_maskz_loadu_ps(mask, to.as_ptr()));
            _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that two halves stand for.
    fn joined(upper: &[u16], lower: &[u16]) -> Vec<f32> {
        let value = |half: u16| f32::from_bits(u32::from(half) << 16);
        upper.iter().zip(lower).map(|(&upper, &lower)| value(upper) + value(lower)).collect()
    }

    #[test]
    fn halves_are_off_by_less_than_a_hundred_thousandth() {
        if !super::super::available() {
            eprintln!("skipped: the processor has no AMX");
            return;
        }
        let from: Vec<f32> =
            (1..100).map(|at| (at as f32).powi(3) * 1.234_567e-3 * (1.0 - 2.0 * (at % 2) as f32)).collect();
        for len in 0..from.len() {
            let (mut upper, mut lower) = (vec![7; len + 1], vec![7; len + 1]);
            // SAFETY: the instructions are there, and so are the places.
            unsafe { split(&from[..len], upper.as_mut_ptr(), lower.as_mut_ptr()) };
            let wrong = |(got, want): (f32, &f32)| (got - want).abs() > 1e-5 * want.abs();
            assert!(!joined(&upper[..len], &lower[..len]).into_iter().zip(&from).any(wrong));
            assert_eq!((upper[len], lower[len]), (7, 7), "written behind the end");
        }
    }

    #[test]
    fn pixels_become_rows_with_zeros_for_what_is_missing() {
        if !super::super::available() {
            eprintln!("skipped: the processor has no AMX");
            return;
        }
        let (channels, rows, row) = (19, 32, 40);
        let from: Vec<f32> = (0..50 * channels).map(|at| at as f32).collect();
        let places: [Option<usize>; 32] = std::array::from_fn(|at| (at % 5 != 3).then_some((49 - at) * channels));
        let (mut upper, mut lower) = (vec![7; rows * row], vec![7; rows * row]);
        // SAFETY: the instructions are there, and so are the places.
        unsafe {
            let to = (upper.as_mut_ptr(), lower.as_mut_ptr());
            split_transposed(&from, &places, channels, rows, to, row);
        }
        let got = joined(&upper, &lower);
        for (channel, got) in got.chunks_exact(row).enumerate() {
            let value =
                |place: &Option<usize>| place.filter(|_| channel < channels).map_or(0.0, |at| from[at + channel]);
            assert_eq!(got[..32], places.iter().map(value).collect::<Vec<_>>(), "channel {channel}");
        }
    }
}
