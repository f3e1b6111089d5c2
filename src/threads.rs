//! Work cut in two until a part is small enough for one thread: the only place that knows of rayon.
//!
//! Threads that have nothing to do sleep, and to wake one takes from a few microseconds to some tens of them. Nobody
//! waits for that here as long as there is work left: a thread that is late finds less of it, or none.
//!
//! - On a thread of the pool halves are [joined](rayon::join): what nobody has taken by then the same thread does itself.
//! - Any other thread would go to sleep itself while the pool works, and would have to be woken too. So it works along,
//!   taking part after part from a queue.

use crate::simd::isa::Machine;

/// Elements that keep a thread busy for some microseconds.
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
        if !self.parallel || elements < 2 * GRAIN {
            return 1;
        }
        // From outside the pool they sleep, as a rule, and it may be tens of microseconds until the first of them is there.
        if elements >= 16 * GRAIN || pool::is_inside() { pool::size() } else { 1 }
    }

    pub fn run(self, work: impl Divide) {
        let threads = self.threads(work.elements());
        if threads <= 1 {
            return work.run(self.machine);
        }
        let grain = (work.elements() / (PARTS * threads)).max(GRAIN);
        if pool::is_inside() {
            halve_and_join(self.machine, grain, work);
        } else {
            pool::share(self.machine, threads - 1, grain, work);
        }
    }
}

fn halve_and_join(machine: Machine, grain: usize, work: impl Divide) {
    match halve(grain, work) {
        Ok((first, second)) => {
            pool::join(|| halve_and_join(machine, grain, first), || halve_and_join(machine, grain, second))
        }
        Err(part) => part.run(machine),
    }
}

fn halve<W: Divide>(grain: usize, work: W) -> Result<(W, W), W> {
    if work.elements() <= grain { Err(work) } else { work.halve() }
}

#[cfg(feature = "rayon")]
mod pool {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Divide, Machine, halve};

    pub fn size() -> usize {
        rayon::current_num_threads()
    }

    /// Whether this is a thread of the pool.
    pub fn is_inside() -> bool {
        rayon::current_thread_index().is_some()
    }

    pub fn join(first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
        rayon::join(first, second);
    }

    /// This thread takes parts from the front, others from the back, so that each has neighbours.
    pub fn share(machine: Machine, helpers: usize, grain: usize, work: impl Divide) {
        let mut parts = VecDeque::new();
        cut(grain, work, &mut parts);
        let helpers = helpers.min(parts.len() - 1);
        let unfinished = AtomicUsize::new(parts.len());
        let parts = Mutex::new(parts);
        let next = |from_front: bool| {
            let mut parts = parts.lock().expect("nothing panics while it has the queue");
            if from_front { parts.pop_front() } else { parts.pop_back() }
        };
        let run = |from_front: bool| {
            while let Some(part) = next(from_front) {
                let _finished = Finished(&unfinished);
                part.run(machine);
            }
        };
        rayon::in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| run(false));
            }
            run(true);
            // Others are at their last parts: the scope would go to sleep until they are done.
            let mut turns = 0;
            while unfinished.load(Ordering::Acquire) > 0 {
                turns += 1;
                if turns < 10_000 { core::hint::spin_loop() } else { std::thread::yield_now() }
            }
            // And here until they have left.
            std::thread::yield_now();
        });
    }

    /// Counts a part down, also if it panics: others wait for it.
    struct Finished<'a>(&'a AtomicUsize);

    impl Drop for Finished<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Release);
        }
    }

    fn cut<W: Divide>(grain: usize, work: W, parts: &mut VecDeque<W>) {
        match halve(grain, work) {
            Ok((first, second)) => {
                cut(grain, first, parts);
                cut(grain, second, parts);
            }
            Err(part) => parts.push_back(part),
        }
    }
}

/// This thread alone.
#[cfg(not(feature = "rayon"))]
mod pool {
    use super::{Divide, Machine};

    pub fn size() -> usize {
        1
    }

    pub fn is_inside() -> bool {
        true
    }

    pub fn join(first: impl FnOnce(), second: impl FnOnce()) {
        first();
        second();
    }

    pub fn share(machine: Machine, _: usize, _: usize, work: impl Divide) {
        work.run(machine);
    }
}
