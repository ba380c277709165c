//! A build without MPI works alone, and says so rather than do the same work several times.

use yoloslim_core::{Error, Result};

use super::{Workers, launcher};

pub(super) fn join() -> Result<Workers> {
    require_alone(launcher::size(|name| std::env::var(name).ok()))
}

fn require_alone(size: usize) -> Result<Workers> {
    if size > 1 {
        return Err(Error::at("mpirun", format!("{size} processes were started, but this build has no MPI"))
            .fix("build with `cargo build --release --features mpi`, or start one process"));
    }
    Ok(Workers::alone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_processes_are_refused_with_how_to_build() {
        let size = |pairs: &[(&str, &str)]| {
            let find = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            launcher::size(find)
        };
        assert_eq!(size(&[]), 1);
        assert_eq!(size(&[("OMPI_COMM_WORLD_SIZE", "1")]), 1);
        assert!(require_alone(1).is_ok());
        for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
            let message = require_alone(size(&[(name, "3")])).err().unwrap().to_string();
            assert!(message.contains("3 processes") && message.contains("--features mpi"), "{message}");
        }
    }
}
