//! Rows of values as a table, as CSV and as JSON.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{Attribute, Cell};
use logits::{Candidate, RowError};
use serde::{Serialize, Serializer};

use crate::classes::Classes;
use crate::output::{csv_error, printed};
use crate::table::table;
use crate::{style, text};

/// Where rows go, one by one.
pub trait Report {
    fn add(&mut self, values: &[Value<'_>]) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

/// What columns are called in files.
pub type Names = Vec<Cow<'static, str>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The first rows, and what all have on average and at most
    Table,
    /// One line a row
    Csv,
    /// One array, one line a row
    Json,
}

impl Format {
    /// A report of so many rows that begin now, below this title where it is for people.
    pub fn report(self, title: String, names: Names) -> Result<Box<dyn Report>> {
        Ok(match self {
            Self::Table => Box::new(Table::new(anstream::stdout().lock(), title, names)),
            Self::Csv => Box::new(printed(Csv::new(io::stdout().lock(), &names))?),
            Self::Json => Box::new(printed(Json::new(io::stdout().lock(), names))?),
        })
    }

    /// Whether nothing shows how far a run has come; lines on a terminal do.
    pub fn is_silent(self) -> bool {
        self == Self::Table || !io::stdout().is_terminal()
    }
}

/// What stands in one column of a row.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// A row, or a class.
    Id(i64),
    Name(&'a str),
    Single(f32),
    Number(f64),
    Count(usize),
    /// Why there is nothing else.
    Problem(#[serde(serialize_with = "as_text")] RowError),
    Nothing,
}

fn as_text<S: Serializer>(problem: &RowError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(problem)
}

/// The columns for so many of the most probable classes.
pub fn push_candidate_names(names: &mut Names, classes: &Classes, top: usize) {
    for place in 1..=top {
        classes.push(names, format!("top{place}").into(), format!("top{place}_name").into());
        names.push(format!("top{place}_log_probability").into());
    }
}

/// What stands in these columns.
pub fn push_candidates<'a>(values: &mut Vec<Value<'a>>, classes: &'a Classes, top: &[Candidate]) {
    for candidate in top {
        classes.push(values, Value::Id(candidate.class as i64), Value::name(classes, candidate.class));
        values.push(Value::Number(candidate.log_probability));
    }
}

/// The column that says what is wrong with a row.
pub const PROBLEM: &str = "error";

/// The first rows, and if there are more a summary of all.
struct Table<W> {
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

    fn new(out: W, title: String, names: Names) -> Self {
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
                Value::Id(_) | Value::Name(_) | Value::Problem(_) | Value::Nothing => {}
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
                name if name.ends_with("_name") || name == PROBLEM => "",
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

impl<'a> Value<'a> {
    /// The name of a class, if classes have names.
    pub fn name(classes: &'a Classes, class: usize) -> Self {
        classes.name(class).map_or(Self::Nothing, Self::Name)
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
            Value::Problem(problem) => write!(f, "{problem}"),
            Value::Nothing => Ok(()),
        }
    }
}

/// One line a row.
struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    fn new(out: W, names: &Names) -> io::Result<Self> {
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
struct Json<W: Write> {
    out: BufWriter<W>,
    names: Names,
    is_first: bool,
}

impl<W: Write> Json<W> {
    fn new(out: W, names: Names) -> io::Result<Self> {
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
