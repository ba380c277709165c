//! What training shows: a bar where stderr is a terminal, a line an epoch everywhere.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use yoloslim::train::{Event, LossParts};
use yoloslim_core::record::{EpochRecord, GammaSummary};

use crate::term::{Term, Works, wrapped};

/// Time between two lines within an epoch, where no bar can be drawn.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// Shows the events of a training.
pub struct TrainProgress {
    term: Term,
    epochs: usize,
    bar: Option<ProgressBar>,
    works: Works,
    /// When the first batch was shown, and how many were done before it.
    began: Option<(Instant, usize)>,
    /// When the last line was written.
    told: Instant,
}

impl TrainProgress {
    pub fn new(term: Term, epochs: usize) -> Self {
        Self { term, epochs, bar: None, works: term.works(), began: None, told: Instant::now() }
    }

    pub fn show(&mut self, event: Event) {
        match event {
            Event::Batch { epoch, done, batches, loss, learning_rate } => {
                let at = epoch * batches + done;
                let message = batch_words((epoch, self.epochs), &loss, learning_rate);
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = self.term.bar(self.epochs * batches);
                    bar.set_position((at - 1) as u64);
                    bar.reset_eta();
                    bar
                });
                bar.set_position(at as u64);
                bar.set_message(message.clone());
                if bar.is_hidden() {
                    self.plain_batch(&message, at, self.epochs * batches);
                }
            }
            Event::Warning(warning) => match &self.bar {
                Some(bar) if !bar.is_hidden() => bar.suspend(|| self.term.warn(warning)),
                _ => self.term.warn(warning),
            },
            Event::Work { what, done, of } => self.work(what, done, of),
            Event::Epoch(record) => {
                self.works.finish();
                self.told = Instant::now();
                let lines = epoch_lines(record, self.epochs);
                match &self.bar {
                    Some(bar) if !bar.is_hidden() => bar.println(lines),
                    _ => self.term.line(lines),
                }
                if record.epoch + 1 == self.epochs {
                    self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
                }
            }
        }
    }

    /// Work between two batches goes on: validation, say.
    pub fn work(&mut self, what: &'static str, done: usize, of: usize) {
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.set_message(format!("{what} {done}/{of}")),
            _ => self.works.show(what, done, of),
        }
    }

    /// A line now and then, with what is left of all epochs at the pace so far.
    fn plain_batch(&mut self, message: &str, at: usize, all: usize) {
        let (start, before) = *self.began.get_or_insert_with(|| (Instant::now(), at));
        if self.told.elapsed() >= BETWEEN_LINES && at > before {
            self.told = Instant::now();
            let left = start.elapsed().as_secs_f64() * (all - at) as f64 / (at - before) as f64;
            self.term.line(format!("  {message} (step {at}/{all}, ETA {left:.0} s)"));
        }
    }
}

fn batch_words((epoch, epochs): (usize, usize), loss: &LossParts, learning_rate: f64) -> String {
    format!(
        "epoch {}/{epochs} box {:.2} obj {:.2} cls {:.2}{} lr {learning_rate:.1e}",
        epoch + 1,
        loss.boxes,
        loss.objectness,
        loss.class,
        if loss.distil > 0.0 { format!(" distil {:.2}", loss.distil) } else { String::new() }
    )
}

/// An epoch in a line, and what else there is to say of it in lines below.
fn epoch_lines(r: &EpochRecord, epochs: usize) -> String {
    let accuracy = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
    let first = format!(
        "epoch {:>3}/{epochs}  box {} obj {} cls {}  mAP50 {} mAP {}  {:.0} s",
        r.epoch + 1,
        figure(r.loss.boxes),
        figure(r.loss.objectness),
        figure(r.loss.class),
        accuracy(r.map50),
        accuracy(r.map),
        r.seconds
    );
    let mut more: Vec<String> = r.distilled.iter().map(|(name, loss)| format!("{name} {}", figure(*loss))).collect();
    more.extend(r.gammas.as_ref().map(gamma_words));
    more.extend(
        r.sparsity
            .as_ref()
            .map(|s| format!("s {:.3}; {} of {} to be pruned were zero before", s.s, s.reached, s.targets)),
    );
    if more.is_empty() {
        return first;
    }
    // What training without sparsity and teacher has to say fits on a line; the rate is in the record.
    format!("{first}\n{}", wrapped(&format!("    lr {:.1e}; {}", r.learning_rate, more.join("; ")), 4))
}

/// A loss to about four digits.
fn figure(loss: f64) -> String {
    if loss < 10.0 { format!("{loss:.3}") } else { format!("{loss:.1}") }
}

fn gamma_words(g: &GammaSummary) -> String {
    let [_, low, mid, high, _] = g.quantiles;
    format!("|gamma| {low:.2} {mid:.2} {high:.2}, zero {:.0} %, near zero {:.0} %", g.zero * 100.0, g.near_zero * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::COLUMNS;
    use yoloslim_core::record::{LossRecord, SparsityRecord};

    #[test]
    fn the_lines_of_an_epoch_fit_a_terminal_with_all_that_there_is_to_say() {
        let record = EpochRecord {
            epoch: 99,
            loss: LossRecord { boxes: 12.345, objectness: 123.4, class: 23.45 },
            distilled: ["soft-targets", "weighted-class", "bounded-box", "channel-wise"]
                .map(|name| (name.to_owned(), 12.345))
                .into(),
            learning_rate: 1.23e-3,
            map: Some(0.1234),
            map50: Some(0.2345),
            gammas: GammaSummary::new([(0, &[0.5; 64][..])]),
            sparsity: Some(SparsityRecord { targets: 12345, reached: 1234, ..SparsityRecord::default() }),
            seconds: 1234.5,
            ..EpochRecord::default()
        };
        let lines = epoch_lines(&record, 300);
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
        for word in ["epoch 100/300", "mAP50 0.2345", "weighted-class 12.3", "1234 of 12345", "lr 1.2e-3"] {
            assert!(lines.contains(word), "{word:?} is missing from: {lines}");
        }
        let plain = EpochRecord { distilled: [].into(), gammas: None, sparsity: None, ..record };
        assert_eq!(epoch_lines(&plain, 300).lines().count(), 1);
    }
}
