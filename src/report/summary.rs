//! What was won and what was lost: a sentence, a few figures and the table of all stages.

use serde::Serialize;
use yoloslim_core::eval::Evaluation;
use yoloslim_core::record::StageRecord;

use yoloslim_core::eval::NEXT_TO_NOTHING;

use super::page::{Cell, Table};
use super::run::Run;
use super::words;

/// One figure before and after.
#[derive(Debug, Serialize)]
pub struct Tile {
    /// What it measures.
    pub name: &'static str,
    /// Its value of the baseline, in words; empty where there is nothing to compare.
    pub before: String,
    /// Its value of the result, in words.
    pub after: String,
    /// How it changed, in words.
    pub change: String,
    /// Whether the change is for the `better`, the `worse` or the `same`.
    pub verdict: &'static str,
    /// The result's share of the larger of both, 0 to 100.
    pub after_percent: f64,
    /// The baseline's.
    pub before_percent: f64,
}

/// Changes of accuracy under a quarter of a point are noise of training.
const SAME: f64 = 0.0025;

/// The sentence.
pub fn verdict(run: &Run) -> String {
    let Some(first) = run.first() else {
        return match &run.record.running {
            Some(stage) => format!("The stage {} is under way, and no stage is complete yet.", stage.name),
            None => "No stage is complete yet.".to_owned(),
        };
    };
    let Some(last) = run.last() else {
        return format!("The {} net {}.", first.name, state(first));
    };
    let less = |before: f64, after: f64| format!("{:.0} %", 100.0 * (1.0 - after / before.max(f64::MIN_POSITIVE)));
    let mut won = vec![
        format!("{} fewer operations", less(first.bflops, last.bflops)),
        format!("{} fewer parameters", less(first.params as f64, last.params as f64)),
    ];
    if let Some((before, after)) = first.milliseconds.zip(last.milliseconds).filter(|(_, after)| *after > 0.0) {
        won.push(format!("{:.1}× the speed on this machine", before / after));
    }
    let subject = if run.complete { "The slim net has" } else { "So far, the net has" };
    format!(
        "{subject} {}, {} and {}.",
        won[..won.len() - 1].join(", "),
        won[won.len() - 1],
        accuracy_words(first, last)
    )
}

fn state(stage: &StageRecord) -> String {
    let cost = format!("takes {} BFLOPs an image", words::digits(stage.bflops));
    match stage.evaluation.as_ref().and_then(|e| e.map50) {
        Some(map50) => format!("reaches a mAP@0.5 of {} % and {cost}", words::points(map50)),
        None => cost,
    }
}

fn accuracy_words(first: &StageRecord, last: &StageRecord) -> String {
    let both = |figure: fn(&Evaluation) -> Option<f64>| {
        let of = |s: &StageRecord| s.evaluation.as_ref().and_then(figure);
        of(first).zip(of(last))
    };
    let Some((before, after)) = both(|e| e.map50) else { return "its accuracy was not measured".to_owned() };
    let change = words::points((after - before).abs());
    let mut sentence = match after - before {
        _ if after < NEXT_TO_NOTHING => "detects next to nothing: mAP@0.5".to_owned(),
        d if d > SAME => format!("gained {change} points of mAP@0.5"),
        d if d < -SAME => format!("lost {change} points of mAP@0.5"),
        _ => "kept its mAP@0.5".to_owned(),
    };
    sentence.push_str(&format!(" ({} → {})", words::points(before), words::points(after)));
    if let Some((before, after)) = both(|e| e.map50_small) {
        sentence.push_str(&format!(
            "; small objects went from {} to {} ({} points)",
            words::points(before),
            words::points(after),
            words::difference(after - before)
        ));
    }
    sentence
}

/// The figures.
pub fn tiles(run: &Run) -> Vec<Tile> {
    let Some(first) = run.first() else { return Vec::new() };
    let last = run.last();
    let accuracy = |name, figure: fn(&Evaluation) -> Option<f64>| {
        let of = |s: &StageRecord| s.evaluation.as_ref().and_then(figure);
        let after = last.map_or(of(first), of)?;
        let before = last.and_then(|_| of(first));
        let change = before.map_or(0.0, |b| after - b);
        let verdict = if change > SAME {
            "better"
        } else if change < -SAME {
            "worse"
        } else {
            "same"
        };
        Some(Tile {
            name,
            before: before.map(words::points).unwrap_or_default(),
            after: words::points(after),
            change: before.map(|_| format!("{} points", words::difference(change))).unwrap_or_default(),
            verdict,
            after_percent: 100.0 * after,
            before_percent: 100.0 * before.unwrap_or(after),
        })
    };
    let cost = |name, figure: &dyn Fn(&StageRecord) -> Option<f64>, words: &dyn Fn(f64) -> String| {
        let after = last.map_or(figure(first), figure)?;
        let before = last.and_then(|_| figure(first));
        let share = before.map_or(1.0, |b| after / b.max(f64::MIN_POSITIVE));
        let most = before.unwrap_or(after).max(after).max(f64::MIN_POSITIVE);
        let sign = if share > 1.0 { "+" } else { "−" };
        Some(Tile {
            name,
            before: before.map(words).unwrap_or_default(),
            after: words(after),
            change: before.map(|_| format!("{sign}{:.0} %", (100.0 * (share - 1.0)).abs())).unwrap_or_default(),
            verdict: if share < 0.995 {
                "better"
            } else if share > 1.005 {
                "worse"
            } else {
                "same"
            },
            after_percent: 100.0 * after / most,
            before_percent: 100.0 * before.unwrap_or(after) / most,
        })
    };
    [
        accuracy("mAP@0.5", |e| e.map50),
        accuracy("mAP@0.5, small objects", |e| e.map50_small),
        cost("BFLOPs an image", &|s| Some(s.bflops), &words::digits),
        cost("Parameters", &|s| Some(s.params as f64), &words::count),
        cost("Weights file", &|s| Some(s.bytes as f64 / 1e6), &|mb| format!("{} MB", words::digits(mb))),
        cost("Time an image, this CPU", &|s| s.milliseconds, &|ms| format!("{} ms", words::digits(ms))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All stages.
pub fn stage_table(run: &Run) -> Table {
    let head = ["Stage", "mAP@0.5", "mAP", "small", "Params", "BFLOPs", "MB", "ms/image", "Safe %", "Epochs", "Took"];
    let row = |s: &StageRecord| {
        let e = s.evaluation.as_ref();
        let accuracy = |value: Option<f64>| Cell::number(value, words::points);
        vec![
            Cell::text(&s.name),
            accuracy(e.and_then(|e| e.map50)),
            accuracy(e.and_then(|e| e.map)),
            accuracy(e.and_then(|e| e.map50_small)),
            Cell::number(Some(s.params as f64), words::count),
            Cell::number(Some(s.bflops), words::digits),
            Cell::number(Some(s.bytes as f64 / 1e6), words::digits),
            Cell::number(s.milliseconds, words::digits),
            Cell::number(s.gammas.as_ref().map(|g| g.safe * 100.0), |v| format!("{v:.1}")),
            Cell::number(Some(s.epochs.len() as f64), |n| format!("{n}")),
            Cell::number(Some(s.seconds), words::duration),
        ]
    };
    Table {
        caption: "All stages. Accuracy times a hundred; small: mAP@0.5 of objects under 32 × 32 pixels. \
                  Safe: share of the channels that can go without much harm, by their γ."
            .to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: run.record.stages.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_net_that_finds_next_to_nothing_has_kept_nothing() {
        let stage = |map50: f64| {
            let evaluation = Some(Evaluation { map50: Some(map50), ..Evaluation::default() });
            StageRecord { evaluation, ..StageRecord::default() }
        };
        for (before, after, wanted) in [
            (0.0022, 0.0, "detects next to nothing: mAP@0.5 (0.2 → 0.0)"),
            (0.81, 0.8, "lost 1.0 points of mAP@0.5 (81.0 → 80.0)"),
            (0.8, 0.801, "kept its mAP@0.5 (80.0 → 80.1)"),
        ] {
            assert_eq!(accuracy_words(&stage(before), &stage(after)), wanted);
        }
    }
}
