//! The [divergence](super::kl) of rows of up to 64 elements: sixteen of them at a time, for what is folded over lanes, and divided,
//! once a row; and those no longer than a vector one behind the other.

use crate::grid;
use crate::narrow::{self, Narrow};
use crate::operation::{SHORT, TOGETHER};
use crate::simd::{HALF, LANES, Simd};
use crate::span::Read;
use crate::sums::{self, Terms};

use super::apart::halved;
use super::kl::{Elements, Kl, is_distribution, unit, within};
use super::normalizer::{Normalizer, Shifts};
use super::side::Side;

/// What is known of some pairs of short rows.
pub struct ShortKl {
    /// The sums of terms.
    p: [f64; TOGETHER],
    q: [f64; TOGETHER],
    /// What elements add.
    divergences: [f64; TOGETHER],
    differences: [f64; TOGETHER],
}

impl ShortKl {
    /// The divergences, or NaN where there is no distribution.
    #[inline(always)]
    pub fn results(&self) -> [f64; TOGETHER] {
        let mut results = [0.0; TOGETHER];
        for (i, result) in results.iter_mut().enumerate() {
            let (p, q) = (self.p[i], self.q[i]);
            let (within, _) = within(p, [self.divergences[i], self.differences[i]]);
            *result = if is_distribution(p) & is_distribution(q) { within / p } else { f64::NAN };
        }
        results
    }
}

/// The sums of some rows' terms, and their shifts.
type Sums<'k> = (&'k [f64; TOGETHER], &'k Shifts<TOGETHER>);

impl<P: Side, Q: Side> Kl<'_, P, Q> {
    /// Reads up to sixteen pairs, of which these are the first rows.
    #[inline(always)]
    pub fn of_short<S: Simd>(&self, s: S, first: usize, rows: &[Read<'_, f32>]) -> ShortKl {
        let mut others = [Read::default(); TOGETHER];
        for (i, row) in others.iter_mut().enumerate().take(rows.len()) {
            *row = Read::new(self.rows[1].row(first + i));
        }
        let e = self.p.kept::<S, TOGETHER>(s, rows);
        let f = self.q.kept::<S, TOGETHER>(s, &others[..rows.len()]);
        let (centers, units) = self.around((&e.sums, &e.shifts), (&f.sums, &f.shifts));
        let (mut divergences, mut differences) = ([[0.0; HALF]; TOGETHER], [[0.0; HALF]; TOGETHER]);
        for i in 0..rows.len() {
            let around = (s.splat_f64(centers[i]), s.splat(units[i]));
            let mut elements = Elements::new((self.p, self.q), around);
            let [divergence, difference] =
                short_sums(s, [rows[i], others[i]], [&e.terms[i], &f.terms[i]], &mut elements);
            (divergences[i], differences[i]) = (halved(s, divergence), halved(s, difference));
        }
        let (divergences, differences) = (sums::sums(s, &divergences), sums::sums(s, &differences));
        ShortKl { p: e.sums, q: f.sums, divergences, differences }
    }

    /// Reads narrow pairs; or gives nothing, if one has to be looked at alone.
    #[inline(always)]
    pub fn of_narrow<S: Simd>(&self, s: S, first: usize, rows: &mut Narrow) -> Option<ShortKl> {
        let (_, others) = self.rows[1].split_at(first);
        let mut pairs = Narrow::new(others.cols());
        grid::load(s, &mut pairs, others.contiguous(TOGETHER), |row| others.row(row));
        let (x, y) = (rows.columns(s), pairs.columns(s));
        let (mut e, mut f) = (x.clone(), y.clone());
        let (p, q) = (self.p.narrow(s, &mut e)?, self.q.narrow(s, &mut f)?);
        let (centers, units) = self.around((&p.sums, &p.shifts), (&q.sums, &q.shifts));
        let mut elements = Elements::new((self.p, self.q), (s.load_f64(&centers), s.load(&units)));
        let [divergences, differences] = narrow::sums_of(s, [x, y, &e, &f], &mut elements);
        Some(ShortKl { p: p.sums, q: q.sums, divergences, differences })
    }

    /// What differences are around, and what makes terms of Q as large as those of P.
    #[inline(always)]
    fn around(&self, p: Sums<'_>, q: Sums<'_>) -> ([f64; TOGETHER], [f32; TOGETHER]) {
        let (mut centers, mut units) = ([0.0; TOGETHER], [0.0; TOGETHER]);
        for i in 0..TOGETHER {
            let normalizer = |(sums, shifts): Sums<'_>| Normalizer { shift: shifts.get(i), sum: sums[i] };
            let (p, q) = (normalizer(p), normalizer(q));
            (centers[i], units[i]) = (self.center(&p, &q), unit(&p, &q));
        }
        (centers, units)
    }
}

/// Vectors of a short row.
const VECTORS: usize = SHORT / LANES;

/// What the elements of a pair of short rows add, whose terms are known. What is not there adds zeros.
#[inline(always)]
fn short_sums<S: Simd>(
    s: S,
    mut pair: [Read<'_, f32>; 2],
    [e, f]: [&[S::F32; VECTORS]; 2],
    elements: &mut impl Terms<S, 4, 2>,
) -> [[S::F32; VECTORS]; 2] {
    let mut sums = [[s.splat(0.0); VECTORS]; 2];
    let Some([x, y]) = sums::pairs(s, &mut pair, [f32::NEG_INFINITY; 2]) else { return sums };
    let Some([third, fourth]) = sums::pairs(s, &mut pair, [f32::NEG_INFINITY; 2]) else {
        let terms = elements.apply(s, [x, y, [e[0], e[1]], [f[0], f[1]]]);
        for (sums, [first, second]) in sums.iter_mut().zip(terms) {
            (sums[0], sums[1]) = (first, second);
        }
        return sums;
    };
    elements.apply(s, [[x[0], x[1], third[0], third[1]], [y[0], y[1], fourth[0], fourth[1]], *e, *f])
}
