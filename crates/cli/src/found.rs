//! Rows that may surprise.

/// How many rows there are of a kind, and where the first is: row, and column where that is known.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    rows: usize,
    first: Option<(usize, Option<usize>)>,
}

impl Found {
    pub fn add(&mut self, row: usize, col: Option<usize>) {
        self.rows += 1;
        self.first.get_or_insert((row, col));
    }

    /// `what` those of `rows` rows have, if there are any.
    pub fn describe(&self, rows: usize, what: &str) -> Option<String> {
        let (row, col) = self.first?;
        let verb = if self.rows == 1 { "has" } else { "have" };
        let column = col.map(|col| format!(", column {col}")).unwrap_or_default();
        Some(format!("{} of {rows} rows {verb} {what} (first: row {row}{column})", self.rows))
    }
}
