//! What is said of a row, in one order for every format.

use std::borrow::Cow;

use logits::{Candidate, RowStatistics};

use crate::classes::Classes;
use crate::report::{Names, Value, push_candidate_names, push_candidates};

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

impl Columns {
    /// The columns as files name them.
    pub fn names(&self) -> Names {
        let mut names = vec!["row".into(), "max".into()];
        self.classes.push(&mut names, "argmax".into(), "argmax_name".into());
        names.extend(["logsumexp", "entropy", "varentropy", "perplexity"].map(Cow::Borrowed));
        if self.has_targets {
            self.classes.push(&mut names, "target".into(), "target_name".into());
            names.extend(["log_probability", "rank"].map(Cow::Borrowed));
        }
        push_candidate_names(&mut names, &self.classes, self.top);
        names
    }

    /// What stands in these columns.
    pub fn values<'a>(&'a self, record: &Record<'_>) -> Vec<Value<'a>> {
        let statistics = record.statistics;
        let name = |class: usize| Value::name(&self.classes, class);
        let mut values = vec![Value::Id(record.row as i64), Value::Single(statistics.max)];
        self.classes.push(&mut values, Value::Id(statistics.argmax as i64), name(statistics.argmax));
        let numbers =
            [statistics.logsumexp, statistics.entropy, statistics.varentropy, statistics.entropy.exp()];
        values.extend(numbers.map(Value::Number));
        if let Some(target) = record.target {
            // What is ignored is no class.
            let target_name = statistics.chosen.map_or(Value::Nothing, |_| name(target as usize));
            self.classes.push(&mut values, Value::Id(target), target_name);
            values.extend(match statistics.chosen {
                Some(chosen) => [Value::Number(chosen.log_probability), Value::Count(chosen.rank)],
                None => [Value::Nothing; 2],
            });
        }
        push_candidates(&mut values, &self.classes, record.top);
        values
    }
}
