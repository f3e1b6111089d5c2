//! The memory that is measured on.

use crate::cell::{Cell, Layout};
use crate::rows::Logits;

/// Floats that begin where we want them to.
struct Buffer {
    storage: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `offset` elements behind a multiple of 64 bytes, with every page touched.
    fn new(len: usize, offset: usize) -> Self {
        let storage = vec![1.0; len + 16 + offset]; // not zeros, whose pages would come when first written to
        let start = storage.as_ptr().align_offset(64) + offset;
        Self { storage, start, len }
    }

    fn elements(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..][..self.len]
    }
}

/// What the candidates of a cell work on: logits, an output, and a sum for each row.
pub struct Buffers {
    pub rows: usize,
    pub cols: usize,
    input: Buffer,
    output: Buffer,
    sums: Vec<f64>,
}

impl Buffers {
    pub fn new(cell: &Cell, logits: Logits) -> Self {
        let (rows, cols) = (cell.shape.rows, cell.shape.cols);
        let offset = usize::from(cell.layout == Layout::Misaligned);
        let mut input = Buffer::new(rows * cols, offset);
        logits.fill(input.elements(), cols);
        Self { rows, cols, input, output: Buffer::new(rows * cols, offset), sums: vec![1.0; rows] }
    }

    pub fn elements(&self) -> usize {
        self.rows * self.cols
    }

    /// Input, output, and a sum for each row.
    pub fn split(&mut self) -> (&[f32], &mut [f32], &mut [f64]) {
        (self.input.elements(), self.output.elements(), &mut self.sums)
    }

    /// Puts the logits into the output, for what is computed in place.
    pub fn reset(&mut self) {
        let (input, output, _) = self.split();
        output.copy_from_slice(input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_where_they_should() {
        for offset in [0, 1] {
            let mut buffer = Buffer::new(100, offset);
            let elements = buffer.elements();
            assert_eq!(elements.len(), 100);
            assert_eq!(elements.as_ptr().align_offset(64), (16 - offset) % 16);
        }
    }
}
