//! Sums over spans, and the one order in which terms are added.
//!
//! Rounding errors of a long `f32` sum grow with its length, however many lanes it has. So terms are added in groups of
//! [`GROUP`] vectors, lane by lane, as a tree of depth log2 [`GROUP`]; the tree of a group is widened and added to 16
//! lanes of `f64`, whose rounding is of no account, and these are folded 16 -> 8 -> 4 -> 2 -> 1 at the end. Vectors
//! that a last group lacks count as zeros. The order depends on the length of the span alone.

use core::mem;

use crate::element::Element;
use crate::lanes::{Map, map, unless_zero};
use crate::simd::{F32, F64, HALF, LANES, Simd, sum_of_halves};
use crate::span::{Read, Span, Write};

/// Vectors whose terms are added in `f32`.
const GROUP: usize = 8;

/// As many elements.
pub const GROUP_LEN: usize = GROUP * LANES;

/// Groups of a segment.
pub const GROUPS: usize = 32;

/// How many vectors ahead memory is fetched while a sum is computed: a segment of 4096 elements, so that the pass for its
/// maximum or magnitude, which takes little time to compute, need not wait for memory either. Not beyond what there is: a
/// processor looks long for a page that does not exist.
const AHEAD: usize = 256;

/// What becomes of the terms of a span, which come as sums of a group's lanes.
pub trait Total<S: Simd> {
    fn add(&mut self, group: S::F32);
}

/// Their sum.
#[derive(Clone, Copy)]
pub struct Sum<S: Simd>(S::F64);

impl<S: Simd> Sum<S> {
    #[inline(always)]
    pub fn new(s: S) -> Self {
        Self(s.zero_f64())
    }

    #[inline(always)]
    pub fn sum(self) -> f64 {
        self.0.reduce_add()
    }

    /// The first step to that, for [`sums`].
    #[inline(always)]
    pub fn halve(self) -> [f64; HALF] {
        self.0.halve()
    }
}

/// What [`Sum::sum`] is of some sums, after the first step. For one it takes less time than for others.
#[inline(always)]
pub fn sums<S: Simd, const N: usize>(s: S, halves: &[[f64; HALF]; N]) -> [f64; N] {
    let mut sums = [0.0; N];
    if let [halves] = &halves[..] {
        sums[0] = sum_of_halves(halves);
        return sums;
    }
    for (sums, halves) in sums.as_chunks_mut().0.iter_mut().zip(halves.as_chunks().0) {
        *sums = s.sums(halves);
    }
    sums
}

impl<S: Simd> Total<S> for Sum<S> {
    #[inline(always)]
    fn add(&mut self, group: S::F32) {
        self.0 = self.0 + group.widen();
    }
}

/// The groups themselves, up to so many, to be added when all are there.
pub struct Groups<S: Simd, const MOST: usize = GROUPS> {
    lanes: [S::F32; MOST],
    len: usize,
}

impl<S: Simd, const MOST: usize> Groups<S, MOST> {
    #[inline(always)]
    pub fn new(s: S) -> Self {
        Self { lanes: [s.splat(0.0); MOST], len: 0 }
    }

    #[inline(always)]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// As [`Sum::sum`].
    #[inline(always)]
    pub fn sum(&self, s: S) -> f64 {
        let mut sum = Sum::new(s);
        for group in &self.lanes[..self.len] {
            sum.add(*group);
        }
        sum.sum()
    }

    /// The largest sum of a group's lane, which no term is larger than if none is negative. NaN is passed over.
    #[inline(always)]
    pub fn bound(&self, s: S) -> f32 {
        let mut bound = s.splat(0.0);
        for group in &self.lanes[..self.len] {
            bound = group.max(bound);
        }
        bound.reduce_max()
    }

    /// Puts the only group of others in the place of one of these.
    ///
    /// # Panics
    ///
    /// If there is no such group, here or there.
    #[inline(always)]
    pub fn replace(&mut self, group: usize, other: &Groups<S, 1>) {
        self.lanes[..self.len][group] = other.lanes[..other.len][0];
    }
}

impl<S: Simd, const MOST: usize> Total<S> for Groups<S, MOST> {
    #[inline(always)]
    fn add(&mut self, group: S::F32) {
        self.lanes[self.len] = group;
        self.len += 1;
    }
}

/// What is done beside [`map_sum`]: its arithmetic leaves loads and stores idle, and some passes are nothing else.
pub trait Side<S: Simd> {
    /// Passes two vectors, if there are any.
    fn two(&mut self, s: S);
}

/// Nothing.
impl<S: Simd> Side<S> for () {
    #[inline(always)]
    fn two(&mut self, _: S) {}
}

impl<S: Simd, E: Element, M: Map<S>> Side<S> for Mapped<Write<'_, E>, M> {
    #[inline(always)]
    fn two(&mut self, s: S) {
        if let Some(x) = self.span.rest().front::<S, 2>(s) {
            let y = self.map.apply(s, x);
            self.span.put::<S, 2>(y);
        }
    }
}

/// Another span that is [mapped](map).
pub struct Mapped<P, M> {
    pub span: P,
    pub map: M,
}

impl<E: Element, M> Mapped<Write<'_, E>, M> {
    /// Passes what is left.
    #[inline(always)]
    pub fn finish<S: Simd>(mut self, s: S)
    where
        M: Map<S>,
    {
        map(s, &mut self.span, 0.0, self.map);
    }
}

/// Replaces each element as [`map`] does, and adds what it is replaced by to a total.
///
/// What `fill` becomes is added too: it must be 0.
#[inline(always)]
pub fn map_sum<S: Simd, E: Element>(
    s: S,
    span: &mut impl Span<E>,
    fill: f32,
    map: impl Map<S>,
    total: &mut impl Total<S>,
    side: &mut impl Side<S>,
) {
    // As in `map`.
    let mut held = mem::take(span);
    while held.rest().vectors.len() >= GROUP {
        total.add(group(s, &mut held, &map, side));
    }
    if !held.rest().is_empty() {
        // The last group: what it lacks counts as zeros.
        let mut halves = [s.splat(0.0); 2];
        for half in &mut halves {
            let first = up_to_two(s, &mut held, fill, &map);
            *half = first + up_to_two(s, &mut held, fill, &map);
            if held.rest().is_empty() {
                break;
            }
        }
        total.add(halves[0] + halves[1]);
    }
    *span = held;
}

#[inline(always)]
fn up_to_two<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, fill: f32, map: &impl Map<S>) -> S::F32 {
    let Some(x) = span.rest().pair(s, fill) else { return s.splat(0.0) };
    let terms = map.apply(s, x);
    span.put_pair::<S>(terms);
    terms[0] + terms[1]
}

/// Several terms of each element of a span, or of what stands at the same place in some spans, whose sums are wanted.
pub trait Terms<S: Simd, const SPANS: usize, const SUMS: usize> {
    /// Whether there are registers for those of a whole group, where many vectors go [in step](F32::in_step).
    const IN_STEP: bool = false;

    fn apply<const N: usize>(&mut self, s: S, lanes: [[S::F32; N]; SPANS]) -> [[S::F32; N]; SUMS];
}

/// What becomes of several terms, of each of which come sums of a group's lanes.
pub trait Totals<S: Simd, const SUMS: usize> {
    fn add(&mut self, groups: [S::F32; SUMS]);
}

impl<S: Simd, const SUMS: usize> Totals<S, SUMS> for [Sum<S>; SUMS] {
    #[inline(always)]
    fn add(&mut self, groups: [S::F32; SUMS]) {
        for i in 0..SUMS {
            self[i].add(groups[i]);
        }
    }
}

/// The sum of each term over spans of one length, in the order of [`map_sum`]. What becomes of `fill` is added too: it
/// must be zeros.
#[inline(always)]
pub fn sums_of<S: Simd, E: Element, const SPANS: usize, const SUMS: usize>(
    s: S,
    spans: [Read<'_, E>; SPANS],
    fill: [f32; SPANS],
    terms: &mut impl Terms<S, SPANS, SUMS>,
) -> [f64; SUMS] {
    let mut totals = [Sum::new(s); SUMS];
    totals_of(s, spans, fill, terms, &mut totals);
    let mut sums = [0.0; SUMS];
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum = total.sum();
    }
    sums
}

/// The same with totals of one's own.
#[inline(always)]
pub fn totals_of<S: Simd, E: Element, T: Terms<S, SPANS, SUMS>, const SPANS: usize, const SUMS: usize>(
    s: S,
    mut spans: [Read<'_, E>; SPANS],
    fill: [f32; SPANS],
    terms: &mut T,
    totals: &mut impl Totals<S, SUMS>,
) {
    let in_step = T::IN_STEP && S::IN_STEP == GROUP;
    while in_step && let Some(x) = fronts::<S, E, SPANS, GROUP>(s, &mut spans) {
        let (terms, mut groups) = (terms.apply(s, x), [s.splat(0.0); SUMS]);
        for i in 0..SUMS {
            groups[i] = tree(terms[i]);
        }
        totals.add(groups);
    }
    // What the last group lacks counts as zeros.
    while !spans[0].is_empty() {
        let mut groups = half_of_group(s, &mut spans, fill, terms, in_step);
        if !spans[0].is_empty() {
            let second = half_of_group(s, &mut spans, fill, terms, in_step);
            for i in 0..SUMS {
                groups[i] = groups[i] + second[i];
            }
        }
        totals.add(groups);
    }
}

/// The sums of up to four vectors' terms, where there are any; computed side by side or by twos.
#[inline(always)]
fn half_of_group<S: Simd, E: Element, T: Terms<S, SPANS, SUMS>, const SPANS: usize, const SUMS: usize>(
    s: S,
    spans: &mut [Read<'_, E>; SPANS],
    fill: [f32; SPANS],
    terms: &mut T,
    in_step: bool,
) -> [S::F32; SUMS] {
    let mut sums = [s.splat(0.0); SUMS];
    let Some(first) = pairs(s, spans, fill) else { return sums };
    if in_step && let Some(second) = pairs(s, spans, fill) {
        let mut x = [[s.splat(0.0); GROUP / 2]; SPANS];
        for i in 0..SPANS {
            x[i] = [first[i][0], first[i][1], second[i][0], second[i][1]];
        }
        let terms = terms.apply(s, x);
        for i in 0..SUMS {
            sums[i] = (terms[i][0] + terms[i][1]) + (terms[i][2] + terms[i][3]);
        }
        return sums;
    }
    let first = terms.apply(s, first);
    for i in 0..SUMS {
        sums[i] = first[i][0] + first[i][1];
    }
    if let Some(second) = pairs(s, spans, fill) {
        let second = terms.apply(s, second);
        for i in 0..SUMS {
            sums[i] = sums[i] + (second[i][0] + second[i][1]);
        }
    }
    sums
}

/// Terms in `f64`: products of two floats, say, which are exact there.
pub trait WideTerms<S: Simd, const SPANS: usize, const SUMS: usize> {
    fn apply<const N: usize>(&mut self, s: S, lanes: [[S::F32; N]; SPANS]) -> [[S::F64; N]; SUMS];
}

/// The same for terms in `f64`, of which no group is added before.
#[inline(always)]
pub fn wide_sums_of<S: Simd, E: Element, const SPANS: usize, const SUMS: usize>(
    s: S,
    mut spans: [Read<'_, E>; SPANS],
    fill: [f32; SPANS],
    terms: &mut impl WideTerms<S, SPANS, SUMS>,
) -> [f64; SUMS] {
    let mut totals = [s.zero_f64(); SUMS];
    while let Some(x) = pairs(s, &mut spans, fill) {
        let terms = terms.apply(s, x);
        for i in 0..SUMS {
            totals[i] = totals[i] + (terms[i][0] + terms[i][1]);
        }
    }
    let mut sums = [0.0; SUMS];
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum = total.reduce_add();
    }
    sums
}

/// The products of two spans' elements: 0 where the first is.
pub struct Products;

impl<S: Simd> WideTerms<S, 2, 1> for Products {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [a, b]: [[S::F32; N]; 2]) -> [[S::F64; N]; 1] {
        let mut products = [s.zero_f64(); N];
        for i in 0..N {
            products[i] = a[i].widen() * unless_zero(s, a[i], b[i]).widen();
        }
        [products]
    }
}

/// The next two vectors of each span.
#[inline(always)]
pub fn pairs<S: Simd, E: Element, const SPANS: usize>(
    s: S,
    spans: &mut [Read<'_, E>; SPANS],
    fill: [f32; SPANS],
) -> Option<[[S::F32; 2]; SPANS]> {
    let mut pairs = [[s.splat(0.0); 2]; SPANS];
    for ((pair, span), fill) in pairs.iter_mut().zip(spans).zip(fill) {
        fetch_ahead::<S, E, 2>(s, *span);
        *pair = span.pair(s, fill)?;
        span.put_pair::<S>(*pair);
    }
    Some(pairs)
}

/// Fetches where the results of a short row go.
#[inline(always)]
pub fn fetch_result<S: Simd, E: Element>(s: S, span: Read<'_, E>) {
    if span.result != 0 {
        for vector in span.vectors {
            s.prefetch(core::ptr::from_ref(vector).wrapping_byte_offset(span.result));
        }
    }
}

/// The next `N` vectors of each span, if there are as many.
#[inline(always)]
fn fronts<S: Simd, E: Element, const SPANS: usize, const N: usize>(
    s: S,
    spans: &mut [Read<'_, E>; SPANS],
) -> Option<[[S::F32; N]; SPANS]> {
    // What branches comes before all loads, so that these may become parts of what is done with them.
    for span in &*spans {
        if span.vectors.len() < N {
            return None;
        }
        fetch_ahead::<S, E, N>(s, *span);
    }
    let mut fronts = [[s.splat(0.0); N]; SPANS];
    for (front, span) in fronts.iter_mut().zip(spans) {
        *front = span.front(s)?;
        span.put::<S, N>(*front);
    }
    Some(fronts)
}

/// The sum of a group.
#[inline(always)]
fn tree<V: F32>([a, b, c, d, e, f, g, h]: [V; GROUP]) -> V {
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// What up to four vectors are mapped to is kept, and its sum halved: as [`map_sum`] and [`Sum::halve`].
#[inline(always)]
pub fn map_kept<S: Simd, E: Element>(
    s: S,
    mut span: Read<'_, E>,
    fill: f32,
    map: impl Map<S>,
    kept: &mut [S::F32; GROUP / 2],
) -> [f64; HALF] {
    fetch_result(s, span);
    for pair in kept.as_chunks_mut::<2>().0 {
        let Some(x) = span.pair(s, fill) else { break };
        *pair = map.apply(s, x);
        span.put_pair::<S>(*pair);
    }
    let mut sum = Sum::new(s);
    sum.add((kept[0] + kept[1]) + (kept[2] + kept[3]));
    sum.halve()
}

/// The terms of a group of [`map_sum`], as many side by side as suits the processor: the tree is spelt out, as closures
/// would be functions without the backend's instructions.
#[inline(always)]
fn group<S: Simd, E: Element>(
    s: S,
    span: &mut impl Span<E>,
    map: &impl Map<S>,
    side: &mut impl Side<S>,
) -> S::F32 {
    if S::IN_STEP == GROUP {
        let terms = some::<S, E, GROUP>(s, span, map);
        for _ in 0..GROUP / 2 {
            side.two(s);
        }
        tree(terms)
    } else {
        let first = two(s, span, map, side) + two(s, span, map, side);
        first + (two(s, span, map, side) + two(s, span, map, side))
    }
}

#[inline(always)]
fn two<S: Simd, E: Element>(
    s: S,
    span: &mut impl Span<E>,
    map: &impl Map<S>,
    side: &mut impl Side<S>,
) -> S::F32 {
    let [a, b] = some::<S, E, 2>(s, span, map);
    side.two(s);
    a + b
}

#[inline(always)]
fn some<S: Simd, E: Element, const N: usize>(
    s: S,
    span: &mut impl Span<E>,
    map: &impl Map<S>,
) -> [S::F32; N] {
    let rest = span.rest();
    fetch_ahead::<S, E, N>(s, rest);
    let terms = map.apply(s, rest.front::<S, N>(s).expect("a group"));
    span.put::<S, N>(terms);
    terms
}

/// Fetches what comes a segment later, and where results go.
#[inline(always)]
fn fetch_ahead<S: Simd, E: Element, const N: usize>(s: S, rest: Read<'_, E>) {
    if rest.vectors.len() + rest.next / LANES > AHEAD {
        let ahead = rest.vectors.as_ptr().wrapping_add(AHEAD);
        for i in 0..N {
            s.prefetch(ahead.wrapping_add(i));
        }
    }
    if rest.result != 0 {
        let result = rest.vectors.as_ptr().wrapping_byte_offset(rest.result);
        for i in 0..N {
            s.prefetch(result.wrapping_add(i));
        }
    }
}
