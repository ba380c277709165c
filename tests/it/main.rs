//! The program as its users meet it: commands, files, messages.

mod bad_input;
mod commands;
mod darknet_files;
mod endings;
mod exports;
mod file_names;
mod fixtures;
mod kernels;
mod quantize;
mod runs;
mod trained_weights;
