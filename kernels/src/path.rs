//! Which instructions the kernels use, found out once at run time.

use std::sync::OnceLock;

/// The set of instructions a kernel is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compilation target guarantees.
    Portable,
}

/// Name of the instructions in use: `"avx2+fma"` or `"portable"`.
pub fn cpu_path() -> &'static str {
    match Path::detect() {
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => "avx2+fma",
        Path::Portable => "portable",
    }
}

impl Path {
    /// The best path of this processor, or the portable one if `YOLOSLIM_CPU_PATH=portable` is in the environment.
    pub(crate) fn detect() -> Self {
        static DETECTED: OnceLock<Path> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            if std::env::var_os("YOLOSLIM_CPU_PATH").is_some_and(|value| value == "portable") {
                return Path::Portable;
            }
            Path::best()
        })
    }

    /// The best path of this processor whatever the environment says.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Path::Avx2;
        }
        Path::Portable
    }

    /// Runs `body` compiled for this path: its loops are vectorised with the path's instructions.
    #[inline]
    pub(crate) fn run<R>(self, body: impl FnOnce() -> R) -> R {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Path::Avx2` is only made after the processor was asked for AVX2 and FMA.
            Path::Avx2 => unsafe { run_avx2(body) },
            Path::Portable => body(),
        }
    }
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
        let sum = |path: Path| path.run(|| (0..100).map(|v| v as f32).sum::<f32>());
        assert_eq!(sum(Path::best()), 4950.0);
        assert_eq!(sum(Path::Portable), 4950.0);
    }
}
