//! Parts of a row: the largest logits of them, and what they weigh.

use crate::simd::{F32, F64, Kernel, LANES, Mask, Simd};
use crate::span::{Read, Span};

use super::interval::{Ends, Extent, Interval};
use super::places::Places;
use super::scores::BLOCK;

/// The largest logits and the masses of the parts that a row is cut into. A part is a block, or some blocks; each lane of its vectors has
/// a largest logit of its own.
///
/// No lane of a part has more than one, so that the `k`-th largest of them is not above the `k`-th largest logit; and as a rule not far
/// below.
pub struct Parts {
    maxima: [[f32; LANES]; Self::MOST],
    masses: [f64; Self::MOST],
    /// How many tokens had been gathered when a part was read.
    gathered: [u32; Self::MOST],
    /// How many there are, and elements of each.
    len: usize,
    size: usize,
}

impl Parts {
    const MOST: usize = 128;
    pub const NEW: Self = Self {
        maxima: [[0.0; LANES]; Self::MOST],
        masses: [0.0; Self::MOST],
        gathered: [0; Self::MOST],
        len: 0,
        size: 0,
    };

    /// The least elements of a part.
    const LEAST: usize = 4 * LANES;

    /// Those of a row of so many elements, of which nothing has been looked at.
    pub fn begin(&mut self, len: usize) {
        let size = len.div_ceil(Self::MOST);
        self.size = if size > BLOCK {
            size.next_multiple_of(BLOCK)
        } else {
            size.next_power_of_two().max(Self::LEAST)
        };
        self.len = len.div_ceil(self.size);
        self.maxima[..self.len].fill([f32::NEG_INFINITY; LANES]);
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// The largest logits of the part that a place is in, lane by lane.
    pub fn maxima_at(&self, place: usize) -> &[f32; LANES] {
        &self.maxima[place / self.size]
    }

    /// All largest logits, in no order.
    pub fn maxima(&self) -> &[f32] {
        self.maxima[..self.len].as_flattened()
    }

    /// The masses of all parts.
    pub fn masses(&mut self) -> &mut [f64] {
        &mut self.masses[..self.len]
    }

    /// Adds to the mass of the part that a place is in, given how many tokens have been gathered.
    pub fn add(&mut self, place: usize, mass: f64, gathered: usize) {
        let part = place / self.size;
        self.masses[part] += mass;
        self.gathered[part] = gathered as u32;
    }
}

/// Looks at the next elements of a row for the first time: the largest, the largest magnitude, and whether there is a NaN.
pub struct Top<'a> {
    /// The place of the first of them, a multiple of [`BLOCK`].
    pub first: usize,
    pub logits: &'a [f32],
    pub parts: &'a mut Parts,
}

impl Kernel for Top<'_> {
    type Output = (f32, f32, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32, bool) {
        const CHAINS: usize = 4;
        let (mut largest, mut numbers) = (s.splat(f32::NEG_INFINITY), u16::MAX);
        let mut magnitudes = [s.splat(0.0); CHAINS];
        let mut first = self.first;
        for part in self.logits.chunks(self.parts.size.min(BLOCK)) {
            let mut rest = Read::new(part);
            let mut chains = [s.splat(f32::NEG_INFINITY); CHAINS];
            while let Some(x) = rest.front::<S, CHAINS>(s) {
                for i in 0..CHAINS {
                    chains[i] = x[i].max(chains[i]);
                    magnitudes[i] = x[i].abs().max(magnitudes[i]);
                    numbers &= x[i].equals(x[i]).bits();
                }
                rest.put::<S, CHAINS>(x);
            }
            while let (Some(x), Some(sized)) = (rest.pair(s, f32::NEG_INFINITY), rest.pair(s, 0.0)) {
                for i in 0..2 {
                    chains[i] = x[i].max(chains[i]);
                    magnitudes[i] = sized[i].abs().max(magnitudes[i]);
                    numbers &= x[i].equals(x[i]).bits();
                }
                rest.put_pair::<S>(x);
            }
            let most = chains[0].max(chains[1]).max(chains[2].max(chains[3]));
            let lanes = &mut self.parts.maxima[first / self.parts.size];
            *lanes = most.max(s.load(lanes)).to_array();
            largest = most.max(largest);
            first += part.len();
        }
        let magnitude = magnitudes[0].max(magnitudes[1]).max(magnitudes[2].max(magnitudes[3]));
        (largest.reduce_max(), magnitude.reduce_max(), numbers != u16::MAX)
    }
}

const NUMBERS: [f32; LANES] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// Adds those of the tokens that have been gathered which are kept to the masses of the parts: the largest, down to one of them.
pub struct Keep<'a> {
    pub tokens: &'a Places,
    pub weights: &'a [f64],
    pub last: (f32, u32),
    pub parts: &'a mut Parts,
}

impl Kernel for Keep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tokens, weights, last: (low, id), parts, .. } = self;
        let (from, above, one, zero) = (s.splat(low.next_down()), s.splat(low), s.splat(1.0), s.splat(0.0));
        // Of those that are as large as the last, later ones are not kept.
        let through = tokens.places[..tokens.len].partition_point(|&place| place <= id);
        let numbers = s.load(&NUMBERS);
        let mut start = 0;
        for (mass, &end) in parts.masses.iter_mut().zip(&parts.gathered).take(parts.len) {
            let (end, mut sum) = (end as usize, s.zero_f64());
            for first in (start..end).step_by(LANES) {
                let (Some(logits), Some(weights)) =
                    (tokens.logits[first..].first_chunk(), weights[first..].first_chunk())
                else {
                    break;
                };
                // What stands behind the end is anything.
                let [left, left_through] =
                    [end, through].map(|end| s.splat(end.saturating_sub(first) as f32));
                let x = s.load(logits);
                let ties = left_through.exceeds(numbers).select(x.exceeds(from).select(one, zero), zero);
                let kept = left.exceeds(numbers).select(x.exceeds(above).select(one, ties), zero);
                sum = kept.widen().mul_add(s.load_f64(weights), sum);
            }
            *mass += sum.reduce_add();
            start = end;
        }
    }
}

/// A logit that so many of some are not below, and not many more if there is such a one.
pub struct Cut<'a> {
    pub logits: &'a [f32],
    pub number: usize,
}

impl Kernel for Cut<'_> {
    type Output = Option<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Option<f32> {
        let Self { logits, number } = self;
        let Interval { mut low, mut high } = Extent { logits }.run(s);
        if count(logits, high) >= number {
            return Some(high);
        }
        if count(logits, low) < number {
            return None;
        }
        loop {
            let middle = 0.5 * low + 0.5 * high;
            if middle <= low || middle >= high {
                return Some(low);
            }
            let count = count(logits, middle);
            if count < number {
                high = middle;
            } else if count <= number + number / 2 {
                return Some(middle);
            } else {
                low = middle;
            }
        }
    }
}

/// How many logits are not below one.
#[inline(always)]
fn count(logits: &[f32], low: f32) -> usize {
    let mut count = 0_u32;
    for &logit in logits {
        count += u32::from(logit >= low);
    }
    count as usize
}

/// The largest logit in an interval.
pub struct TopOf<'a> {
    pub logits: &'a [f32],
    pub all: Interval,
}

impl Kernel for TopOf<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (mut rest, ends) = (Read::new(self.logits), Ends::new(s, self.all));
        let mut largest = s.splat(f32::NEG_INFINITY);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            largest = ends.only(s, x[0]).max(ends.only(s, x[1]).max(largest));
            rest.put_pair::<S>(x);
        }
        largest.reduce_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::isa::Machine;

    #[test]
    fn a_cut_has_as_many_above_as_wanted() {
        let cut = |logits: &[f32], number| Machine::new(Isa::Scalar).unwrap().run(Cut { logits, number });
        let mut logits: Vec<f32> = (0..1000).map(|i| (i * 617 % 1000) as f32).collect();
        for number in [1, 2, 10, 333, 1000] {
            let low = cut(&logits, number).unwrap();
            assert!((number..=number + number / 2).contains(&logits.iter().filter(|&&x| x >= low).count()));
        }
        logits[..990].fill(f32::NEG_INFINITY);
        assert_eq!(cut(&logits, 11), None);
        // Where many are equal, and where floats end.
        logits[..990].fill(7.0);
        assert_eq!(cut(&logits, 500), Some(7.0));
        logits[..2].copy_from_slice(&[f32::MAX, f32::MIN]);
        assert_eq!(cut(&logits, 1), Some(f32::MAX));
        assert_eq!(cut(&logits, 1000), Some(f32::MIN));
    }
}
