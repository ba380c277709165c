//! Progress of what takes more than a moment.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Term;

/// Time between two lines where no bar can be drawn.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Counts what is done: drawn as a bar on a terminal, written as plain lines elsewhere.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    plain: bool,
    start: Instant,
    /// When the last line was written.
    told: Cell<Instant>,
}

impl Progress {
    pub(super) fn new(len: usize, what: &'static str, quiet: bool) -> Self {
        let now = Instant::now();
        let plain = !quiet && !io::stderr().is_terminal();
        Self { bar: bar(len, what, quiet), what, plain, start: now, told: Cell::new(now) }
    }

    /// So much is done.
    pub fn set_position(&self, done: u64) {
        self.bar.set_position(done);
        if self.plain && self.told.get().elapsed() >= BETWEEN_LINES {
            self.told.set(Instant::now());
            let line = plain_line(self.what, done, self.bar.length().unwrap_or(0), self.start.elapsed());
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// One more is done.
    pub fn inc(&self) {
        self.set_position(self.bar.position() + 1);
    }

    /// So much is there in all.
    pub fn set_length(&self, len: u64) {
        self.bar.set_length(len);
    }

    /// Done: nothing stays on the screen.
    pub fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// One kind of work after another, each with its own progress.
pub struct Works {
    term: Term,
    current: Option<(&'static str, Progress)>,
}

impl Works {
    pub(super) fn new(term: Term) -> Self {
        Self { term, current: None }
    }

    /// So much of so much of this work is done.
    pub fn show(&mut self, what: &'static str, done: usize, of: usize) {
        if self.current.as_ref().is_some_and(|(name, _)| *name != what) {
            self.finish();
        }
        let (_, progress) = self.current.get_or_insert_with(|| (what, self.term.progress(of, what)));
        progress.set_length(of as u64);
        progress.set_position(done as u64);
        if done >= of {
            self.finish();
        }
    }

    /// Nothing stays on the screen.
    pub fn finish(&mut self) {
        if let Some((_, progress)) = self.current.take() {
            progress.finish_and_clear();
        }
    }
}

/// A bar that counts to `len`; drawn only where stderr is a terminal.
pub(super) fn bar(len: usize, what: &'static str, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(len as u64), target).with_message(what);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed} (ETA {eta})");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A line of what is done and what is left at the pace so far.
pub(super) fn plain_line(what: &str, done: u64, len: u64, elapsed: Duration) -> String {
    let left = elapsed.as_secs_f64() * (len.saturating_sub(done)) as f64 / done.max(1) as f64;
    format!("{what} {done}/{len}, {:.0} s, ETA {left:.0} s", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_tells_what_is_left_at_the_pace_so_far() {
        let line = plain_line("evaluating", 25, 100, Duration::from_secs(10));
        assert_eq!(line, "evaluating 25/100, 10 s, ETA 30 s");
        assert_eq!(plain_line("evaluating", 0, 0, Duration::ZERO), "evaluating 0/0, 0 s, ETA 0 s");
    }
}
