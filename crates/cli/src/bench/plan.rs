//! Which cells are measured: shapes, threads and layouts.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread::available_parallelism;

use logits::Isa;
use timing::{Cell, GRID, Layout, Operation, Shape};

use super::subject::Subject;
use crate::workers::parse_threads;

const QUICK: [Shape; 4] =
    [Shape::new(64, 64), Shape::new(256, 128), Shape::new(1, 4096), Shape::new(1, 131_072)];

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
        if !operation.has_layout(cell.layout) {
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
    fn cells_do_not_repeat() {
        let one = Threads::Number(NonZeroUsize::MIN);
        assert_eq!(cells(true, &[], &[one, one], &[]).len(), QUICK.len());
        let threads = [one, Threads::Number(NonZeroUsize::new(3).unwrap())];
        assert_eq!(cells(false, &[], &threads, &[]).len(), GRID.len() * 4);
    }

    #[test]
    fn scalar_is_left_out_of_large_shapes() {
        let cell = |rows| Cell { shape: Shape::new(rows, 1 << 14), threads: 1, layout: Layout::InPlace };
        let isas = [Isa::Scalar, Isa::Portable];
        assert_eq!(subjects(&cell(1), &isas, false).len(), 1 + 2 * 3);
        assert_eq!(subjects(&cell(64), &isas, false).len(), 1 + 2 * 2);
        assert_eq!(subjects(&cell(64), &isas, true).len(), 1 + 2 * 3);
    }
}
