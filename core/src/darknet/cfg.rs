//! `.cfg`: an INI-like list of sections in layer order, kept line by line so that what is not changed is
//! written back byte for byte: comments, order, unknown keys, spaces and line ends (reference: Darknet's
//! `parser.c`).

use std::fmt::Display;
use std::str::FromStr;

use crate::{Error, Result};

/// A parsed `.cfg`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cfg {
    /// Lines before the first section.
    preamble: Vec<Line>,
    /// `[net]` first, then one section a layer.
    sections: Vec<Section>,
    /// The file was not UTF-8: every byte was read as the character of that number.
    latin1: bool,
}

/// A section: its header line and all that follows it up to the next one.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    kind: String,
    /// Layer index, none for `[net]`.
    layer: Option<usize>,
    header: Line,
    body: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    /// The line as read, its end included.
    raw: String,
    /// 1-based number in the file it came from; 0 when made here.
    number: usize,
    entry: Option<(String, String)>,
}

impl Cfg {
    /// Parses the bytes of a `.cfg`. What isn't changed is written back as it was, comments and spaces included.
    ///
    /// ```
    /// use yoloslim_core::darknet::Cfg;
    ///
    /// let text = b"[net]\nwidth = 416 # a comment\nheight=416\n\n[convolutional]\nfilters=8\n";
    /// let mut cfg = Cfg::parse(text)?;
    /// assert_eq!(cfg.to_bytes(), text);
    /// cfg.net_mut().set("height", 320);
    /// assert!(cfg.to_bytes().ends_with(b"height=320\n\n[convolutional]\nfilters=8\n"));
    ///
    /// let error = Cfg::parse(b"[net]\nwidth 416\n").unwrap_err();
    /// assert!(error.to_string().starts_with("2: \"width 416\" is neither"));
    /// # Ok::<(), yoloslim_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// A byte that no text has; a line that is neither blank, comment, `[section]` nor `key=value`; no section; a first section other
    /// than `[net]` or `[network]`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.contains(&0) {
            return Err(
                Error::at(1, "this is no text").fix("give a .cfg here; are CFG and WEIGHTS in the wrong order?")
            );
        }
        let (text, latin1) = match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (bytes.iter().map(|&b| char::from(b)).collect(), true),
        };
        let mut cfg = Self { preamble: Vec::new(), sections: Vec::new(), latin1 };
        for (i, raw) in text.split_inclusive('\n').enumerate() {
            cfg.push_line(raw, i + 1)?;
        }
        cfg.check_first_section()?;
        cfg.renumber();
        Ok(cfg)
    }

    fn push_line(&mut self, raw: &str, number: usize) -> Result<()> {
        let line = |entry| Line { raw: raw.to_owned(), number, entry };
        let content = content(raw);
        if content.is_empty() {
            self.last_lines().push(line(None));
        } else if let Some(kind) = content.strip_prefix('[') {
            let kind = kind.strip_suffix(']').ok_or_else(|| {
                Error::at(number, format!("the section header {content:?} has no closing bracket")).fix("write [name]")
            })?;
            let kind = kind.trim().to_lowercase();
            self.sections.push(Section { kind, layer: None, header: line(None), body: Vec::new() });
        } else {
            let (key, value) = content.split_once('=').ok_or_else(|| {
                Error::at(number, format!("{content:?} is neither a [section] nor key=value"))
                    .fix("correct the line or start it with # to make it a comment")
            })?;
            if self.sections.is_empty() {
                return Err(Error::at(number, format!("{content:?} stands before the first section"))
                    .fix("start the file with [net]"));
            }
            self.last_lines().push(line(Some((key.trim().to_owned(), value.trim().to_owned()))));
        }
        Ok(())
    }

    fn last_lines(&mut self) -> &mut Vec<Line> {
        self.sections.last_mut().map_or(&mut self.preamble, |s| &mut s.body)
    }

    fn check_first_section(&self) -> Result<()> {
        match self.sections.first() {
            None => Err(Error::at("", "the cfg has no section").fix("give a Darknet .cfg file")),
            Some(s) if s.kind != "net" && s.kind != "network" => {
                Err(Error::at(s.header.number, format!("the first section is [{}]", s.kind)).fix("put [net] first"))
            }
            Some(_) => Ok(()),
        }
    }

    fn renumber(&mut self) {
        for (i, section) in self.sections.iter_mut().enumerate() {
            section.layer = i.checked_sub(1);
        }
    }

    /// The `[net]` section.
    #[must_use]
    pub fn net(&self) -> &Section {
        &self.sections[0]
    }

    /// The `[net]` section, to change it.
    pub fn net_mut(&mut self) -> &mut Section {
        &mut self.sections[0]
    }

    /// The layers' sections, in layer order.
    #[must_use]
    pub fn layers(&self) -> &[Section] {
        &self.sections[1..]
    }

    /// One layer's section, to change it.
    pub fn layer_mut(&mut self, layer: usize) -> &mut Section {
        &mut self.sections[layer + 1]
    }

    /// Keeps only the layers for which `keep` holds. References between layers are the caller's to mend.
    pub fn retain_layers(&mut self, keep: impl Fn(usize) -> bool) {
        self.sections.retain(|s| s.layer.is_none_or(&keep));
        self.renumber();
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = self.to_string();
        if self.latin1 { text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect() } else { text.into_bytes() }
    }
}

impl Display for Cfg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sections = self.sections.iter().flat_map(|s| std::iter::once(&s.header).chain(&s.body));
        self.preamble.iter().chain(sections).try_for_each(|line| f.write_str(&line.raw))
    }
}

/// What a line says, without comment and surrounding space. Darknet knows comments at the start of a line
/// only; files in the wild also end lines with them.
fn content(raw: &str) -> &str {
    raw.split(['#', ';']).next().unwrap_or("").trim().trim_matches(['\0', '\u{feff}'])
}

impl Section {
    /// The section's name in lower case: `convolutional`, `yolo`, ..
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Where the section stands, for messages: `612 [convolutional] #74`.
    #[must_use]
    pub fn place(&self) -> String {
        self.place_of(&self.header)
    }

    fn place_of(&self, line: &Line) -> String {
        match self.layer {
            Some(layer) => format!("{} [{}] #{layer}", line.number, self.kind),
            None => format!("{} [{}]", line.number, self.kind),
        }
    }

    /// The section's keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.body.iter().filter_map(|line| line.entry.as_ref()).map(|(key, _)| key.as_str())
    }

    /// Place, key and value of each line that is of no effect, its key standing in the section before it.
    pub(super) fn passed_over(&self) -> impl Iterator<Item = (String, &str, &str)> {
        let entries = self.body.iter().filter_map(|line| Some((line, line.entry.as_ref()?)));
        entries.enumerate().filter_map(|(at, (line, (key, value)))| {
            let repeated = self.keys().take(at).any(|before| before == key);
            repeated.then(|| (self.place_of(line), key.as_str(), value.as_str()))
        })
    }

    /// The value of `key` as written; the first one counts when it is repeated, as in Darknet.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.body.iter().filter_map(|l| l.entry.as_ref()).find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The value of `key` as a number, none when it is absent.
    ///
    /// # Errors
    /// A value that is no such number.
    pub fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        self.get(key).map(|v| self.parse_one(key, v)).transpose()
    }

    /// The value of `key` as a number, or `default` when it is absent.
    ///
    /// # Errors
    /// As [`Section::number`].
    pub fn number_or<T: FromStr>(&self, key: &str, default: T) -> Result<T> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    /// The comma-separated numbers of `key`, none when it is absent. An empty part (a trailing comma) is passed
    /// over, as Darknet does.
    ///
    /// # Errors
    /// As [`Section::number`].
    pub fn numbers<T: FromStr>(&self, key: &str) -> Result<Vec<T>> {
        let parts = self.get(key).unwrap_or("").split(',').map(str::trim).filter(|p| !p.is_empty());
        parts.map(|p| self.parse_one(key, p)).collect()
    }

    fn parse_one<T: FromStr>(&self, key: &str, value: &str) -> Result<T> {
        value.trim().parse().map_err(|_| {
            Error::at(self.place(), format!("{key}={value} is not the kind of number wanted here"))
                .fix(format!("correct {key}"))
        })
    }

    /// Sets `key`, where it is there already in the line that counts, else as a new line under the header.
    pub fn set(&mut self, key: &str, value: impl Display) {
        let value = value.to_string();
        let end = if self.header.raw.ends_with("\r\n") { "\r\n" } else { "\n" };
        match self.body.iter_mut().find(|l| l.entry.as_ref().is_some_and(|(k, _)| k == key)) {
            Some(line) => line.set_value(value),
            None => {
                let raw = format!("{key}={value}{end}");
                if !self.header.raw.ends_with('\n') {
                    self.header.raw.push_str(end);
                }
                self.body.insert(0, Line { raw, number: 0, entry: Some((key.to_owned(), value)) });
            }
        }
    }
}

impl Line {
    /// Writes a new value after the `=`, leaving the spacing before it and the line end as they are.
    fn set_value(&mut self, value: String) {
        let Some((_, old)) = &mut self.entry else { return };
        let at = self.raw.find('=').map_or(0, |i| i + 1);
        let (before, after) = self.raw.split_at(at);
        let after = if old.is_empty() { format!("{value}{after}") } else { after.replacen(old.as_str(), &value, 1) };
        self.raw = format!("{before}{after}");
        *old = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\r\n[net]\r\nwidth = 32 \r\n; two\r\n\r\n[convolutional]\r\nfilters=8 # eight\r\nfoo=bar\r\n[yolo]\nanchors = 1,2,  3,4,\n";

    #[test]
    fn an_unchanged_file_comes_back_byte_for_byte() {
        assert_eq!(Cfg::parse(TEXT.as_bytes()).unwrap().to_string(), TEXT);
        let latin = b"[net]\n# caf\xe9\nwidth=1\n";
        assert_eq!(Cfg::parse(latin).unwrap().to_bytes(), latin);
    }

    #[test]
    fn a_changed_value_keeps_spacing_comment_and_line_end() {
        let mut cfg = Cfg::parse(TEXT.as_bytes()).unwrap();
        cfg.net_mut().set("width", 64);
        cfg.layer_mut(0).set("filters", 16);
        cfg.layer_mut(0).set("size", 3);
        let text = cfg.to_string();
        assert!(text.contains("width = 64 \r\n"), "{text}");
        assert!(text.contains("[convolutional]\r\nsize=3\r\nfilters=16 # eight\r\n"), "{text}");
        assert_eq!(cfg.layers()[1].numbers::<f32>("anchors").unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn of_a_repeated_key_the_first_counts_and_is_changed() {
        let mut cfg = Cfg::parse(b"[net]\nwidth=32\n[convolutional]\nfilters=8\nsize=3\nfilters=16\n").unwrap();
        assert_eq!(cfg.layers()[0].get("filters"), Some("8"));
        cfg.layer_mut(0).set("filters", 4);
        assert_eq!(cfg.layers()[0].get("filters"), Some("4"));
        assert!(cfg.to_string().ends_with("filters=4\nsize=3\nfilters=16\n"));
    }

    #[test]
    fn removed_layers_take_their_lines_along() {
        let mut cfg = Cfg::parse(TEXT.as_bytes()).unwrap();
        cfg.retain_layers(|i| i != 0);
        assert_eq!(cfg.layers().len(), 1);
        assert!(!cfg.to_string().contains("filters"));
        assert_eq!(cfg.layers()[0].place(), "9 [yolo] #0");
    }

    #[test]
    fn a_line_without_meaning_is_named() {
        let message = Cfg::parse(b"[net]\nwidth 32\n").unwrap_err().to_string();
        assert!(message.starts_with("2: \"width 32\" is neither"), "{message}");
        assert!(Cfg::parse(b"[convolutional]\n").unwrap_err().to_string().contains("put [net] first"));
    }
}
