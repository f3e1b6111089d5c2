//! Tokens by intervals of their logits, which is all that filters leave.

use core::ops::Range;

use super::interval::Interval;

/// Tokens by their logits; at both ends by their ids too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Set {
    pub interval: Interval,
    /// Those as low as the lower end are in it up to this id.
    pub low_through: u32,
    /// Those as high as the upper end are in it from this id on, and up to that.
    pub high_from: u32,
    pub high_through: u32,
}

impl Set {
    pub const ALL: Self =
        Self { interval: Interval::NUMBERS, low_through: u32::MAX, high_from: 0, high_through: u32::MAX };

    /// Parts of some ids, each with the interval that is the set there.
    pub fn parts(self, ids: Range<usize>) -> impl Iterator<Item = (Range<usize>, Interval)> {
        let mut cuts = [
            ids.start,
            // Of 32 bits, where there is none behind the last id.
            (self.low_through as usize).saturating_add(1),
            self.high_from as usize,
            (self.high_through as usize).saturating_add(1),
            ids.end,
        ];
        for cut in &mut cuts {
            *cut = (*cut).clamp(ids.start, ids.end);
        }
        cuts.sort_unstable();
        let parts = [cuts[0]..cuts[1], cuts[1]..cuts[2], cuts[2]..cuts[3], cuts[3]..cuts[4]];
        parts.into_iter().filter(|part| !part.is_empty()).map(move |part| {
            let id = part.start as u32;
            let Interval { mut low, mut high } = self.interval;
            if id > self.low_through {
                low = low.next_up();
            }
            if id < self.high_from || id > self.high_through {
                high = high.next_down();
            }
            (part, Interval { low, high })
        })
    }

    pub fn contains(self, logit: f32, id: u32) -> bool {
        self.interval.contains(logit)
            && (logit != self.interval.low || id <= self.low_through)
            && (logit != self.interval.high || self.high_from <= id && id <= self.high_through)
    }

    /// Without what is below a logit, and of those equal to it without those behind an id.
    pub fn raise(&mut self, low: f32, through: u32) {
        if low > self.interval.low {
            (self.interval.low, self.low_through) = (low, through);
        } else if low == self.interval.low {
            self.low_through = self.low_through.min(through);
        }
    }

    /// Without what is above a logit, and of those equal to it without those before and behind two ids.
    pub fn lower(&mut self, high: f32, from: u32, through: u32) {
        if high < self.interval.high {
            (self.interval.high, self.high_from, self.high_through) = (high, from, through);
        } else if high == self.interval.high {
            self.high_from = self.high_from.max(from);
            self.high_through = self.high_through.min(through);
        }
    }
}
