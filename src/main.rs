//! The `yoloslim` command.

fn main() {}
