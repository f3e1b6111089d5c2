//! Text with insertions, and where each of them ends up.

use std::ops::Range;

/// Whom a piece of the result belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A mutant's own text.
    Mutant(usize),
    /// A site, from its first insertion to its last.
    Site(usize),
}

/// Text that takes the place of `removed` bytes at `at`.
#[derive(Debug)]
pub struct Edit {
    pub at: usize,
    pub removed: usize,
    /// The order of insertions in one place: an outer expression begins before an inner one, and ends behind it.
    pub rank: i32,
    pub pieces: Vec<(String, Option<usize>)>,
    pub site: Option<usize>,
}

impl Edit {
    pub fn new(at: usize, removed: usize, rank: i32, site: Option<usize>) -> Self {
        Self { at, removed, rank, pieces: Vec::new(), site }
    }

    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.pieces.push((text.into(), None));
        self
    }

    pub fn mutant(mut self, mutant: usize, text: impl Into<String>) -> Self {
        self.pieces.push((text.into(), Some(mutant)));
        self
    }
}

/// The text with all edits, and whose its parts are.
pub fn splice(source: &str, mut edits: Vec<Edit>) -> (String, Vec<(Range<usize>, Owner)>) {
    edits.sort_by_key(|edit| (edit.at, edit.rank));
    let (mut out, mut owners, mut copied) = (String::new(), Vec::new(), 0);
    let mut sites: Vec<(usize, Range<usize>)> = Vec::new();
    for edit in edits {
        assert!(edit.at >= copied, "edits overlap at {copied}: {edit:?}");
        out.push_str(&source[copied..edit.at]);
        copied = edit.at + edit.removed;
        let start = out.len();
        for (text, mutant) in edit.pieces {
            let start = out.len();
            out.push_str(&text);
            owners.extend(mutant.map(|mutant| (start..out.len(), Owner::Mutant(mutant))));
        }
        let Some(site) = edit.site else { continue };
        match sites.iter_mut().rev().find(|(other, _)| *other == site) {
            Some((_, range)) => range.end = out.len(),
            None => sites.push((site, start..out.len())),
        }
    }
    out.push_str(&source[copied..]);
    owners.extend(sites.into_iter().map(|(site, range)| (range, Owner::Site(site))));
    (out, owners)
}
