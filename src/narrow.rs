//! Sixteen rows no longer than a vector, one behind the other, so that no lane is idle.
//!
//! What happens to each element happens to all of them as if they were one row. What is computed once a row is computed
//! for sixteen of them at once, in lanes, for which they are transposed. The additions are those of
//! [`sums`](crate::sums), in the same order: which way a row went does not show in the bits.

use crate::element::Element;
use crate::lanes::Map;
use crate::simd::{F32, F64, LANES, Mask, Simd};
use crate::span::{Read, Slots};
use crate::sums::Terms;

/// The longest rows that are narrow.
pub const COLS: usize = LANES;

/// Vectors with room for all rows, and for whole vectors and pairs of them behind the last element.
const VECTORS: usize = COLS + 2;

type Flat = [[f32; LANES]; VECTORS];

/// What is transposed at a time: so many rows and columns.
const BLOCK: usize = 8;

/// Sixteen rows, what their elements are mapped to, and what they become.
pub struct Narrow {
    x: Flat,
    terms: Flat,
    y: Flat,
    columns: Columns,
    cols: usize,
}

impl Narrow {
    /// Room for rows of so many elements.
    ///
    /// # Panics
    ///
    /// If that is more than [`COLS`].
    #[inline(always)]
    pub fn new(cols: usize) -> Self {
        assert!(cols <= COLS);
        let zeros = [[0.0; LANES]; VECTORS];
        let columns = Columns { lanes: [[0.0; LANES]; COLS], cols };
        Self { x: zeros, terms: zeros, y: zeros, columns, cols }
    }

    /// Takes the elements of some rows, of which the first is this one.
    #[inline(always)]
    pub fn load<S: Simd, E: Element>(&mut self, s: S, row: usize, elements: Read<'_, E>) {
        let to = self.x.as_flattened_mut();
        let to = &mut to[row * self.cols..];
        let (full, rest) = to.split_at_mut(elements.vectors.len() * LANES);
        for (from, to) in elements.vectors.iter().zip(full.as_chunks_mut::<LANES>().0) {
            *to = E::load(s, from).to_array();
        }
        // Into the next row, which is yet to come.
        if let (Some(lanes), Some(to)) = (elements.tail_lanes(s, 0.0), rest.first_chunk_mut::<LANES>()) {
            *to = lanes.to_array();
        }
    }

    /// Gives the results of some rows, of which the first is this one.
    #[inline(always)]
    pub fn store<S: Simd, E: Element>(&self, s: S, row: usize, mut to: Slots<'_, E>) {
        let from = self.y.as_flattened();
        to.write(s, from[row * self.cols..].as_chunks::<LANES>().0);
    }

    /// The largest magnitude of an element.
    #[inline(always)]
    pub fn magnitude<S: Simd>(&self, s: S) -> f32 {
        let mut largest = s.splat(0.0);
        for x in &self.x[..self.cols] {
            largest = s.load(x).abs().max(largest);
        }
        largest.reduce_max()
    }

    /// The elements.
    #[inline(always)]
    pub fn columns<S: Simd>(&mut self, s: S) -> &mut Columns {
        self.columns.transpose(s, &self.x);
        &mut self.columns
    }

    /// Computes a term from each element.
    #[inline(always)]
    pub fn map_terms<S: Simd>(&mut self, s: S, map: &impl Map<S>) {
        for (x, terms) in self.x.chunks(2).zip(self.terms.chunks_mut(2)).take(self.cols.div_ceil(2)) {
            if let ([a, b], [to_a, to_b]) = (x, terms) {
                let [a, b] = map.apply(s, [s.load(a), s.load(b)]);
                (*to_a, *to_b) = (a.to_array(), b.to_array());
            }
        }
    }

    /// The terms.
    #[inline(always)]
    pub fn term_columns<S: Simd>(&mut self, s: S) -> &mut Columns {
        self.columns.transpose(s, &self.terms);
        &mut self.columns
    }

    /// Puts what stands in columns where terms stand in rows.
    #[inline(always)]
    pub fn term_columns_to_rows<S: Simd>(&mut self, s: S) {
        self.columns.transpose_to(s, &mut self.terms);
    }

    /// Replaces each element by something that is computed from its term, with a map for each row.
    #[inline(always)]
    pub fn finish_terms<S: Simd, M: Map<S>>(&mut self, s: S, map: impl Fn(usize) -> M) {
        finish(s, &self.terms, &mut self.y, self.cols, map);
    }

    /// Replaces each element by something that is computed from it, with a map for each row.
    #[inline(always)]
    pub fn finish<S: Simd, M: Map<S>>(&mut self, s: S, map: impl Fn(usize) -> M) {
        finish(s, &self.x, &mut self.y, self.cols, map);
    }
}

#[inline(always)]
fn finish<S: Simd, M: Map<S>>(s: S, from: &Flat, to: &mut Flat, cols: usize, map: impl Fn(usize) -> M) {
    let from = from.as_flattened();
    let to = to.as_flattened_mut();
    for row in 0..LANES {
        let from = from[row * cols..].first_chunk::<LANES>().expect("room behind the last row");
        let to = to[row * cols..].first_chunk_mut::<LANES>().expect("room behind the last row");
        // Into the next row, which is yet to come.
        *to = map(row).apply(s, [s.load(from)])[0].to_array();
    }
}

/// Columns of narrow rows: a lane is a row.
#[derive(Clone)]
pub struct Columns {
    /// Behind the last column stand others.
    lanes: [[f32; LANES]; COLS],
    cols: usize,
}

impl Columns {
    #[inline(always)]
    fn transpose<S: Simd>(&mut self, s: S, rows: &Flat) {
        let rows = rows.as_flattened();
        for row in (0..LANES).step_by(BLOCK) {
            for col in (0..self.cols).step_by(BLOCK) {
                let mut block = [[0.0; BLOCK]; BLOCK];
                for (i, block) in block.iter_mut().enumerate() {
                    block.copy_from_slice(&rows[(row + i) * self.cols + col..][..BLOCK]);
                }
                for (block, column) in s.transpose(block).iter().zip(&mut self.lanes[col..col + BLOCK]) {
                    column[row..row + BLOCK].copy_from_slice(block);
                }
            }
        }
    }

    #[inline(always)]
    fn transpose_to<S: Simd>(&self, s: S, rows: &mut Flat) {
        let rows = rows.as_flattened_mut();
        for row in (0..LANES).step_by(BLOCK) {
            let mut blocks = [[[0.0; BLOCK]; BLOCK]; COLS / BLOCK];
            for (blocks, columns) in blocks.iter_mut().zip(self.lanes.as_chunks::<BLOCK>().0) {
                for (block, column) in blocks.iter_mut().zip(columns) {
                    block.copy_from_slice(&column[row..row + BLOCK]);
                }
                *blocks = s.transpose(*blocks);
            }
            for i in 0..BLOCK {
                // Into the next row, which is yet to come.
                let to = &mut rows[(row + i) * self.cols..][..COLS];
                for (to, blocks) in to.as_chunks_mut::<BLOCK>().0.iter_mut().zip(&blocks) {
                    *to = blocks[i];
                }
            }
        }
    }

    /// Replaces each element.
    #[inline(always)]
    pub fn map<S: Simd>(&mut self, s: S, map: &impl Map<S>) {
        for pair in self.lanes.as_chunks_mut::<2>().0.iter_mut().take(self.cols.div_ceil(2)) {
            let [a, b] = map.apply(s, [s.load(&pair[0]), s.load(&pair[1])]);
            *pair = [a.to_array(), b.to_array()];
        }
    }

    /// The largest magnitude in each row. NaN is passed over.
    #[inline(always)]
    pub fn magnitudes<S: Simd>(&self, s: S) -> [f32; LANES] {
        let mut largest = s.splat(0.0);
        for column in &self.lanes[..self.cols] {
            largest = s.load(column).abs().max(largest);
        }
        largest.to_array()
    }

    /// The largest element of each row; -inf if there is none. NaN is passed over, and -0 may stand for +0.
    #[inline(always)]
    pub fn max<S: Simd>(&self, s: S) -> S::F32 {
        let mut largest = s.splat(f32::NEG_INFINITY);
        for column in &self.lanes[..self.cols] {
            largest = s.load(column).max(largest);
        }
        largest
    }

    /// The sum of each row: as [`sums::map_sum`](crate::sums::map_sum).
    #[inline(always)]
    pub fn sums<S: Simd>(&self, s: S) -> [f64; LANES] {
        sums(s, &self.lanes[..self.cols])
    }

    /// How many elements of each row are equal to its lane of this vector.
    #[inline(always)]
    pub fn counts<S: Simd>(&self, s: S, elements: S::F32) -> [f32; LANES] {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let mut counts = zero;
        for column in &self.lanes[..self.cols] {
            counts = counts + s.load(column).equals(elements).select(one, zero);
        }
        counts.to_array()
    }
}

/// The sums of what becomes of each row's elements, in these columns: as [`sums::sums_of`](crate::sums::sums_of).
#[inline(always)]
pub fn sums_of<S: Simd, const SPANS: usize, const SUMS: usize>(
    s: S,
    columns: [&Columns; SPANS],
    terms: &mut impl Terms<S, SPANS, SUMS>,
) -> [[f64; LANES]; SUMS] {
    let (mut results, cols) = ([[[0.0; LANES]; COLS]; SUMS], columns[0].cols);
    for i in (0..cols).step_by(2) {
        let mut pairs = [[s.splat(0.0); 2]; SPANS];
        for (pair, columns) in pairs.iter_mut().zip(columns) {
            *pair = [s.load(&columns.lanes[i]), s.load(&columns.lanes[i + 1])];
        }
        let terms = terms.apply(s, pairs);
        for sum in 0..SUMS {
            results[sum][i] = terms[sum][0].to_array();
            results[sum][i + 1] = terms[sum][1].to_array();
        }
    }
    let mut totals = [[0.0; LANES]; SUMS];
    for sum in 0..SUMS {
        totals[sum] = sums(s, &results[sum][..cols]);
    }
    totals
}

/// The sum of each lane, in the order in which those of a vector's lanes are added.
#[inline(always)]
fn sums<S: Simd>(s: S, columns: &[[f32; LANES]]) -> [f64; LANES] {
    let mut halves = [s.zero_f64(); COLS / 2];
    let (first, second) = columns.split_at(columns.len().min(COLS / 2));
    for (sum, column) in halves.iter_mut().zip(first) {
        *sum = s.load(column).widen();
    }
    for (sum, column) in halves.iter_mut().zip(second) {
        *sum = *sum + s.load(column).widen();
    }
    fold(halves)
}

/// The rest of the tree.
#[inline(always)]
fn fold<F: F64>(mut sums: [F; COLS / 2]) -> [f64; LANES] {
    let mut width = COLS / 4;
    while width > 0 {
        for i in 0..width {
            sums[i] = sums[i] + sums[i + width];
        }
        width /= 2;
    }
    sums[0].to_array()
}
