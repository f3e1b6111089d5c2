//! The switches of the mutants: one a site, where one or several mutants stand.
//!
//! The tool copies this file into the copy of the library. There `SITES` is the number of sites. Which mutant is on comes from the
//! environment, before `main`: `MUTANT=<site>:<variant>`. With `MUTANT_RECORD=<file>` none is, and the file tells in the end which
//! sites were passed, a byte for each.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What a site does: 0 for the original, else the number of a variant; or `RECORD`.
static STATE: [AtomicU8; SITES] = [const { AtomicU8::new(0) }; SITES];
static PASSED: [AtomicU8; SITES] = [const { AtomicU8::new(0) }; SITES];

/// No variant has this number: the original, and a note that it was passed.
const RECORD: u8 = 255;

#[inline(always)]
pub fn pick(site: usize) -> u8 {
    let state = STATE[site].load(Relaxed);
    if state != 0 {
        PASSED[site].store(1, Relaxed);
    }
    state
}

extern "C" fn start() {
    if let Ok(mutant) = std::env::var("MUTANT") {
        let (site, variant) = mutant.split_once(':').expect("site:variant");
        STATE[site.parse::<usize>().expect("a site")].store(variant.parse().expect("a variant"), Relaxed);
    }
    if std::env::var_os("MUTANT_RECORD").is_some() {
        STATE.iter().for_each(|state| state.store(RECORD, Relaxed));
        unsafe { atexit(end) };
    }
}

extern "C" fn end() {
    let passed: Vec<u8> = PASSED.iter().map(|passed| passed.load(Relaxed)).collect();
    std::fs::write(std::env::var_os("MUTANT_RECORD").unwrap(), passed).unwrap();
}

unsafe extern "C" {
    fn atexit(f: extern "C" fn()) -> i32;
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

/// `a op b`, the original first.
macro_rules! binary {
    ($site:literal; $a:expr; $b:expr; $op:tt $first:tt $($second:tt $($third:tt)?)?) => {
        match ($a, $b) {
            (a, b) => match crate::mutant::pick($site) {
                1 => a $first b,
                $(2 => a $second b, $(3 => a $third b,)?)?
                _ => a $op b,
            },
        }
    };
}

/// The same of operators that take references to their operands.
macro_rules! compare {
    ($site:literal; $a:expr; $b:expr; $op:tt $first:tt $($second:tt $($third:tt)?)?) => {
        match (&$a, &$b) {
            (a, b) => match crate::mutant::pick($site) {
                1 => *a $first *b,
                $(2 => *a $second *b, $(3 => *a $third *b,)?)?
                _ => *a $op *b,
            },
        }
    };
}

/// `a op= b`.
macro_rules! assign {
    ($site:literal; $a:expr; $b:expr; $op:tt $first:tt $($second:tt $($third:tt)?)?) => {
        match $b {
            b => {
                let a = &mut $a;
                match crate::mutant::pick($site) {
                    1 => *a $first b,
                    $(2 => *a $second b, $(3 => *a $third b,)?)?
                    _ => *a $op b,
                }
            }
        }
    };
}

/// `a && b`, and `a || b` instead; or the other way.
macro_rules! logic {
    ($site:literal; $a:expr; $b:expr; && ||) => {
        match $a {
            a => if a == (crate::mutant::pick($site) != 1) { $b } else { a }
        }
    };
    ($site:literal; $a:expr; $b:expr; || &&) => {
        match $a {
            a => if a == (crate::mutant::pick($site) == 1) { $b } else { a }
        }
    };
}

/// `op a`, and `a` instead.
macro_rules! unary {
    ($site:literal; $op:tt $a:expr) => {
        match $a {
            a => if crate::mutant::pick($site) == 1 { a } else { $op a }
        }
    };
}

pub(crate) use {assign, binary, compare, logic, unary};
