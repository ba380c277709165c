//! Transforms of Winograd's F(2x2, 3x3), from the points 0, 1, -1 and infinity; see [`super::transforms`].

use super::transforms::Transform;
use super::vector::Vector;

/// `Bt d`
pub(crate) struct Input;

impl Transform<4, 4> for Input {
    #[inline(always)]
    fn apply<V: Vector>(d: [V; 4]) -> [V; 4] {
        [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[3].sub(d[1])]
    }
}

/// `G g`
pub(crate) struct Kernel;

impl Transform<3, 4> for Kernel {
    #[inline(always)]
    fn apply<V: Vector>(g: [V; 3]) -> [V; 4] {
        let (half, zero) = (V::splat(0.5), V::splat(0.0));
        let even = g[0].add(g[2]).mul_add(half, zero);
        let odd = g[1].mul_add(half, zero);
        [g[0], even.add(odd), even.sub(odd), g[2]]
    }
}

/// `At m`
pub(crate) struct Output;

impl Transform<4, 2> for Output {
    #[inline(always)]
    fn apply<V: Vector>(m: [V; 4]) -> [V; 2] {
        [m[0].add(m[1].add(m[2])), m[1].sub(m[2]).add(m[3])]
    }
}
