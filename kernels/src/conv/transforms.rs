//! Transforms of Winograd's minimal filtering F(4x4, 3x3) and of its gradient (Lavin and Gray, arXiv:1509.09308).
//!
//! `Y = At [(G g Gt) . (Bt d B)] A` with a 6 x 6 input tile `d`, a 3 x 3 kernel `g` and a 4 x 4 output tile `Y`; the dot is
//! the product value by value. The matrices come from the points 0, +-a, +-b and infinity with `a = sqrt(1/2)` and
//! `b = sqrt(2)`, whose rounding error is smaller than that of the usual 1 and 2, as the powers stay closer to 1.

use super::vector::Vector;
pub(super) use std::f32::consts::{FRAC_1_SQRT_2 as A, SQRT_2 as B};

/// A linear map of `N` values to `M`, applied to both sides of a tile by [`square`].
pub(crate) trait Transform<const N: usize, const M: usize> {
    /// The map. Inlined, so that it is compiled for the instructions of its caller.
    fn apply<V: Vector>(values: [V; N]) -> [V; M];
}

/// `Bt d`
pub(crate) struct Input;

impl Transform<6, 6> for Input {
    #[inline(always)]
    fn apply<V: Vector>(d: [V; 6]) -> [V; 6] {
        let [a, minus_a, b, minus_b] = quotients([d[1], d[2], d[3], d[4]]);
        [full(d[0], d[2], d[4]), a, minus_a, b, minus_b, full(d[1], d[3], d[5])]
    }
}

/// `At m`
pub(crate) struct Output;

impl Transform<6, 4> for Output {
    #[inline(always)]
    fn apply<V: Vector>(m: [V; 6]) -> [V; 4] {
        let [first, second, third, fourth] = evaluate_transposed([m[1], m[2], m[3], m[4]], m[5]);
        [m[0].add(first), second, third, fourth]
    }
}

/// `A y`, the transpose of [`Output`]: gradients of an output tile to those of the products.
pub(crate) struct OutputGradient;

impl Transform<4, 6> for OutputGradient {
    #[inline(always)]
    fn apply<V: Vector>(y: [V; 4]) -> [V; 6] {
        let [a, minus_a, b, minus_b] = evaluate(y);
        [y[0], a, minus_a, b, minus_b, y[3]]
    }
}

/// Products of `d` with the coefficients of `(x^2 - a^2) (x^2 - b^2) / (x - p)` for the points a, -a, b and -b: with
/// `a^2 = 1/2` and `b^2 = 2`, so that `a^2 b^2 = 1` and `a^2 + b^2 = 5/2`.
#[inline(always)]
pub(super) fn quotients<V: Vector>(d: [V; 4]) -> [V; 4] {
    let zero = V::splat(0.0);
    let even_a = d[1].mul_add(V::splat(-2.0), d[3]);
    let odd_a = d[0].mul_add(V::splat(-B), d[2].mul_add(V::splat(A), zero));
    let even_b = d[1].mul_add(V::splat(-0.5), d[3]);
    let odd_b = d[0].mul_add(V::splat(-A), d[2].mul_add(V::splat(B), zero));
    [even_a.add(odd_a), even_a.sub(odd_a), even_b.add(odd_b), even_b.sub(odd_b)]
}

/// Product with the coefficients of `(x^2 - a^2) (x^2 - b^2)` but the zero ones.
#[inline(always)]
pub(super) fn full<V: Vector>(constant: V, square: V, fourth: V) -> V {
    square.mul_add(V::splat(-2.5), constant.add(fourth))
}

/// Values of the polynomial with coefficients `y` at a, -a, b and -b.
#[inline(always)]
pub(super) fn evaluate<V: Vector>(y: [V; 4]) -> [V; 4] {
    let zero = V::splat(0.0);
    let even_a = y[2].mul_add(V::splat(A * A), y[0]);
    let odd_a = y[1].mul_add(V::splat(A), y[3].mul_add(V::splat(A * A * A), zero));
    let even_b = y[2].mul_add(V::splat(B * B), y[0]);
    let odd_b = y[1].mul_add(V::splat(B), y[3].mul_add(V::splat(B * B * B), zero));
    [even_a.add(odd_a), even_a.sub(odd_a), even_b.add(odd_b), even_b.sub(odd_b)]
}

/// The transpose of [`evaluate`]; the point at infinity, where a polynomial's value is its last coefficient, is added.
#[inline(always)]
pub(super) fn evaluate_transposed<V: Vector>(m: [V; 4], infinity: V) -> [V; 4] {
    let zero = V::splat(0.0);
    let (sum_a, apart_a) = (m[0].add(m[1]), m[0].sub(m[1]));
    let (sum_b, apart_b) = (m[2].add(m[3]), m[2].sub(m[3]));
    [
        sum_a.add(sum_b),
        apart_a.mul_add(V::splat(A), apart_b.mul_add(V::splat(B), zero)),
        sum_a.mul_add(V::splat(A * A), sum_b.mul_add(V::splat(B * B), zero)),
        apart_a.mul_add(V::splat(A * A * A), apart_b.mul_add(V::splat(B * B * B), infinity)),
    ]
}

/// `1 / (2 a^2 (a^2 - b^2))` and the same for b: what the rows of `G` at +-a and +-b are divided by.
const SCALE_A: f32 = -2.0 / 3.0;
const SCALE_B: f32 = 1.0 / 6.0;

/// `G g`
pub(crate) struct Kernel;

impl Transform<3, 6> for Kernel {
    #[inline(always)]
    fn apply<V: Vector>(g: [V; 3]) -> [V; 6] {
        let (even_a, odd_a) = halves(g, SCALE_A, A);
        let (even_b, odd_b) = halves(g, SCALE_B, B);
        [g[0], even_a.add(odd_a), even_a.sub(odd_a), even_b.add(odd_b), even_b.sub(odd_b), g[2]]
    }
}

/// `Gt m`, the transpose of [`Kernel`]: gradients of the products to those of the kernel.
pub(crate) struct KernelGradient;

impl Transform<6, 3> for KernelGradient {
    #[inline(always)]
    fn apply<V: Vector>(m: [V; 6]) -> [V; 3] {
        let zero = V::splat(0.0);
        let (sum_a, apart_a) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (sum_b, apart_b) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            sum_a.mul_add(V::splat(SCALE_A), sum_b.mul_add(V::splat(SCALE_B), m[0])),
            apart_a.mul_add(V::splat(SCALE_A * A), apart_b.mul_add(V::splat(SCALE_B * B), zero)),
            sum_a.mul_add(V::splat(SCALE_A * A * A), sum_b.mul_add(V::splat(SCALE_B * B * B), m[5])),
        ]
    }
}

/// What the rows of `G` at `+-point` have in common and what they differ by.
#[inline(always)]
fn halves<V: Vector>(g: [V; 3], scale: f32, point: f32) -> (V, V) {
    let zero = V::splat(0.0);
    let even = g[0].mul_add(V::splat(scale), g[2].mul_add(V::splat(scale * point * point), zero));
    (even, g[1].mul_add(V::splat(scale * point), zero))
}

/// Transforms the columns and then the rows of a square tile.
#[inline(always)]
pub(crate) fn square<T: Transform<N, M>, V: Vector, const N: usize, const M: usize>(tile: &[[V; N]; N]) -> [[V; M]; M] {
    let mut half = [[V::splat(0.0); N]; M];
    for col in 0..N {
        let mut column = [V::splat(0.0); N];
        for row in 0..N {
            column[row] = tile[row][col];
        }
        let column = T::apply(column);
        for row in 0..M {
            half[row][col] = column[row];
        }
    }
    let mut whole = [[V::splat(0.0); M]; M];
    for row in 0..M {
        whole[row] = T::apply(half[row]);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lanes = [f32; 8];

    fn tile<const N: usize>(seed: usize) -> [[Lanes; N]; N] {
        let value = |at: usize, lane: usize| ((at * 31 + lane * 7 + seed) % 17) as f32 - 8.0;
        std::array::from_fn(|row| std::array::from_fn(|col| std::array::from_fn(|lane| value(row * N + col, lane))))
    }

    fn times(a: [[Lanes; 6]; 6], b: [[Lanes; 6]; 6]) -> [[Lanes; 6]; 6] {
        let product = |a: Lanes, b: Lanes| std::array::from_fn(|i| a[i] * b[i]);
        std::array::from_fn(|row| std::array::from_fn(|col| product(a[row][col], b[row][col])))
    }

    #[test]
    fn a_transformed_product_is_a_convolution() {
        let (d, g) = (tile::<6>(1), tile::<3>(5));
        let y = square::<Output, _, 6, 4>(&times(square::<Kernel, _, 3, 6>(&g), square::<Input, _, 6, 6>(&d)));
        for (row, col, lane) in [(0, 0, 0), (1, 2, 3), (3, 3, 7), (2, 0, 5)] {
            let want: f32 = (0..9).map(|t| d[row + t / 3][col + t % 3][lane] * g[t / 3][t % 3][lane]).sum();
            assert!((y[row][col][lane] - want).abs() < 1e-3, "{} {want}", y[row][col][lane]);
        }
    }

    #[test]
    fn the_transposed_transforms_give_the_gradient_of_the_kernel() {
        let (d, dy) = (tile::<6>(2), tile::<4>(3));
        let products = times(square::<OutputGradient, _, 4, 6>(&dy), square::<Input, _, 6, 6>(&d));
        let dg = square::<KernelGradient, _, 6, 3>(&products);
        for (tap, dg) in dg.as_flattened().iter().enumerate() {
            let value = |at: usize| dy[at / 4][at % 4][4] * d[at / 4 + tap / 3][at % 4 + tap % 3][4];
            let want: f32 = (0..16).map(value).sum();
            assert!((dg[4] - want).abs() < 1e-3, "{} {want}", dg[4]);
        }
    }
}
