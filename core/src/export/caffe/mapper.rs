//! What `nnie_mapper` is told beside the net (reference: HiSilicon's HiSVP development guide).

use super::{CaffeOptions, CompileMode, InternalStride};

/// The file that lists calibration images, one path a line.
pub const IMAGE_LIST: &str = "images.txt";

/// The folder of calibration images.
pub const IMAGE_FOLDER: &str = "images";

/// The mapper's cfg of the net `name`. Paths are relative to it: the mapper is to be run in its folder.
pub(super) fn cfg(name: &str, options: &CaffeOptions) -> String {
    let by_layer = !options.high_precision.is_empty();
    let compile_mode = match options.compile_mode {
        Some(CompileMode::EightBit) => 0,
        Some(CompileMode::SixteenBit) => 1,
        Some(CompileMode::ByLayer) => 2,
        None => 2 * u8::from(by_layer),
    };
    let internal_stride = match options.internal_stride {
        InternalStride::Sixteen => 16,
        InternalStride::ThirtyTwo => 32,
    };
    // A net without colours has none to be put in order.
    let order = options.colour.order().map_or_else(String::new, |order| format!("[RGB_order] {order}\n"));
    format!(
        "[prototxt_file] ./{name}.prototxt\n\
         [caffemodel_file] ./{name}.caffemodel\n\
         [is_simulation] 0\n\
         [instruction_name] ./{name}\n\
         [batch_num] 1\n\
         [net_type] 0\n\
         [compile_mode] {compile_mode}\n\
         [compress_mode] 0\n\
         [internal_stride] {internal_stride}\n\
         [is_check_prototxt] 0\n\
         [log_level] 2\n\
         [image_type] 1\n\
         [image_list] ./{IMAGE_LIST}\n\
         [mean_file] null\n\
         [norm_type] 3\n\
         [data_scale] 0.0039215686\n\
         {order}"
    )
}
