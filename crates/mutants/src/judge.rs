//! Every mutant against the tests that pass it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::tests::{End, Test};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    Caught,
    Timeout,
    Missed,
    /// No test passes it.
    Unreached,
}

/// One line of the results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judgement {
    pub mutant: String,
    pub outcome: Outcome,
    /// The test that caught it.
    pub by: Option<String>,
}

/// What is known already: of several lines the last one counts.
pub fn read(path: &Path) -> Result<BTreeMap<String, Judgement>> {
    let mut judgements = BTreeMap::new();
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        // The last line may have been cut off.
        let Ok(judgement) = serde_json::from_str::<Judgement>(line) else { continue };
        judgements.insert(judgement.mutant.clone(), judgement);
    }
    Ok(judgements)
}

/// A place where mutants are judged, and what has been learnt of the tests.
pub struct Judge<'a> {
    copy: &'a Path,
    tests: &'a [Test],
    /// By site.
    reaching: HashMap<usize, Vec<usize>>,
    /// How often each test was run, and how often it caught a mutant.
    runs: Vec<(f64, f64)>,
    results: File,
}

impl<'a> Judge<'a> {
    pub fn new(copy: &'a Path, tests: &'a [Test], results: &Path) -> Result<Self> {
        let mut reaching: HashMap<usize, Vec<usize>> = HashMap::new();
        for (i, test) in tests.iter().enumerate() {
            for &site in &test.sites {
                reaching.entry(site).or_default().push(i);
            }
        }
        let results = OpenOptions::new().create(true).append(true).open(results)?;
        Ok(Self { copy, tests, reaching, runs: vec![(0.0, 0.0); tests.len()], results })
    }

    /// Runs tests, first those that are likely to catch it soon, until one does.
    pub fn judge(&mut self, mutant: &str, site: usize, variant: usize) -> Result<Outcome> {
        let mut order = self.reaching.get(&site).cloned().unwrap_or_default();
        let cost =
            |&i: &usize| self.tests[i].seconds.max(0.01) * (self.runs[i].0 + 1.0) / (self.runs[i].1 + 1.0);
        order.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        let mut outcome = if order.is_empty() { Outcome::Unreached } else { Outcome::Missed };
        let mut by = None;
        for i in order {
            let test = &self.tests[i];
            let limit = Duration::from_secs_f64(5.0 + 10.0 * test.seconds);
            let end = test.run(self.copy, ("MUTANT", &format!("{site}:{variant}")), limit)?;
            self.runs[i].0 += 1.0;
            if end != End::Good {
                self.runs[i].1 += 1.0;
                outcome = if end == End::Failed { Outcome::Caught } else { Outcome::Timeout };
                by = Some(test.label());
                break;
            }
        }
        let judgement = Judgement { mutant: mutant.to_owned(), outcome, by };
        writeln!(self.results, "{}", serde_json::to_string(&judgement)?)?;
        Ok(outcome)
    }
}
