//! Statistics as a table, as CSV and as JSON.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, Write};

use comfy_table::{Attribute, Cell};
use serde::{Serialize, Serializer};

use super::values::Value;
use crate::output::csv_error;
use crate::table::table;
use crate::{style, text};

/// Where rows go, one by one.
pub trait Report {
    fn add(&mut self, values: &[Value<'_>]) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

type Names = Vec<Cow<'static, str>>;

/// The first rows, and if there are more a summary of all.
pub struct Table<W> {
    out: W,
    title: String,
    names: Names,
    shown: Vec<Vec<String>>,
    summary: Vec<Summary>,
    rows: usize,
}

/// The numbers of a column.
#[derive(Clone, Copy)]
struct Summary {
    count: usize,
    sum: f64,
    min: f64,
    max: f64,
}

impl<W: Write> Table<W> {
    /// How many rows are shown.
    const ROWS: usize = 10;

    pub fn new(out: W, title: String, names: Names) -> Self {
        let summary = vec![Summary::NOTHING; names.len()];
        Self { out, title, names, shown: Vec::new(), summary, rows: 0 }
    }
}

impl Summary {
    const NOTHING: Self = Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };

    fn add(&mut self, number: f64) {
        if !number.is_nan() {
            self.count += 1;
            self.sum += number;
            self.min = self.min.min(number);
            self.max = self.max.max(number);
        }
    }

    /// Mean, minimum and maximum.
    fn numbers(&self) -> [f64; 3] {
        [self.sum / self.count as f64, self.min, self.max]
    }
}

impl<W: Write> Report for Table<W> {
    fn add(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        for (summary, value) in self.summary.iter_mut().zip(values) {
            match *value {
                Value::Single(number) => summary.add(number.into()),
                Value::Number(number) => summary.add(number),
                Value::Count(count) => summary.add(count as f64),
                Value::Id(_) | Value::Name(_) | Value::Nothing => {}
            }
        }
        if self.rows < Self::ROWS {
            self.shown.push(values.iter().map(Value::to_string).collect());
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let titles: Vec<&str> = self
            .names
            .iter()
            .map(|name| match &**name {
                name if name.ends_with("_name") => "",
                name if name.ends_with("log_probability") => "log p",
                name => name,
            })
            .collect();
        let mut table = table(&titles, str::is_empty);
        table.add_rows(&self.shown);
        if self.rows > self.shown.len() {
            table.add_row(["…"]);
            for (index, label) in ["mean", "min", "max"].into_iter().enumerate() {
                let number = |summary: &Summary| match summary.count {
                    0 => String::new(),
                    _ => text::number(summary.numbers()[index]),
                };
                let numbers = self.summary[1..].iter().map(|summary| Cell::new(number(summary)));
                let label = Cell::new(label).add_attribute(Attribute::Dim);
                table.add_row(std::iter::once(label).chain(numbers));
            }
        }
        writeln!(self.out, "{}\n{}", style::bold(&self.title), table.trim_fmt())?;
        self.out.flush()
    }
}

/// As people read it.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Id(id) => write!(f, "{id}"),
            Value::Name(name) => write!(f, "{name:?}"),
            Value::Single(number) => f.write_str(&text::number((*number).into())),
            Value::Number(number) => f.write_str(&text::number(*number)),
            Value::Count(count) => write!(f, "{count}"),
            Value::Nothing => Ok(()),
        }
    }
}

/// One line a row.
pub struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    pub fn new(out: W, names: &Names) -> io::Result<Self> {
        let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
        csv.write_record(names.iter().map(|name| name.as_bytes())).map_err(csv_error)?;
        Ok(Self(csv))
    }
}

impl<W: Write> Report for Csv<W> {
    fn add(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        self.0.serialize(values).map_err(csv_error)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// One array, and yet one line a row, so that it can be written as it comes.
pub struct Json<W: Write> {
    out: BufWriter<W>,
    names: Names,
    is_first: bool,
}

impl<W: Write> Json<W> {
    pub fn new(out: W, names: Names) -> io::Result<Self> {
        let mut out = BufWriter::new(out);
        out.write_all(b"[")?;
        Ok(Self { out, names, is_first: true })
    }
}

struct Line<'a> {
    names: &'a Names,
    values: &'a [Value<'a>],
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names.iter().zip(self.values))
    }
}

impl<W: Write> Report for Json<W> {
    fn add(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        self.out.write_all(if self.is_first { b"\n" } else { b",\n" })?;
        self.is_first = false;
        Ok(serde_json::to_writer(&mut self.out, &Line { names: &self.names, values })?)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n]\n")?;
        self.out.flush()
    }
}
