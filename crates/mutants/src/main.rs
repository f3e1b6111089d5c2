//! Mutation testing with one build. See README.md.

mod copy;
#[cfg(test)]
mod insertion;
mod judge;
mod list;
mod report;
mod sites;
mod splice;
mod tests;
mod twins;
mod viable;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::judge::{Judge, Outcome};
use crate::list::Mutant;
use crate::sites::Site;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    /// The repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Where the copy, the programs and the results are.
    #[arg(long, default_value = "target/mutants")]
    work: PathBuf,
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Copies the repository, puts switches into it, and drops mutants that do not compile
    Plan {
        /// Only the scalar instruction set and AVX2: operations on all of them take too long to compile
        #[arg(long)]
        few: bool,
        /// Files, as `cargo mutants -f` takes them
        files: Vec<String>,
    },
    /// Builds the tests of the copy, and runs each once to see which mutants it passes
    Record {
        /// Arguments of `cargo test` that choose the programs, such as `--lib`
        #[arg(long, default_value = "--lib --tests", allow_hyphen_values = true)]
        programs: String,
        /// What runs a program that is for another processor, which `CARGO_BUILD_TARGET` names
        #[arg(long)]
        runner: Option<String>,
        /// Keep what is known of other programs: the switches have to be the same
        #[arg(long)]
        add: bool,
        /// Seconds that a test may take, or it is left out
        #[arg(long, default_value_t = 20.0)]
        limit: f64,
    },
    /// Judges every mutant that has not been judged
    Judge {
        /// Also those that were missed before
        #[arg(long)]
        again: bool,
        /// Only those whose name contains this
        #[arg(long, default_value = "")]
        name: String,
        /// With tests of at most so many seconds: a first pass, for which what is missed costs less
        #[arg(long, default_value_t = f64::INFINITY)]
        limit: f64,
    },
    /// Prints a table, and those that are alive
    Report {
        /// Other directories of results: a mutant that tests have killed there is dead
        #[arg(long = "with")]
        others: Vec<PathBuf>,
    },
}

/// What the copy has.
#[derive(Default, Serialize, Deserialize)]
pub struct Plan {
    mutants: Vec<Mutant>,
    sites: Vec<Site>,
    constant: Vec<usize>,
    /// With what the compiler says.
    unviable: BTreeMap<usize, String>,
}

impl Arguments {
    fn copy(&self) -> PathBuf {
        self.work.join("copy")
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        read(&self.work, name)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        Ok(fs::write(self.work.join(name), serde_json::to_vec_pretty(value)?)?)
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.env("CARGO_TARGET_DIR", self.work.join("target"));
        // What a switch is warned of is not the library's fault, and what the library denies not the switch's.
        cargo.env("RUSTFLAGS", "--cap-lints=allow");
        cargo.env("CARGO_PROFILE_TEST_OPT_LEVEL", "1").env("CARGO_PROFILE_TEST_DEBUG", "0");
        cargo
    }
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    arguments.root = arguments.root.canonicalize()?;
    fs::create_dir_all(&arguments.work)?;
    arguments.work = arguments.work.canonicalize()?;
    match &arguments.step {
        Step::Plan { few, files } => plan(&arguments, *few, files),
        Step::Record { programs, runner, add, limit } => {
            record(&arguments, programs, runner.as_deref(), *add, *limit)
        }
        Step::Judge { again, name, limit } => judge(&arguments, *again, name, *limit),
        Step::Report { others } => report(&arguments, others),
    }
}

fn read<T: DeserializeOwned>(work: &Path, name: &str) -> Result<T> {
    let path = work.join(name);
    Ok(serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?)
}

fn results(work: &Path) -> PathBuf {
    work.join("results.jsonl")
}

fn plan(arguments: &Arguments, few: bool, files: &[String]) -> Result<()> {
    let (root, copy): (&Path, &Path) = (&arguments.root, &arguments.copy());
    let mutants = list::of_repository(root, files)?;
    copy::tree(root, copy)?;
    // What was known before saves some rounds, and leaves alone files that are as they should be.
    let before: Plan = arguments.read("plan.json").unwrap_or_default();
    let of_name = |name: &str| mutants.iter().position(|mutant| mutant.name == name);
    let before = before
        .unviable
        .iter()
        .filter_map(|(&number, error)| Some((of_name(&before.mutants[number].name)?, error.clone())));
    let mut unviable: BTreeMap<usize, String> = before.collect();
    loop {
        let switched = copy::switch(root, copy, few, &mutants, &|mutant| unviable.contains_key(&mutant))?;
        println!("{} mutants at {} sites", mutants.len() - unviable.len(), switched.sites.len());
        let let_chain = switched.ungrammatical.iter().map(|&mutant| (mutant, "let in a chain".to_owned()));
        unviable.extend(let_chain);
        let errors = viable::check(copy, &switched, &|| arguments.cargo())?;
        for (&site, error) in &errors.sites {
            for &mutant in &switched.sites[site].mutants {
                println!("{}: {error}", mutants[mutant].name);
                unviable.insert(mutant, format!("the switch: {error}"));
            }
        }
        if errors.mutants.is_empty() && errors.sites.is_empty() {
            let (sites, constant) = (switched.sites, switched.constant);
            return arguments.write("plan.json", &Plan { mutants, sites, constant, unviable });
        }
        unviable.extend(errors.mutants);
    }
}

fn record(arguments: &Arguments, programs: &str, runner: Option<&str>, add: bool, limit: f64) -> Result<()> {
    let copy = arguments.copy();
    let programs = tests::build(&copy, arguments.cargo(), programs)?;
    let scratch = arguments.work.join("passed");
    let mut tests: Vec<tests::Test> = if add { arguments.read("tests.json")? } else { Vec::new() };
    tests.retain(|test| !programs.contains(&test.binary));
    tests.extend(tests::record(&copy, runner, &programs, Duration::from_secs_f64(limit), &scratch)?);
    println!("{} tests, {:.0} s", tests.len(), tests.iter().map(|test| test.seconds).sum::<f64>());
    arguments.write("tests.json", &tests)
}

fn judge(arguments: &Arguments, again: bool, name: &str, limit: f64) -> Result<()> {
    let plan: Plan = arguments.read("plan.json")?;
    let mut tests: Vec<tests::Test> = arguments.read("tests.json")?;
    tests.retain(|test| test.seconds <= limit);
    let (copy, results) = (arguments.copy(), results(&arguments.work));
    let known = judge::read(&results)?;
    let is_judged = |mutant: &str| match known.get(mutant).map(|judgement| judgement.outcome) {
        Some(Outcome::Missed | Outcome::Unreached) => !again,
        Some(_) => true,
        None => false,
    };
    let mut judge = Judge::new(&copy, &tests, &results)?;
    for site in &plan.sites {
        for (variant, &mutant) in (1..).zip(&site.mutants) {
            let mutant = &plan.mutants[mutant].name;
            if mutant.contains(name) && !is_judged(mutant) {
                let outcome = judge.judge(mutant, site.number, variant)?;
                println!("{outcome:?} {mutant}");
            }
        }
    }
    Ok(())
}

fn report(arguments: &Arguments, others: &[PathBuf]) -> Result<()> {
    let works = std::iter::once(&arguments.work).chain(others);
    let of_work = |work: &PathBuf| Ok((read(work, "plan.json")?, judge::read(&results(work))?));
    report::print(&works.map(of_work).collect::<Result<Vec<_>>>()?)
}
