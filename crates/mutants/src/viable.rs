//! Which mutants compile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::copy::Switched;
use crate::splice::Owner;

/// What a check of the copy finds.
#[derive(Debug, Default)]
pub struct Errors {
    /// Mutants, with what the compiler says of them.
    pub mutants: BTreeMap<usize, String>,
    /// Sites of which it cannot be told whose error it is.
    pub sites: BTreeMap<usize, String>,
}

/// Runs `cargo check` and tells whose errors it finds.
pub fn check(copy: &Path, switched: &Switched, cargo: &dyn Fn() -> Command) -> Result<Errors> {
    let output = cargo()
        .current_dir(copy)
        .args(["check", "--lib", "--features", "rand", "--message-format=json"])
        .output()?;
    let mut errors = Errors::default();
    let mut unknown = BTreeSet::new();
    for line in output.stdout.split(|&byte| byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
        let message = &message["message"];
        if message["level"] != "error" || message["spans"].as_array().is_none_or(|spans| spans.is_empty()) {
            continue;
        }
        let text = format!("{} {}", message["code"]["code"].as_str().unwrap_or("-"), message["message"]);
        match owner(message, switched) {
            Some(Owner::Mutant(mutant)) => _ = errors.mutants.insert(mutant, text),
            Some(Owner::Site(site)) => _ = errors.sites.insert(site, text),
            None => _ = unknown.insert(message["rendered"].as_str().unwrap_or_default().to_owned()),
        }
    }
    // Of errors that nobody owns others may be the cause.
    if errors.mutants.is_empty() && errors.sites.is_empty() && !output.status.success() {
        let unknown: Vec<_> = unknown.into_iter().collect();
        bail!("{}\n{}", unknown.join("\n"), String::from_utf8_lossy(&output.stderr));
    }
    Ok(errors)
}

/// The one whose text a span of an error is, also through macros: a mutant if there is one.
fn owner(message: &Value, switched: &Switched) -> Option<Owner> {
    let mut spans: Vec<&Value> = message["spans"].as_array()?.iter().collect();
    spans.sort_by_key(|span| span["is_primary"] != true);
    let mut site = None;
    for span in spans {
        let mut span = span;
        loop {
            let file = span["file_name"].as_str().unwrap_or_default();
            let at = |name: &str| span[name].as_u64().unwrap_or(0) as usize;
            match switched.owner(file, &(at("byte_start")..at("byte_end"))) {
                Some(Owner::Mutant(mutant)) => return Some(Owner::Mutant(mutant)),
                found => site = site.or(found),
            }
            match &span["expansion"]["span"] {
                Value::Null => break,
                outer => span = outer,
            }
        }
    }
    site
}
