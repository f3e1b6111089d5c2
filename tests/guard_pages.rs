//! No kernel touches a byte outside its slices: rows that end where memory ends, and rows that begin where it begins.
#![cfg(unix)]

mod common;

use std::mem::MaybeUninit;
use std::slice;

use common::*;
use logits::{Engine, RowPart, Rows, RowsMut};
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
            }
        }
    }
}

fn touch(engine: Engine, x: &[f32], y: &mut [f32], temperature: f64) {
    let (rows, cols) = (Rows::new(x, x.len()).unwrap(), x.len());
    engine.softmax_with(rows, RowsMut::new(y, cols).unwrap(), &at(temperature)).unwrap();
    engine.log_softmax_with(rows, RowsMut::new(y, cols).unwrap(), &at(temperature)).unwrap();
    engine.logsumexp(rows, &mut [0.0]).unwrap();
    engine.entropy_with(rows, &mut [0.0], &at(temperature)).unwrap();
    if temperature > 0.0 {
        engine.parts(rows, 0, temperature, &mut [RowPart::default()]).unwrap();
    }
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
    let test = std::env::current_exe().unwrap();
    let output = std::process::Command::new(test)
        .args(["--exact", "touching_a_guard"])
        .env(TOUCH, "1")
        .output()
        .unwrap();
    assert!(std::os::unix::process::ExitStatusExt::signal(&output.status).is_some(), "{output:?}");
}
