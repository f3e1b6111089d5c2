//! What can be wrong with what a caller hands in.

use core::fmt;

use crate::Isa;

/// Why an operation was refused. Nothing has been written when one of these is returned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The rows have no columns, but there is data.
    NoColumns {
        /// How many elements the slice holds.
        len: usize,
    },
    /// The slice does not hold a whole number of rows.
    RaggedRows {
        /// How many elements the slice holds.
        len: usize,
        /// The columns of a row.
        cols: usize,
        /// The distance from one row to the next, in elements.
        stride: usize,
    },
    /// Rows of a strided view would overlap.
    StrideTooShort {
        /// The distance from one row to the next, in elements.
        stride: usize,
        /// The columns of a row.
        cols: usize,
    },
    /// Input and output differ in their number of rows or columns.
    ShapeMismatch {
        /// Rows and columns of the input.
        input: (usize, usize),
        /// Rows and columns of the output.
        output: (usize, usize),
    },
    /// An output that takes one number for each row has another length.
    LengthMismatch {
        /// The rows of the input.
        rows: usize,
        /// The length of the output.
        len: usize,
    },
    /// Targets of another number of rows than the logits, or with another number of classes.
    TargetsMismatch {
        /// The rows of the logits.
        rows: usize,
        /// The columns of the logits.
        classes: usize,
        /// How many targets there are, and for how many classes each, if it is probabilities.
        targets: (usize, Option<usize>),
    },
    /// A target that is no class, and not one to be ignored.
    Target {
        /// The row.
        row: usize,
        /// Its target.
        target: i128,
        /// How many classes there are.
        classes: usize,
    },
    /// Two inputs that belong together differ in their number of rows or columns.
    ShapesDiffer {
        /// What they are.
        what: [&'static str; 2],
        /// Rows and columns of each.
        shapes: [(usize, usize); 2],
    },
    /// Something that takes one number for each column has another length.
    ColumnsMismatch {
        /// What it is.
        what: &'static str,
        /// The columns of the rows.
        cols: usize,
        /// Its length.
        len: usize,
    },
    /// A number that is out of its range.
    OutOfRange {
        /// What it is.
        what: &'static str,
        /// What was given.
        value: f64,
        /// What it must be.
        range: &'static str,
    },
    /// There are not as many of something as rows.
    RowsMismatch {
        /// What it is.
        what: &'static str,
        /// The rows.
        rows: usize,
        /// How many there are.
        len: usize,
    },
    /// A token that is no column.
    Token {
        /// Where it is named.
        what: &'static str,
        /// The row.
        row: usize,
        /// The token.
        token: u32,
        /// The columns.
        cols: usize,
    },
    /// A mask that does not have a bit for each column.
    MaskTooShort {
        /// The row.
        row: usize,
        /// How many words of 32 bits it has.
        words: usize,
        /// The columns.
        cols: usize,
    },
    /// A sampler's steps that have no order.
    Order {
        /// The step.
        filter: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A temperature that is negative or not a number.
    Temperature {
        /// What was given.
        temperature: f64,
    },
    /// An instruction set that this CPU, or this build, does not have.
    IsaUnavailable {
        /// What was asked for.
        isa: Isa,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::NoColumns { len } => {
                write!(f, "rows of 0 columns cannot hold the {len} elements given")
            }
            Error::RaggedRows { len, cols, stride } if cols == stride => write!(
                f,
                "{len} elements are not a whole number of rows of {cols} columns: {} left over",
                len % cols
            ),
            Error::RaggedRows { len, cols, stride } => write!(
                f,
                "{len} elements are not a whole number of rows of {cols} columns that begin {stride} elements apart: \
                 the last of them has {}",
                len % stride
            ),
            Error::StrideTooShort { stride, cols } => {
                write!(f, "a row stride of {stride} is shorter than the {cols} columns of a row")
            }
            Error::ShapeMismatch { input, output } => write!(
                f,
                "the input is {} x {} (rows x columns) but the output is {} x {}",
                input.0, input.1, output.0, output.1
            ),
            Error::LengthMismatch { rows, len } => {
                write!(f, "the output takes one number for each of {rows} rows but holds {len}")
            }
            Error::TargetsMismatch { rows, targets: (targets, None), .. } => {
                write!(f, "there are {rows} rows of logits but {targets} targets")
            }
            Error::TargetsMismatch { rows, classes, targets: (targets, Some(cols)) } => write!(
                f,
                "the logits are {rows} x {classes} (rows x classes) but their target probabilities are {targets} x {cols}"
            ),
            Error::Target { row, target, classes } => {
                write!(f, "the target of row {row} is {target}, which is none of the {classes} classes")
            }
            Error::ShapesDiffer { what, shapes: [first, second] } => write!(
                f,
                "{} are {} x {} (rows x columns) but {} are {} x {}",
                what[0], first.0, first.1, what[1], second.0, second.1
            ),
            Error::ColumnsMismatch { what, cols, len } => {
                write!(f, "{what} must be one number for each of {cols} columns but are {len}")
            }
            Error::OutOfRange { what, value, range } => {
                write!(f, "{what} is {value}: it must be {range}")
            }
            Error::RowsMismatch { what, rows, len } => {
                write!(f, "there are {rows} rows but {len} {what}")
            }
            Error::Token { what, row, token, cols } => {
                write!(f, "the {what} of row {row} names token {token}, which is none of the {cols}")
            }
            Error::MaskTooShort { row, words, cols } => write!(
                f,
                "the mask of row {row} has {words} words of 32 bits, which is less than one bit for each of {cols} columns"
            ),
            Error::Order { filter, problem } => write!(f, "{filter} is {problem}"),
            Error::Temperature { temperature } => {
                write!(f, "the temperature is {temperature}: it must be 0 or more")
            }
            Error::IsaUnavailable { isa } => {
                write!(f, "the instruction set {isa} is not available on this CPU or in this build")
            }
        }
    }
}

impl core::error::Error for Error {}
