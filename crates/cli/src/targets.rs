//! What rows are held against, read along with them.

use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, ensure};
use logits::{Classes, Rows, Targets};

use crate::array::{Array, ClassIds, Integer, Number, Shape};

/// The class that stands for no target.
pub const IGNORED: i64 = -100;

/// A file with a class for each row, and the classes of the block of rows at hand.
pub struct ClassFile {
    /// How messages call the file.
    pub name: String,
    array: Array<Integer>,
    block: ClassIds,
    /// Where the block begins, and where the next will.
    first_row: usize,
    next_row: usize,
}

impl ClassFile {
    /// Opens the classes of the rows of `logits`; `what` is how messages call them.
    pub fn open(path: &Path, what: &str, logits: &Array) -> Result<Self> {
        Self::new(Array::open_npy(path, what)?, what, logits)
    }

    fn new(array: Array<Integer>, what: &str, logits: &Array) -> Result<Self> {
        ensure!(
            array.rows() == logits.rows(),
            "{}: holds {} {what}, but {} has {} rows",
            array.name,
            array.rows(),
            logits.name,
            logits.rows()
        );
        let (name, block) = (array.name.clone(), ClassIds::Signed(Vec::new()));
        Ok(Self { name, array, block, first_row: 0, next_row: 0 })
    }

    /// Takes the classes of the next `rows` rows, or of as many as are left.
    pub fn read_rows(&mut self, rows: usize) -> Result<()> {
        self.first_row = self.next_row;
        self.next_row += rows;
        self.block = self.array.read_classes(rows)?;
        Ok(())
    }

    /// The classes of the block.
    pub fn block(&self) -> Classes<'_> {
        match &self.block {
            ClassIds::Signed(classes) => Classes::from(classes),
            ClassIds::Unsigned(classes) => Classes::from(classes),
        }
    }

    /// The class of a row of the block, once the library has found it to be one, or to be ignored.
    pub fn class(&self, index: usize) -> i64 {
        match &self.block {
            ClassIds::Signed(classes) => classes[index],
            ClassIds::Unsigned(classes) => classes[index] as i64,
        }
    }
}

/// A file of targets of one kind or the other, and those of the block of rows at hand.
pub enum TargetFile {
    Classes(ClassFile),
    Probabilities { array: Array, block: Vec<f32> },
}

impl TargetFile {
    /// Opens a class for each row of `logits`, or a probability for each of its elements.
    pub fn open(path: &Path, logits: &Array) -> Result<Self> {
        let array = Array::<Number>::open_npy(path, "targets")?;
        let float = match array.element_type {
            Number::Float(float) => float,
            Number::Integer(integer) => {
                return ClassFile::new(array.with(integer), "targets", logits).map(Self::Classes);
            }
        };
        let array = array.with(float);
        array.warn_of_conversion();
        ensure!(
            (array.rows(), array.cols()) == (logits.rows(), logits.cols()),
            "{}: holds target probabilities of shape {}, but {} has shape {}; classes are integers",
            array.name,
            Shape(&array.shape),
            logits.name,
            Shape(&logits.shape)
        );
        Ok(Self::Probabilities { array, block: Vec::new() })
    }

    /// Takes the targets of the next `rows` rows, or of as many as are left.
    pub fn read_rows(&mut self, rows: usize) -> Result<()> {
        match self {
            Self::Classes(file) => file.read_rows(rows),
            Self::Probabilities { array, block } => array.read_rows(rows, block),
        }
    }

    /// The targets of the block.
    pub fn block(&self) -> Result<Targets<'_>> {
        Ok(match self {
            Self::Classes(file) => file.block().into(),
            Self::Probabilities { array, block } => {
                Rows::new(block, array.cols()).with_context(|| array.name.clone())?.into()
            }
        })
    }

    pub fn classes(&self) -> Option<&ClassFile> {
        if let Self::Classes(file) = self { Some(file) } else { None }
    }
}

/// Why the library refused a block: with the row as it is counted in the file, and the file.
pub fn refused(error: logits::Error, logits: &Array, classes: Option<&ClassFile>) -> Error {
    match (error, classes) {
        (logits::Error::Target { row, target, classes }, Some(file)) => {
            let error = logits::Error::Target { row: row + file.first_row, target, classes };
            anyhow!(error).context(file.name.clone())
        }
        (error, _) => anyhow!(error).context(logits.name.clone()),
    }
}
