//! SVG as text: elements with escaped attributes, and plots with axes.

use std::fmt::Write;

use super::scale::Scale;

/// An element under construction.
pub struct El {
    tag: &'static str,
    attributes: String,
    content: String,
}

/// An element of that tag.
pub fn el(tag: &'static str) -> El {
    El { tag, attributes: String::new(), content: String::new() }
}

/// Text with its middle, start or end (`anchor`) at `x`.
pub fn text(x: f64, y: f64, anchor: &str, words: impl AsRef<str>) -> El {
    el("text").num("x", x).num("y", y).attr("text-anchor", anchor).say(words)
}

/// A line between two points.
pub fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> El {
    el("line").num("x1", x1).num("y1", y1).num("x2", x2).num("y2", y2)
}

/// A rectangle; negative sizes become none.
pub fn rect(x: f64, y: f64, width: f64, height: f64) -> El {
    el("rect").num("x", x).num("y", y).num("width", width.max(0.0)).num("height", height.max(0.0))
}

impl El {
    /// An attribute.
    pub fn attr(mut self, name: &str, value: impl AsRef<str>) -> Self {
        // Writing to a string can't fail.
        let _ = write!(self.attributes, " {name}=\"{}\"", escape(value.as_ref()));
        self
    }

    /// An attribute that is a number, to a hundredth.
    pub fn num(self, name: &str, value: f64) -> Self {
        let value = short(value);
        self.attr(name, value)
    }

    /// Its class.
    pub fn class(self, class: impl AsRef<str>) -> Self {
        self.attr("class", class)
    }

    /// What pointing at it shows; lines are separated by `\n`.
    pub fn tip(self, words: impl AsRef<str>) -> Self {
        self.attr("data-tip", words)
    }

    /// Text inside.
    pub fn say(mut self, words: impl AsRef<str>) -> Self {
        self.content.push_str(&escape(words.as_ref()));
        self
    }

    /// An element inside.
    pub fn with(mut self, inner: El) -> Self {
        self.content.push_str(&inner.into_string());
        self
    }

    /// The element as text.
    pub fn into_string(self) -> String {
        let Self { tag, attributes, content } = self;
        if content.is_empty() {
            format!("<{tag}{attributes}/>")
        } else {
            format!("<{tag}{attributes}>{content}</{tag}>")
        }
    }
}

/// A drawing of a fixed size in its own units, which are about pixels.
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Adds an element on top of those before.
    pub fn add(&mut self, element: El) {
        self.body.push_str(&element.into_string());
    }

    /// The drawing as HTML can hold it; `label` is what a screen reader says of it.
    pub fn finish(self, label: &str) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" tabindex=\"0\">{body}</svg>",
            short(width),
            short(height),
            escape(label)
        )
    }
}

/// A drawing with a horizontal and a vertical axis.
pub struct Plot {
    /// What is drawn so far.
    pub svg: Svg,
    /// From values to x.
    pub x: Scale,
    /// From values to y.
    pub y: Scale,
}

/// Margins of a plot: left, top, right, bottom.
pub type Margins = [f64; 4];

impl Plot {
    /// An empty plot over the ranges of values given, which are widened to whole ticks where that is asked for.
    pub fn new((width, height): (f64, f64), [left, top, right, bottom]: Margins, x: (f64, f64), y: (f64, f64)) -> Self {
        Self {
            svg: Svg::new(width, height),
            x: Scale::new(x, (left, width - right)),
            y: Scale::new(y, (height - bottom, top)),
        }
    }

    /// Horizontal rules with their values at the left, and the name of what they measure above them.
    pub fn y_axis(&mut self, name: &str, ticks: usize, words: impl Fn(f64) -> String) {
        let (left, right) = self.x.to;
        for tick in self.y.ticks(ticks) {
            let y = self.y.at(tick);
            self.svg.add(line((left, y), (right, y)).class("grid"));
            self.svg.add(text(left - 6.0, y + 4.0, "end", words(tick)).class("tick"));
        }
        self.svg.add(text(0.0, 12.0, "start", name).class("axis"));
    }

    /// Values below, and the name of what they measure.
    pub fn x_axis(&mut self, name: &str, ticks: usize, words: impl Fn(f64) -> String) {
        let bottom = self.y.to.0;
        for tick in self.x.ticks(ticks) {
            self.svg.add(text(self.x.at(tick), bottom + 17.0, "middle", words(tick)).class("tick"));
        }
        self.svg.add(text(self.x.to.1, bottom + 34.0, "end", name).class("axis"));
    }

    /// A broken line through points in values.
    pub fn polyline(&mut self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) {
        let points: Vec<String> =
            points.into_iter().map(|(x, y)| format!("{},{}", short(self.x.at(x)), short(self.y.at(y)))).collect();
        self.svg.add(el("polyline").attr("points", points.join(" ")).class(class));
    }
}

/// A number to a hundredth, without zeros at its end.
pub fn short(value: f64) -> String {
    let value = if value.is_finite() { (value * 100.0).round() / 100.0 } else { 0.0 };
    format!("{}", if value == 0.0 { 0.0 } else { value })
}

/// Text as HTML and SVG can hold it, in attributes too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_markup_in_them_stay_text() {
        let mut svg = Svg::new(10.0, 5.5);
        svg.add(text(1.0, 2.0, "start", "<b> & \"c\"").tip("a\n<i>"));
        let html = svg.finish("\"x\"");
        assert!(html.contains("&lt;b&gt; &amp; &quot;c&quot;</text>") && html.contains("data-tip=\"a&#10;&lt;i&gt;\""));
        assert!(html.contains("viewBox=\"0 0 10 5.5\"") && html.contains("aria-label=\"&quot;x&quot;\""));
    }

    #[test]
    fn what_is_no_number_draws_nothing_odd() {
        assert_eq!([f64::NAN, -0.001, 1.005, 2.0].map(short), ["0", "0", "1", "2"]);
    }
}
