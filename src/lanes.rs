//! Passes over spans: unrolling and tails.

use core::mem;

use crate::element::Element;
use crate::simd::{F32, LANES, Mask, Simd};
use crate::span::{Read, Span};

/// What happens to each vector of a span.
pub trait Map<S: Simd> {
    fn apply<const N: usize>(&self, s: S, lanes: [S::F32; N]) -> [S::F32; N];
}

/// One map after another.
pub struct Then<A, B>(pub A, pub B);

impl<S: Simd, A: Map<S>, B: Map<S>> Map<S> for Then<A, B> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, lanes: [S::F32; N]) -> [S::F32; N] {
        self.1.apply(s, self.0.apply(s, lanes))
    }
}

/// The largest element; -inf if there is none. NaN is passed over, and -0 may stand for +0.
#[inline(always)]
pub fn max_reduce<S: Simd, E: Element>(s: S, span: Read<'_, E>) -> f32 {
    let mut max = Largest::new(s, f32::NEG_INFINITY);
    max.see(s, span, Same);
    max.by_lane().reduce_max()
}

/// The largest element of each lane, for [`maxima`]; and the largest magnitude, also of what has been seen before.
#[inline(always)]
pub fn maxima_by_lane<S: Simd, E: Element>(
    s: S,
    mut span: Read<'_, E>,
    magnitude: &mut Largest<S::F32>,
) -> S::F32 {
    let mut max = Largest::new(s, f32::NEG_INFINITY);
    while let Some(x) = span.front::<S, CHAINS>(s) {
        max.take(x);
        magnitude.take(Magnitude.apply(s, x));
        span.put::<S, CHAINS>(x);
    }
    max.see(s, span, Same);
    magnitude.see(s, span, Magnitude);
    max.by_lane()
}

/// The largest magnitude in some spans; 0 if there is no element. NaN is passed over.
#[inline(always)]
pub fn magnitude<S: Simd, E: Element>(s: S, spans: &[impl Span<E>]) -> f32 {
    let mut magnitude = Largest::new(s, 0.0);
    for span in spans {
        magnitude.see(s, span.rest(), Magnitude);
    }
    magnitude.by_lane().reduce_max()
}

/// Leaves elements as they are.
pub struct Same;

impl<S: Simd> Map<S> for Same {
    #[inline(always)]
    fn apply<const N: usize>(&self, _: S, lanes: [S::F32; N]) -> [S::F32; N] {
        lanes
    }
}

struct Magnitude;

impl<S: Simd> Map<S> for Magnitude {
    #[inline(always)]
    fn apply<const N: usize>(&self, _: S, mut lanes: [S::F32; N]) -> [S::F32; N] {
        for x in &mut lanes {
            *x = x.abs();
        }
        lanes
    }
}

/// Vectors that are compared side by side, as each comparison waits for the one before.
const CHAINS: usize = 4;

/// In each lane the largest number so far. NaN is passed over.
#[derive(Clone, Copy)]
pub struct Largest<V>([V; CHAINS]);

impl<V: F32> Largest<V> {
    #[inline(always)]
    pub fn new<S: Simd<F32 = V>>(s: S, least: f32) -> Self {
        Self([s.splat(least); CHAINS])
    }

    #[inline(always)]
    pub fn by_lane(self) -> V {
        // What is in the last one may be all there is, and then waits for nothing else.
        let [a, b, c, last] = self.0;
        last.max(a.max(b).max(c))
    }

    #[inline(always)]
    fn take(&mut self, x: [V; CHAINS]) {
        for (largest, x) in self.0.iter_mut().zip(x) {
            *largest = x.max(*largest);
        }
    }

    /// Takes what the elements of a span are mapped to.
    #[inline(always)]
    fn see<S: Simd<F32 = V>, E: Element>(&mut self, s: S, mut span: Read<'_, E>, map: impl Map<S>) {
        while let Some(x) = span.front::<S, CHAINS>(s) {
            self.take(map.apply(s, x));
            span.put::<S, CHAINS>(x);
        }
        // Fewer vectors than chains, and what is no whole one: an element stands for those that are not there.
        let [others @ .., last] = &mut self.0;
        for largest in others {
            let Some(x) = span.front::<S, 1>(s) else { break };
            *largest = map.apply(s, x)[0].max(*largest);
            span.put::<S, 1>(x);
        }
        if let Some(first) = span.tail.first()
            && let Some(x) = span.tail_lanes(s, first.to_f32())
        {
            *last = map.apply(s, [x])[0].max(*last);
        }
    }
}

/// Whether there is a NaN.
#[inline(always)]
pub fn has_nan<S: Simd, E: Element>(s: S, mut span: Read<'_, E>) -> bool {
    let mut numbers = u16::MAX;
    while let Some([x]) = span.front::<S, 1>(s) {
        numbers &= x.equals(x).bits();
        span.put::<S, 1>([x]);
    }
    if let Some(x) = span.tail_lanes(s, 0.0) {
        numbers &= x.equals(x).bits();
    }
    numbers != u16::MAX
}

/// How often `value` is there.
#[inline(always)]
pub fn count<S: Simd, E: Element>(s: S, mut span: Read<'_, E>, value: f32) -> u32 {
    let (mut count, value) = (0, s.splat(value));
    while let Some([x]) = span.front::<S, 1>(s) {
        count += x.equals(value).bits().count_ones();
        span.put::<S, 1>([x]);
    }
    if let Some(x) = span.tail_lanes(s, f32::NAN) {
        count += x.equals(value).bits().count_ones();
    }
    count
}

/// How many elements are at least as large as `value`.
#[inline(always)]
pub fn count_at_least<S: Simd, E: Element>(s: S, mut span: Read<'_, E>, value: f32) -> usize {
    let (mut count, value) = (0, s.splat(value));
    while let Some([x]) = span.front::<S, 1>(s) {
        count += x.max(value).equals(x).bits().count_ones() as usize;
        span.put::<S, 1>([x]);
    }
    if let Some(x) = span.tail_lanes(s, f32::NAN) {
        count += x.max(value).equals(x).bits().count_ones() as usize;
    }
    count
}

/// Where `value` stands first.
///
/// # Panics
///
/// If it stands nowhere.
#[inline(always)]
pub fn position<S: Simd, E: Element>(s: S, mut span: Read<'_, E>, value: f32) -> usize {
    const CHUNK: usize = 4;
    let (len, value) = (span.len(), s.splat(value));
    while let Some(x) = span.front::<S, CHUNK>(s) {
        let mut found = 0;
        for (i, x) in x.into_iter().enumerate() {
            found |= u64::from(x.equals(value).bits()) << (LANES * i);
        }
        if found != 0 {
            return len - span.len() + found.trailing_zeros() as usize;
        }
        span.put::<S, CHUNK>(x);
    }
    while let Some([x]) = span.front::<S, 1>(s) {
        let found = x.equals(value).bits();
        if found != 0 {
            return len - span.len() + found.trailing_zeros() as usize;
        }
        span.put::<S, 1>([x]);
    }
    let found = match span.tail_lanes(s, f32::NAN) {
        Some(x) => x.equals(value).bits(),
        None => 0,
    };
    assert!(found != 0, "no such element");
    len - span.len() + found.trailing_zeros() as usize
}

/// Writes one value everywhere.
#[inline(always)]
pub fn fill<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, value: f32) {
    #[derive(Clone, Copy)]
    struct Constant<V>(V);

    impl<S: Simd> Map<S> for Constant<S::F32> {
        #[inline(always)]
        fn apply<const N: usize>(&self, _: S, _: [S::F32; N]) -> [S::F32; N] {
            [self.0; N]
        }
    }

    map(s, span, 0.0, Constant(s.splat(value)));
}

/// Replaces each element, `fill` standing in the lanes behind the last one.
#[inline(always)]
pub fn map<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, fill: f32, map: impl Map<S>) {
    // Held here, so that its pointers are in registers and not where a caller has them.
    let mut held = mem::take(span);
    while let Some(x) = held.rest().front::<S, 2>(s) {
        let y = map.apply(s, x);
        held.put::<S, 2>(y);
    }
    if let Some(x) = held.rest().pair(s, fill) {
        let y = map.apply(s, x);
        held.put_pair::<S>(y);
    }
    *span = held;
}

/// The same vectors, of which the first begins `at` so many elements, with another value in one place, if that is there.
#[inline(always)]
pub fn with<S: Simd, const N: usize>(
    s: S,
    at: usize,
    mut lanes: [S::F32; N],
    place: Option<usize>,
    value: f32,
) -> [S::F32; N] {
    if let Some(after) = place.and_then(|place| place.checked_sub(at))
        && after < N * LANES
    {
        for (i, vector) in lanes.iter_mut().enumerate() {
            let mut array = vector.to_array();
            if let Some(lane) = after.checked_sub(i * LANES).and_then(|lane| array.get_mut(lane)) {
                *lane = value;
                *vector = s.load(&array);
            }
        }
    }
    lanes
}

/// A number, or NaN if it is negative.
#[inline(always)]
pub fn not_negative<S: Simd>(s: S, x: S::F32) -> S::F32 {
    x.equals(x.abs()).select(x, s.splat(f32::NAN))
}

/// `x` in lanes where a factor is not 0: a product with nothing is nothing, also if `x` is not finite.
#[inline(always)]
pub fn unless_zero<S: Simd>(s: S, factor: S::F32, x: S::F32) -> S::F32 {
    let zero = s.splat(0.0);
    factor.equals(zero).select(zero, x)
}

/// What happens to each vector of a span, given those at the same place in other spans.
pub trait Zip<S: Simd, const OTHERS: usize> {
    /// For vectors of which the first begins `at` so many elements.
    fn apply<const N: usize>(
        &self,
        s: S,
        at: usize,
        lanes: [S::F32; N],
        others: [[S::F32; N]; OTHERS],
    ) -> [S::F32; N];
}

/// Replaces each element, given those of other spans of the same length.
#[inline(always)]
pub fn zip<S: Simd, E: Element, const OTHERS: usize>(
    s: S,
    span: &mut impl Span<E>,
    mut others: [Read<'_, E>; OTHERS],
    fill: f32,
    zip: impl Zip<S, OTHERS>,
) {
    // As in `map`.
    let (mut held, mut at) = (mem::take(span), 0);
    while let Some(x) = held.rest().front::<S, 2>(s) {
        let y = zip.apply(s, at, x, pairs(s, &mut others));
        held.put::<S, 2>(one_nan(s, y));
        at += 2 * LANES;
    }
    if let Some(x) = held.rest().pair(s, fill) {
        let y = zip.apply(s, at, x, pairs(s, &mut others));
        held.put_pair::<S>(one_nan(s, y));
    }
    *span = held;
}

/// The same, with one NaN for all: which of two operands' NaN a result takes over is up to the compiler, and the sign of a new
/// one to the processor.
#[inline(always)]
fn one_nan<S: Simd, const N: usize>(s: S, mut lanes: [S::F32; N]) -> [S::F32; N] {
    let nan = s.splat(f32::NAN);
    for x in &mut lanes {
        *x = x.equals(*x).select(*x, nan);
    }
    lanes
}

/// The next two vectors of each span, with zeros behind its end.
#[inline(always)]
fn pairs<S: Simd, E: Element, const SPANS: usize>(
    s: S,
    spans: &mut [Read<'_, E>; SPANS],
) -> [[S::F32; 2]; SPANS] {
    let mut pairs = [[s.splat(0.0); 2]; SPANS];
    for (pair, span) in pairs.iter_mut().zip(spans) {
        *pair = span.pair(s, 0.0).expect("spans of one length");
        span.put_pair::<S>(*pair);
    }
    pairs
}

/// The largest number in each of some vectors.
#[inline(always)]
pub fn maxima<S: Simd, const N: usize>(s: S, vectors: &[[f32; LANES]; N]) -> [f32; N] {
    let mut maxima = [0.0; N];
    if let [vector] = &vectors[..] {
        maxima[0] = s.load(vector).reduce_max();
        return maxima;
    }
    for (maxima, vectors) in maxima.as_chunks_mut().0.iter_mut().zip(vectors.as_chunks().0) {
        *maxima = s.maxima(vectors);
    }
    maxima
}

/// A number for each lane: sixteen of them, or the only one.
///
/// # Panics
///
/// If they are as many as neither.
#[inline(always)]
pub fn each<S: Simd, const N: usize>(s: S, numbers: &[f32; N]) -> S::F32 {
    match &numbers[..] {
        [number] => s.splat(*number),
        numbers => s.load(numbers.try_into().expect("sixteen")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::trial::tested;
    use crate::simd::Kernel;
    use crate::simd::isa::Machine;
    use crate::span::{Fence, Slots, Stream, Write};

    /// A row of few different numbers, so that each is there often, and its first places are in every lane.
    fn row(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * i + len) % 23) as f32 - 14.0).collect()
    }

    #[derive(Clone, Copy)]
    struct Everything;

    impl Kernel for Everything {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for len in 0..150 {
                let x = row(len);
                passes(s, &x);
                // With a NaN, in every place.
                for at in 0..len {
                    let mut x = x.clone();
                    x[at] = f32::NAN;
                    assert!(has_nan(s, Read::new(&x)), "{at} of {len}");
                }
            }
        }
    }

    /// Each pass against what an iterator says.
    #[inline(always)]
    fn passes<S: Simd>(s: S, x: &[f32]) {
        let (len, read) = (x.len(), Read::new(x));
        let largest = |from: f32, of: fn(f32) -> f32| x.iter().map(|&x| of(x)).fold(from, f32::max);
        let (max, most) = (largest(f32::NEG_INFINITY, |x| x), largest(0.0, f32::abs));
        assert_eq!(max_reduce(s, read), max, "{len}");
        assert_eq!(magnitude(s, &[read, Read::new(&[-3.5])]), most.max(3.5), "{len}");
        let mut magnitude = Largest::new(s, 2.5);
        assert_eq!(maxima_by_lane(s, read, &mut magnitude).reduce_max(), max, "{len}");
        assert_eq!(magnitude.by_lane().reduce_max(), most.max(2.5), "{len}");
        assert!(!has_nan(s, read), "{len}");
        for value in [-14.0, -5.0, 0.0, 8.0, 9.0] {
            assert_eq!(count(s, read, value) as usize, x.iter().filter(|&&x| x == value).count());
            assert_eq!(count_at_least(s, read, value), x.iter().filter(|&&x| x >= value).count());
        }
        for (i, value) in x.iter().enumerate() {
            let first = x.iter().position(|x| x == value);
            assert_eq!(Some(position(s, read, *value)), first, "{i} of {len}");
        }
        // Each at its place alone.
        let rising: Vec<_> = (0..len).map(|i| i as f32).collect();
        for i in 0..len {
            assert_eq!(position(s, Read::new(&rising), i as f32), i, "{len}");
        }
        writes(s, x);
    }

    /// What is put in the place of each element.
    #[inline(always)]
    fn writes<S: Simd>(s: S, x: &[f32]) {
        let mut y = x.to_vec();
        map(s, &mut Write::in_place(&mut y), 0.0, Magnitude);
        assert!(y.iter().zip(x).all(|(y, x)| *y == x.abs()), "{y:?}");
        fill(s, &mut Write::in_place(&mut y), 1.5);
        assert!(y.iter().all(|&y| y == 1.5), "{y:?}");
        {
            let fence = Fence::new(s);
            for mut part in Stream::new(&fence, x, Slots::of(&mut y)) {
                map(s, &mut part, 0.0, Same);
            }
        }
        assert_eq!(y, x);
        let others = [Read::new(x), Read::new(x)];
        zip(s, &mut Write::in_place(&mut y), others, 0.0, Ramp);
        let ramp = |(i, &x): (usize, &f32)| if x == 3.0 { f32::NAN } else { x * x - x + i as f32 };
        let want: Vec<_> = x.iter().enumerate().map(|at| ramp(at).to_bits()).collect();
        assert_eq!(y.iter().map(|y| y.to_bits()).collect::<Vec<_>>(), want);
    }

    /// A product and a difference of what stands beside an element, and its place; and a NaN with a sign.
    struct Ramp;

    impl<S: Simd> Zip<S, 2> for Ramp {
        #[inline(always)]
        fn apply<const N: usize>(
            &self,
            s: S,
            at: usize,
            mut lanes: [S::F32; N],
            [a, b]: [[S::F32; N]; 2],
        ) -> [S::F32; N] {
            for i in 0..N {
                let places: [f32; LANES] = core::array::from_fn(|lane| (at + i * LANES + lane) as f32);
                let nan = lanes[i].equals(s.splat(3.0));
                let y = lanes[i] * a[i] - b[i] + s.load(&places);
                lanes[i] = nan.select(s.splat(-f32::NAN), y);
            }
            lanes
        }
    }

    #[derive(Clone, Copy)]
    struct Few;

    impl Kernel for Few {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let rows: [[f32; LANES]; LANES] =
                core::array::from_fn(|i| row(LANES + i).try_into().unwrap_or([i as f32; LANES]));
            let largest = rows.map(|row| row.into_iter().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(maxima(s, &rows), largest);
            assert_eq!(maxima(s, &[rows[3]]), [largest[3]]);
            assert_eq!(each(s, &largest).to_array(), largest);
            assert_eq!(each(s, &[2.5]).to_array(), [2.5; LANES]);

            // A place before the vectors, in each lane of them, behind them, and none.
            let at = 5;
            for place in (0..60).map(Some).chain([None]) {
                let lanes = with(s, at, [s.load(&rows[0]), s.load(&rows[1])], place, -99.0);
                let mut want = [rows[0], rows[1]].concat();
                if let Some(x) = place.and_then(|place| want.get_mut(place.wrapping_sub(at))) {
                    *x = -99.0;
                }
                assert_eq!([lanes[0].to_array(), lanes[1].to_array()].concat(), want, "{place:?}");
            }
            let signs: [f32; LANES] = core::array::from_fn(|i| i as f32 - 7.0);
            let positive = signs.map(|x| if x < 0.0 { u32::MAX } else { x.to_bits() });
            let bits = |x: f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
            assert_eq!(not_negative(s, s.load(&signs)).to_array().map(bits), positive);
            let infinite = unless_zero(s, s.load(&signs), s.splat(f32::INFINITY)).to_array();
            assert_eq!(infinite, signs.map(|x| if x == 0.0 { 0.0 } else { f32::INFINITY }));
        }
    }

    #[test]
    fn passes_are_those_of_iterators() {
        for isa in tested() {
            Machine::new(isa).unwrap().run(Everything);
            Machine::new(isa).unwrap().run(Few);
        }
    }
}
