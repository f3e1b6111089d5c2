//! Every row in one line. The columns have fixed widths, so that a line can be written as soon as its row is read.

use std::io::{self, Write};

use super::View;
use super::numbers::{RowNumbers, top};
use crate::{style, text};

const CLASS: usize = 12;
const BAR: usize = 10;
const PERCENT: usize = 9;
const LOGSUMEXP: usize = 9;
const ENTROPY: usize = 9;
const PERPLEXITY: usize = 10;

/// The width of the row numbers.
fn row_width(view: &View<'_>) -> usize {
    (view.rows - 1).to_string().len().max("row".len())
}

pub fn write_head(out: &mut impl Write, view: &View<'_>) -> io::Result<()> {
    let rows = if view.rows == 1 { "1 row".into() } else { format!("{} rows", view.rows) };
    writeln!(out, "{}", style::bold(&format!("{} · {rows}", text::printable(view.name))))?;
    let mut head = format!(
        "{}  {} {}",
        text::right("row", row_width(view)),
        text::left("class", CLASS),
        text::left("confidence", BAR)
    );
    for temperature in view.temperatures {
        head += &text::right(&format!("T = {temperature}"), PERCENT);
    }
    head += &format!(
        "  {}{}{}{}",
        text::left("runner-up", CLASS),
        text::right("logsumexp", LOGSUMEXP),
        text::right("entropy", ENTROPY),
        text::right("perplexity", PERPLEXITY + 1)
    );
    writeln!(out, "{}", style::dim(&head))
}

pub fn write_row(
    out: &mut impl Write,
    view: &View<'_>,
    row: usize,
    logits: &[f32],
    numbers: &RowNumbers,
) -> io::Result<()> {
    write!(out, "{}  ", text::right(&row.to_string(), row_width(view)))?;
    if let Some(complaint) = numbers.condition.complaint() {
        return writeln!(out, "{}", style::styled(style::ALARM, &complaint));
    }
    let best = top(logits, 2);
    let class = |class: usize| {
        let name = view.classes.quoted(class);
        text::left(&if name.is_empty() { class.to_string() } else { format!("{class} {name}") }, CLASS)
    };
    let base = &numbers.distributions[view.base];
    let bar = style::styled(style::BAR, &text::bar(base.confidence, BAR));
    write!(out, "{} {bar}", style::bold(&class(best[0])))?;
    for distribution in &numbers.distributions {
        write!(out, "{}", text::right(&text::percent(distribution.confidence), PERCENT))?;
    }
    let runner_up = best.get(1).map_or_else(|| " ".repeat(CLASS), |&second| class(second));
    write!(out, "  {}", style::dim(&runner_up))?;
    let derived = [
        (base.logsumexp.map_or("-".into(), text::number), LOGSUMEXP),
        (text::number(base.entropy), ENTROPY),
        (text::number(base.perplexity()), PERPLEXITY + 1),
    ];
    for (value, width) in derived {
        write!(out, "{}", text::right(&value, width))?;
    }
    writeln!(out)
}
