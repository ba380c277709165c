//! CPU kernels for convolutional detectors, on plain slices.
