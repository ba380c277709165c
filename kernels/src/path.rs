//! Which instructions the kernels use, found out once at run time.

use std::sync::OnceLock;

/// The set of instructions a kernel is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// 512-bit vectors (F, VL, DQ and BW), and everything of [`Path::Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 128-bit vectors with fused multiply-add, which each 64-bit Arm processor has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// What the compilation target guarantees.
    Portable,
}

/// Name of the instructions in use: `"avx512"`, `"avx2+fma"`, `"neon"` or `"portable"`.
///
/// They are the best that the processor has, unless `YOLOSLIM_CPU_PATH` in the environment names others (`avx512`,
/// `avx2`, `neon` or `portable`). A name that is unknown, or of instructions that the processor does not have, changes
/// nothing.
pub fn cpu_path() -> &'static str {
    Path::detect().name()
}

impl Path {
    /// The path to use: the best one, or that which the environment asks for.
    pub(crate) fn detect() -> Self {
        static DETECTED: OnceLock<Path> = OnceLock::new();
        *DETECTED.get_or_init(|| Path::choose(std::env::var("YOLOSLIM_CPU_PATH").ok().as_deref()))
    }

    /// The path of that name if the processor has it, otherwise the best one.
    fn choose(wanted: Option<&str>) -> Self {
        let named = |path: &Path| wanted.is_some_and(|wanted| path.name().split('+').next() == Some(wanted));
        Self::available().find(named).or(Self::available().next()).unwrap_or(Path::Portable)
    }

    /// Every path of this processor, the best one first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        const ALL: &[Path] = &[
            #[cfg(target_arch = "x86_64")]
            Path::Avx512,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2,
            #[cfg(target_arch = "aarch64")]
            Path::Neon,
            Path::Portable,
        ];
        ALL.iter().copied().filter(|path| path.is_available())
    }

    /// True if this processor has the instructions.
    fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && Path::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            Path::Neon => true,
            Path::Portable => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => "avx2+fma",
            #[cfg(target_arch = "aarch64")]
            Path::Neon => "neon",
            Path::Portable => "portable",
        }
    }

    /// Runs `body` compiled for this path: its loops are vectorised with the path's instructions.
    #[inline]
    pub(crate) fn run<R>(self, body: impl FnOnce() -> R) -> R {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Path::Avx512` is only made after the processor was asked for these instructions.
            Path::Avx512 => unsafe { run_avx512(body) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Path::Avx2` is only made after the processor was asked for AVX2 and FMA.
            Path::Avx2 => unsafe { run_avx2(body) },
            #[cfg(target_arch = "aarch64")]
            Path::Neon => body(),
            Path::Portable => body(),
        }
    }
}

/// Gives the compiler leave to use AVX-512 in `body`, which is inlined here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn run_avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Gives the compiler leave to use AVX2 and FMA in `body`, which is inlined here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_gives_the_same_on_every_path() {
        for path in Path::available() {
            assert_eq!(path.run(|| (0..100).map(|v| v as f32).sum::<f32>()), 4950.0, "{path:?}");
        }
    }

    #[test]
    fn a_path_is_chosen_by_name_and_the_best_one_otherwise() {
        for path in Path::available() {
            assert_eq!(Path::choose(path.name().split('+').next()), path);
        }
        assert_eq!(Path::choose(Some("portable")), Path::Portable);
        assert_eq!(Some(Path::choose(Some("mmx"))), Path::available().next());
        assert_eq!(Some(Path::choose(None)), Path::available().next());
    }
}
