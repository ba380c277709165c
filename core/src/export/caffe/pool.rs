//! Darknet's max pools in Caffe's terms.

use crate::graph::{MaxPool, Shape};

/// A Caffe pooling layer that has the wanted windows among its own, and where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CaffePool {
    /// Caffe's padding, on each side.
    pub pad: usize,
    /// Caffe's output.
    pub shape: Shape,
    /// Rows and columns of it before the wanted ones.
    pub skipped: usize,
}

/// Caffe rounds the output's size up and pads both sides alike; Darknet rounds down and splits its padding, the
/// smaller half first. Their windows agree where Caffe's padding is that smaller half plus whole strides, and are then
/// found `skipped` further on. None where no padding that Caffe allows (less than the kernel) gives all windows.
pub(super) fn in_caffe(pool: &MaxPool, from: Shape, to: Shape) -> Option<CaffePool> {
    if pool.stride_x != pool.stride_y {
        return None;
    }
    let (stride, before) = (pool.stride_y, pool.padding / 2);
    (0..).map(|skipped| (skipped, before + skipped * stride)).take_while(|(_, pad)| *pad < pool.size).find_map(
        |(skipped, pad)| {
            let [height, width] = [from.height, from.width].map(|side| along(side, pool.size, stride, pad));
            let shape = Shape { channels: to.channels, height, width };
            let enough = height >= skipped + to.height && width >= skipped + to.width;
            // Windows smaller than their step can begin beyond the map, where Caffe has nothing to take a maximum of.
            let begun = |windows: usize, side: usize| (windows - 1) * stride < side + pad;
            (enough && begun(height, from.height) && begun(width, from.width)).then_some(CaffePool {
                pad,
                shape,
                skipped,
            })
        },
    )
}

/// Caffe's output size: rounded up, less a last window that would begin in the padding.
fn along(side: usize, size: usize, stride: usize, pad: usize) -> usize {
    let Some(room) = (side + 2 * pad).checked_sub(size) else { return 0 };
    let windows = room.div_ceil(stride) + 1;
    if pad > 0 && (windows - 1) * stride >= side + pad { windows - 1 } else { windows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(size: usize, stride: usize, padding: usize) -> MaxPool {
        MaxPool { size, stride_y: stride, stride_x: stride, padding }
    }

    fn square(side: usize) -> Shape {
        Shape { channels: 3, height: side, width: side }
    }

    #[test]
    fn usual_pools_are_one_layer_and_tinys_last_one_is_cut_out_of_a_larger_map() {
        let find = |size, stride, from, to| in_caffe(&pool(size, stride, size - 1), square(from), square(to));
        assert_eq!(find(2, 2, 416, 208), Some(CaffePool { pad: 0, shape: square(208), skipped: 0 }));
        assert_eq!(find(2, 2, 13, 7), Some(CaffePool { pad: 0, shape: square(7), skipped: 0 }));
        assert_eq!(find(5, 1, 13, 13), Some(CaffePool { pad: 2, shape: square(13), skipped: 0 }));
        assert_eq!(find(2, 1, 13, 13), Some(CaffePool { pad: 1, shape: square(14), skipped: 1 }));
    }

    /// The input range of each window along one side: `(first, end)`.
    fn windows(count: usize, size: usize, stride: usize, before: usize, side: usize) -> Vec<(usize, usize)> {
        (0..count)
            .map(|i| ((i * stride).saturating_sub(before), (i * stride + size).saturating_sub(before).min(side)))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_windows_found_are_darknets(size in 1usize..8, stride in 1usize..4, padding in 0usize..8, side in 1usize..20) {
            prop_assume!(side + padding >= size);
            let to = (side + padding - size) / stride + 1;
            let wanted = windows(to, size, stride, padding / 2, side);
            if let Some(found) = in_caffe(&pool(size, stride, padding), square(side), square(to)) {
                let theirs = windows(found.shape.height, size, stride, found.pad, side);
                prop_assert_eq!(&theirs[found.skipped..found.skipped + to], &wanted[..]);
                prop_assert!(theirs.iter().all(|(first, end)| first < end), "Caffe has no empty windows");
            } else {
                prop_assert!(padding > 0 || size < stride, "without padding there is always a layer");
            }
        }
    }
}
