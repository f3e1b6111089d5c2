//! A batch as rows of one slice: the only place where shapes are checked.

use core::fmt;
use core::mem::{self, MaybeUninit};

use crate::element::Element;
use crate::error::Error;
use crate::span::Slots;

/// Rows to read: `rows x cols` elements, each row contiguous, `stride` elements from one row to the next.
///
/// # Examples
///
/// ```
/// use logits::Rows;
///
/// let data = [0.0_f32; 12];
/// let rows = Rows::new(&data, 4)?;
/// assert_eq!((rows.rows(), rows.cols()), (3, 4));
///
/// // The first three columns of the same matrix.
/// let rows = Rows::strided(&data, 3, 4)?;
/// assert_eq!((rows.rows(), rows.cols(), rows.stride()), (3, 3, 4));
/// # Ok::<(), logits::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Rows<'a, E: Element = f32>(Table<&'a [E]>);

/// Rows to write; otherwise as [`Rows`]. What lies between the columns of two strided rows is left alone.
pub struct RowsMut<'a, E: Element = f32>(Table<&'a mut [E]>);

/// Rows of an output that need not be initialised.
pub(crate) struct RowSlots<'a, E: Element>(Table<Slots<'a, E>>);

/// Checks that two batches have one shape.
///
/// # Errors
///
/// [`Error::ShapesDiffer`], with the names of both.
pub fn same_shape(what: [&'static str; 2], shapes: [(usize, usize); 2]) -> Result<(), Error> {
    // A batch of no rows has no columns to speak of.
    if shapes[0] == shapes[1] || shapes[0].0 + shapes[1].0 == 0 {
        Ok(())
    } else {
        Err(Error::ShapesDiffer { what, shapes })
    }
}

impl<'a, E: Element> Rows<'a, E> {
    /// Contiguous rows of `cols` columns.
    ///
    /// # Errors
    ///
    /// [`Error::NoColumns`] if `cols` is 0 and there is data; [`Error::RaggedRows`] if `data` does not hold a whole
    /// number of rows. No data at all is a batch of no rows.
    #[inline]
    pub fn new(data: &'a [E], cols: usize) -> Result<Self, Error> {
        Self::strided(data, cols, cols)
    }

    /// Rows of `cols` columns that begin `stride` elements apart: `(rows - 1) * stride + cols` elements at least.
    ///
    /// # Errors
    ///
    /// As [`Rows::new`], and [`Error::StrideTooShort`] if `stride < cols`.
    #[inline]
    pub fn strided(data: &'a [E], cols: usize, stride: usize) -> Result<Self, Error> {
        Table::new(data, cols, stride).map(Self)
    }

    /// A slice as one row, or as none if it is empty.
    pub(crate) fn one(data: &'a [E]) -> Self {
        Self(Table::one(data))
    }

    /// Row `row`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[must_use]
    #[inline]
    pub fn row(&self, row: usize) -> &'a [E] {
        &self.0.data[self.0.shape.range(row)]
    }

    /// One element.
    ///
    /// # Panics
    ///
    /// If there is no such row, or no such column of the last one.
    #[inline(always)]
    pub(crate) fn get(&self, row: usize, col: usize) -> E {
        debug_assert!(col < self.0.shape.cols, "column {col} of {}", self.0.shape.cols);
        self.0.data[row * self.0.shape.stride + col]
    }

    /// The first rows as one, if they are.
    #[inline(always)]
    pub(crate) fn contiguous(&self, rows: usize) -> Option<&'a [E]> {
        self.0.shape.contiguous(rows).map(|range| &self.0.data[range])
    }
}

impl<'a, E: Element> RowsMut<'a, E> {
    /// Contiguous rows of `cols` columns.
    ///
    /// # Errors
    ///
    /// As [`Rows::new`].
    #[inline]
    pub fn new(data: &'a mut [E], cols: usize) -> Result<Self, Error> {
        Self::strided(data, cols, cols)
    }

    /// Rows of `cols` columns that begin `stride` elements apart.
    ///
    /// # Errors
    ///
    /// As [`Rows::strided`].
    #[inline]
    pub fn strided(data: &'a mut [E], cols: usize, stride: usize) -> Result<Self, Error> {
        Table::new(data, cols, stride).map(Self)
    }

    /// A slice as one row, or as none if it is empty.
    pub(crate) fn one(data: &'a mut [E]) -> Self {
        Self(Table::one(data))
    }

    /// Row `row`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row_mut(&mut self, row: usize) -> &mut [E] {
        &mut self.0.data[self.0.shape.range(row)]
    }

    /// Row `row`, to be read.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[E] {
        &self.0.data[self.0.shape.range(row)]
    }

    /// The first rows as one, if they are.
    #[inline(always)]
    pub(crate) fn contiguous(&self, rows: usize) -> Option<&[E]> {
        self.0.shape.contiguous(rows).map(|range| &self.0.data[range])
    }

    #[inline(always)]
    pub(crate) fn into_slots(self) -> RowSlots<'a, E> {
        RowSlots(Table { data: Slots::of(self.0.data), shape: self.0.shape })
    }
}

impl<'a, E: Element> RowSlots<'a, E> {
    /// Row `row`.
    #[inline(always)]
    pub(crate) fn row(&mut self, row: usize) -> Slots<'_, E> {
        self.0.data.part(self.0.shape.range(row))
    }

    /// All rows as one, if they are.
    #[inline(always)]
    pub(crate) fn contiguous(&mut self) -> Option<Slots<'_, E>> {
        self.0.shape.contiguous(self.0.shape.rows).map(|range| self.0.data.part(range))
    }

    /// Contiguous rows of `cols` columns.
    pub(crate) fn new(memory: &'a mut [MaybeUninit<E>], cols: usize) -> Result<Self, Error> {
        Table::new(Slots::new(memory), cols, cols).map(Self)
    }
}

macro_rules! tables {
    ($($rows:ident of $data:ty;)*) => {$(
        impl<'a, E: Element> $rows<'a, E> {
            /// The number of rows.
            #[must_use]
            #[inline]
            pub fn rows(&self) -> usize {
                self.0.shape.rows
            }

            /// The number of columns: the elements of a row.
            #[must_use]
            #[inline]
            pub fn cols(&self) -> usize {
                self.0.shape.cols
            }

            #[inline(always)]
            pub(crate) fn next_row(&mut self) -> Option<$data> {
                self.0.next_row()
            }

            /// Passes the first rows.
            #[inline(always)]
            pub(crate) fn take(&mut self, rows: usize) -> Self {
                let (first, others) = self.0.take().split_at(rows);
                self.0 = others;
                Self(first)
            }

            /// The first rows and the others.
            pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
                let (first, second) = self.0.split_at(row);
                (Self(first), Self(second))
            }
        }
    )*};
}

tables! {
    Rows of &'a [E];
    RowsMut of &'a mut [E];
    RowSlots of Slots<'a, E>;
}

macro_rules! strides {
    ($($rows:ident)*) => {$(
        impl<E: Element> $rows<'_, E> {
            /// The distance from the start of one row to the start of the next, in elements.
            #[must_use]
            pub fn stride(&self) -> usize {
                self.0.shape.stride
            }

            /// How many elements there are, with those between rows.
            #[inline(always)]
            pub(crate) fn elements(&self) -> usize {
                self.0.data.len()
            }
        }

        /// The shape: not the elements, of which there may be millions.
        impl<E: Element> fmt::Debug for $rows<'_, E> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Shape { rows, cols, stride } = self.0.shape;
                f.debug_struct(stringify!($rows))
                    .field("rows", &rows)
                    .field("cols", &cols)
                    .field("stride", &stride)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

strides!(Rows RowsMut);

/// Data that can be cut in two.
trait Cut: Default {
    fn len(&self) -> usize;
    fn cut(self, at: usize) -> (Self, Self);
}

impl<E> Cut for &[E] {
    fn len(&self) -> usize {
        (**self).len()
    }

    #[inline(always)]
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

impl<E> Cut for &mut [E] {
    fn len(&self) -> usize {
        (**self).len()
    }

    #[inline(always)]
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

impl<E: Element> Cut for Slots<'_, E> {
    fn len(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

/// Data and the shape that it has been found to have.
#[derive(Clone, Copy)]
struct Table<D> {
    data: D,
    shape: Shape,
}

impl<D: Cut> Table<D> {
    #[inline]
    fn new(data: D, cols: usize, stride: usize) -> Result<Self, Error> {
        let shape = Shape::new(data.len(), cols, stride)?;
        Ok(Self { data, shape })
    }

    fn one(data: D) -> Self {
        let len = data.len();
        Self { data, shape: Shape { rows: usize::from(len > 0), cols: len, stride: len } }
    }

    #[inline(always)]
    fn next_row(&mut self) -> Option<D> {
        self.shape.rows = self.shape.rows.checked_sub(1)?;
        let data = mem::take(&mut self.data);
        // The gap behind the last row may be missing.
        let step = self.shape.stride.min(data.len());
        let (row, rest) = data.cut(step);
        self.data = rest;
        Some(row.cut(self.shape.cols).0)
    }

    /// Leaves nothing, of the same shape.
    #[inline(always)]
    fn take(&mut self) -> Self {
        Self { data: mem::take(&mut self.data), shape: self.shape }
    }

    #[inline(always)]
    fn split_at(self, row: usize) -> (Self, Self) {
        // The gap behind the last row may be missing.
        let end = (row * self.shape.stride).min(self.data.len());
        let (data, rest) = self.data.cut(end);
        let first = Shape { rows: row, ..self.shape };
        let second = Shape { rows: self.shape.rows - row, ..self.shape };
        (Self { data, shape: first }, Self { data: rest, shape: second })
    }
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Shape {
    #[inline]
    fn new(len: usize, cols: usize, stride: usize) -> Result<Self, Error> {
        // A row alone has no time for a division.
        if len == cols && cols == stride {
            return Ok(Self { rows: usize::from(len > 0), cols, stride });
        }
        if cols == 0 && len > 0 {
            return Err(Error::NoColumns { len });
        }
        if stride < cols {
            return Err(Error::StrideTooShort { stride, cols });
        }
        // The gap behind the last row may be there, in part, or not at all.
        let rows = if len == 0 { 0 } else { len.saturating_sub(cols) / stride + 1 };
        let beyond = rows.saturating_sub(1) * stride + cols;
        if rows > 0 && (len < cols || len - beyond > stride - cols) {
            return Err(Error::RaggedRows { len, cols, stride });
        }
        Ok(Self { rows, cols, stride })
    }

    /// Where the first rows are, if there is nothing between them.
    fn contiguous(self, rows: usize) -> Option<core::ops::Range<usize>> {
        assert!(rows <= self.rows, "{rows} rows of {}", self.rows);
        (self.stride == self.cols).then_some(0..rows * self.cols)
    }

    fn range(self, row: usize) -> core::ops::Range<usize> {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        row * self.stride..row * self.stride + self.cols
    }
}
