//! What baseline and result find on a few images, side by side, with misses and false alarms marked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use yoloslim_core::boxes::{BBox, Detection, iou};
use yoloslim_core::files;
use yoloslim_core::record::{SampleObject, SampleRecord};

use crate::report::page::{Figure, Key, Shape};
use crate::report::run::Run;
use crate::report::svg::{El, Svg, el, escape, rect, short, text};

/// The least IoU of a hit, as in mAP@0.5.
const HIT: f64 = 0.5;
/// With more boxes than that, labels would cover the picture; pointing shows them.
const LABELLED: usize = 14;

/// What became of the detections and labels of one image.
#[derive(Debug, Default, PartialEq)]
struct Verdict {
    /// Detections that found a label, by index.
    hits: Vec<usize>,
    /// Detections that found nothing.
    alarms: Vec<usize>,
    /// Labels that nothing found.
    missed: Vec<usize>,
}

/// A figure an image.
pub fn draw(run: &Run) -> Vec<Figure> {
    run.record.samples.iter().enumerate().filter_map(|(i, sample)| figure(run, i, sample)).collect()
}

fn figure(run: &Run, number: usize, sample: &SampleRecord) -> Option<Figure> {
    let first = run.first()?.name.as_str();
    let stages = std::iter::once(first).chain(run.last().map(|s| s.name.as_str()));
    let found: Vec<(&str, &[Detection])> = stages.filter_map(|s| Some((s, sample.found_by(s)?))).collect();
    if found.is_empty() {
        return None;
    }
    let photo = files::read(&run.folder.join(&sample.picture)).ok()?;
    let id = format!("photo-{number}");
    let panels: String = found.iter().map(|(stage, found)| panel(run, &id, sample, stage, found)).collect();
    let image = el("image")
        .attr("id", &id)
        .num("width", sample.width as f64)
        .num("height", sample.height as f64)
        .attr("preserveAspectRatio", "none")
        .attr("href", format!("data:image/jpeg;base64,{}", STANDARD.encode(photo)));
    let store = el("svg").class("store").attr("aria-hidden", "true").with(el("defs").with(image)).into_string();
    let name = sample.image.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Figure {
        id: format!("detections-{number}"),
        title: name,
        note: String::new(),
        drawing: format!("{store}<div class=\"pair\">{panels}</div>"),
        legend: Vec::new(),
        shape: Shape::Wide,
        table: None,
    })
}

/// What the marks mean, once for all images.
pub fn legend() -> Vec<Key> {
    vec![
        Key::new("hit-box", "found"),
        Key::new("miss-box", "missed: a label that nothing found"),
        Key::new("alarm-box", "false alarm: found where no label is"),
    ]
}

fn panel(run: &Run, photo: &str, sample: &SampleRecord, stage: &str, found: &[Detection]) -> String {
    let verdict = judge(&sample.objects, found);
    let (hits, missed, alarms) = (verdict.hits.len(), verdict.missed.len(), verdict.alarms.len());
    let words = format!(
        "{stage}: {hits} found, {missed} missed, {alarms} false {}",
        if alarms == 1 { "alarm" } else { "alarms" }
    );
    let mut svg = Svg::new(sample.width as f64, sample.height as f64);
    svg.add(el("use").attr("href", format!("#{photo}")));
    let labelled = hits + missed + alarms <= LABELLED;
    let size = sample.width as f64 / 34.0;
    let mut mark = |bbox: &BBox, class: &str, name: String| {
        let frame = || rect(bbox.x0, bbox.y0, bbox.width(), bbox.height());
        svg.add(frame().class("halo"));
        svg.add(frame().class(class).tip(&name));
        if labelled {
            let below = class == "alarm-box";
            svg.add(caption(bbox, &name, size, below, (sample.width as f64, sample.height as f64)));
        }
    };
    for i in &verdict.missed {
        let object = &sample.objects[*i];
        mark(&object.bbox, "miss-box", format!("missed: {}", run.class_name(object.class)));
    }
    for (indices, class, prefix) in [(&verdict.hits, "hit-box", ""), (&verdict.alarms, "alarm-box", "false: ")] {
        for i in indices {
            let d = &found[*i];
            mark(&d.bbox, class, format!("{prefix}{} {:.2}", run.class_name(d.class), d.score));
        }
    }
    format!("<div><p>{}</p>{}</div>", escape(&words), svg.finish(&words))
}

/// What a box is, above it; below for a false alarm, which often lies on a box that was found. Inside the picture of
/// `width` by `height` pixels in any case.
fn caption(bbox: &BBox, name: &str, size: f64, below: bool, (width, height): (f64, f64)) -> El {
    let (over, under) = (bbox.y0 - size * 0.3, bbox.y1 + size);
    let y = if (below && under < height) || over < size { under } else { over };
    let (x, anchor) = if bbox.x0 > width * 0.7 { (bbox.x1.min(width), "end") } else { (bbox.x0.max(0.0), "start") };
    text(x, y, anchor, name).class("caption").attr("style", format!("font-size:{}px", short(size)))
}

/// Greedy matching in order of score at IoU 0.5, as COCO's; what meets an ignored label only counts as neither.
fn judge(objects: &[SampleObject], found: &[Detection]) -> Verdict {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|a, b| found[*b].score.total_cmp(&found[*a].score));
    let mut taken = vec![false; objects.len()];
    let mut verdict = Verdict::default();
    for i in order {
        let d = &found[i];
        let meets = |(_, o): &(usize, &SampleObject)| o.class == d.class && iou(&o.bbox, &d.bbox) >= HIT;
        let candidates = objects.iter().enumerate().filter(meets);
        let (ignored, counted): (Vec<_>, Vec<_>) = candidates.partition(|(_, o)| o.ignored);
        let free = counted.into_iter().filter(|(index, _)| !taken[*index]);
        let best = free.max_by(|a, b| iou(&a.1.bbox, &d.bbox).total_cmp(&iou(&b.1.bbox, &d.bbox)));
        match best {
            Some((index, _)) => {
                taken[index] = true;
                verdict.hits.push(i);
            }
            None if ignored.is_empty() => verdict.alarms.push(i),
            None => {}
        }
    }
    verdict.missed = (0..objects.len()).filter(|i| !taken[*i] && !objects[*i].ignored).collect();
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_found_once_and_what_is_ignored_counts_as_neither() {
        let object = |class, x, ignored| SampleObject { class, bbox: BBox::from_corner(x, 0.0, 10.0, 10.0), ignored };
        let detection = |class, x, score| Detection { class, score, bbox: BBox::from_corner(x, 0.0, 10.0, 10.0) };
        let objects = [object(0, 0.0, false), object(0, 50.0, false), object(1, 100.0, true)];
        let found = [detection(0, 1.0, 0.5), detection(0, 0.0, 0.9), detection(1, 50.0, 0.8), detection(1, 101.0, 0.7)];
        let expected = Verdict { hits: vec![1], alarms: vec![2, 0], missed: vec![1] };
        assert_eq!(judge(&objects, &found), expected);
    }
}
