//! Functions over lanes, tried on every float or on a sample of them: what the proofs of this folder share.
#![cfg(test)]

use std::sync::atomic::{AtomicU32, Ordering};

use bytemuck::Pod;

use crate::Isa;
use crate::effort::is_emulated;
use crate::reference::ulp_error;
use crate::simd::isa::Machine;
use crate::simd::{Kernel, LANES, Simd};

/// A function over lanes, and what is claimed of it.
pub trait Tried: Copy + Send + Sync {
    /// `f32` or `f64`.
    type Lane: Pod + Into<f64>;

    /// What its errors are below.
    const BOUNDS: Errors;

    /// The same where multiply-add rounds twice; `None` of a function that has none, and so the same bits there too.
    const BOUNDS_UNFUSED: Option<Errors>;

    /// The results for neighbouring floats; `None` where nothing is claimed that a hash and errors could tell.
    ///
    /// Implementations are `#[inline(always)]`.
    fn results<S: Simd>(self, s: S, x: [f32; LANES]) -> Option<[Self::Lane; LANES]>;

    /// What they should be, within some units of the last place of an `f64`.
    fn exact(self, x: [f32; LANES]) -> [f64; LANES];
}

#[derive(Debug, Clone, Copy)]
pub struct Errors {
    /// In units in the last place of a float.
    pub ulp: f64,
    pub relative: f64,
}

/// The worst error, and the input that has it.
#[derive(Debug, Clone, Copy)]
struct Worst {
    error: f64,
    input: f32,
}

impl Worst {
    const NOTHING: Self = Self { error: 0.0, input: 0.0 };

    fn and(self, other: Self) -> Self {
        if other.error > self.error { other } else { self }
    }
}

#[derive(Debug, Clone, Copy)]
struct Found {
    ulp: Worst,
    relative: Worst,
    hash: u64,
}

impl Found {
    const NOTHING: Self = Self { ulp: Worst::NOTHING, relative: Worst::NOTHING, hash: 0 };

    fn and(self, other: Self) -> Self {
        Self {
            ulp: self.ulp.and(other.ulp),
            relative: self.relative.and(other.relative),
            hash: self.hash.wrapping_add(other.hash),
        }
    }

    fn judge(&mut self, input: f32, got: f64, want: f64) {
        let relative = if got == want { 0.0 } else { (got / want - 1.0).abs() };
        let relative = if relative.is_nan() { f64::INFINITY } else { relative };
        self.ulp = self.ulp.and(Worst { error: ulp_error(got as f32, want), input });
        self.relative = self.relative.and(Worst { error: relative, input });
    }
}

/// Vectors of neighbouring floats, every `stride`-th one from `first` on.
struct Block<T> {
    tried: T,
    first: u32,
    stride: u32,
    /// Whether results are compared with f64, or only hashed.
    judged: bool,
}

/// As many as it takes for all floats.
const ALL_VECTORS: u32 = 1 << (32 - LANES.ilog2());

const BLOCK_VECTORS: u32 = 1 << 12;

impl<T: Tried> Kernel for Block<T> {
    type Output = Found;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Found {
        const WORDS: usize = LANES / 2;
        let mut found = Found::NOTHING;
        let mut hash = [0_u64; WORDS];
        for vector in 0..BLOCK_VECTORS {
            let vector = self.first + vector * self.stride;
            if vector >= ALL_VECTORS {
                break;
            }
            let x: [f32; LANES] =
                core::array::from_fn(|lane| f32::from_bits(vector * LANES as u32 + lane as u32));
            let Some(got) = self.tried.results(s, x) else { continue };
            let (words, _) = bytemuck::cast_slice::<T::Lane, u8>(&got).as_chunks::<8>();
            for (i, word) in words.iter().enumerate() {
                let hash = &mut hash[i % WORDS];
                *hash = hash
                    .rotate_left(5)
                    .wrapping_add(u64::from_le_bytes(*word))
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
            if self.judged {
                for ((x, got), want) in x.into_iter().zip(got).zip(self.tried.exact(x)) {
                    found.judge(x, got.into(), want);
                }
            }
        }
        found.hash = hash.iter().fold(0, |sum, &hash| sum.rotate_left(5) ^ hash);
        found
    }
}

/// Every `stride`-th vector of all floats, over all processors.
fn sweep<T: Tried>(tried: T, isa: Isa, stride: u32, judged: bool) -> Found {
    let machine = Machine::new(isa).expect("an instruction set that is available");
    let blocks = ALL_VECTORS.div_ceil(BLOCK_VECTORS * stride);
    let next = AtomicU32::new(0);
    let work = || {
        let mut found = Found::NOTHING;
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            if block >= blocks {
                return found;
            }
            let first = block * BLOCK_VECTORS * stride;
            found = found.and(machine.run(Block { tried, first, stride, judged }));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // This thread works too: where there are no others it is the only one.
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        others.into_iter().fold(work(), |found, other| found.and(other.join().unwrap()))
    })
}

/// What is available, or the one that `LOGITS_ISA` names.
pub fn tested() -> Vec<Isa> {
    match Isa::from_env().unwrap() {
        Some(isa) => vec![isa],
        None => Isa::available().collect(),
    }
}

/// Judges the best instruction set and every unfused one, and holds the bits of the others against the first.
pub fn prove<T: Tried>(tried: T, stride: u32, hash: u64) {
    // Where the CPU is emulated, f64 takes hours.
    let judges = !is_emulated();
    for isa in tested() {
        let judged = judges && (isa == Isa::detect() || !isa.is_fused());
        let found = sweep(tried, isa, stride, judged);
        print!("{isa:8} hash {:016x}", found.hash);
        if judged {
            let Found { ulp, relative, .. } = found;
            print!(", worst {:.4} ULP at {:?}", ulp.error, ulp.input);
            print!(", 2^{:.3} relative at {:?}", relative.error.log2(), relative.input);
        }
        println!();
        let unfused = if isa.is_fused() { None } else { T::BOUNDS_UNFUSED };
        let bounds = unfused.unwrap_or(T::BOUNDS);
        assert!(found.ulp.error < bounds.ulp && found.relative.error < bounds.relative, "{isa}: {found:?}");
        if unfused.is_none() {
            assert_eq!(found.hash, hash, "{isa}: other bits than on the other instruction sets");
        }
    }
}
