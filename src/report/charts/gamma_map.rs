//! How many channels of each layer are near zero, epoch by epoch.

use yoloslim_core::record::GammaSummary;

use crate::report::page::{Figure, Key, Shape};
use crate::report::run::Run;
use crate::report::svg::{Svg, line, rect, text};

/// The most columns that are drawn; of more epochs, evenly spaced ones are shown.
const COLUMNS: usize = 60;

/// A net's gammas at one moment.
pub struct Moment<'a> {
    /// The stage.
    pub stage: &'a str,
    /// The epoch, from 1; 0 for what a stage without epochs ended with.
    pub epoch: usize,
    /// The gammas.
    pub gammas: &'a GammaSummary,
}

impl Moment<'_> {
    /// The stage, and the epoch where there is one.
    pub fn words(&self) -> String {
        if self.epoch == 0 { self.stage.to_owned() } else { format!("{}, epoch {}", self.stage, self.epoch) }
    }
}

/// The moments of the stages before anything is pruned: their layers are the same.
pub fn moments(run: &Run) -> Vec<Moment<'_>> {
    let complete = run.record.stages.iter().map(|s| (s.name.as_str(), s.epochs.as_slice(), s.gammas.as_ref()));
    let running = run.record.running.iter().map(|r| (r.name.as_str(), r.epochs.as_slice(), None));
    let mut moments: Vec<Moment> = Vec::new();
    for (stage, epochs, end) in complete.chain(running) {
        let epochs = epochs.iter().filter_map(|e| Some((e.epoch + 1, e.gammas.as_ref()?)));
        let mut all: Vec<(usize, &GammaSummary)> = epochs.collect();
        if all.is_empty() {
            all.extend(end.map(|gammas| (0, gammas)));
        }
        moments.extend(all.into_iter().map(|(epoch, gammas)| Moment { stage, epoch, gammas }));
    }
    let layers = |g: &GammaSummary| g.layers.iter().map(|l| (l.layer, l.channels)).collect::<Vec<_>>();
    let first = moments.first().map(|m| layers(m.gammas)).unwrap_or_default();
    moments.retain(|m| !first.is_empty() && layers(m.gammas) == first);
    moments
}

/// About `count` of the moments, evenly spaced, the first and the last among them.
pub fn thinned(moments: Vec<Moment<'_>>, count: usize) -> Vec<Moment<'_>> {
    let all = moments.len();
    let chosen: std::collections::BTreeSet<usize> =
        (0..count.min(all)).map(|i| if all <= count { i } else { i * (all - 1) / (count - 1) }).collect();
    moments.into_iter().enumerate().filter(|(i, _)| chosen.contains(i)).map(|(_, moment)| moment).collect()
}

/// The heat map: a row a layer, a column an epoch.
pub fn draw(run: &Run) -> Option<Figure> {
    let moments = thinned(moments(run), COLUMNS);
    let rows = moments.first()?.gammas.layers.len();
    let height = (300.0 / rows as f64).clamp(4.0, 16.0);
    let (left, top, width) = (40.0, 24.0, 410.0 / moments.len() as f64);
    let bottom = top + height * rows as f64;
    let mut svg = Svg::new(460.0, bottom + 26.0);
    for (column, moment) in moments.iter().enumerate() {
        let x = left + width * column as f64;
        if column == 0 || moments[column - 1].stage != moment.stage {
            let run = moments[column..].iter().take_while(|m| m.stage == moment.stage).count() as f64 * width;
            if run > 6.5 * moment.stage.len() as f64 {
                svg.add(text(x + run / 2.0, top - 8.0, "middle", moment.stage).class("stage-name"));
            }
            svg.add(line((x, top - 18.0), (x, bottom + 4.0)).class("stage-rule"));
        }
        for (row, layer) in moment.gammas.layers.iter().enumerate() {
            let tip = format!("{}\nlayer {}: {:.0} % near zero", moment.words(), layer.layer, 100.0 * layer.near_zero);
            let cell = rect(x, top + height * row as f64, (width - 0.4).max(0.4), height - 0.4);
            svg.add(cell.class("heat").num("fill-opacity", 0.06 + 0.94 * layer.near_zero).tip(tip));
        }
    }
    let layers = &moments[0].gammas.layers;
    let step = (14.0 / height).ceil().max(1.0) as usize;
    for (row, layer) in layers.iter().enumerate().step_by(step) {
        let y = top + height * (row as f64 + 0.5) + 4.0;
        svg.add(text(left - 6.0, y, "end", layer.layer.to_string()).class("tick"));
    }
    svg.add(text(left + 410.0, bottom + 20.0, "end", "epochs").class("axis"));
    svg.add(text(0.0, 12.0, "start", "layer").class("axis"));
    let (first, last) = (&moments[0], &moments[moments.len() - 1]);
    let percent = |m: &Moment| 100.0 * m.gammas.near_zero;
    Some(Figure {
        id: "gamma-map".to_owned(),
        title: "Channels near zero, by layer and epoch".to_owned(),
        note: "The darker a cell, the larger the share of the layer's channels whose |γ| is under a hundredth of the \
               largest tenth's mean."
            .to_owned(),
        drawing: svg.finish(&format!(
            "Share of channels near zero by layer and epoch: {:.0} % of all in {}, {:.0} % in {}",
            percent(first),
            first.words(),
            percent(last),
            last.words()
        )),
        legend: [("0 %", "heat low"), ("50 %", "heat half"), ("100 %", "heat full")]
            .map(|(words, class)| Key::new(class, words))
            .into(),
        shape: Shape::Half,
        table: None,
    })
}
