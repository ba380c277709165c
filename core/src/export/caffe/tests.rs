//! What is written, and what is refused.

use prost::Message;

use super::{CaffeExport, CaffeOptions, CompileMode, Dialect, InternalStride, UnevenPool, Upsample, write};
use crate::darknet::Cfg;
use crate::export::folded::FoldedNet;
use crate::export::proto::caffe::NetParameter;
use crate::{Network, Result};

fn folded(layers: &str) -> FoldedNet {
    let text = format!("[net]\nwidth=8\nheight=8\n{layers}");
    FoldedNet::of(&Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap())
}

fn export(layers: &str, options: &CaffeOptions) -> Result<CaffeExport> {
    write(&folded(layers), options, "net")
}

fn text(export: &CaffeExport, extension: &str) -> String {
    let file = export.files.iter().find(|file| file.name == format!("net.{extension}")).unwrap();
    String::from_utf8(file.bytes.clone()).unwrap()
}

/// The layers of a prototxt, each on one line.
fn layers(export: &CaffeExport) -> Vec<String> {
    let prototxt = text(export, "prototxt");
    prototxt.split("layer {").skip(1).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

const HEAD: &str = "[convolutional]\nfilters=7\nsize=1\nactivation=linear\n[yolo]\nmask=0\nanchors=1,1\nclasses=2\n";

#[test]
fn a_net_is_text_with_sizes_and_a_model_with_numbers_that_belong_together_by_name() {
    let body = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
        [upsample]\nstride=2\n";
    let export = export(&format!("{body}{HEAD}"), &CaffeOptions::default()).unwrap();
    assert_eq!(
        layers(&export),
        [
            r#"name: "data" type: "Input" top: "data" input_param { shape: { dim: 1 dim: 3 dim: 8 dim: 8 } } }"#,
            r#"name: "conv0" type: "Convolution" bottom: "data" top: "conv0" convolution_param { num_output: 4 bias_term: true pad: 1 kernel_size: 3 stride: 2 } }"#,
            r#"name: "conv0_relu" type: "ReLU" bottom: "conv0" top: "conv0" relu_param { negative_slope: 0.1 } }"#,
            r#"name: "upsample1" type: "Upsample" bottom: "conv0" top: "upsample1" upsample_param { scale: 2 } }"#,
            r#"name: "conv2" type: "Convolution" bottom: "upsample1" top: "head0" convolution_param { num_output: 7 bias_term: true pad: 0 kernel_size: 1 stride: 1 } }"#,
        ]
    );
    let file = export.files.iter().find(|file| file.name == "net.caffemodel").unwrap();
    let model = NetParameter::decode(file.bytes.as_slice()).unwrap();
    let names: Vec<_> = model.layer.iter().map(|layer| layer.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["conv0", "conv2"], "layers without numbers have no place in it");
    let sides: Vec<_> = model.layer[0].blobs.iter().map(|blob| blob.shape.clone().unwrap().dim).collect();
    assert_eq!(sides, [vec![4, 3, 3, 3], vec![4]]);
    let cfg = text(&export, "nnie.cfg");
    assert!(cfg.contains("[prototxt_file] ./net.prototxt\n") && cfg.contains("[compile_mode] 0\n"), "{cfg}");
}

#[test]
fn upsampling_is_written_as_asked_for() {
    let layers_of = |upsample, dialect| {
        let options = CaffeOptions { upsample, dialect, ..CaffeOptions::default() };
        let export = export(&format!("[convolutional]\nfilters=3\n[upsample]\nstride=2\n{HEAD}"), &options).unwrap();
        layers(&export)[3].clone()
    };
    assert!(layers_of(Upsample::Upsample, Dialect::SvpNpu).contains("upsample_param { scale: 1 stride: 2 }"));
    let deconvolution = layers_of(Upsample::Deconvolution, Dialect::Nnie);
    assert!(deconvolution.contains("bias_term: false pad: 0 kernel_size: 2 stride: 2 group: 3"), "{deconvolution}");
}

#[test]
fn an_uneven_pool_is_cut_out_or_refused_with_advice() {
    let net = format!("[convolutional]\nfilters=3\n[maxpool]\nsize=2\nstride=1\n{HEAD}");
    let with = |uneven_pool| export(&net, &CaffeOptions { uneven_pool, ..CaffeOptions::default() });
    let sliced = with(UnevenPool::Slice).unwrap();
    assert_eq!(sliced.unused, ["pool1_rows_low", "pool1_low"]);
    let slice = r#"name: "pool1" type: "Slice" bottom: "pool1_rows" top: "pool1_low" top: "pool1" slice_param { axis: 3 slice_point: 1 } }"#;
    assert_eq!(layers(&sliced)[5], slice);
    let convolved = with(UnevenPool::Convolution).unwrap();
    assert!(convolved.unused.is_empty() && layers(&convolved)[4].contains("kernel_size: 2 stride: 1 group: 3"));
    let after = format!("[convolutional]\nfilters=3\n[maxpool]\nsize=3\nstride=2\n{HEAD}");
    let options = CaffeOptions { uneven_pool: UnevenPool::Convolution, ..CaffeOptions::default() };
    let convolved = export(&after, &options).unwrap();
    assert!(convolved.unused.is_empty(), "rows behind the wanted ones are cut off likewise: {:?}", convolved.unused);
    let message = with(UnevenPool::Refuse).unwrap_err().to_string();
    assert!(message.contains("[maxpool] #1") && message.contains("odd size and stride 1"), "{message}");
}

#[test]
fn names_end_in_what_the_mapper_reads_only_where_that_is_meant() {
    let net = format!("[convolutional]\nfilters=7\nactivation=leaky\n{HEAD}[route]\nlayers=1\n{HEAD}");
    let options = CaffeOptions { high_precision: [0, 2].into(), ..CaffeOptions::default() };
    let export = export(&net, &options).unwrap();
    let names: Vec<_> = layers(&export).iter().map(|l| l.split('"').nth(1).unwrap().to_owned()).collect();
    assert_eq!(names, ["data", "conv0_hp", "conv0_relu", "conv1", "conv4_hp"]);
    assert_eq!(export.heads, ["head0_report", "head1"], "a head that is read on must be made an output");
    assert!(text(&export, "nnie.cfg").contains("[compile_mode] 2\n"));
    let model = export.files.iter().find(|file| file.name == "net.caffemodel").unwrap();
    let model = NetParameter::decode(model.bytes.as_slice()).unwrap();
    assert_eq!(model.layer[0].name.as_deref(), Some("conv0_hp"));
}

#[test]
fn the_svp_npus_blobs_have_no_ending_that_means_something_to_another_compiler() {
    let net = format!("[convolutional]\nfilters=7\nactivation=leaky\n{HEAD}[route]\nlayers=1\n{HEAD}");
    let export = export(&net, &CaffeOptions { dialect: Dialect::SvpNpu, ..CaffeOptions::default() }).unwrap();
    assert_eq!(export.heads, ["head0", "head1"]);
    assert!(text(&export, "prototxt").contains("outputs but read on: head0; name them"));
}

#[test]
fn the_mappers_cfg_has_the_bits_and_the_alignment_asked_for() {
    let mapper = |compile_mode, internal_stride| {
        let options = CaffeOptions { compile_mode, internal_stride, ..CaffeOptions::default() };
        text(&export(&format!("[convolutional]\nfilters=3\n{HEAD}"), &options).unwrap(), "nnie.cfg")
    };
    let usual = mapper(None, InternalStride::Sixteen);
    assert!(usual.contains("[compile_mode] 0\n") && usual.contains("[internal_stride] 16\n"), "{usual}");
    for (mode, number) in [(CompileMode::EightBit, 0), (CompileMode::SixteenBit, 1), (CompileMode::ByLayer, 2)] {
        let asked = mapper(Some(mode), InternalStride::ThirtyTwo);
        assert!(asked.contains(&format!("[compile_mode] {number}\n")) && asked.contains("[internal_stride] 32\n"));
    }
}

#[test]
fn what_the_mapper_refuses_is_not_written() {
    let message = |net: &str| {
        let network = Network::initialise(Cfg::parse(net.as_bytes()).unwrap(), 1).unwrap();
        let refused = |dialect| {
            let options = CaffeOptions { dialect, ..CaffeOptions::default() };
            write(&FoldedNet::of(&network), &options, "net").err().map(|e| e.to_string())
        };
        (refused(Dialect::Nnie).unwrap(), refused(Dialect::SvpNpu))
    };
    let (nnie, svp) = message(&format!("[net]\nwidth=8\nheight=8\nchannels=4\n[convolutional]\nfilters=3\n{HEAD}"));
    assert!(nnie.contains("4 input channels") && nnie.contains("use 1 or 3") && svp.is_none(), "{nnie}");
    let (nnie, svp) = message(&format!("[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=4100\n{HEAD}"));
    assert!(nnie.contains("[convolutional] #0") && nnie.contains("4100") && svp.is_none(), "{nnie}");
}

#[test]
fn what_the_chip_lacks_is_refused_with_the_layer_and_an_alternative() {
    let cases = [
        ("[convolutional]\nfilters=4\nactivation=mish\n", "[convolutional] #0: activation=mish", "activation=leaky"),
        ("[convolutional]\nfilters=4\nactivation=swish\n", "activation=swish", "train the net again"),
        ("[convolutional]\nfilters=4\n[avgpool]\n[scale_channels]\nfrom=0\n", "[scale_channels] #2", "export ONNX"),
        ("[maxpool]\nsize=2\nstride=2\npadding=4\n", "[maxpool] #0", "export ONNX"),
    ];
    for (layers, cause, fix) in cases {
        let message = export(&format!("{layers}{HEAD}"), &CaffeOptions::default()).unwrap_err().to_string();
        assert!(message.contains(cause) && message.contains(fix), "{message}");
    }
}
