//! The parts that a page is made of, as the template reads them.

use serde::Serialize;

/// A part of the page with a heading.
#[derive(Debug, Serialize)]
pub struct Section {
    /// Its anchor.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// A sentence or two on what it shows.
    pub lead: String,
    /// What marks in all of its figures mean.
    pub legend: Vec<Key>,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// A drawing with its words and numbers.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// Its anchor: what checks look for.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// How to read it; may be empty.
    pub note: String,
    /// The drawing, as HTML.
    pub drawing: String,
    /// What its colours and lines mean.
    pub legend: Vec<Key>,
    /// Its place and size on the page.
    pub shape: Shape,
    /// The numbers behind it.
    pub table: Option<Table>,
}

/// How much room a figure takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Beside others, where the page is wide enough.
    Half,
    /// The whole width.
    Wide,
    /// The whole width, and scrolled sideways and zoomed where it is too small to read.
    Zoomed,
}

/// An entry of a legend.
#[derive(Debug, Serialize)]
pub struct Key {
    /// The class that gives it its colour and line.
    pub class: String,
    /// What it stands for.
    pub words: String,
}

/// A table that can be sorted.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    /// What it holds.
    pub caption: String,
    /// The columns' heads; all columns but the first hold numbers.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// What it is sorted by, where that isn't the text.
    pub value: Option<f64>,
}

impl Key {
    /// An entry.
    pub fn new(class: impl Into<String>, words: impl Into<String>) -> Self {
        Self { class: class.into(), words: words.into() }
    }
}

impl Cell {
    /// A cell that is sorted by its text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), value: None }
    }

    /// A number as `words` write it; a dash where there is none.
    pub fn number(value: Option<f64>, words: impl Fn(f64) -> String) -> Self {
        Self { text: value.map_or("–".to_owned(), words), value }
    }
}
