//! Serial paths do not allocate: counted from the first call of the process on.

#[path = "common/effort.rs"]
mod effort;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use effort::effort;
use logits::{
    Candidate, Classes, CrossEntropy, Draw, Engine, History, Isa, Reduction, RowLoss, RowPart, RowStatistics,
    Rows, RowsMut, Sampler, Softmax, Statistics, Token,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The only test of this file: others would be counted too. It has no harness around it that might allocate meanwhile.
fn main() {
    let long = effort(300_000).max(30_000);
    let (x, mut y) = (vec![0.25; long], vec![0.0; long]);
    let (x, y) = (&x[..], &mut y[..]);
    let mut new = [MaybeUninit::uninit(); 1000];
    let mut sums = [0.0; 300];
    let (mut losses, mut statistics) = ([RowLoss::default(); 300], [RowStatistics::default(); 300]);
    let mut parts = [RowPart::default(); 300];
    let (mut top, labels) = ([Candidate::default(); 300], [0_u8; 300]);
    let sampler = Sampler::builder().temperature(0.8).top_k(5000).top_p(0.9).typical(0.9).min_p(1e-3);
    let sampler = sampler.seen_penalties(1.1, 0.1, 0.1).build().unwrap();
    let history = History::new(&[0]);
    let draws = [Draw::uniform(0.5).history(&history); 300];
    let mut tokens = [Ok(Token::default()); 300];
    let before = ALLOCATIONS.load(Ordering::Relaxed);

    logits::softmax(x, y);
    logits::log_softmax(x, y);
    logits::softmax_in_place(y);
    logits::log_softmax_in_place(y);
    black_box(logits::logsumexp(x));
    black_box(logits::entropy(x));
    for isa in Isa::available() {
        let engine = Engine::new().with_isa(isa).unwrap().serial();
        for cols in [1, 7, 1000, 5000, long] {
            let rows = Rows::new(x, cols).unwrap_or_else(|_| Rows::new(&x[..7 * 1000], cols).unwrap());
            let len = rows.rows() * cols;
            for temperature in [1.0, 0.5, 0.0] {
                let options = Softmax { temperature, ..Default::default() };
                engine.softmax_with(rows, RowsMut::new(&mut y[..len], cols).unwrap(), &options).unwrap();
                engine.log_softmax_with(rows, RowsMut::new(&mut y[..len], cols).unwrap(), &options).unwrap();
            }
            if rows.rows() <= sums.len() {
                engine.logsumexp(rows, &mut sums[..rows.rows()]).unwrap();
                engine.entropy(rows, &mut sums[..rows.rows()]).unwrap();
                engine.perplexity(rows, &mut sums[..rows.rows()]).unwrap();
                let count = rows.rows();
                let labels = &labels[..count];
                engine.cross_entropy(rows, labels, &mut losses[..count]).unwrap();
                let out = RowsMut::new(&mut y[..len], cols).unwrap();
                let options = CrossEntropy::default();
                engine.cross_entropy_gradient(rows, labels, &options, Reduction::Mean, out).unwrap();
                let mut options = Statistics::default();
                options.chosen = Some(Classes::from(labels));
                engine.statistics_with(rows, &options, &mut statistics[..count], &mut top[..count]).unwrap();
                engine.parts(rows, 0, 0.5, &mut parts[..count]).unwrap();
                engine.kl_divergence(rows, rows, &mut sums[..count]).unwrap();
                engine.js_divergence(rows, rows, 0.5, &mut sums[..count]).unwrap();
                engine.expected_value(rows, &x[..cols], &mut sums[..count]).unwrap();
                engine
                    .sample_with(rows, &sampler, &draws[..count], &mut tokens[..count], &mut top[..count])
                    .unwrap();
                let mut counts = [Ok(0); 300];
                engine
                    .mask(
                        RowsMut::new(&mut y[..len], cols).unwrap(),
                        &sampler,
                        &draws[..count],
                        &mut counts[..count],
                    )
                    .unwrap();
                engine.calibration(rows, labels, 2.0).unwrap();
                engine.fit_temperature(rows, labels).unwrap();
            }
        }
        let rows = Rows::new(&x[..1000], 100).unwrap();
        black_box(engine.softmax_uninit(rows, &mut new).unwrap());
        black_box(engine.log_softmax_uninit(rows, &mut new).unwrap());
    }
    // Small batches stay on this thread although they might go to others.
    let rows = Rows::new(&x[..4096], 64).unwrap();
    Engine::new().softmax(rows, RowsMut::new(&mut y[..4096], 64).unwrap()).unwrap();

    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(allocations, 0, "a serial path allocates");
    black_box(Box::new(1));
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 1, "allocations are counted");
    println!("test serial_paths_do_not_allocate ... ok");
}
