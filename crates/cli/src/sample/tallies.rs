//! Which tokens were drawn most often, a line for each row.

use std::collections::BTreeMap;

use logits::RowError;

use super::draws::Drawn;
use crate::classes::Classes;
use crate::report::{Names, PROBLEM, Value};

/// What such a line has.
pub struct Tallies<'c> {
    pub classes: &'c Classes,
    /// How many tokens are named.
    pub most: usize,
}

/// The tokens of one row.
#[derive(Default)]
pub struct Tally {
    of: BTreeMap<u32, usize>,
    draws: usize,
    problem: Option<RowError>,
}

impl Tally {
    pub fn add(&mut self, drawn: &Drawn<'_>) {
        match drawn.token {
            Ok(token) => {
                *self.of.entry(token.id).or_default() += 1;
                self.draws += 1;
            }
            Err(problem) => self.problem = Some(problem),
        }
    }
}

impl<'c> Tallies<'c> {
    /// The columns.
    pub fn names(&self) -> Names {
        let mut names = vec!["row".into(), "different".into()];
        for place in 1..=self.most {
            let title = if place == 1 { "most drawn".into() } else { format!("{place}.") };
            self.classes.push(&mut names, title.into(), "_name".into());
            names.push("share".into());
        }
        names.push(PROBLEM.into());
        names
    }

    /// What stands in these columns.
    pub fn values(&self, row: usize, tally: &Tally) -> Vec<Value<'c>> {
        let mut values = vec![Value::Id(row as i64)];
        values.push(if tally.problem.is_some() { Value::Nothing } else { Value::Count(tally.of.len()) });
        let mut counts: Vec<(u32, usize)> = tally.of.iter().map(|(&token, &count)| (token, count)).collect();
        // Of equal counts the lowest token stays first.
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        for place in 0..self.most {
            match counts.get(place) {
                None => {
                    self.classes.push(&mut values, Value::Nothing, Value::Nothing);
                    values.push(Value::Nothing);
                }
                Some(&(token, count)) => {
                    let name = Value::name(self.classes, token as usize);
                    self.classes.push(&mut values, Value::Id(token.into()), name);
                    values.push(Value::Number(count as f64 / tally.draws as f64));
                }
            }
        }
        values.push(tally.problem.map_or(Value::Nothing, Value::Problem));
        values
    }
}
