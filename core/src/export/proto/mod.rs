//! Protocol buffer messages, declared by hand: of each only the fields that an export writes. Readers skip what is
//! absent, so a message of a few fields is as good as the whole.

pub mod caffe;
pub mod onnx;
