//! Sums of products of tiles, by the instructions of AMX.
//!
//! The processor has eight registers of 16 rows and 64 bytes, and multiplies a tile of 16 rows and 32 steps by one of 32 steps and
//! 16 columns, of bfloat16, adding to 16 x 16 `f32`, in the time of sixteen additions of 512-bit vectors: sixteen times as many
//! products as these have. A value is the sum of two bfloat16, of which the products are added up but that of the lower halves.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::marker::PhantomData;

/// Rows and columns of a tile of sums.
pub(super) const TILE: usize = 16;
/// Steps of a product of tiles.
pub(super) const STEPS: usize = 32;
/// Values of a tile of 16 columns and [`STEPS`] steps.
pub(super) const RIGHT: usize = TILE * STEPS;

/// True if the processor multiplies tiles of bfloat16, and the operating system lets this program do so.
pub(crate) fn available() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    if __cpuid(0).eax < 0x1d || !is_x86_feature_detected!("avx512bf16") {
        return false;
    }
    if __cpuid_count(7, 0).edx & (BF16 | TILES) != BF16 | TILES {
        return false;
    }
    let sizes = __cpuid_count(0x1d, 1);
    // 1024 bytes a tile, eight tiles, 16 rows, 64 bytes a row.
    let known = (sizes.eax >> 16, sizes.ebx >> 16, sizes.ebx & 0xffff, sizes.ecx & 0xffff) == (1024, 8, 64, 16);
    known && is_permitted()
}

/// Asks Linux to keep the registers, which are too large to be kept for every program.
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: i32 = 0x1023;
    const XFEATURE_XTILEDATA: i32 = 18;
    // SAFETY: the call has no other effect than the permission, and fails where it is unknown.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// The left factor of a product: rows of values, of which the upper halves begin at `start`.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) start: *const u16,
    /// Bytes from an upper half to its lower half.
    pub(super) lower: usize,
    /// Bytes from a row to the next.
    pub(super) stride: usize,
}

/// Where sums go: rows `stride` bytes apart.
#[derive(Clone, Copy)]
pub(super) struct To {
    pub(super) start: *mut f32,
    pub(super) stride: usize,
    /// Sums start at zero, not at what is there.
    pub(super) fresh: bool,
}

/// The instructions if there are two tiles.
macro_rules! if_two {
    (1, $instructions:literal) => {
        ""
    };
    (2, $instructions:literal) => {
        $instructions
    };
}

/// The instructions if there are two tiles of rows and two of columns.
macro_rules! if_four {
    (2, 2, $instructions:literal) => {
        $instructions
    };
    ($rows:tt, $columns:tt, $instructions:literal) => {
        ""
    };
}

/// Bytes of the upper halves of one or two tiles of columns.
macro_rules! upper {
    (1) => {
        "1024"
    };
    (2) => {
        "2048"
    };
}

/// Loads the tiles of rows, of which the first begins at `t`.
macro_rules! load_rows {
    ($rows:tt) => {
        concat!(
            "tileloadd tmm4, [{t} + {stride}]\n",
            if_two!($rows, "add {t}, [{operands}]\ntileloadd tmm5, [{t} + {stride}]\n"),
        )
    };
}

/// Adds products of the tiles of rows, in tmm4 and tmm5, with those of columns, in tmm6 and tmm7, to the sums in tmm0 to tmm3.
macro_rules! multiply_loaded {
    ($rows:tt, $columns:tt) => {
        concat!(
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            if_two!($columns, "tdpbf16ps tmm1, tmm4, tmm7\n"),
            if_two!($rows, "tdpbf16ps tmm2, tmm5, tmm6\n"),
            if_four!($rows, $columns, "tdpbf16ps tmm3, tmm5, tmm7\n"),
        )
    };
}

/// The body of [`Registers::multiply`] for a number of tiles.
macro_rules! multiply_tiles {
    ($rows:tt, $columns:tt, $left:ident, $steps:ident, $right:ident, $next:ident, $to:ident) => {{
        let second = TILE * $left.stride;
        let operands = Operands {
            second,
            back: $left.lower.wrapping_sub(second * ($rows - 1)),
            to: $to.start,
            far: $to.stride,
            fresh: usize::from($to.fresh),
            lines: $next.lines,
        };
        asm!(
            "mov {to}, [{operands} + 16]",
            "mov {stride}, [{operands} + 24]",
            "mov {t}, {stride}",
            "shl {t}, 4",
            "add {t}, {to}",
            "cmp qword ptr [{operands} + 32], 0",
            "jne 3f",
            "tileloadd tmm0, [{to} + {stride}]",
            if_two!($columns, "tileloadd tmm1, [{to} + {stride} + 64]"),
            if_two!($rows, "tileloadd tmm2, [{t} + {stride}]"),
            if_four!($rows, $columns, "tileloadd tmm3, [{t} + {stride} + 64]"),
            "jmp 4f",
            "3:",
            "tilezero tmm0",
            if_two!($columns, "tilezero tmm1"),
            if_two!($rows, "tilezero tmm2"),
            if_four!($rows, $columns, "tilezero tmm3"),
            "4:",
            "mov {stride}, {apart}",
            "2:",
            "mov {t}, [{steps}]",
            "add {t}, {left}",
            concat!("tileloadd tmm6, [{right} + {line} + ", upper!($columns), "]"),
            if_two!($columns, "tileloadd tmm7, [{right} + {line} + 3072]"),
            load_rows!($rows),
            multiply_loaded!($rows, $columns),
            "tileloadd tmm6, [{right} + {line}]",
            if_two!($columns, "tileloadd tmm7, [{right} + {line} + 1024]"),
            multiply_loaded!($rows, $columns),
            "add {t}, [{operands} + 8]",
            load_rows!($rows),
            multiply_loaded!($rows, $columns),
            "mov {to}, [{operands} + 40]",
            "test {to}, {to}",
            "jz 6f",
            "5:",
            "prefetcht1 byte ptr [{next}]",
            "add {next}, 64",
            "dec {to}",
            "jnz 5b",
            "6:",
            concat!("add {right}, 2 * ", upper!($columns)),
            "add {steps}, 8",
            "dec {count}",
            "jnz 2b",
            "mov {to}, [{operands} + 16]",
            "mov {stride}, [{operands} + 24]",
            "mov {t}, {stride}",
            "shl {t}, 4",
            "add {t}, {to}",
            "tilestored [{to} + {stride}], tmm0",
            if_two!($columns, "tilestored [{to} + {stride} + 64], tmm1"),
            if_two!($rows, "tilestored [{t} + {stride}], tmm2"),
            if_four!($rows, $columns, "tilestored [{t} + {stride} + 64], tmm3"),
            t = out(reg) _,
            to = out(reg) _,
            stride = out(reg) _,
            operands = in(reg) &operands,
            apart = in(reg) $left.stride,
            line = in(reg) 64_usize,
            left = in(reg) $left.start,
            next = inout(reg) $next.start => _,
            right = inout(reg) $right => _,
            steps = inout(reg) $steps.as_ptr() => _,
            count = inout(reg) $steps.len() => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }};
}

/// What the assembly reads from memory, since there are more operands than registers.
#[repr(C)]
struct Operands {
    /// Bytes from a tile of rows to the second one.
    second: usize,
    /// Bytes from the last tile's upper halves to the first one's lower halves.
    back: usize,
    to: *mut f32,
    far: usize,
    fresh: usize,
    lines: usize,
}

/// What the next product reads of its columns, to be fetched into the L2 cache meanwhile: `lines` cache lines at each step. Weights
/// are read from memory but once, so nothing else brings them in time.
#[derive(Clone, Copy)]
pub(super) struct Next {
    pub(super) start: *const u16,
    pub(super) lines: usize,
}

impl Next {
    /// Nothing is fetched.
    pub(super) const NOTHING: Self = Self { start: std::ptr::null(), lines: 0 };

    /// What one of `count` products of so many steps and tiles of columns can fetch of as many that follow those at `right`.
    pub(super) fn share(right: *const u16, (steps, columns): (usize, usize), product: usize, count: usize) -> Self {
        let step = columns * 2 * RIGHT;
        let lines = (step / 32).div_ceil(count);
        Self { start: right.wrapping_add(steps * step + product * steps * lines * 32), lines }
    }
}

/// The tile registers of this thread, made ready; cleared when dropped.
pub(super) struct Registers {
    /// They belong to the thread.
    thread: PhantomData<*const ()>,
}

#[repr(C, align(64))]
struct Configuration([u8; 64]);

impl Configuration {
    /// Palette 1, and of each of eight tiles 64 bytes a row (as 16 bits from byte 16 on) and 16 rows (from byte 48 on).
    const WHOLE_TILES: Self = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            bytes[16 + 2 * tile] = 64;
            bytes[48 + tile] = TILE as u8;
            tile += 1;
        }
        Self(bytes)
    };
}

impl Registers {
    /// # Safety
    /// [`available`] has said yes.
    pub(super) unsafe fn new() -> Self {
        static CONFIGURATION: Configuration = Configuration::WHOLE_TILES;
        // SAFETY: the instruction is there, and the configuration is valid.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack)) };
        Self { thread: PhantomData }
    }

    /// Multiplies `tiles` (1 or 2 of rows, 1 or 2 of columns) by each other. Step `i` takes 32 values of each row from
    /// `steps[i]` bytes after its start, and of `right` the next tiles of [`RIGHT`] values: the upper halves of one or two,
    /// then their lower halves. What comes next is fetched meanwhile.
    ///
    /// # Safety
    /// `left` and `right` hold what is read, `to` 16 rows of 16 sums for each tile, and `steps` at least one step.
    pub(super) unsafe fn multiply(
        &self,
        tiles: (usize, usize),
        left: Left,
        steps: &[usize],
        right: *const u16,
        next: Next,
        to: To,
    ) {
        debug_assert!(!steps.is_empty());
        // SAFETY: as the caller promises.
        unsafe {
            match tiles {
                (1, 1) => multiply_tiles!(1, 1, left, steps, right, next, to),
                (1, _) => multiply_tiles!(1, 2, left, steps, right, next, to),
                (_, 1) => multiply_tiles!(2, 1, left, steps, right, next, to),
                _ => multiply_tiles!(2, 2, left, steps, right, next, to),
            }
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: the instruction is there, as `new` could be called.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
