//! The table of all stages.

use std::fmt::Write;

use yoloslim_core::record::RunRecord;

/// All stages of a run as a table for a terminal: accuracy, cost and time.
#[must_use]
pub fn table(record: &RunRecord) -> String {
    let mut out = format!(
        "{:<11}{:>8}{:>8}{:>9}{:>11}{:>9}{:>10}{:>9}\n",
        "stage", "mAP50", "mAP", "small", "params", "BFLOPs", "MB", "ms/image"
    );
    for stage in &record.stages {
        let eval = stage.evaluation.as_ref();
        let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        let _ = writeln!(
            out,
            "{:<11}{:>8}{:>8}{:>9}{:>11}{:>9}{:>10}{:>9}",
            stage.name,
            number(eval.and_then(|e| e.map50), 4),
            number(eval.and_then(|e| e.map), 4),
            number(eval.and_then(|e| e.map_small), 4),
            stage.params,
            number(Some(stage.bflops), 3),
            number(Some(stage.bytes as f64 / 1e6), 2),
            number(stage.milliseconds, 1),
        );
    }
    out
}
