//! Sixteen short rows, transposed: a lane is a row.
//!
//! What is computed once a row is then computed for sixteen of them at once, and no lane is idle where rows are shorter than
//! a vector. The additions are those of [`lanes`](crate::lanes), in the same order: which way a row went does not show in
//! the bits.

use crate::element::Element;
use crate::lanes::Map;
use crate::simd::{F32, F64, LANES, Mask, Simd};
use crate::span::{Read, Slots};

/// The longest rows that are transposed.
pub const COLS: usize = 64;

/// Rows as lanes.
pub struct Tile {
    columns: Columns,
    /// The rows as they stand, and are to stand, in memory; and in between the terms of a sum.
    spare: Columns,
    cols: usize,
}

type Columns = [[f32; LANES]; COLS];
type Rows = [[f32; COLS]; LANES];

/// What is transposed at a time: so many rows and columns.
const BLOCK: usize = 8;

impl Tile {
    /// Room for rows.
    #[inline(always)]
    pub fn new() -> Self {
        Self { columns: [[0.0; LANES]; COLS], spare: [[0.0; LANES]; COLS], cols: 0 }
    }

    /// For rows of so many elements, at most [`COLS`]: zeros, or what others have left.
    #[inline(always)]
    pub fn clear(&mut self, cols: usize) {
        assert!(cols <= COLS);
        self.cols = cols;
    }

    /// Takes a row.
    #[inline(always)]
    pub fn load<S: Simd, E: Element>(&mut self, s: S, lane: usize, row: Read<'_, E>) {
        assert!(row.len() == self.cols);
        let rows: &mut Rows = bytemuck::cast_mut(&mut self.spare);
        let to = rows[lane].as_chunks_mut::<LANES>().0;
        for (vector, to) in row.vectors.iter().zip(&mut *to) {
            *to = E::load(s, vector).to_array();
        }
        if let Some(lanes) = row.tail_lanes(s, 0.0) {
            to[row.vectors.len()] = lanes.to_array();
        }
    }

    /// Turns the rows that have been taken into columns.
    #[inline(always)]
    pub fn transpose<S: Simd>(&mut self, s: S) {
        let rows: &Rows = bytemuck::cast_ref(&self.spare);
        transpose(s, rows, &mut self.columns, LANES, self.cols);
    }

    /// Turns the columns into rows.
    #[inline(always)]
    pub fn transpose_back<S: Simd>(&mut self, s: S) {
        let rows: &mut Rows = bytemuck::cast_mut(&mut self.spare);
        transpose(s, &self.columns, rows, self.cols, LANES);
    }

    /// Gives a row back.
    #[inline(always)]
    pub fn put<S: Simd, E: Element>(&self, s: S, lane: usize, mut row: Slots<'_, E>) {
        let rows: &Rows = bytemuck::cast_ref(&self.spare);
        row.write(s, rows[lane].as_chunks::<LANES>().0);
    }

    /// The largest element of each row: as [`lanes::max_reduce`](crate::lanes::max_reduce).
    #[inline(always)]
    pub fn max<S: Simd>(&self, s: S) -> S::F32 {
        let mut largest = s.splat(f32::NEG_INFINITY);
        for column in &self.columns[..self.cols] {
            largest = s.load(column).max(largest);
        }
        largest
    }

    /// Where each row has this element first.
    #[inline(always)]
    pub fn positions<S: Simd>(&self, s: S, element: S::F32) -> [usize; LANES] {
        let mut first = s.splat(0.0);
        for (i, column) in self.columns[..self.cols].iter().enumerate().rev() {
            first = s.load(column).equals(element).select(s.splat(i as f32), first);
        }
        first.to_array().map(|first| first as usize)
    }

    /// Puts an element into each row, and gives back what was there.
    #[inline(always)]
    pub fn swap(&mut self, positions: &[usize; LANES], elements: &mut [f32; LANES]) {
        for (lane, (&position, element)) in positions.iter().zip(elements).enumerate() {
            core::mem::swap(&mut self.columns[position][lane], element);
        }
    }

    /// Replaces each element by something that is computed from it.
    #[inline(always)]
    pub fn map<S: Simd>(&mut self, s: S, map: &impl Map<S>) {
        for column in self.columns[..self.cols].chunks_mut(2) {
            apply(s, map, column);
        }
    }

    /// Replaces each element by something that is computed from its [term](Self::map_sum).
    #[inline(always)]
    pub fn map_terms<S: Simd>(&mut self, s: S, map: &impl Map<S>) {
        self.columns[..self.cols].copy_from_slice(&self.spare[..self.cols]);
        self.map(s, map);
    }

    /// The sum of what the elements of each row are mapped to, their terms: as [`lanes::map_sum`](crate::lanes::map_sum).
    #[inline(always)]
    pub fn map_sum<S: Simd>(&mut self, s: S, map: &impl Map<S>) -> [f64; LANES] {
        self.spare[..self.cols].copy_from_slice(&self.columns[..self.cols]);
        for column in self.spare[..self.cols].chunks_mut(2) {
            apply(s, map, column);
        }
        // In the lanes behind the end of a row, where its last vector is not full.
        if let Some((first, others)) =
            self.spare[self.cols..self.cols.next_multiple_of(LANES)].split_first_mut()
        {
            *first = map.apply(s, [s.splat(f32::NEG_INFINITY)])[0].to_array();
            others.fill(*first);
        }
        let mut sums = [s.zero_f64(); LANES / 2];
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = self.lane(s, lane).widen() + self.lane(s, lane + LANES / 2).widen();
        }
        let mut width = LANES / 4;
        while width > 0 {
            for i in 0..width {
                sums[i] = sums[i] + sums[i + width];
            }
            width /= 2;
        }
        sums[0].to_array()
    }

    /// The terms that a row would have in a lane, were it not transposed, added over its vectors.
    #[inline(always)]
    fn lane<S: Simd>(&self, s: S, lane: usize) -> S::F32 {
        let (_, lanes) = self.spare.split_at(lane);
        let first = s.load(&lanes[0]);
        match self.cols.div_ceil(LANES) {
            1 => first,
            2 => first + s.load(&lanes[LANES]),
            3 => (first + s.load(&lanes[LANES])) + s.load(&lanes[2 * LANES]),
            _ => (first + s.load(&lanes[LANES])) + (s.load(&lanes[2 * LANES]) + s.load(&lanes[3 * LANES])),
        }
    }
}

/// The transpose of the first rows and columns, as many as whole blocks hold.
#[inline(always)]
fn transpose<S: Simd, const FROM: usize, const TO: usize>(
    s: S,
    from: &[[f32; FROM]],
    to: &mut [[f32; TO]],
    rows: usize,
    cols: usize,
) {
    for row in (0..rows).step_by(BLOCK) {
        for col in (0..cols).step_by(BLOCK) {
            let mut block = [[0.0; BLOCK]; BLOCK];
            for (block, from) in block.iter_mut().zip(&from[row..row + BLOCK]) {
                block.copy_from_slice(&from[col..col + BLOCK]);
            }
            for (block, to) in s.transpose(block).iter().zip(&mut to[col..col + BLOCK]) {
                to[row..row + BLOCK].copy_from_slice(block);
            }
        }
    }
}

/// Maps two columns, or one.
#[inline(always)]
fn apply<S: Simd>(s: S, map: &impl Map<S>, columns: &mut [[f32; LANES]]) {
    if let [a, b] = columns {
        let [x, y] = map.apply(s, [s.load(a), s.load(b)]);
        (*a, *b) = (x.to_array(), y.to_array());
    } else if let [a] = columns {
        let [x] = map.apply(s, [s.load(a)]);
        *a = x.to_array();
    }
}
