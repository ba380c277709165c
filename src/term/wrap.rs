//! Lines that fit a terminal.

/// The columns that every terminal has.
pub const COLUMNS: usize = 80;

/// The words in lines of at most [`COLUMNS`] characters, those after the first indented by `indent`. A longer word has
/// its own line.
pub fn wrapped(text: &str, indent: usize) -> String {
    wrapped_to(COLUMNS, text, indent)
}

/// [`wrapped`] to lines of at most `columns` characters.
pub fn wrapped_to(columns: usize, text: &str, indent: usize) -> String {
    let mut words = text.split(' ');
    let mut out = words.next().unwrap_or_default().to_owned();
    let mut column = out.chars().count();
    for word in words {
        let width = word.chars().count();
        if column + 1 + width > columns && column > indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

/// At most `width` characters, the last one an ellipsis where more were there.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_and_lines_are_short() {
        let text = format!("first {}", "word ".repeat(40).trim());
        let lines: Vec<String> = wrapped(&text, 4).lines().map(str::to_owned).collect();
        assert!(lines.iter().all(|line| line.len() <= COLUMNS), "{lines:?}");
        assert!(lines[1].starts_with("    word") && lines.len() == 3, "{lines:?}");
        assert_eq!(lines.join(" ").split_whitespace().collect::<Vec<_>>(), text.split(' ').collect::<Vec<_>>());
        assert!(wrapped_to(40, &text, 4).lines().all(|line| line.len() <= 40));
        assert_eq!(wrapped("  short and  spaced", 2), "  short and  spaced");
        assert_eq!(wrapped(&"x".repeat(100), 2), "x".repeat(100));
    }

    #[test]
    fn what_is_too_long_ends_in_an_ellipsis() {
        assert_eq!((cut("helmet", 6), cut("helmets", 6)), ("helmet".to_owned(), "helme…".to_owned()));
    }
}
