//! What came of it.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::Plan;
use crate::judge::{Judgement, Outcome};

/// What can come of a mutant: of one that is in several works, what is earliest here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Unviable,
    Caught,
    Timeout,
    Missed,
    Unreached,
    Constant,
    NotJudged,
}

impl State {
    const NAMES: [&str; 7] =
        ["unviable", "caught", "timeout", "missed", "unreached", "constant", "not judged"];

    fn of(plan: &Plan, judged: &BTreeMap<String, Judgement>, mutant: usize) -> Self {
        if plan.unviable.contains_key(&mutant) {
            return State::Unviable;
        }
        match judged.get(&plan.mutants[mutant].name).map(|judgement| judgement.outcome) {
            Some(Outcome::Caught) => State::Caught,
            Some(Outcome::Timeout) => State::Timeout,
            Some(Outcome::Missed) => State::Missed,
            Some(Outcome::Unreached) => State::Unreached,
            None if plan.constant.contains(&mutant) => State::Constant,
            None => State::NotJudged,
        }
    }
}

/// Of `src/ops/softmax.rs` it is `ops`.
fn directory(file: &str) -> &str {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    inner.split(['/', '.']).next().unwrap_or(inner)
}

/// A table of directories, and the names of those that are not dead. One that is in several works counts once.
pub fn print(works: &[(Plan, BTreeMap<String, Judgement>)]) -> Result<()> {
    let mut states: BTreeMap<&str, (&str, State)> = BTreeMap::new();
    for (plan, judged) in works {
        for (number, mutant) in plan.mutants.iter().enumerate() {
            let state = State::of(plan, judged, number);
            let known = states.entry(&mutant.name).or_insert((&mutant.file, state));
            known.1 = known.1.min(state);
        }
    }
    let mut counts: BTreeMap<&str, [usize; State::NAMES.len()]> = BTreeMap::new();
    for (mutant, (file, state)) in states {
        for of in [directory(file), "together"] {
            counts.entry(of).or_default()[state as usize] += 1;
        }
        if state > State::Timeout {
            println!("{}: {mutant}", State::NAMES[state as usize]);
        }
    }
    println!("\n| | mutants | {} | killed of the viable |", State::NAMES.join(" | "));
    println!("|---{}|---|---|", "|---".repeat(State::NAMES.len()));
    for (of, counts) in counts {
        let all: usize = counts.iter().sum();
        let killed = counts[State::Caught as usize] + counts[State::Timeout as usize];
        let share = 100.0 * killed as f64 / (all - counts[State::Unviable as usize]).max(1) as f64;
        let columns: Vec<_> = counts.iter().map(usize::to_string).collect();
        println!("| {of} | {all} | {} | {share:.1} % |", columns.join(" | "));
    }
    Ok(())
}
