//! The distribution of all gammas, a ridge an epoch.

use yoloslim_core::record::{GammaSummary, Histogram};

use super::gamma_map::{moments, thinned};
use crate::report::page::{Figure, Shape};
use crate::report::run::Run;
use crate::report::scale::Scale;
use crate::report::svg::{Svg, el, line, short, text};

/// The most ridges that are drawn.
const RIDGES: usize = 12;

/// The ridges, the first epoch behind, the last in front; none for records that hold no histograms.
pub fn draw(run: &Run) -> Option<Figure> {
    let moments: Vec<_> = moments(run).into_iter().filter(|m| !all(m.gammas).is_empty()).collect();
    let moments = thinned(moments, RIDGES);
    if moments.is_empty() {
        return None;
    }
    let (left, right, spacing, peak) = (124.0, 450.0, 24.0, 44.0);
    let bottom = 52.0 + spacing * moments.len() as f64;
    let x = Scale::new((0.0, Histogram::BINS as f64 - 1.0), (left, right));
    let mut svg = Svg::new(460.0, bottom + 42.0);
    for (value, words) in [(0.0, "0"), (5.0, "0.001"), (10.0, "0.01"), (15.0, "0.1"), (20.0, "1"), (25.0, "10")] {
        svg.add(line((x.at(value), 16.0), (x.at(value), bottom)).class("grid"));
        svg.add(text(x.at(value), bottom + 17.0, "middle", words).class("tick"));
    }
    svg.add(text(right, bottom + 34.0, "end", "|γ|").class("axis"));
    for (i, moment) in moments.iter().enumerate() {
        let base = 52.0 + spacing * (i + 1) as f64;
        let counts = all(moment.gammas);
        let total = counts.iter().sum::<u32>().max(1);
        let height = |count: u32| peak * (f64::from(count) / f64::from(total)).sqrt();
        let points = counts.iter().enumerate().map(|(bin, n)| (x.at(bin as f64), base - height(*n)));
        let path: Vec<String> = points.map(|(x, y)| format!("{},{}", short(x), short(y))).collect();
        let outline = format!("M{},{base} L{} L{},{base} Z", short(x.to.0), path.join(" "), short(x.to.1));
        let tip = format!(
            "{}\n{:.1} % exactly zero\n{:.1} % near zero\nmedian {:.3}",
            moment.words(),
            100.0 * moment.gammas.zero,
            100.0 * moment.gammas.near_zero,
            moment.gammas.quantiles[2]
        );
        svg.add(el("path").attr("d", outline).class("ridge").tip(tip));
        svg.add(text(left - 10.0, base, "end", moment.words()).class("tick small"));
    }
    let (first, last) = (moments.first()?, moments.last()?);
    Some(Figure {
        id: "gamma-ridges".to_owned(),
        title: "Distribution of |γ|, by epoch".to_owned(),
        note: "All channels of the net. The left end holds the zeros; heights are square roots of shares, so that few \
               are seen too."
            .to_owned(),
        drawing: svg.finish(&format!(
            "Distribution of gammas: {:.0} % are zero in {}, {:.0} % in {}",
            100.0 * first.gammas.zero,
            first.words(),
            100.0 * last.gammas.zero,
            last.words()
        )),
        legend: Vec::new(),
        shape: Shape::Half,
        table: None,
    })
}

/// The histogram of all layers together; empty where a layer has none.
fn all(gammas: &GammaSummary) -> Vec<u32> {
    let counts = gammas.layers.iter().map(|l| &l.histogram.counts);
    if gammas.layers.is_empty() || counts.clone().any(|c| c.len() != Histogram::BINS) {
        return Vec::new();
    }
    (0..Histogram::BINS).map(|bin| counts.clone().map(|c| c[bin]).sum()).collect()
}
