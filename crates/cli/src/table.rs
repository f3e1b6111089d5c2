//! Tables for people.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

/// A table without lines: names to the left, numbers to the right.
pub fn table<T: AsRef<str>>(titles: &[T], is_name: impl Fn(&str) -> bool) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .enforce_styling();
    table.set_header(titles.iter().map(|title| Cell::new(title.as_ref()).add_attribute(Attribute::Dim)));
    for (column, title) in table.column_iter_mut().zip(titles) {
        let alignment = if is_name(title.as_ref()) { CellAlignment::Left } else { CellAlignment::Right };
        column.set_cell_alignment(alignment);
    }
    table
}
