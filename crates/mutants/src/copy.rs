//! A copy of the repository, with switches in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::list::Mutant;
use crate::sites::{self, Site};
use crate::splice::{Owner, splice};
use crate::twins;

/// What the switches are, and whose the text of the copy is.
#[derive(Debug, Default)]
pub struct Switched {
    pub sites: Vec<Site>,
    pub constant: Vec<usize>,
    pub ungrammatical: Vec<usize>,
    pub owners: BTreeMap<String, Vec<(Range<usize>, Owner)>>,
}

impl Switched {
    /// Whom an error belongs to: the shortest text that holds all of it, a mutant's if there is one.
    pub fn owner(&self, file: &str, at: &Range<usize>) -> Option<Owner> {
        let holds = |range: &Range<usize>| range.start <= at.start && at.end <= range.end;
        let owners = self.owners.get(file)?.iter().filter(|(range, _)| holds(range));
        owners.min_by_key(|(range, _)| range.len()).map(|&(_, owner)| owner)
    }
}

/// The files under version control.
fn versioned(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output()?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.split_terminator('\0').map(str::to_owned).collect())
}

/// Copies what is under version control, as it stands, but for what is to be [switched](switch).
pub fn tree(root: &Path, to: &Path) -> Result<()> {
    for name in versioned(root)? {
        let (from, to) = (root.join(&name), to.join(&name));
        let switched = name.starts_with("src/") && name.ends_with(".rs");
        if name == "Cargo.toml" {
            // The library is a dependency of its own tests, for a feature: one more build of it.
            let manifest = fs::read_to_string(from)?;
            let lines = manifest.lines().filter(|line| !line.starts_with("logits = { path = \".\""));
            write_if_other(&to, lines.map(|line| format!("{line}\n")).collect::<String>().as_bytes())?;
        } else if from.is_file() && !switched {
            write_if_other(&to, &fs::read(from)?)?;
        }
    }
    Ok(())
}

/// Where instruction sets are chosen.
const DISPATCH: &str = "src/simd/isa.rs";

/// Leaves out the portable instruction set and AVX-512: nothing is compiled for them. One is left that tests everything, and one
/// that is fast.
fn with_few(dispatch: &str) -> Result<String> {
    let mut text = dispatch.to_owned();
    for (of_all, of_few) in [
        ("Machine::Portable(token) => token.vectorize(kernel)", "Machine::Portable(_) => unreachable!()"),
        ("Machine::Avx512(token) => token.vectorize(kernel)", "Machine::Avx512(_) => unreachable!()"),
        ("Isa::Portable => Some(Machine::Portable(Portable))", "Isa::Portable => None"),
        ("Isa::Avx512 => Avx512::new().map(Machine::Avx512)", "Isa::Avx512 => None"),
        ("Some(token) = Avx512::new()", "Some(token) = None"),
    ] {
        ensure!(text.matches(of_all).count() == 1, "{DISPATCH} has to say `{of_all}` once");
        text = text.replace(of_all, of_few);
    }
    Ok(text)
}

/// Puts switches into the copy, for all mutants but some; of all instruction sets, or of [few](with_few).
pub fn switch(
    root: &Path,
    to: &Path,
    few: bool,
    mutants: &[Mutant],
    without: &dyn Fn(usize) -> bool,
) -> Result<Switched> {
    let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    // Also those without mutants: they may use constants that have some.
    let names = versioned(root)?;
    for name in names.iter().filter(|name| name.starts_with("src/") && name.ends_with(".rs")) {
        files.insert(name, Vec::new());
    }
    for (number, mutant) in mutants.iter().enumerate() {
        let of_file = files.entry(&mutant.file).or_default();
        if !without(number) {
            of_file.push((number, mutant));
        }
    }
    let mut twins = BTreeSet::new();
    for (name, mutants) in &files {
        let file = syn::parse_file(&fs::read_to_string(root.join(name))?)?;
        twins.extend(twins::of_file(name, &file, mutants));
    }
    let mut switched = Switched::default();
    for (name, mutants) in files {
        let source = fs::read_to_string(root.join(name))?;
        let found = sites::find(name, &source, &mutants, &twins, switched.sites.len());
        let found = found.with_context(|| name.to_owned())?;
        let (mut text, owners) = splice(&source, found.edits);
        if name == DISPATCH && few {
            text = with_few(&text)?;
        }
        if name == "src/lib.rs" {
            text.push_str("\nmod mutant;\n");
        }
        write_if_other(&to.join(name), text.as_bytes())?;
        switched.sites.extend(found.sites);
        switched.constant.extend(found.constant);
        switched.ungrammatical.extend(found.ungrammatical);
        switched.owners.insert(name.to_owned(), owners);
    }
    let switches =
        format!("{}\npub const SITES: usize = {};\n", include_str!("switch.rs"), switched.sites.len());
    write_if_other(&to.join("src/mutant.rs"), switches.as_bytes())?;
    Ok(switched)
}

/// Leaves alone what is as it should be, for cargo to see that.
pub fn write_if_other(path: &PathBuf, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a directory")?)?;
    Ok(fs::write(path, content)?)
}
