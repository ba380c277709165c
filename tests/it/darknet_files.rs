//! Published Darknet files: read, written back, counted.

use yoloslim_core::darknet::{Cfg, WeightsFile};
use yoloslim_core::graph::Graph;
use yoloslim_core::{Network, cost};

use yoloslim::architectures::{Architecture, CfgOptions};

use crate::fixtures::shared;

#[test]
fn every_cfg_comes_back_byte_for_byte() {
    for path in shared(&["cfg", "weights"], "cfg") {
        let bytes = std::fs::read(&path).unwrap();
        let cfg = Cfg::parse(&bytes).unwrap();
        assert_eq!(cfg.to_bytes(), bytes, "{}", path.display());
        Graph::from_cfg(&cfg).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

#[test]
fn every_weights_file_comes_back_byte_for_byte_through_its_network() {
    for path in shared(&["weights"], "weights") {
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(WeightsFile::parse(&bytes).unwrap().to_bytes(), bytes, "{}", path.display());
        let network = Network::read(&path.with_extension("cfg"), &path).unwrap();
        assert_eq!(network.to_weights_file().to_bytes(), bytes, "{}", path.display());
    }
}

#[test]
fn operations_are_counted_as_darknet_does() {
    let published = [("yolov3", 65.86), ("yolov3-tiny", 5.56), ("yolov3-spp", 66.22), ("yolov4-tiny", 6.9)];
    for path in shared(&["cfg"], "cfg") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let Some((_, bflops)) = published.iter().find(|(name, _)| *name == stem) else { continue };
        let cfg = Cfg::parse(&std::fs::read(&path).unwrap()).unwrap();
        let graph = Graph::from_cfg(&cfg).unwrap().resized(&cfg, 416, 416).unwrap();
        let counted = cost::flops(&graph) / 1e9;
        assert!((counted - bflops).abs() < 0.06, "{stem}: {counted}");
    }
}

#[test]
fn written_architectures_have_the_layers_of_the_published_cfgs() {
    let all = [
        ("yolov3", Architecture::YoloV3),
        ("yolov3-spp", Architecture::YoloV3Spp),
        ("yolov3-tiny", Architecture::YoloV3Tiny),
        ("yolov4", Architecture::YoloV4),
        ("yolov4-tiny", Architecture::YoloV4Tiny),
    ];
    for path in shared(&["cfg"], "cfg") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let Some((_, architecture)) = all.iter().find(|(name, _)| *name == stem) else { continue };
        let published = Graph::from_cfg(&Cfg::parse(&std::fs::read(&path).unwrap()).unwrap()).unwrap();
        let size = (published.input.width, published.input.height);
        let options = CfgOptions { classes: 80, width: 1.0, size, anchors: None };
        let written = Graph::from_cfg(&architecture.cfg(&options).unwrap()).unwrap();
        assert_eq!(written.layers.len(), published.layers.len(), "{stem}");
        for (i, (ours, theirs)) in written.layers.iter().zip(&published.layers).enumerate() {
            // Anchors are scaled to the input size, which the published files don't do.
            let is_head = written.heads().any(|(head, _)| head == i);
            assert!(is_head || ours.op == theirs.op, "{stem} layer {i}: {:?} and {:?}", ours.op, theirs.op);
            assert_eq!((&ours.inputs, ours.shape), (&theirs.inputs, theirs.shape), "{stem} layer {i}");
        }
    }
}
