//! What `--version` tells: enough to know what was built and what it runs on.

use std::sync::OnceLock;

/// Version, commit, features, and the instructions that the kernels use on this processor.
pub fn long() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let features = env!("YOLOSLIM_FEATURES");
        let features = if features.is_empty() { "none" } else { features };
        format!(
            "{}\ncommit {}\nfeatures {features}\ntarget {}\nkernels {}",
            env!("CARGO_PKG_VERSION"),
            env!("YOLOSLIM_COMMIT"),
            env!("YOLOSLIM_TARGET"),
            yoloslim_kernels::cpu_path(),
        )
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_tells_what_was_built_and_what_it_runs_on() {
        let text = super::long();
        for what in [env!("CARGO_PKG_VERSION"), "commit ", "features ", "target ", yoloslim_kernels::cpu_path()] {
            assert!(text.contains(what), "{text}");
        }
    }
}
