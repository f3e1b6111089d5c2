//! A line for each token.

use logits::Token;

use super::draws::Drawn;
use crate::classes::Classes;
use crate::report::{Names, PROBLEM, Value, push_candidate_names, push_candidates};

/// What such a line has.
pub struct Columns<'c> {
    pub classes: &'c Classes,
    /// How many of the most probable tokens are named.
    pub top: usize,
}

impl<'c> Columns<'c> {
    /// The columns as files name them.
    pub fn names(&self) -> Names {
        let mut names = vec!["row".into(), "position".into()];
        self.classes.push(&mut names, "token".into(), "token_name".into());
        names.extend(["log_probability", "rank", PROBLEM].map(Into::into));
        push_candidate_names(&mut names, self.classes, self.top);
        names
    }

    /// What stands in these columns.
    pub fn values(&self, drawn: &Drawn<'_>) -> Vec<Value<'c>> {
        let mut values = vec![Value::Id(drawn.row as i64)];
        match drawn.token {
            Ok(Token { id, log_probability, rank, .. }) => {
                values.push(Value::Id(drawn.position as i64));
                let name = Value::name(self.classes, id as usize);
                self.classes.push(&mut values, Value::Id(id.into()), name);
                values.extend([Value::Number(log_probability), Value::Count(rank), Value::Nothing]);
                push_candidates(&mut values, self.classes, drawn.top);
            }
            Err(problem) => {
                values.push(Value::Nothing);
                self.classes.push(&mut values, Value::Nothing, Value::Nothing);
                values.extend([Value::Nothing, Value::Nothing, Value::Problem(problem)]);
                for _ in drawn.top {
                    self.classes.push(&mut values, Value::Nothing, Value::Nothing);
                    values.push(Value::Nothing);
                }
            }
        }
        values
    }
}
