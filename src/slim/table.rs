//! The table of all stages.

use std::fmt::Write;

use yoloslim_core::record::{RunRecord, StageRecord};

/// Least width of the stages' names.
const NAME: usize = 11;

/// All stages of a run as a table for a terminal: accuracy, cost and time. Where steps were given up, the stage whose net
/// is the result is marked.
#[must_use]
pub fn table(record: &RunRecord) -> String {
    let last = record.stages.last().map(|stage| &stage.name);
    let marked = record.result().map(|stage| &stage.name).filter(|name| Some(*name) != last);
    let named = |stage: &StageRecord| match Some(&stage.name) == marked {
        true => format!("{}*", stage.name),
        false => stage.name.clone(),
    };
    let name = record.stages.iter().map(|stage| named(stage).len() + 1).fold(NAME, usize::max);
    let mut out = format!(
        "{:<name$}{:>8}{:>8}{:>9}{:>11}{:>9}{:>10}{:>9}\n",
        "stage", "mAP50", "mAP", "small", "params", "BFLOPs", "MB", "ms/image"
    );
    for stage in &record.stages {
        let _ = writeln!(out, "{:<name$}{}", named(stage), figures(stage));
    }
    if marked.is_some() {
        out.push_str("* the result: what came after it lost too much\n");
    }
    out
}

fn figures(stage: &StageRecord) -> String {
    let eval = stage.evaluation.as_ref();
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
    format!(
        "{:>8}{:>8}{:>9}{:>11}{:>9}{:>10}{:>9}",
        number(eval.and_then(|e| e.map50), 4),
        number(eval.and_then(|e| e.map), 4),
        number(eval.and_then(|e| e.map_small), 4),
        stage.params,
        number(Some(stage.bflops), 3),
        number(Some(stage.bytes as f64 / 1e6), 2),
        number(stage.milliseconds, 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::eval::Evaluation;

    #[test]
    fn long_names_keep_the_columns_and_a_step_that_was_given_up_is_not_taken_for_the_result() {
        let stage = |name: &str| StageRecord { name: name.to_owned(), params: 1234, ..StageRecord::default() };
        let stages = ["baseline", "pruned-10", "fine-tuned-10", "fine-tuned-11"].map(stage).to_vec();
        let mut record = RunRecord { stages, ..RunRecord::default() };
        let columns = |text: &str| text.lines().skip(1).take(4).map(|line| line.find("1234")).collect::<Vec<_>>();
        let text = table(&record);
        assert!(columns(&text).windows(2).all(|pair| pair[0] == pair[1] && pair[0].is_some()), "{text}");
        assert!(!text.contains('*'), "{text}");
        record.result = Some("fine-tuned-10".to_owned());
        let text = table(&record);
        assert!(columns(&text).windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        let marked: Vec<&str> = text.lines().filter(|line| line.contains('*')).collect();
        assert!(
            marked.len() == 2 && marked[0].starts_with("fine-tuned-10* ") && marked[1].contains("result"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn the_columns_of_a_run_in_three_steps_stand_below_their_heads_in_eighty_characters() {
        let stage = |name: String| StageRecord {
            name,
            params: 61_949_149,
            bflops: 140.692,
            bytes: 248_007_048,
            milliseconds: Some(1234.5),
            evaluation: Some(Evaluation { map: Some(0.5), map50: Some(0.25), ..Evaluation::default() }),
            ..StageRecord::default()
        };
        let steps = (1..=3).flat_map(|step| ["pruned", "fine-tuned"].map(|name| format!("{name}-{step}")));
        let names = ["baseline", "sparse"].map(str::to_owned).into_iter().chain(steps);
        let table = table(&RunRecord { stages: names.map(stage).collect(), ..RunRecord::default() });
        let widths: Vec<usize> = table.lines().map(str::len).collect();
        assert!(widths.len() == 9 && widths.iter().all(|width| *width == widths[0] && *width <= 80), "{table}");
        let end = table.find("mAP50").unwrap() + "mAP50".len();
        assert!(table.lines().skip(1).all(|line| line[..end].ends_with(" 0.2500")), "{table}");
    }
}
