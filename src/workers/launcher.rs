//! What the program that started this process says of others: the environment of MPI's launchers (Open MPI, MPICH and
//! Slurm, MVAPICH).

const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"];

/// How many processes a launcher started; 1 where none says so.
pub(super) fn size(variable: impl Fn(&str) -> Option<String>) -> usize {
    SIZES.iter().filter_map(|name| variable(name)?.parse().ok()).max().unwrap_or(1)
}

/// Whether a launcher started this process, be it alone.
#[cfg(feature = "mpi")]
pub(super) fn is_there() -> bool {
    SIZES.iter().chain(&["PMIX_RANK"]).any(|name| std::env::var_os(name).is_some())
}
