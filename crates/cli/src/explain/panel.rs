//! One row in full.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::View;
use super::numbers::{Distribution, RowNumbers, top};
use crate::array::title_of_row;
use crate::{style, text};

const BAR_WIDTH: usize = 24;

/// Columns of the table ahead of those for the temperatures.
const CLASS: usize = 0;
const BAR: usize = 3;

pub fn write(
    out: &mut impl Write,
    view: &View<'_>,
    row: usize,
    logits: &[f32],
    numbers: &RowNumbers,
) -> io::Result<()> {
    writeln!(out, "{}", style::bold(&title_of_row(view.name, row, view.rows, logits.len())))?;
    match numbers.condition.complaint() {
        Some(complaint) => writeln!(out, "{}\n", style::styled(style::ALARM, &complaint)),
        None => writeln!(out, "{}\n", table(view, logits, &numbers.distributions).trim_fmt()),
    }
}

fn table(view: &View<'_>, logits: &[f32], distributions: &[Distribution]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .enforce_styling();
    table.set_header(
        ["class", "", "logit", "probability"]
            .into_iter()
            .map(|title| Cell::new(title).add_attribute(Attribute::Dim))
            .chain(view.temperatures.iter().enumerate().map(|(index, temperature)| {
                emphasised(Cell::new(format!("T = {temperature}")), index == view.base)
            })),
    );

    let best = top(logits, view.top);
    for &class in &best {
        let bar = text::bar(distributions[view.base].probability(class), BAR_WIDTH);
        let mut cells = vec![
            Cell::new(class),
            Cell::new(view.classes.quoted(class)).add_attribute(Attribute::Bold),
            Cell::new(format!("{:.3}", logits[class])),
            Cell::new(bar).fg(Color::DarkGreen),
        ];
        cells.extend(side_by_side(view, distributions, |it| text::percent(it.probability(class))));
        table.add_row(cells);
    }
    let others = logits.len() - best.len();
    if others > 0 {
        let bar = text::bar(distributions[view.base].rest(&best), BAR_WIDTH);
        let mut cells =
            vec![Cell::new(""), Cell::new(format!("{others} others")), Cell::new(""), Cell::new(bar)];
        cells.extend(side_by_side(view, distributions, |it| text::percent(it.rest(&best))));
        table.add_row(cells.into_iter().map(|cell| cell.add_attribute(Attribute::Dim)));
    }

    table.add_row([""]);
    let mut derived = |name: &str, value: &dyn Fn(&Distribution) -> String| {
        let mut cells = vec![Cell::new(""), Cell::new(""), Cell::new(""), Cell::new(name)];
        cells.extend(side_by_side(view, distributions, value));
        table.add_row(cells);
    };
    derived("confidence", &|it| text::percent(it.confidence));
    derived("logsumexp of x/T", &|it| it.logsumexp.map_or("-".into(), text::number));
    derived("entropy (nats)", &|it| text::number(it.entropy));
    derived("perplexity", &|it| text::number(it.perplexity()));

    for (index, column) in table.column_iter_mut().enumerate() {
        let to_the_left = index == BAR || index == CLASS + 1;
        column.set_cell_alignment(if to_the_left { CellAlignment::Left } else { CellAlignment::Right });
    }
    table
}

/// A value for each temperature.
fn side_by_side<'a>(
    view: &View<'_>,
    distributions: &'a [Distribution],
    value: impl Fn(&Distribution) -> String + 'a,
) -> impl Iterator<Item = Cell> + 'a {
    let base = view.base;
    distributions.iter().enumerate().map(move |(index, it)| emphasised(Cell::new(value(it)), index == base))
}

fn emphasised(cell: Cell, emphasis: bool) -> Cell {
    if emphasis { cell.add_attribute(Attribute::Bold) } else { cell }
}
