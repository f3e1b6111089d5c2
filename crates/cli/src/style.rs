//! Styled text. The styles are always written; the stream drops them where they are not wanted.

use anstyle::{AnsiColor, Effects, Style};

pub const BOLD: Style = Style::new().effects(Effects::BOLD);
pub const DIM: Style = Style::new().effects(Effects::DIMMED);
pub const BAR: Style = AnsiColor::Green.on_default();
pub const ALARM: Style = AnsiColor::Yellow.on_default();

pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

pub fn bold(text: &str) -> String {
    styled(BOLD, text)
}

pub fn dim(text: &str) -> String {
    styled(DIM, text)
}
