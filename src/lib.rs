//! yoloslim: slims Darknet YOLO detectors.
