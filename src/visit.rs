//! A second look at whole rows, while they are in the caches, for what is found by place: each row on one thread.

use core::marker::PhantomData;

use crate::element::Element;
use crate::rows::Rows;
use crate::simd::isa::Machine;
use crate::simd::{Kernel, Simd};
use crate::span::Read;
use crate::threads::{Divide, Workers};

/// What is done with each row of a batch, for which there are some places in an output.
pub trait Visit<E: Element>: Sync {
    type Output: Send;

    fn visit<S: Simd>(&self, s: S, row: usize, elements: Read<'_, E>, out: &mut [Self::Output]);
}

/// Visits rows, for each of which there are so many places in `out`.
pub fn visit<E: Element, V: Visit<E>>(
    workers: Workers,
    rows: Rows<'_, E>,
    places: usize,
    out: &mut [V::Output],
    operation: &V,
) {
    debug_assert_eq!(rows.rows() * places, out.len());
    workers.run(Visits { first: 0, rows, places, out, operation, element: PhantomData });
}

struct Visits<'a, 'o, E: Element, V: Visit<E>> {
    /// The first of the rows, in the whole batch.
    first: usize,
    rows: Rows<'a, E>,
    places: usize,
    out: &'a mut [V::Output],
    operation: &'o V,
    element: PhantomData<E>,
}

impl<E: Element, V: Visit<E>> Kernel for Visits<'_, '_, E, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (i, out) in self.out.chunks_mut(self.places).enumerate() {
            let row = Read::new(self.rows.next_row().expect("a row for each place"));
            self.operation.visit(s, self.first + i, row, out);
        }
    }
}

impl<E: Element, V: Visit<E>> Divide for Visits<'_, '_, E, V> {
    fn elements(&self) -> usize {
        self.rows.rows() * self.rows.cols()
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.rows.rows() / 2;
        if half == 0 {
            return Err(self);
        }
        let (rows, out) = (self.rows.split_at(half), self.out.split_at_mut(half * self.places));
        let first = self.first + half;
        Ok((Self { rows: rows.0, out: out.0, ..self }, Self { first, rows: rows.1, out: out.1, ..self }))
    }

    fn run(self, machine: Machine) {
        machine.run(self);
    }
}
