//! Which cells are measured: shapes, threads and layouts.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread::available_parallelism;

use clap::ValueEnum;
use logits::Isa;
use serde::Serialize;

use super::subject::{Operation, Subject};
use crate::workers::parse_threads;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub rows: usize,
    pub cols: usize,
}

const fn shape(rows: usize, cols: usize) -> Shape {
    Shape { rows, cols }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<NonZeroUsize>().ok().map(NonZeroUsize::get);
        let parsed =
            text.split_once(['x', 'X']).and_then(|(rows, cols)| Some((number(rows)?, number(cols)?)));
        match parsed {
            Some((rows, cols)) if rows.checked_mul(cols).is_some_and(|elements| elements <= 1 << 32) => {
                Ok(Self { rows, cols })
            }
            Some(_) => Err("the buffers would take more than 32 GiB".into()),
            None => Err("a shape is ROWSxCOLS, like 64x1000".into()),
        }
    }
}

/// Single rows from a digit classifier to the vocabulary of Gemma; attention heads; routers; batches of logits.
const GRID: [Shape; 16] = [
    shape(1, 7),
    shape(1, 64),
    shape(1, 1000),
    shape(1, 4096),
    shape(1, 32_000),
    shape(1, 128_256),
    shape(1, 262_144),
    shape(64, 64),
    shape(256, 8),
    shape(256, 128),
    shape(256, 1000),
    shape(4096, 64),
    shape(4096, 1024),
    shape(16_384, 1024),
    shape(512, 32_768),
    shape(64, 128_256),
];

const QUICK: [Shape; 4] = [shape(64, 64), shape(256, 128), shape(1, 4096), shape(1, 131_072)];

/// Elements above which the scalar backend, a reference and not a contender, is left out.
const SCALAR_LIMIT: usize = 1 << 18;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    Number(NonZeroUsize),
    All,
}

impl Threads {
    fn count(self) -> usize {
        match self {
            Self::Number(number) => number.get(),
            Self::All => available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            _ => parse_threads(text).map(Self::Number).map_err(|error| format!("{error}, or all")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// From one buffer into another, both aligned to 64 bytes
    OutOfPlace,
    /// The buffer becomes its own result (nothing changes for logsumexp: it is left out)
    InPlace,
    /// Out of place, both buffers one element off
    Misaligned,
}

/// What is measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub shape: Shape,
    pub threads: usize,
    pub layout: Layout,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { rows, cols } = self.shape;
        let threads = if self.threads == 1 { "1 thread".into() } else { format!("{} threads", self.threads) };
        let layout = match self.layout {
            Layout::OutOfPlace => "out of place",
            Layout::InPlace => "in place",
            Layout::Misaligned => "out of place, one element off",
        };
        write!(f, "{rows} x {cols}, {threads}, {layout}")
    }
}

/// The cells asked for; what is left open is filled in.
pub fn cells(quick: bool, shapes: &[Shape], threads: &[Threads], layouts: &[Layout]) -> Vec<Cell> {
    let shapes = match shapes {
        [] if quick => &QUICK,
        [] => &GRID[..],
        given => given,
    };
    let one = Threads::Number(NonZeroUsize::MIN);
    let threads = match threads {
        [] if quick => &[one][..],
        [] => &[one, Threads::All],
        given => given,
    };
    let layouts = match layouts {
        [] if quick => &[Layout::OutOfPlace][..],
        [] => &[Layout::OutOfPlace, Layout::InPlace],
        given => given,
    };
    let mut cells = Vec::new();
    for &shape in shapes {
        for threads in threads.iter().map(|threads| threads.count()) {
            for &layout in layouts {
                let cell = Cell { shape, threads, layout };
                if !cells.contains(&cell) {
                    cells.push(cell); // `1,all` is one number on a machine with one core
                }
            }
        }
    }
    cells
}

/// The subjects of a cell. Scalar is left out of large ones unless it is asked for by name.
pub fn subjects(cell: &Cell, isas: &[Isa], scalar_everywhere: bool) -> Vec<Subject> {
    let large = cell.shape.rows * cell.shape.cols > SCALAR_LIMIT;
    let mut subjects = vec![Subject::Memcpy];
    for operation in Operation::ALL {
        if operation == Operation::Logsumexp && cell.layout == Layout::InPlace {
            continue;
        }
        subjects.push(Subject::ScalarLoop(operation));
        let kernels = isas.iter().filter(|&&isa| isa != Isa::Scalar || !large || scalar_everywhere);
        subjects.extend(kernels.map(|&isa| Subject::Kernel(operation, isa)));
    }
    subjects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_parse_or_say_how() {
        assert_eq!("64x1000".parse(), Ok(shape(64, 1000)));
        for bad in ["", "64", "0x4", "4x", "-1x4", "4x4x4"] {
            assert!(bad.parse::<Shape>().unwrap_err().contains("ROWSxCOLS"), "{bad}");
        }
        assert!("99999999x99999999".parse::<Shape>().unwrap_err().contains("32 GiB"));
    }

    #[test]
    fn cells_do_not_repeat() {
        let one = Threads::Number(NonZeroUsize::MIN);
        assert_eq!(cells(true, &[], &[one, one], &[]).len(), QUICK.len());
        let threads = [one, Threads::Number(NonZeroUsize::new(3).unwrap())];
        assert_eq!(cells(false, &[], &threads, &[]).len(), GRID.len() * 4);
    }

    #[test]
    fn scalar_is_left_out_of_large_shapes() {
        let cell = |rows| Cell { shape: shape(rows, 1 << 14), threads: 1, layout: Layout::InPlace };
        let isas = [Isa::Scalar, Isa::Portable];
        assert_eq!(subjects(&cell(1), &isas, false).len(), 1 + 2 * 3);
        assert_eq!(subjects(&cell(64), &isas, false).len(), 1 + 2 * 2);
        assert_eq!(subjects(&cell(64), &isas, true).len(), 1 + 2 * 3);
    }
}
