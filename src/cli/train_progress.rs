//! What training shows: a bar where stderr is a terminal, a line an epoch everywhere.

use indicatif::ProgressBar;
use yoloslim::train::Event;
use yoloslim_core::record::{EpochRecord, GammaSummary};

use crate::term::Term;

/// Shows the events of a training.
pub struct TrainProgress {
    term: Term,
    epochs: usize,
    bar: Option<ProgressBar>,
}

impl TrainProgress {
    pub fn new(term: Term, epochs: usize) -> Self {
        Self { term, epochs, bar: None }
    }

    pub fn show(&mut self, event: Event) {
        match event {
            Event::Batch { epoch, done, batches, loss, learning_rate } => {
                let left = (self.epochs * batches) as u64;
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = self.term.bar(left as usize);
                    bar.set_position((epoch * batches + done - 1) as u64);
                    bar.reset_eta();
                    bar
                });
                bar.set_position((epoch * batches + done) as u64);
                bar.set_message(format!(
                    "epoch {}/{} box {:.2} obj {:.2} cls {:.2}{} lr {learning_rate:.1e}",
                    epoch + 1,
                    self.epochs,
                    loss.boxes,
                    loss.objectness,
                    loss.class,
                    if loss.distil > 0.0 { format!(" distil {:.2}", loss.distil) } else { String::new() }
                ));
            }
            Event::Warning(warning) => match &self.bar {
                Some(bar) if !bar.is_hidden() => bar.suspend(|| self.term.warn(warning)),
                _ => self.term.warn(warning),
            },
            Event::Epoch(record) => {
                let line = epoch_line(record, self.epochs);
                match &self.bar {
                    Some(bar) if !bar.is_hidden() => bar.println(line),
                    _ => self.term.line(line),
                }
                if record.epoch + 1 == self.epochs {
                    self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
                }
            }
        }
    }
}

fn epoch_line(r: &EpochRecord, epochs: usize) -> String {
    let accuracy = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
    let mut line = format!(
        "epoch {:>3}/{epochs}  box {:.3} obj {:.3} cls {:.3}  mAP50 {} mAP {}  lr {:.1e}  {:.0} s",
        r.epoch + 1,
        r.loss.boxes,
        r.loss.objectness,
        r.loss.class,
        accuracy(r.map50),
        accuracy(r.map),
        r.learning_rate,
        r.seconds
    );
    for (name, loss) in &r.distilled {
        line.push_str(&format!("  {name} {loss:.3}"));
    }
    if let Some(g) = &r.gammas {
        line.push_str(&gamma_words(g));
    }
    if let Some(s) = &r.sparsity {
        line.push_str(&format!(", s {:.3}, {} of {} to be pruned were zero", s.s, s.reached, s.targets));
    }
    line
}

fn gamma_words(g: &GammaSummary) -> String {
    let [_, low, mid, high, _] = g.quantiles;
    format!(
        "  |gamma| {low:.2} {mid:.2} {high:.2}, zero {:.0} %, near zero {:.0} %",
        g.zero * 100.0,
        g.near_zero * 100.0
    )
}
