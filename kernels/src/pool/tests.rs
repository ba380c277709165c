use super::*;

fn shape(size: usize, stride: usize, padding: usize) -> PoolShape {
    PoolShape { batch: 2, height: 5, width: 4, channels: 3, size, stride_y: stride, stride_x: stride, padding }
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + 13) % 1009) as f32 - 2000.0).collect()
}

#[test]
fn windows_see_what_darknet_windows_see_and_padding_never_wins() {
    for (size, stride, padding) in [(2, 2, 1), (2, 1, 1), (3, 1, 2), (5, 1, 4), (3, 2, 2), (2, 2, 0)] {
        let shape = shape(size, stride, padding);
        let x = values(shape.input_len());
        let (mut y, mut places) = (vec![0.0; shape.output_len()], vec![0; shape.output_len()]);
        max_pool(&shape, &x, &mut y, Some(&mut places));
        let mut plain = vec![0.0; y.len()];
        max_pool(&shape, &x, &mut plain, None);
        assert_eq!(plain, y);
        let (oh, ow) = (shape.out_height(), shape.out_width());
        for (at, &got) in y.iter().enumerate() {
            let (c, col, row, image) = (at % 3, at / 3 % ow, at / 3 / ow % oh, at / 3 / ow / oh);
            let mut best = f32::NEG_INFINITY;
            for (ky, kx) in (0..size).flat_map(|ky| (0..size).map(move |kx| (ky, kx))) {
                let (iy, ix) = (row * stride + ky, col * stride + kx);
                let (iy, ix) = (iy as isize - padding as isize / 2, ix as isize - padding as isize / 2);
                if (0..5).contains(&iy) && (0..4).contains(&ix) {
                    best = best.max(x[((image * 5 + iy as usize) * 4 + ix as usize) * 3 + c]);
                }
            }
            assert_eq!((got, x[places[at] as usize]), (best, best), "{shape:?} at {at}");
        }
    }
}

#[test]
fn of_equal_values_the_first_in_the_window_wins() {
    let shape = PoolShape { batch: 1, channels: 1, ..shape(3, 1, 2) };
    let x: Vec<f32> = (0..20).map(|at| [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0][at % 7]).collect();
    let (mut y, mut places) = ([0.0; 20], [0; 20]);
    max_pool(&shape, &x, &mut y, Some(&mut places));
    for (at, &place) in places.iter().enumerate() {
        let (row, col) = (at / 4, at % 4);
        let mut window = (row.saturating_sub(1)..(row + 2).min(5))
            .flat_map(|row| (col.saturating_sub(1)..(col + 2).min(4)).map(move |col| row * 4 + col));
        assert_eq!(Some(place as usize), window.find(|&from| x[from] == y[at]), "at {at}");
    }
}

#[test]
fn gradients_go_to_the_winners_whether_parts_overlap_or_not() {
    let sequential: Vec<u32> = (0..100_000).map(|i| i / 2).collect();
    let scattered: Vec<u32> = (0..100_000).map(|i| i * 7919 % 50_000).collect();
    for mut places in [sequential, scattered] {
        places[5] = NOWHERE;
        let dy: Vec<f32> = (0..places.len()).map(|i| (i % 16) as f32).collect();
        let mut want = vec![1.0; 50_000];
        for (&place, d) in places.iter().zip(&dy).filter(|(place, _)| **place != NOWHERE) {
            want[place as usize] += d;
        }
        let mut dx = vec![1.0; 50_000];
        add_at_places(&places, &dy, &mut dx);
        assert_eq!(dx, want);
    }
}

#[test]
fn a_fresh_gradient_is_one_added_to_zeros() {
    for (size, stride, padding) in [(2, 2, 1), (2, 1, 1), (3, 1, 2), (3, 3, 2), (2, 3, 1), (2, 2, 0)] {
        let shape = shape(size, stride, padding);
        let (mut y, mut places) = (vec![0.0; shape.output_len()], vec![0; shape.output_len()]);
        max_pool(&shape, &values(shape.input_len()), &mut y, Some(&mut places));
        let (mut added, mut written) = (vec![0.0; shape.input_len()], vec![7.0; shape.input_len()]);
        max_pool_backward(&shape, &places, &y, &mut added, false);
        max_pool_backward(&shape, &places, &y, &mut written, true);
        assert_eq!(written, added, "{shape:?}");
    }
}

#[test]
fn a_window_in_the_padding_alone_gives_minus_infinity_and_takes_no_gradient() {
    let shape = PoolShape { batch: 1, height: 1, width: 1, channels: 1, size: 1, stride_y: 1, stride_x: 1, padding: 1 };
    let (mut y, mut places) = ([0.0; 4], [0; 4]);
    max_pool(&shape, &[3.0], &mut y, Some(&mut places));
    assert_eq!((y[0], y[3], places[3]), (3.0, f32::NEG_INFINITY, NOWHERE));
    let mut dx = [0.0];
    max_pool_backward(&shape, &places, &[1.0; 4], &mut dx, false);
    assert_eq!(dx, [1.0]);
}

#[test]
fn average_and_its_gradient_are_adjoint() {
    let x = values(2 * 6 * 3);
    let mut y = vec![0.0; 6];
    average_pool(2, 6, 3, &x, &mut y);
    assert_eq!(y[4], (0..6).map(|row| x[18 + row * 3 + 1]).sum::<f32>() / 6.0);
    let mut dx = vec![1.0; x.len()];
    average_pool_backward(2, 6, 3, &[6.0; 6], &mut dx);
    assert_eq!(dx, vec![2.0; x.len()]);
}
