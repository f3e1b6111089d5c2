//! No kernel touches a byte outside its slices: rows that end where memory ends, and rows that begin where it begins.
#![cfg(unix)]

mod common;

use std::mem::MaybeUninit;
use std::slice;

use common::*;
use logits::{
    Candidate, Classes, CrossEntropy, Distribution, Draw, Engine, Reduction, RowLoss, RowPart, RowStatistics,
    Rows, RowsMut, Sampler, Statistics, Token,
};
use region::Protection;

/// Memory between two pages that may not be touched.
struct Guarded {
    pages: region::Allocation,
    page: usize,
}

impl Guarded {
    fn new(bytes: usize) -> Self {
        let page = region::page::size();
        let mut pages =
            region::alloc(bytes.next_multiple_of(page) + 2 * page, Protection::READ_WRITE).unwrap();
        let first: *mut u8 = pages.as_mut_ptr();
        let last = first.wrapping_add(pages.len() - page);
        for guard in [first, last] {
            // SAFETY: both pages are of this allocation, and nothing lives there.
            unsafe { region::protect(guard, page, Protection::NONE).unwrap() };
        }
        Self { pages, page }
    }

    /// Floats at the beginning or at the end of the memory.
    fn floats(&mut self, len: usize, at_end: bool) -> &mut [f32] {
        let bytes = len * size_of::<f32>();
        let offset = if at_end { self.pages.len() - self.page - bytes } else { self.page };
        let first: *mut u8 = self.pages.as_mut_ptr();
        // SAFETY: within the allocation, between the guards, zeroed and aligned as pages are.
        unsafe { slice::from_raw_parts_mut(first.add(offset).cast(), len) }
    }
}

#[test]
fn nothing_outside_is_touched() {
    const LONGEST: usize = 2 * SEGMENT + 40;
    let bytes = LONGEST * size_of::<f32>();
    let (mut x, mut y) = (Guarded::new(bytes), Guarded::new(bytes));
    let mut random = Random(5);
    let lengths = (1..300).chain([SEGMENT - 1, SEGMENT, SEGMENT + 1, SEGMENT + 17, 2 * SEGMENT, LONGEST]);
    for len in lengths {
        for at_end in [false, true] {
            let (x, y) = (x.floats(len, at_end), y.floats(len, at_end));
            for x in &mut *x {
                *x = random.uniform(-5.0, 5.0);
            }
            for engine in engines().flat_map(|engine| [engine, engine.stream_from(0)]) {
                for temperature in [1.0, 2.0, 0.0] {
                    touch(engine, x, y, temperature);
                }
                touch_both(engine, x, y);
                draw_from(engine, x, y);
            }
        }
    }
}

/// Each filter by itself, and all of them.
fn draw_from(engine: Engine, x: &[f32], y: &mut [f32]) {
    let builder = Sampler::builder;
    let samplers = [
        builder().top_k(x.len() / 2),
        builder().top_p(0.7),
        builder().min_p(0.1),
        builder().typical(0.6),
        builder().top_n_sigma(1.0),
        builder().xtc(1.0, 1e-3),
        builder().top_p(0.95).typical(0.9).min_p(0.01).seen_penalties(1.2, 0.1, 0.1),
    ];
    // All tokens but the last of each word.
    let mask = vec![u32::MAX >> 1; x.len().div_ceil(32)];
    for builder in samplers {
        let sampler = builder.build().unwrap();
        for draw in [Draw::uniform(0.999), Draw::uniform(0.3).allowed(&mask)] {
            let (rows, mut token) = (Rows::new(x, x.len()).unwrap(), [Ok(Token::default())]);
            engine.sample(rows, &sampler, &[draw], &mut token).unwrap();
            assert!((token[0].unwrap().id as usize) < x.len());
            y.copy_from_slice(x);
            engine.mask(RowsMut::new(y, x.len()).unwrap(), &sampler, &[draw], &mut [Ok(0)]).unwrap();
        }
    }
}

fn touch(engine: Engine, x: &[f32], y: &mut [f32], temperature: f64) {
    let (rows, cols) = (Rows::new(x, x.len()).unwrap(), x.len());
    engine.softmax_with(rows, RowsMut::new(y, cols).unwrap(), &at(temperature)).unwrap();
    engine.log_softmax_with(rows, RowsMut::new(y, cols).unwrap(), &at(temperature)).unwrap();
    engine.logsumexp(rows, &mut [0.0]).unwrap();
    engine.entropy_with(rows, &mut [0.0], &at(temperature)).unwrap();
    // The same memory as if it were new.
    let floats = y.as_mut_ptr().cast::<MaybeUninit<f32>>();
    // SAFETY: the memory is that of `y`, which nobody looks at meanwhile, and is left with floats.
    let new = unsafe { slice::from_raw_parts_mut(floats, cols) };
    engine.softmax_uninit_with(rows, new, &at(temperature)).unwrap();
    engine.log_softmax_uninit_with(rows, new, &at(temperature)).unwrap();
    y.copy_from_slice(x);
    engine.softmax_in_place_with(RowsMut::new(y, cols).unwrap(), &at(temperature)).unwrap();
    y.copy_from_slice(x);
    engine.log_softmax_in_place_with(RowsMut::new(y, cols).unwrap(), &at(temperature)).unwrap();
}

/// Operations on one row, and on two.
fn touch_both(engine: Engine, x: &[f32], y: &mut [f32]) {
    let cols = x.len();
    fn rows(x: &[f32]) -> Rows<'_> {
        Rows::new(x, x.len()).unwrap()
    }
    let probabilities = softmax(engine, x, 1.0);
    y.copy_from_slice(&probabilities);
    let (a, b, number) = (rows(x), rows(y), &mut [0.0]);
    engine.varentropy(a, number).unwrap();
    engine.entropy_of_probabilities(b, number).unwrap();
    engine.expected_value(a, y, number).unwrap();
    engine.expected_value_of_probabilities(b, x, number).unwrap();
    engine.kl_divergence(a, Distribution::Probabilities(b), number).unwrap();
    engine.js_divergence(Distribution::Probabilities(b), a, 0.5, number).unwrap();
    let (mut statistics, mut top) = ([RowStatistics::default()], vec![Candidate::default(); cols.min(5)]);
    let mut options = Statistics::default();
    options.chosen = Some(Classes::from(&[0]));
    engine.statistics_with(a, &options, &mut statistics, &mut top).unwrap();
    engine.parts(a, 0, 2.0, &mut [RowPart::default()]).unwrap();
    let mut options = CrossEntropy::default();
    options.label_smoothing = 0.1;
    let positive: Vec<f32> = x.iter().map(|x| x.abs()).collect();
    options.weights = Some(&positive);
    engine.cross_entropy_with(a, b, &options, &mut [RowLoss::default()]).unwrap();
    engine.cross_entropy(a, &[0], &mut [RowLoss::default()]).unwrap();
    let out = RowsMut::new(y, cols).unwrap();
    engine.cross_entropy_gradient(a, rows(&probabilities), &options, Reduction::Mean, out).unwrap();
    engine.softmax_backward(rows(&probabilities), a, RowsMut::new(y, cols).unwrap()).unwrap();
    engine.log_softmax_backward(a, rows(&probabilities), RowsMut::new(y, cols).unwrap()).unwrap();
}

/// Set by [`guards_are_real`] for its child.
const TOUCH: &str = "LOGITS_TOUCH_A_GUARD";

/// The guards are real: as a child of the next test this one has to die.
#[test]
fn touching_a_guard() {
    if std::env::var_os(TOUCH).is_none() {
        return;
    }
    let mut guarded = Guarded::new(64);
    let end = guarded.floats(16, true).as_ptr().wrapping_add(16);
    // SAFETY: none. The read is meant to fail.
    println!("{}", unsafe { std::ptr::read_volatile(end) });
}

#[test]
fn guards_are_real() {
    if is_emulated() {
        // A program in an emulator starts no other one in it.
        return;
    }
    let test = std::env::current_exe().unwrap();
    let output = std::process::Command::new(test)
        .args(["--exact", "touching_a_guard"])
        .env(TOUCH, "1")
        .output()
        .unwrap();
    assert!(std::os::unix::process::ExitStatusExt::signal(&output.status).is_some(), "{output:?}");
}
