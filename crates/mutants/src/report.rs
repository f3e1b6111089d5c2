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

/// What can come of a mutant: of one that is in several works, what is earliest here.
const STATES: [&str; 7] = ["unviable", "caught", "timeout", "missed", "unreached", "constant", "not judged"];

/// A table of directories, and the names of those that are not dead. One that is in several works counts once.
pub fn print(works: &[(Plan, BTreeMap<String, Judgement>)]) -> Result<()> {
    let mut states: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (plan, judged) in works {
        for (number, mutant) in plan.mutants.iter().enumerate() {
            let state = state(plan, judged, number);
            let rank = STATES.iter().position(|&of| of == state).expect("a state");
            let known = states.entry(&mutant.name).or_insert((&mutant.file, rank));
            known.1 = known.1.min(rank);
        }
    }
    let mut counts: BTreeMap<&str, [usize; STATES.len()]> = BTreeMap::new();
    for (mutant, (file, state)) in states {
        for of in [directory(file), "together"] {
            counts.entry(of).or_default()[state] += 1;
        }
        if !["unviable", "caught", "timeout"].contains(&STATES[state]) {
            println!("{}: {mutant}", STATES[state]);
        }
    }
    println!("\n| | mutants | {} | killed of the viable |", STATES.join(" | "));
    println!("|---{}|---|---|", "|---".repeat(STATES.len()));
    for (of, counts) in counts {
        let of_state = |state: &str| counts[STATES.iter().position(|&of| of == state).expect("a state")];
        let all: usize = counts.iter().sum();
        let killed = of_state("caught") + of_state("timeout");
        let share = 100.0 * killed as f64 / (all - of_state("unviable")).max(1) as f64;
        let columns: Vec<_> = counts.iter().map(usize::to_string).collect();
        println!("| {of} | {all} | {} | {share:.1} % |", columns.join(" | "));
    }
    Ok(())
}
