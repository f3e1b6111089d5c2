//! A batch as rows of one slice: the only place where shapes are checked.

use core::mem::{self, MaybeUninit};

use crate::{Element, Error, span};

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
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, E: Element = f32> {
    data: &'a [E],
    shape: Shape,
}

/// Rows to write; otherwise as [`Rows`]. What lies between the columns of two strided rows is left alone.
#[derive(Debug)]
pub struct RowsMut<'a, E: Element = f32> {
    data: &'a mut [E],
    shape: Shape,
}

/// Rows of an output that need not be initialised.
pub(crate) struct RowSlots<'a, E: Element> {
    data: &'a mut [MaybeUninit<E>],
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Shape {
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Shape {
    fn new(len: usize, cols: usize, stride: usize) -> Result<Self, Error> {
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
            return Err(Error::RaggedRows { len, cols });
        }
        Ok(Self { rows, cols, stride })
    }

    fn one(len: usize) -> Self {
        Self { rows: usize::from(len > 0), cols: len, stride: len }
    }

    /// Takes off a row, and says how many elements it and the gap behind it have, if that is there.
    #[inline(always)]
    fn next_row(&mut self) -> Option<usize> {
        self.rows = self.rows.checked_sub(1)?;
        Some(self.stride)
    }

    /// The shapes of the first rows and of the others, and where these begin.
    fn split_at(self, row: usize) -> (Self, Self, usize) {
        let first = Self { rows: row, ..self };
        (first, Self { rows: self.rows - row, ..self }, row * self.stride)
    }
}

macro_rules! shape_accessors {
    () => {
        /// The number of rows.
        pub fn rows(&self) -> usize {
            self.shape.rows
        }

        /// The number of columns: the elements of a row.
        pub fn cols(&self) -> usize {
            self.shape.cols
        }

        /// The distance from the start of one row to the start of the next, in elements.
        pub fn stride(&self) -> usize {
            self.shape.stride
        }
    };
}

impl<'a, E: Element> Rows<'a, E> {
    /// Contiguous rows of `cols` columns.
    ///
    /// # Errors
    ///
    /// [`Error::NoColumns`] if `cols` is 0 and there is data; [`Error::RaggedRows`] if `data` does not hold a whole
    /// number of rows. No data at all is a batch of no rows.
    pub fn new(data: &'a [E], cols: usize) -> Result<Self, Error> {
        Self::strided(data, cols, cols)
    }

    /// Rows of `cols` columns that begin `stride` elements apart: `(rows - 1) * stride + cols` elements at least.
    ///
    /// # Errors
    ///
    /// As [`Rows::new`], and [`Error::StrideTooShort`] if `stride < cols`.
    pub fn strided(data: &'a [E], cols: usize, stride: usize) -> Result<Self, Error> {
        Ok(Self { data, shape: Shape::new(data.len(), cols, stride)? })
    }

    /// A slice as one row, or as none if it is empty.
    pub(crate) fn one(data: &'a [E]) -> Self {
        Self { data, shape: Shape::one(data.len()) }
    }

    shape_accessors!();

    /// Row `row`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &'a [E] {
        assert!(row < self.shape.rows, "row {row} of {}", self.shape.rows);
        &self.data[row * self.shape.stride..][..self.shape.cols]
    }

    #[inline(always)]
    pub(crate) fn next_row(&mut self) -> Option<&'a [E]> {
        let step = self.shape.next_row()?;
        let (row, rest) = self.data.split_at(step.min(self.data.len()));
        self.data = rest;
        Some(&row[..self.shape.cols])
    }

    /// The first rows and the others; there are some of both.
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (first, second, at) = self.shape.split_at(row);
        let (data, rest) = self.data.split_at(at);
        (Self { data, shape: first }, Self { data: rest, shape: second })
    }
}

impl<'a, E: Element> RowsMut<'a, E> {
    /// Contiguous rows of `cols` columns.
    ///
    /// # Errors
    ///
    /// As [`Rows::new`].
    pub fn new(data: &'a mut [E], cols: usize) -> Result<Self, Error> {
        Self::strided(data, cols, cols)
    }

    /// Rows of `cols` columns that begin `stride` elements apart.
    ///
    /// # Errors
    ///
    /// As [`Rows::strided`].
    pub fn strided(data: &'a mut [E], cols: usize, stride: usize) -> Result<Self, Error> {
        let shape = Shape::new(data.len(), cols, stride)?;
        Ok(Self { data, shape })
    }

    /// A slice as one row, or as none if it is empty.
    pub(crate) fn one(data: &'a mut [E]) -> Self {
        let shape = Shape::one(data.len());
        Self { data, shape }
    }

    shape_accessors!();

    /// Row `row`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row_mut(&mut self, row: usize) -> &mut [E] {
        assert!(row < self.shape.rows, "row {row} of {}", self.shape.rows);
        &mut self.data[row * self.shape.stride..][..self.shape.cols]
    }

    pub(crate) fn into_slots(self) -> RowSlots<'a, E> {
        RowSlots { data: span::slots(self.data), shape: self.shape }
    }

    #[inline(always)]
    pub(crate) fn next_row(&mut self) -> Option<&'a mut [E]> {
        let step = self.shape.next_row()?;
        let data = mem::take(&mut self.data);
        let (row, rest) = data.split_at_mut(step.min(data.len()));
        self.data = rest;
        Some(&mut row[..self.shape.cols])
    }

    /// The first rows and the others; there are some of both.
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (first, second, at) = self.shape.split_at(row);
        let (data, rest) = self.data.split_at_mut(at);
        (Self { data, shape: first }, Self { data: rest, shape: second })
    }
}

impl<'a, E: Element> RowSlots<'a, E> {
    /// Contiguous rows of `cols` columns.
    pub(crate) fn new(data: &'a mut [MaybeUninit<E>], cols: usize) -> Result<Self, Error> {
        let shape = Shape::new(data.len(), cols, cols)?;
        Ok(Self { data, shape })
    }

    pub(crate) fn rows(&self) -> usize {
        self.shape.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.shape.cols
    }

    #[inline(always)]
    pub(crate) fn next_row(&mut self) -> Option<&'a mut [MaybeUninit<E>]> {
        let step = self.shape.next_row()?;
        let data = mem::take(&mut self.data);
        let (row, rest) = data.split_at_mut(step.min(data.len()));
        self.data = rest;
        Some(&mut row[..self.shape.cols])
    }

    /// The first rows and the others; there are some of both.
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (first, second, at) = self.shape.split_at(row);
        let (data, rest) = self.data.split_at_mut(at);
        (Self { data, shape: first }, Self { data: rest, shape: second })
    }
}
