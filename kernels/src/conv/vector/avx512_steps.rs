//! The inner loop of a product of rows with two panels of columns on AVX-512, in assembly.
//!
//! Eight rows, two panels, what is fetched ahead, how far that moves on and the count of steps take thirteen registers, all
//! that assembly may name. The compiler, which needs some for itself, read addresses from the stack, counted and compared
//! at each step by instructions that take the place of products, and copied every sum at each step where loops for
//! segments were nested. Here four steps share one count, and sums stay where they are.

use std::arch::asm;
use std::arch::x86_64::__m512;

use crate::conv::microkernel::Columns;

/// Steps that share a count.
const SHARED: usize = 4;

/// The instructions of one step, which is `$step` steps from where the registers point: of each row its name and those of
/// its two sums.
macro_rules! step {
    ($step:literal, $($row:ident $first:ident $second:ident),*) => {
        concat!(
            "vmovups zmm29, zmmword ptr [{columns} + 64 * ", $step, "]\n",
            "vmovups zmm30, zmmword ptr [{others} + 64 * ", $step, "]\n",
            "prefetcht1 byte ptr [{next}]\n",
            "add {next}, {far}\n",
            $(
                "vbroadcastss zmm31, dword ptr [{", stringify!($row), "} + 4 * {at} + 4 * ", $step, "]\n",
                "vfmadd231ps {", stringify!($first), "}, zmm31, zmm29\n",
                "vfmadd231ps {", stringify!($second), "}, zmm31, zmm30\n",
            )*
        )
    };
}

/// Runs `$body`, the instructions of `$many` steps, until `$at` is zero, which starts at minus the number of all steps.
macro_rules! steps {
    ($many:literal, [$($body:expr),*], ($columns:ident, $others:ident, $at:ident, $next:ident, $far:ident),
     $sums:ident, $rows:ident, [$($i:literal $row:ident $first:ident $second:ident),*]) => {
        asm!(
            "2:",
            $($body,)*
            concat!("add {columns}, 64 * ", $many),
            concat!("add {others}, 64 * ", $many),
            concat!("add {at}, ", $many),
            "jnz 2b",
            columns = inout(reg) $columns,
            others = inout(reg) $others,
            at = inout(reg) $at => _,
            next = inout(reg) $next,
            far = in(reg) $far,
            out("zmm29") _,
            out("zmm30") _,
            out("zmm31") _,
            $(
                $row = in(reg) $rows[$i],
                $first = inout(zmm_reg) $sums[0][$i],
                $second = inout(zmm_reg) $sums[1][$i],
            )*
            options(nostack, readonly),
        )
    };
}

/// All steps of a segment for the rows that are named, four by four and then one by one.
macro_rules! segment {
    ($sums:ident, $starts:ident, $steps:ident, ($columns:ident, $others:ident, $next:ident, $far:ident),
     [$($i:literal $row:ident $first:ident $second:ident),*]) => {{
        let shared = $steps - $steps % SHARED;
        if shared > 0 {
            let rows = $starts.map(|start| start.wrapping_add(shared));
            let at = -(shared as isize);
            steps!(4, [
                step!(0, $($row $first $second),*),
                step!(1, $($row $first $second),*),
                step!(2, $($row $first $second),*),
                step!(3, $($row $first $second),*)
            ], ($columns, $others, at, $next, $far), $sums, rows, [$($i $row $first $second),*]);
        }
        if shared < $steps {
            let rows = $starts.map(|start| start.wrapping_add($steps));
            let at = -(($steps - shared) as isize);
            steps!(1, [step!(0, $($row $first $second),*)], ($columns, $others, at, $next, $far), $sums, rows,
                [$($i $row $first $second),*]);
        }
    }};
}

/// `sums[p][i] += sum over k of row_i[k] * panel_p[16 k..][..16]` over segments of `steps` steps each, in which rows start at
/// the addresses given.
///
/// # Safety
/// The processor has AVX-512; each row of a segment has `steps` readable values, and the two panels hold 16 values for each
/// step of all segments. There are at most eight rows.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
pub(super) unsafe fn add_products<const USED: usize>(
    sums: &mut [[__m512; USED]; 2],
    segments: impl Iterator<Item = [*const f32; USED]>,
    steps: usize,
    columns: Columns,
) {
    let (mut next, far) = (columns.next.at, columns.next.step * size_of::<f32>());
    let (first, second) = columns.values.split_at(columns.values.len() / 2);
    let (mut columns, mut others) = (first.as_ptr(), second.as_ptr());
    for starts in segments {
        // SAFETY: as the caller promises; `at` is below zero before and zero after.
        unsafe {
            match USED {
                1 => segment!(sums, starts, steps, (columns, others, next, far), [0 r0 a0 b0]),
                2 => segment!(sums, starts, steps, (columns, others, next, far), [0 r0 a0 b0, 1 r1 a1 b1]),
                3 => segment!(sums, starts, steps, (columns, others, next, far),
                    [0 r0 a0 b0, 1 r1 a1 b1, 2 r2 a2 b2]),
                4 => segment!(sums, starts, steps, (columns, others, next, far),
                    [0 r0 a0 b0, 1 r1 a1 b1, 2 r2 a2 b2, 3 r3 a3 b3]),
                5 => segment!(sums, starts, steps, (columns, others, next, far),
                    [0 r0 a0 b0, 1 r1 a1 b1, 2 r2 a2 b2, 3 r3 a3 b3, 4 r4 a4 b4]),
                6 => segment!(sums, starts, steps, (columns, others, next, far),
                    [0 r0 a0 b0, 1 r1 a1 b1, 2 r2 a2 b2, 3 r3 a3 b3, 4 r4 a4 b4, 5 r5 a5 b5]),
                7 => segment!(sums, starts, steps, (columns, others, next, far),
                    [0 r0 a0 b0, 1 r1 a1 b1, 2 r2 a2 b2, 3 r3 a3 b3, 4 r4 a4 b4, 5 r5 a5 b5, 6 r6 a6 b6]),
                _ => segment!(sums, starts, steps, (columns, others, next, far),
                    [0 r0 a0 b0, 1 r1 a1 b1, 2 r2 a2 b2, 3 r3 a3 b3, 4 r4 a4 b4, 5 r5 a5 b5, 6 r6 a6 b6, 7 r7 a7 b7]),
            }
        }
    }
}
