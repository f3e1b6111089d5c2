//! Numbers, names and bars as text.

use unicode_width::UnicodeWidthStr;

/// Spaces that make `text` `width` columns wide.
fn filling(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(text.width()))
}

/// `text` and spaces behind it.
pub fn left(text: &str, width: usize) -> String {
    format!("{text}{}", filling(text, width))
}

/// `text` and spaces ahead of it.
pub fn right(text: &str, width: usize) -> String {
    format!("{}{text}", filling(text, width))
}

/// `text` without what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(
            |character| {
                if character.is_control() { character.escape_default().to_string() } else { character.into() }
            },
        )
        .collect()
}

/// A bar as long as `fraction` of `width` columns, in eighths, and spaces behind it.
pub fn bar(fraction: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (fraction.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    left(&format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]), width)
}

/// A probability, which is 0 or 100% only where it is exactly that.
pub fn percent(probability: f64) -> String {
    let percent = probability * 100.0;
    if probability == 0.0 {
        "0".into()
    } else if percent < 0.01 {
        format!("{percent:.1e}%")
    } else if percent > 99.99 && probability < 1.0 {
        ">99.99%".into()
    } else {
        format!("{percent:.2}%")
    }
}

/// A number of any size in few characters.
pub fn number(value: f64) -> String {
    decimals(value, 4)
}

/// The same with so many decimals.
pub fn decimals(value: f64, places: usize) -> String {
    let size = value.abs();
    let unit = 10_f64.powi(places as i32);
    if size == 0.0 || !size.is_finite() {
        format!("{}", value + 0.0) // -0 is 0
    } else if (10.0 / unit..10.0 * unit).contains(&size) {
        format!("{value:.places$}")
    } else {
        format!("{value:.*e}", (places - 1).min(4))
    }
}

/// A number that is often a whole one, and then without decimals.
pub fn whole(value: f64, places: usize) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { decimals(value, places) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_count_eighths() {
        assert_eq!(bar(1.0, 3), "███");
        assert_eq!(bar(0.5, 3), "█▌ ");
        assert_eq!(bar(0.0, 3), "   ");
        assert_eq!(bar(f64::NAN, 1), " ");
    }

    #[test]
    fn certainty_is_not_rounded_to() {
        assert_eq!(percent(0.9999999), ">99.99%");
        assert_eq!((percent(1.0), percent(0.0)), ("100.00%".into(), "0".into()));
        assert_eq!((percent(0.5), percent(3e-7)), ("50.00%".into(), "3.0e-5%".into()));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(left("疗", 4), "疗  ");
        assert_eq!(right("o", 2), " o");
    }

    #[test]
    fn numbers_of_any_size() {
        assert_eq!(
            (number(-0.0), number(1.5), number(1e-9)),
            ("0".into(), "1.5000".into(), "1.000e-9".into())
        );
        assert_eq!((number(f64::INFINITY), number(-123456.0)), ("inf".into(), "-1.235e5".into()));
        assert_eq!((whole(824.0, 6), whole(0.5, 6)), ("824".into(), "0.500000".into()));
        assert_eq!((decimals(1e-5, 6), decimals(9e-6, 6)), ("0.000010".into(), "9.0000e-6".into()));
    }

    #[test]
    fn escape_sequences_lose_their_power() {
        assert_eq!(printable("a\x1b[2Jb"), "a\\u{1b}[2Jb");
    }
}
