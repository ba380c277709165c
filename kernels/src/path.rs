//! Which instructions the kernels use, found out once at run time.

use std::sync::OnceLock;

/// The set of instructions a kernel is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// Products of whole tiles (AMX, in bfloat16), and everything of [`Path::Avx512`].
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx,
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

/// Name of the instructions in use: `"amx"`, `"avx512"`, `"avx2+fma"`, `"neon"` or `"portable"`.
///
/// They are the best that the processor has, unless `YOLOSLIM_CPU_PATH` in the environment names others (`amx`, `avx512`,
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
        let named =
            |path: &Path| wanted.is_some_and(|wanted| path.name().split('+').next() == wanted.split('+').next());
        Self::available().find(named).or(Self::available().next()).unwrap_or(Path::Portable)
    }

    /// Every path of this processor, the best one first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        const ALL: &[Path] = &[
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Path::Amx,
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
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Path::Amx => Path::Avx512.is_available() && crate::conv::tile_products_are_available(),
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

    /// True if the 512-bit vectors of [`Path::Avx512`] are among the instructions.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_avx512(self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Path::Amx => true,
            Path::Avx512 => true,
            Path::Avx2 | Path::Portable => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Path::Amx => "amx",
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => "avx2+fma",
            #[cfg(target_arch = "aarch64")]
            Path::Neon => "neon",
            Path::Portable => "portable",
        }
    }
}

/// Defines `$name(path, ..)`, of which the body is compiled for the instructions of each path, so that its loops are vectorised
/// with them. A closure would not do: the compiler may leave it a function of its own, without the path's instructions.
macro_rules! for_each_path {
    (
        $(#[$doc:meta])*
        $seen:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    ) => {
        $(#[$doc])*
        $seen fn $name(path: $crate::path::Path, $($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn body($($argument: $type),*) $(-> $output)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            fn on_avx512($($argument: $type),*) $(-> $output)? {
                body($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn on_avx2($($argument: $type),*) $(-> $output)? {
                body($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            match path {
                // SAFETY: such a path is only made after the processor was asked for these instructions.
                path if path.has_avx512() => return unsafe { on_avx512($($argument),*) },
                // SAFETY: `Path::Avx2` is only made after the processor was asked for AVX2 and FMA.
                $crate::path::Path::Avx2 => return unsafe { on_avx2($($argument),*) },
                _ => {}
            }
            // Elsewhere the instructions are there on any processor that they are compiled for.
            let _ = path;
            body($($argument),*)
        }
    };
}
pub(crate) use for_each_path;

#[cfg(test)]
mod tests {
    use super::*;

    for_each_path! {
        fn sum(values: &[f32]) -> f32 {
            values.iter().sum()
        }
    }

    #[test]
    fn a_body_gives_the_same_on_every_path() {
        let values: Vec<f32> = (0..100).map(|v| v as f32).collect();
        for path in Path::available() {
            assert_eq!(sum(path, &values), 4950.0, "{path:?}");
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
