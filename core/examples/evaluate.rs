//! Prints COCO and VOC figures, as JSON, of a COCO results file against a COCO instances file:
//!
//! ```text
//! cargo run --release -p yoloslim-core --example evaluate -- INSTANCES.json RESULTS.json
//! ```
//!
//! `tests/oracles/coco_map.py` holds them against pycocotools.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use serde::Deserialize;
use yoloslim_core::boxes::{BBox, Detection};
use yoloslim_core::eval::evaluate;
use yoloslim_core::labels::coco;

#[derive(Deserialize)]
struct Found {
    image_id: i64,
    category_id: i64,
    bbox: [f64; 4],
    score: f32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [instances, results] = arguments.as_slice() else {
        return Err("usage: evaluate INSTANCES.json RESULTS.json".into());
    };
    let truth = coco::read(Path::new(instances))?;
    let found: Vec<Found> = serde_json::from_slice(&std::fs::read(results)?)?;
    let images: HashMap<i64, usize> = truth.image_ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let classes: HashMap<i64, usize> = truth.category_ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let mut detections = vec![Vec::new(); truth.image_ids.len()];
    for Found { image_id, category_id, bbox: [x, y, width, height], score } in found {
        let image = *images.get(&image_id).ok_or_else(|| format!("{results}: there is no image {image_id}"))?;
        let class = *classes.get(&category_id).ok_or_else(|| format!("{results}: no category {category_id}"))?;
        detections[image].push(Detection { class, score, bbox: BBox::from_corner(x, y, width, height) });
    }
    println!("{}", serde_json::to_string_pretty(&evaluate(&truth.dataset, &detections))?);
    Ok(())
}
