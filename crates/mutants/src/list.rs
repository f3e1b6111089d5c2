//! The mutants of cargo-mutants, as it lists them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// A place in a file: lines and columns, in characters, from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    pub start: Place,
    pub end: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mutant {
    pub name: String,
    pub file: String,
    pub genre: Genre,
    pub replacement: String,
    pub span: Range,
}

/// What `cargo mutants --list` says of some files of a repository. It lists some mutants twice.
pub fn of_repository(root: &Path, files: &[String]) -> Result<Vec<Mutant>> {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["mutants", "--list", "--json"]);
    for file in files {
        command.args(["-f", file]);
    }
    let output = command.output().context("cargo mutants")?;
    ensure!(output.status.success(), "cargo mutants: {}", String::from_utf8_lossy(&output.stderr));
    let mut mutants: Vec<Mutant> = serde_json::from_slice(&output.stdout)?;
    let mut seen = std::collections::HashSet::new();
    mutants.retain(|mutant| seen.insert(mutant.name.clone()));
    Ok(mutants)
}
