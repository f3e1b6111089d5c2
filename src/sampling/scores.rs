//! The logits of a row as they are drawn from: with mask, bias and penalties in them, and without a copy of the row.
//!
//! Most of a row is as it was. Where something is to be changed, a block at a time is copied and changed.

use core::ops::Range;

use super::draw::{History, Seen};
use super::sampler::Penalties;

/// Elements of a block that is copied.
pub const BLOCK: usize = 1024;

/// Where a block is copied to.
pub type Room = [f32; BLOCK];

/// A row of logits, and what changes them.
#[derive(Clone, Copy)]
pub struct Scores<'a> {
    logits: &'a [f32],
    changes: Changes<'a>,
}

/// Mask, bias and penalties, in this order.
#[derive(Clone, Copy)]
pub struct Changes<'a> {
    pub allowed: [Option<&'a [u32]>; 2],
    /// Ordered by their ids.
    pub bias: &'a [(u32, f32)],
    pub penalties: Penalties,
    /// Ordered by their ids.
    pub seen: &'a [Seen],
}

impl<'a> Changes<'a> {
    pub fn new(
        allowed: [Option<&'a [u32]>; 2],
        bias: &'a [(u32, f32)],
        penalties: Penalties,
        history: Option<&'a History>,
    ) -> Self {
        let seen =
            if penalties == Penalties::NONE { &[][..] } else { history.map_or(&[][..], History::seen) };
        Self { allowed, bias, penalties, seen }
    }

    /// Those of some tokens.
    fn of(self, tokens: &Range<usize>) -> Self {
        fn part<'a, T>(entries: &'a [T], tokens: &Range<usize>, token: impl Fn(&T) -> u32) -> &'a [T] {
            let before = |end: usize| entries.partition_point(|entry| (token(entry) as usize) < end);
            &entries[before(tokens.start)..before(tokens.end)]
        }
        let bias = part(self.bias, tokens, |bias| bias.0);
        Self { bias, seen: part(self.seen, tokens, |seen| seen.token), ..self }
    }

    #[inline]
    fn are_none(self) -> bool {
        matches!(self.allowed, [None, None]) && self.bias.is_empty() && self.seen.is_empty()
    }

    /// Changes the logits of tokens from `first` on, of which these changes are.
    pub fn apply(self, first: usize, logits: &mut [f32]) {
        for mask in self.allowed.into_iter().flatten() {
            for (i, logit) in logits.iter_mut().enumerate() {
                let token = first + i;
                let is_allowed = mask[token / 32] >> (token % 32) & 1 == 1;
                // What is no number is not hidden.
                if !is_allowed && *logit < f32::INFINITY {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        for &(token, addend) in self.bias {
            let logit = &mut logits[token as usize - first];
            if *logit < f32::INFINITY {
                *logit += addend;
            }
        }
        for &Seen { token, count, .. } in self.seen {
            let logit = &mut logits[token as usize - first];
            let Penalties { repetition, frequency, presence } = self.penalties;
            let x = f64::from(*logit);
            let repeated = if x > 0.0 { x / repetition } else { x * repetition };
            let occurred = if count > 0 { f64::from(count) * frequency + presence } else { 0.0 };
            *logit = (repeated - occurred) as f32;
        }
    }
}

impl<'a> Scores<'a> {
    pub fn new(logits: &'a [f32], changes: Changes<'a>) -> Self {
        Self { logits, changes }
    }

    pub fn len(&self) -> usize {
        self.logits.len()
    }

    /// One of them.
    #[inline]
    pub fn get(&self, token: usize) -> f32 {
        if self.changes.are_none() {
            return self.logits[token];
        }
        let mut logit = [self.logits[token]];
        self.changes.of(&(token..token + 1)).apply(token, &mut logit);
        logit[0]
    }

    /// The next of some tokens, not fewer than all or [`BLOCK`]: they are as they were, or changed in `room`.
    pub fn block<'r>(&self, tokens: Range<usize>, room: &'r mut Room) -> &'r [f32]
    where
        'a: 'r,
    {
        if self.changes.are_none() || self.changes.of(&tokens).are_none() {
            return &self.logits[tokens];
        }
        let tokens = tokens.start..tokens.end.min(tokens.start + BLOCK);
        let changes = self.changes.of(&tokens);
        let logits = &self.logits[tokens.clone()];
        if changes.are_none() {
            return logits;
        }
        let room = &mut room[..logits.len()];
        room.copy_from_slice(logits);
        changes.apply(tokens.start, room);
        room
    }
}
