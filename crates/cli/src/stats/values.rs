//! What is said of a row, in one order for every format.

use std::borrow::Cow;

use logits::{Candidate, RowStatistics};
use serde::Serialize;

use crate::classes::Classes;

/// What is to be said of every row.
pub struct Columns {
    pub classes: Classes,
    pub has_targets: bool,
    /// How many of the most probable classes are named.
    pub top: usize,
}

/// A row, and what is known of it.
pub struct Record<'a> {
    pub row: usize,
    pub statistics: &'a RowStatistics,
    /// None where there are no targets.
    pub target: Option<i64>,
    pub top: &'a [Candidate],
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
    Nothing,
}

impl Columns {
    /// The columns as files name them.
    pub fn names(&self) -> Vec<Cow<'static, str>> {
        let mut names = vec!["row".into(), "max".into()];
        self.push_class(&mut names, "argmax".into(), "argmax_name".into());
        names.extend(["logsumexp", "entropy", "varentropy", "perplexity"].map(Cow::Borrowed));
        if self.has_targets {
            self.push_class(&mut names, "target".into(), "target_name".into());
            names.extend(["log_probability", "rank"].map(Cow::Borrowed));
        }
        for place in 1..=self.top {
            self.push_class(&mut names, format!("top{place}").into(), format!("top{place}_name").into());
            names.push(format!("top{place}_log_probability").into());
        }
        names
    }

    /// What stands in these columns.
    pub fn values<'a>(&'a self, record: &Record<'_>) -> Vec<Value<'a>> {
        let statistics = record.statistics;
        let name = |class: usize| self.classes.name(class).map_or(Value::Nothing, Value::Name);
        let mut values = vec![Value::Id(record.row as i64), Value::Single(statistics.max)];
        self.push_class(&mut values, Value::Id(statistics.argmax as i64), name(statistics.argmax));
        let numbers =
            [statistics.logsumexp, statistics.entropy, statistics.varentropy, statistics.entropy.exp()];
        values.extend(numbers.map(Value::Number));
        if let Some(target) = record.target {
            // What is ignored is no class.
            let target_name = statistics.chosen.map_or(Value::Nothing, |_| name(target as usize));
            self.push_class(&mut values, Value::Id(target), target_name);
            values.extend(match statistics.chosen {
                Some(chosen) => [Value::Number(chosen.log_probability), Value::Count(chosen.rank)],
                None => [Value::Nothing; 2],
            });
        }
        for candidate in record.top {
            self.push_class(&mut values, Value::Id(candidate.class as i64), name(candidate.class));
            values.push(Value::Number(candidate.log_probability));
        }
        values
    }

    /// A class, and its name if classes have names.
    fn push_class<T>(&self, columns: &mut Vec<T>, class: T, name: T) {
        columns.push(class);
        if self.classes.are_named() {
            columns.push(name);
        }
    }
}
