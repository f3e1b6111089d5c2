//! What each step does with one row.

use std::collections::HashMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use comfy_table::{Attribute, Cell, Color, Table};
use logits::{Candidate, Draw, Engine, RowError, Rows, Sampler, Token};

use super::draws::Drawing;
use crate::classes::Classes;
use crate::output::printed;
use crate::table::table;
use crate::{style, text};

const BAR_WIDTH: usize = 24;

/// The least widths, so that one table looks like the next.
const NAME_WIDTH: usize = 12;
const PERCENT_WIDTH: usize = 8;

/// What a row is shown with.
pub struct View<'a> {
    pub engine: Engine,
    /// How messages call the file.
    pub name: &'a str,
    pub classes: &'a Classes,
    /// How many tokens are shown of each step.
    pub top: usize,
    /// Whether logits are changed before all steps.
    pub changes_logits: bool,
}

/// What is left of a row, the most probable first; or why nothing is.
type Left = Result<Vec<Candidate>, RowError>;

pub fn write(
    out: &mut impl Write,
    view: &View<'_>,
    drawing: &Drawing<'_>,
    row: usize,
    logits: &[f32],
) -> Result<()> {
    let draw = drawing.draw(row, 0);
    let refused = || format!("{}: row {row}", view.name);
    let left = |sampler: &Sampler, draw: &Draw<'_>| view.engine.survivors(logits, sampler, draw);

    let nothing = Sampler::default();
    let mut before = match left(&nothing, &Draw::uniform(0.0)).with_context(refused)? {
        Ok(left) => left,
        Err(problem) => return printed(write_problem(out, problem)),
    };
    // Mask, bias and penalties are no steps: they are there before the first.
    let changes = view.changes_logits.then(|| "bias and penalties".to_owned());
    let steps = drawing.sampler.steps().map(|step| drawing.sampler.describe(step));
    let steps = changes.iter().cloned().map(|name| (0, name)).chain((1..).zip(steps));
    let mut are_none = true;
    for (count, name) in steps {
        let left = left(&drawing.sampler.first_steps(count), &draw).with_context(refused)?;
        if let (0, Ok(after)) = (count, &left) {
            highest_first(&mut before, after);
        }
        let Some(after) = printed(write_step(out, view, &name, &before, left))? else { return Ok(()) };
        (before, are_none) = (after, false);
    }
    if are_none {
        printed(write_step(out, view, "no step is on", &before.clone(), Ok(before)))?;
    }

    let mut token = [Ok(Token::default())];
    view.engine
        .sample(Rows::new(logits, logits.len())?, drawing.sampler, &[draw], &mut token)
        .with_context(refused)?;
    if let [Ok(token)] = token {
        let id = token.id as usize;
        let name = format!("{id} {}", view.classes.quoted(id));
        let numbers = format!(
            "log p {} · rank {} · seed {}",
            text::number(token.log_probability),
            token.rank,
            drawing.seed
        );
        printed(writeln!(
            out,
            "{}  {}  {}",
            style::dim("draws"),
            style::bold(name.trim_end()),
            style::dim(&numbers)
        ))?;
    }
    Ok(())
}

/// Puts those first that are probable before a change or after it.
fn highest_first(before: &mut [Candidate], after: &[Candidate]) {
    let after: HashMap<usize, f64> =
        after.iter().map(|candidate| (candidate.class, candidate.log_probability)).collect();
    let height = |candidate: &Candidate| {
        after.get(&candidate.class).map_or(candidate.log_probability, |it| it.max(candidate.log_probability))
    };
    before.sort_by(|a, b| height(b).total_cmp(&height(a)).then(a.class.cmp(&b.class)));
}

fn write_problem(out: &mut impl Write, problem: RowError) -> io::Result<()> {
    writeln!(out, "{}", style::styled(style::ALARM, &problem.to_string()))
}

/// A step and what it leaves, which is the result unless that is nothing.
fn write_step(
    out: &mut impl Write,
    view: &View<'_>,
    step: &str,
    before: &[Candidate],
    left: Left,
) -> io::Result<Option<Vec<Candidate>>> {
    let after = match left {
        Ok(after) => after,
        Err(problem) => {
            writeln!(out, "{}", style::bold(step))?;
            write_problem(out, problem)?;
            return Ok(None);
        }
    };
    let fates = fates(before, &after);
    let dropped: f64 = fates.iter().filter(|fate| fate.is_dropped()).map(|fate| fate.before).sum();
    let (of, left) = (before.len(), after.len());
    let outcome = if of == 1 {
        "the one token stays".into()
    } else if left == of {
        format!("all {of} tokens stay")
    } else {
        let verb = if left == 1 { "stays" } else { "stay" };
        format!("{left} of {of} tokens {verb}, with {} of the probability", text::percent(1.0 - dropped))
    };
    writeln!(out, "{}  {}", style::bold(step), style::dim(&outcome))?;
    write_fates(out, view, &fates)?;
    Ok(Some(after))
}

/// What becomes of a token.
#[derive(Debug, Clone, Copy)]
struct Fate {
    token: usize,
    before: f64,
    /// None if it is dropped.
    after: Option<f64>,
}

impl Fate {
    fn is_dropped(&self) -> bool {
        self.after.is_none()
    }
}

fn fates(before: &[Candidate], after: &[Candidate]) -> Vec<Fate> {
    let after: HashMap<usize, f64> =
        after.iter().map(|candidate| (candidate.class, candidate.log_probability.exp())).collect();
    let fate = |candidate: &Candidate| Fate {
        token: candidate.class,
        before: candidate.log_probability.exp(),
        after: after.get(&candidate.class).copied(),
    };
    before.iter().map(fate).collect()
}

/// Which tokens to show: the first, and if none of these has another fate than the others, those around the first that has.
fn shown(fates: &[Fate], top: usize) -> Vec<usize> {
    let turn = fates.windows(2).position(|two| two[0].is_dropped() != two[1].is_dropped());
    match turn {
        Some(last) if last + 1 >= top => {
            let mut shown: Vec<usize> = (0..top.saturating_sub(3).min(last)).collect();
            shown.extend(last..fates.len().min(last + 3));
            shown
        }
        _ => (0..fates.len().min(top)).collect(),
    }
}

/// The most probable tokens before a step, and after it.
fn write_fates(out: &mut impl Write, view: &View<'_>, fates: &[Fate]) -> io::Result<()> {
    let mut table = table(&["", "token", "", "", "before", "after"], str::is_empty);
    let mut next = 0;
    for index in shown(fates, view.top) {
        add_others(&mut table, &fates[next..index]);
        let fate = fates[index];
        let [mark, token, name, bar, before, after] =
            cells(fate.token.to_string(), view.classes.quoted(fate.token), fate.before, fate.after);
        if fate.is_dropped() {
            table.add_row(dim([mark, token, name, bar, before, after]));
        } else {
            let (name, bar) = (name.add_attribute(Attribute::Bold), bar.fg(Color::DarkGreen));
            table.add_row([mark, token, name, bar, before, after]);
        }
        next = index + 1;
    }
    add_others(&mut table, &fates[next..]);
    writeln!(out, "{}\n", table.trim_fmt())
}

/// A line for tokens that are not shown.
fn add_others(table: &mut Table, others: &[Fate]) {
    if others.is_empty() {
        return;
    }
    let before = others.iter().map(|fate| fate.before).sum();
    let is_dropped = others.iter().all(Fate::is_dropped);
    let after = (!is_dropped).then(|| others.iter().filter_map(|fate| fate.after).sum());
    table.add_row(dim(cells(String::new(), format!("{} others", others.len()), before, after)));
}

fn cells(token: String, name: String, before: f64, after: Option<f64>) -> [Cell; 6] {
    let bar = text::bar(after.unwrap_or(before), BAR_WIDTH);
    let mark = if after.is_none() { "-" } else { "" };
    let percent = |text: String| text::right(&text, PERCENT_WIDTH);
    let (before, after) = (text::percent(before), after.map(text::percent).unwrap_or_default());
    [mark.into(), token, text::left(&name, NAME_WIDTH), bar, percent(before), percent(after)].map(Cell::new)
}

fn dim(cells: [Cell; 6]) -> [Cell; 6] {
    cells.map(|cell| cell.add_attribute(Attribute::Dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_fate_of_tokens_turns_is_shown() {
        let fates = |kept: usize| -> Vec<Fate> {
            (0..100).map(|token| Fate { token, before: 0.01, after: (token < kept).then_some(0.1) }).collect()
        };
        assert_eq!(shown(&fates(4), 10), (0..10).collect::<Vec<_>>());
        assert_eq!(shown(&fates(100), 10), (0..10).collect::<Vec<_>>());
        assert_eq!(shown(&fates(40), 6), [0, 1, 2, 39, 40, 41]);
        assert_eq!(shown(&fates(10), 10), [0, 1, 2, 3, 4, 5, 6, 9, 10, 11]);
        assert_eq!(shown(&fates(99), 5), [0, 1, 98, 99]);
        assert_eq!(shown(&fates(2), 1), [1, 2, 3]);
    }
}
