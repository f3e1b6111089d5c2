//! The names of the classes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The names of all classes, or none at all.
pub struct Classes(Option<Vec<String>>);

impl Classes {
    pub fn unnamed() -> Self {
        Self(None)
    }

    /// Reads one name a line, for an array called `array` with `cols` columns.
    pub fn read(path: &Path, cols: usize, array: &str) -> Result<Self> {
        let file = path.display();
        let text = fs::read_to_string(path).with_context(|| file.to_string())?;
        let names = parse(&text);
        ensure!(
            names.len() == cols,
            "{file}: holds {} names, but the rows of {array} have {cols} columns",
            names.len()
        );
        Ok(Self(Some(names)))
    }

    fn are_named(&self) -> bool {
        self.0.is_some()
    }

    /// The name of `class`, as it stands in the file.
    pub fn name(&self, class: usize) -> Option<&str> {
        self.0.as_ref().map(|names| names[class].as_str())
    }

    /// Appends a class, and its name if classes have names.
    pub fn push<T>(&self, columns: &mut Vec<T>, class: T, name: T) {
        columns.push(class);
        if self.are_named() {
            columns.push(name);
        }
    }

    /// The name of `class` in quotes, so that a space shows; the terminal is not at the mercy of the file.
    pub fn quoted(&self, class: usize) -> String {
        self.name(class).map(|name| format!("{name:?}")).unwrap_or_default()
    }
}

/// A line is a name as it stands, were it a single space. What follows the last line feed is a name unless it is empty.
fn parse(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_line_untrimmed() {
        assert_eq!(parse("a\n \n\n "), ["a", " ", "", " "]);
        assert_eq!(parse("a\r\nb\n"), ["a", "b"]);
        assert_eq!(parse("\u{feff}a"), ["a"]);
        assert!(parse("").is_empty());
    }
}
