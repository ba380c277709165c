//! COCO and VOC metrics of detections against labels.
