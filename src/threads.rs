//! Work cut in two until a part is small enough for one thread: the only place that knows of rayon.

use crate::simd::isa::Machine;

/// Elements that keep a thread busy for some microseconds, which is what it takes to wake one.
pub const GRAIN: usize = 16384;

/// Parts for each thread, so that one that is late is helped by others, and not more: what follows in memory is fetched
/// within a part.
const PARTS: usize = 8;

/// Work on rows or segments that can be cut in two.
pub trait Divide: Send + Sized {
    fn elements(&self) -> usize;

    /// Two halves, or the whole if it cannot be cut.
    fn halve(self) -> Result<(Self, Self), Self>;

    /// Does it all on this thread.
    fn run(self, machine: Machine);
}

/// Who does the work, and with which instructions.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    pub machine: Machine,
    /// Whether the threads of the caller's pool take part.
    pub parallel: bool,
}

impl Workers {
    /// How many threads share work of so many elements.
    pub fn threads(self, elements: usize) -> usize {
        if self.parallel && elements >= 2 * GRAIN { pool_size() } else { 1 }
    }

    pub fn run(self, work: impl Divide) {
        let threads = self.threads(work.elements());
        if threads > 1 {
            let grain = (work.elements() / (PARTS * threads)).max(GRAIN);
            fan_out(self.machine, grain, work);
        } else {
            work.run(self.machine);
        }
    }
}

/// Halves the halves.
fn fan_out(machine: Machine, grain: usize, work: impl Divide) {
    if work.elements() <= grain {
        return work.run(machine);
    }
    match work.halve() {
        Ok((first, second)) => join(|| fan_out(machine, grain, first), || fan_out(machine, grain, second)),
        Err(whole) => whole.run(machine),
    }
}

#[cfg(feature = "rayon")]
fn join(first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
    rayon::join(first, second);
}

#[cfg(feature = "rayon")]
fn pool_size() -> usize {
    rayon::current_num_threads()
}

#[cfg(not(feature = "rayon"))]
fn join(first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
    first();
    second();
}

#[cfg(not(feature = "rayon"))]
fn pool_size() -> usize {
    1
}
