//! What came of it.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::Plan;
use crate::judge::{Judgement, Outcome};

/// What a mutant came to.
fn state(plan: &Plan, judged: &BTreeMap<String, Judgement>, mutant: usize) -> &'static str {
    if plan.unviable.contains_key(&mutant) {
        return "unviable";
    }
    match judged.get(&plan.mutants[mutant].name).map(|judgement| judgement.outcome) {
        Some(Outcome::Caught) => "caught",
        Some(Outcome::Timeout) => "timeout",
        Some(Outcome::Missed) => "missed",
        Some(Outcome::Unreached) => "unreached",
        None if plan.constant.contains(&mutant) => "constant",
        None => "not judged",
    }
}

/// Of `src/ops/softmax.rs` it is `ops`.
fn directory(file: &str) -> &str {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    inner.split(['/', '.']).next().unwrap_or(inner)
}

/// A table of directories, and the names of those that are not dead.
pub fn print(plan: &Plan, judged: &BTreeMap<String, Judgement>) -> Result<()> {
    const STATES: [&str; 7] =
        ["unviable", "caught", "timeout", "missed", "unreached", "constant", "not judged"];
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (number, mutant) in plan.mutants.iter().enumerate() {
        let state = state(plan, judged, number);
        for of in [directory(&mutant.file), "together"] {
            *counts.entry(of).or_default().entry(state).or_default() += 1;
        }
        if !["unviable", "caught", "timeout"].contains(&state) {
            println!("{state}: {}", mutant.name);
        }
    }
    println!("\n| | mutants | {} | killed of the viable |", STATES.join(" | "));
    println!("|---{}|---|---|", "|---".repeat(STATES.len()));
    for (of, counts) in counts {
        let count = |state| counts.get(state).copied().unwrap_or(0);
        let all: usize = counts.values().sum();
        let killed = count("caught") + count("timeout");
        let share = 100.0 * killed as f64 / (all - count("unviable")).max(1) as f64;
        let columns: Vec<_> = STATES.iter().map(|state| count(state).to_string()).collect();
        println!("| {of} | {all} | {} | {share:.1} % |", columns.join(" | "));
    }
    Ok(())
}
