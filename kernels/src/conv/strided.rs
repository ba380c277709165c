//! Transforms of 3 x 3 convolutions with stride 2 and padding 1.
//!
//! Along an axis `y[i] = g0 d[2i-1] + g1 d[2i] + g2 d[2i+1]` is a convolution of the odd pixels with two taps plus one of
//! the even pixels with one tap. Both have stride 1, so both are filtered as in [`super::transforms`] with the points +-a
//! and +-b, and the odd one at infinity too, where the even one has no product. Their products at a point are added
//! before they are transformed back: 9 products along an axis for 5 sums and 4 outputs, so that a tile takes 81 products
//! where direct summation takes 144. Products are in the order odd, even at a; odd, even at -a; and so on; odd at
//! infinity: product `i` belongs to sum `i / 2`.
//!
//! The gradient of the input mirrors this: even pixels of `dx` are a convolution of `dy` with one tap, odd ones one with
//! two, so that 5 transformed values of `dy` give 9 products and those 8 pixels of `dx`.

use super::transforms::{A, B, Transform, evaluate, evaluate_transposed, full, quotients};
use super::vector::Vector;

/// Pixels of an input tile to its values that are multiplied.
pub(crate) struct Input;

impl Transform<9, 9> for Input {
    #[inline(always)]
    fn apply<V: Vector>(d: [V; 9]) -> [V; 9] {
        let (odd, even) = (quotients([d[0], d[2], d[4], d[6]]), quotients([d[1], d[3], d[5], d[7]]));
        interleave(odd, even, full(d[0], d[4], d[8]))
    }
}

/// `1 / ((a^2 - b^2) 2)`, by which the rows of [`Kernel`] at +-a are divided, apart from the sign and power of a; those at
/// +-b have the opposite.
const SCALE: f32 = -1.0 / 3.0;

/// Kernel to its values that are multiplied.
pub(crate) struct Kernel;

impl Transform<3, 9> for Kernel {
    #[inline(always)]
    fn apply<V: Vector>(g: [V; 3]) -> [V; 9] {
        let times = |v: V, by: f32| v.mul_add(V::splat(by), V::splat(0.0));
        let (last_a, first_a) = (times(g[2], SCALE), times(g[0], SCALE * B));
        let (last_b, first_b) = (times(g[2], -SCALE), times(g[0], -SCALE * A));
        let odd = [last_a.add(first_a), last_a.sub(first_a), last_b.add(first_b), last_b.sub(first_b)];
        let even = [SCALE * B, -SCALE * B, -SCALE * A, SCALE * A].map(|scale| times(g[1], scale));
        interleave(odd, even, g[2])
    }
}

/// The transpose of [`Kernel`].
pub(crate) struct KernelGradient;

impl Transform<9, 3> for KernelGradient {
    #[inline(always)]
    fn apply<V: Vector>(m: [V; 9]) -> [V; 3] {
        let weigh =
            |a: V, by_a: f32, b: V, by_b: f32, rest: V| a.mul_add(V::splat(by_a), b.mul_add(V::splat(by_b), rest));
        let zero = V::splat(0.0);
        [
            weigh(m[0].sub(m[2]), SCALE * B, m[4].sub(m[6]), -SCALE * A, zero),
            weigh(m[1].sub(m[3]), SCALE * B, m[5].sub(m[7]), -SCALE * A, zero),
            weigh(m[0].add(m[2]), SCALE, m[4].add(m[6]), -SCALE, m[8]),
        ]
    }
}

/// Sums of products to output pixels.
pub(crate) struct Output;

impl Transform<5, 4> for Output {
    #[inline(always)]
    fn apply<V: Vector>(m: [V; 5]) -> [V; 4] {
        evaluate_transposed([m[0], m[1], m[2], m[3]], m[4])
    }
}

/// The transpose of [`Output`].
pub(crate) struct OutputGradient;

impl Transform<4, 5> for OutputGradient {
    #[inline(always)]
    fn apply<V: Vector>(y: [V; 4]) -> [V; 5] {
        let [a, minus_a, b, minus_b] = evaluate(y);
        [a, minus_a, b, minus_b, y[3]]
    }
}

/// Pixels of a tile of `dy` to its values that are multiplied, to get `dx`.
pub(crate) struct DataInput;

impl Transform<5, 5> for DataInput {
    #[inline(always)]
    fn apply<V: Vector>(d: [V; 5]) -> [V; 5] {
        let [a, minus_a, b, minus_b] = quotients([d[0], d[1], d[2], d[3]]);
        [a, minus_a, b, minus_b, full(d[0], d[2], d[4])]
    }
}

/// Products to pixels of `dx`.
pub(crate) struct DataOutput;

impl Transform<9, 8> for DataOutput {
    #[inline(always)]
    fn apply<V: Vector>(m: [V; 9]) -> [V; 8] {
        let odd = evaluate_transposed([m[0], m[2], m[4], m[6]], m[8]);
        let even = evaluate_transposed([m[1], m[3], m[5], m[7]], V::splat(0.0));
        [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
    }
}

#[inline(always)]
fn interleave<V: Vector>(odd: [V; 4], even: [V; 4], infinity: V) -> [V; 9] {
    [odd[0], even[0], odd[1], even[1], odd[2], even[2], odd[3], even[3], infinity]
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lanes = [f32; 8];

    fn values<const N: usize>(seed: usize) -> [Lanes; N] {
        std::array::from_fn(|at| std::array::from_fn(|lane| ((at * 31 + lane * 7 + seed) % 17) as f32 - 8.0))
    }

    fn close(got: f32, want: f32) {
        assert!((got - want).abs() < 1e-3, "{got} {want}");
    }

    #[test]
    fn summed_products_are_a_convolution_with_stride_two() {
        let (d, g) = (values::<9>(1), values::<3>(5));
        let (v, u) = (Input::apply(d), Kernel::apply(g));
        let mut sums = [[0.0; 8]; 5];
        for product in 0..9 {
            sums[product / 2] = v[product].mul_add(u[product], sums[product / 2]);
        }
        let y = Output::apply(sums);
        for i in 0..4 {
            close(y[i][3], (0..3).map(|tap| d[2 * i + tap][3] * g[tap][3]).sum());
        }
    }

    #[test]
    fn products_with_the_turned_kernel_give_the_gradient_of_the_input() {
        let (dy, g) = (values::<5>(2), values::<3>(3));
        let (v, u) = (DataInput::apply(dy), Kernel::apply([g[2], g[1], g[0]]));
        let dx = DataOutput::apply(std::array::from_fn(|product| v[product / 2].mul_add(u[product], [0.0; 8])));
        for i in 0..4 {
            close(dx[2 * i][6], g[1][6] * dy[i][6]);
            close(dx[2 * i + 1][6], g[2][6] * dy[i][6] + g[0][6] * dy[i + 1][6]);
        }
    }

    #[test]
    fn the_transposed_transforms_give_the_gradient_of_the_kernel() {
        let (d, dy) = (values::<9>(4), values::<4>(7));
        let (v, w) = (Input::apply(d), OutputGradient::apply(dy));
        let dg = KernelGradient::apply(std::array::from_fn(|product| v[product].mul_add(w[product / 2], [0.0; 8])));
        for tap in 0..3 {
            close(dg[tap][1], (0..4).map(|i| dy[i][1] * d[2 * i + tap][1]).sum());
        }
    }
}
