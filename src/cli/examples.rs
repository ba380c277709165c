//! Two examples for the help of each command, all of them command lines that this program takes (a test says so).

/// `init`.
pub const INIT: &str = "Examples:
  yoloslim init yolov3-tiny --classes 3 --data faces/ -o faces.cfg
  yoloslim init yolov3 --classes 20 --width 0.5 --size 320 -o half.cfg";
/// `info`.
pub const INFO: &str = "Examples:
  yoloslim info yolov3.cfg
  yoloslim info sparse/last.cfg sparse/last.weights --json";
/// `detect`.
pub const DETECT: &str = "Examples:
  yoloslim detect yolov3.cfg yolov3.weights street.jpg -o found --names coco.names
  yoloslim detect slim/slim.cfg slim/slim.weights photographs/ --names faces.names --class mask --json";
/// `heads`.
pub const HEADS: &str = "Examples:
  yoloslim heads yolov3.cfg yolov3.weights --input image.npy -o heads.npz
  yoloslim heads slim/slim.cfg slim/slim.weights --input image.npy -o slim.npz";
/// `eval`.
pub const EVAL: &str = "Examples:
  yoloslim eval yolov3.cfg yolov3.weights --data coco.data
  yoloslim eval slim/slim.cfg slim/slim.weights --data faces/ --size 320 --json";
/// `train`.
pub const TRAIN: &str = "Examples:
  yoloslim train faces.cfg yolov3-tiny.weights --data faces/ -o base --epochs 100
  yoloslim train base/last.cfg base/last.weights --data faces/ -o sparse --sparsity auto --target-flops 0.7";
/// `slim`.
pub const SLIM: &str = "Examples:
  yoloslim slim faces.cfg base/last.weights --data faces/ -o run --baseline-epochs 0 --target-flops 0.7
  yoloslim slim --resume run";
/// `demo`.
pub const DEMO: &str = "Examples:
  yoloslim demo
  yoloslim demo -o /tmp/demo --threads 2";
/// `prune`.
pub const PRUNE: &str = "Examples:
  yoloslim prune sparse/last.cfg sparse/last.weights --data faces/ --target-flops 0.7 -o slim
  yoloslim prune yolov3.cfg yolov3.weights --target-latency 40 --profile hi3519a --multiple-of 16 --dry-run";
/// `sensitivity`.
pub const SENSITIVITY: &str = "Examples:
  yoloslim sensitivity base/last.cfg base/last.weights --data faces/ -o parts
  yoloslim sensitivity base/last.cfg base/last.weights --data faces/ --ratios 0.3,0.6 --images 128 -o parts";
/// `quantize`.
pub const QUANTIZE: &str = "Examples:
  yoloslim quantize slim/slim.cfg slim/slim.weights --data faces/ --bias-correction -o int8
  yoloslim quantize slim/slim.cfg slim/slim.weights --data faces/ --scheme nnie --equalise -o nnie";
/// `profile`.
pub const PROFILE: &str = "Examples:
  yoloslim profile show hi3519a yolov3.cfg
  yoloslim profile measure -o cpu.toml";
/// `profile show`.
pub const PROFILE_SHOW: &str = "Examples:
  yoloslim profile show hi3519a yolov3.cfg --size 320
  yoloslim profile show cpu.toml slim/slim.cfg --json";
/// `profile fit`.
pub const PROFILE_FIT: &str = "Examples:
  yoloslim profile fit hi3519a --measured yolov3.cfg=140 yolov3-tiny.cfg=32 -o board.toml
  yoloslim profile fit hi3559a --measured slim/slim.cfg=18.5 -o board.toml --json";
/// `profile measure`.
pub const PROFILE_MEASURE: &str = "Examples:
  yoloslim profile measure -o cpu.toml
  yoloslim profile measure -o two-cores.toml --threads 2";
/// `anchors`.
pub const ANCHORS: &str = "Examples:
  yoloslim anchors --data faces/
  yoloslim anchors --data faces/ --size 320 --count 6";
/// `bench`.
pub const BENCH: &str = "Examples:
  yoloslim bench infer yolov3.cfg --steps 20
  yoloslim bench train yolov3-tiny.cfg --batch 8 --threads 2 --json";
/// `bench infer`.
pub const BENCH_INFER: &str = "Examples:
  yoloslim bench infer yolov3.cfg --steps 20
  yoloslim bench infer slim/slim.cfg --size 320 --threads 1 --json";
/// `bench train`.
pub const BENCH_TRAIN: &str = "Examples:
  yoloslim bench train yolov3-tiny.cfg --batch 8
  yoloslim bench train yolov3.cfg --batch 2 --segments 4 --threads 2 --json";
/// `completions`.
pub const COMPLETIONS: &str = "Examples:
  yoloslim completions bash
  yoloslim completions zsh";
/// `man`.
pub const MAN: &str = "Examples:
  yoloslim man -o man1
  yoloslim man profile show";
