//! The same bits: on every fused instruction set, thread count, place in a batch, alignment, and in every form.

mod common;

use std::mem::MaybeUninit;

use common::*;
use logits::{Engine, Isa, Rows, RowsMut};

/// Everything that the operations make of a batch, one way or another.
#[derive(Debug, Clone, PartialEq)]
struct Outputs {
    softmax: Vec<u32>,
    log_softmax: Vec<u32>,
    logsumexp: Vec<u64>,
    entropy: Vec<u64>,
}

impl Outputs {
    fn hash(&self) -> u64 {
        let floats = self.softmax.iter().chain(&self.log_softmax).map(|&bits| u64::from(bits));
        hash(floats.chain(self.logsumexp.iter().chain(&self.entropy).copied()))
    }
}

fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

fn outputs(engine: Engine, x: &[f32], cols: usize, temperature: f64) -> Outputs {
    let rows = Rows::new(x, cols).unwrap();
    let mut y = vec![0.0; x.len()];
    engine.softmax_with(rows, RowsMut::new(&mut y, cols).unwrap(), &at(temperature)).unwrap();
    let softmax = bits(&y);
    engine.log_softmax_with(rows, RowsMut::new(&mut y, cols).unwrap(), &at(temperature)).unwrap();
    let mut sums = vec![0.0; rows.rows()];
    engine.logsumexp(rows, &mut sums).unwrap();
    let logsumexp = sums.iter().map(|y| y.to_bits()).collect();
    engine.entropy_with(rows, &mut sums, &at(temperature)).unwrap();
    let entropy = sums.iter().map(|y| y.to_bits()).collect();
    Outputs { softmax, log_softmax: bits(&y), logsumexp, entropy }
}

/// Rows from none to three segments long, with every boundary; the named ones of each length as a batch.
fn batches() -> impl Iterator<Item = (usize, Vec<f32>)> {
    [0].into_iter()
        .chain(LENGTHS)
        .map(|cols| (cols, named_rows(cols).into_iter().flat_map(|(_, row)| row).collect()))
}

/// One hash for all of it: change it only with a change that is meant to change results, and say so in CHANGELOG.
const HASH: u64 = 0x2194_072f_df0f_a68e;

#[test]
fn one_hash_for_all_instruction_sets_and_threads() {
    let pools: Vec<_> = pools(if is_emulated() { &[3][..] } else { &[1, 2, 3, 8] }.iter().copied()).collect();
    for isa in tested().into_iter().filter(|isa| isa.is_fused()) {
        let engine = Engine::new().with_isa(isa).unwrap();
        let all =
            |run: &dyn Fn(&[f32], usize) -> Outputs| hash(batches().map(|(cols, x)| run(&x, cols).hash()));
        let serial = all(&|x, cols| outputs(engine.serial(), x, cols, 1.0));
        assert_eq!(serial, HASH, "{isa}: {serial:#x}");
        for pool in &pools {
            let parallel = all(&|x, cols| pool.install(|| outputs(engine, x, cols, 1.0)));
            assert_eq!(parallel, HASH, "{isa} on {} threads", pool.current_num_threads());
        }
        // This thread is in no pool.
        let parallel = all(&|x, cols| outputs(engine, x, cols, 1.0));
        assert_eq!(parallel, HASH, "{isa} from outside the pool");
        println!("{isa}: {serial:#018x}");
    }
}

/// Few long rows are split over threads themselves, with and without a window to spare.
#[test]
fn long_rows_do_not_show_how_they_are_split() {
    let pools: Vec<_> = pools(1..=16).collect();
    let mut random = Random(11);
    for (rows, cols) in [(1, 40_000), (3, 50_001), (1, 262_144), (1, 262_145), (2, 700_001)] {
        if rows * cols > 262_144 && is_emulated() {
            continue;
        }
        let mut x: Vec<f32> = (0..rows * cols).map(|_| random.normal(4.0)).collect();
        // Segments with a shift of their own, and one without anything.
        x[5000] = 400.0;
        x[20_000] = 300.0;
        x[SEGMENT * 2..SEGMENT * 3].fill(f32::NEG_INFINITY);
        let engine = Engine::new();
        for temperature in [1.0, 0.9, 0.0] {
            let want = outputs(engine.serial(), &x, cols, temperature);
            for pool in pools.iter().take(if cols < 100_000 { 16 } else { 3 }) {
                let got = pool.install(|| outputs(engine, &x, cols, temperature));
                assert!(got == want, "{rows} x {cols} on {} threads", pool.current_num_threads());
                let mut new = vec![MaybeUninit::new(f32::NAN); x.len()];
                let rows = Rows::new(&x, cols).unwrap();
                let y =
                    pool.install(|| engine.softmax_uninit_with(rows, &mut new, &at(temperature)).unwrap());
                assert!(bits(y) == want.softmax, "new memory on {} threads", pool.current_num_threads());
            }
        }
    }
}

/// Results that go past the caches are those that do not: rows of every length, several and alone, wherever they begin.
#[test]
fn streamed_results_are_the_same() {
    let pool = pools([3]).next();
    let run = |engine: Engine, x: &[f32], y: &mut [f32], cols: usize, stride: usize, temperature: f64| {
        let mut results = Vec::new();
        for log in [false, true] {
            y.fill(0.5);
            let (from, to) = (Rows::strided(x, cols, stride), RowsMut::strided(y, cols, stride));
            let (from, to, options) = (from.unwrap(), to.unwrap(), at(temperature));
            if log {
                engine.log_softmax_with(from, to, &options).unwrap();
            } else {
                engine.softmax_with(from, to, &options).unwrap();
            }
            results.push(bits(y));
        }
        results
    };
    for cols in lengths(&[50_257, 262_144, 262_145]) {
        let x: Vec<f32> = if cols < 20_000 {
            named_rows(cols).into_iter().flat_map(|(_, row)| row).collect()
        } else {
            let mut random = Random(cols as u64);
            (0..3 * cols).map(|_| random.normal(9.0)).collect()
        };
        let mut y = vec![0.0; x.len() + 16];
        for (engine, temperature) in engines().flat_map(|engine| [(engine, 1.0), (engine, 0.7)]) {
            for (offset, gap) in [(0, 0), (1, 0), (13, 0), (0, 3)].into_iter().filter(|&(_, gap)| gap < cols)
            {
                let (y, stride) = (&mut y[offset..][..x.len()], cols);
                let cols = cols - gap;
                let want = run(engine.stream_from(usize::MAX), &x, y, cols, stride, temperature);
                let got = run(engine.stream_from(0), &x, y, cols, stride, temperature);
                assert!(got == want, "{}: {cols} columns, {offset} off, at {temperature}", engine.isa());
                if let (Some(pool), true) = (&pool, engine.isa() == Engine::new().isa()) {
                    let parallel = Engine::new().stream_from(0);
                    let got = pool.install(|| run(parallel, &x, y, cols, stride, temperature));
                    assert!(got == want, "{cols} columns, {offset} off, at {temperature}, on threads");
                }
            }
        }
    }
}

/// Sixteen ordinary rows may be done side by side, and one among them that is not may prevent it; with a stride or without.
#[test]
fn ordinary_rows_do_not_show_their_neighbours() {
    const ROWS: usize = 37;
    let mut random = Random(23);
    for cols in (1..=18).chain([31, 64, 65, 128, 130]) {
        // With 44.2 a row that is not plain has the shift of those that are, and -50 has a subnormal share of it.
        let odds: [&[f32]; 10] = [
            &[],
            &[31.9],
            &[32.1],
            &[-90.0],
            &[-400.0],
            &[1e4],
            &[44.2, -50.0],
            &[f32::NEG_INFINITY],
            &[f32::INFINITY],
            &[f32::NAN],
        ];
        for odd in odds {
            let mut x: Vec<f32> = (0..ROWS * cols).map(|_| random.normal(6.0).clamp(-31.0, 31.0)).collect();
            // Twice the same maximum; and something out of the ordinary in a row of the second sixteen.
            x[3 * cols + cols / 2] = 31.0;
            x[3 * cols + cols - 1] = 31.0;
            for (x, odd) in x[20 * cols + cols / 3..].iter_mut().zip(odd) {
                *x = *odd;
            }
            for (engine, temperature) in engines().flat_map(|engine| [(engine, 1.0), (engine, 0.8)]) {
                let alone: Vec<_> =
                    x.chunks(cols).map(|row| outputs(engine, row, cols, temperature)).collect();
                let together = outputs(engine, &x, cols, temperature);
                let context = format!("{}, {cols} columns, {odd:?}, at {temperature}", engine.isa());
                let streamed = outputs(engine.stream_from(0), &x, cols, temperature);
                assert!(streamed == together, "{context}: past the caches");
                assert!(
                    together.softmax == alone.iter().flat_map(|row| row.softmax.clone()).collect::<Vec<_>>(),
                    "{context}"
                );
                assert!(
                    together.log_softmax
                        == alone.iter().flat_map(|row| row.log_softmax.clone()).collect::<Vec<_>>(),
                    "{context}"
                );
                assert!(
                    together.logsumexp
                        == alone.iter().flat_map(|row| row.logsumexp.clone()).collect::<Vec<_>>(),
                    "{context}"
                );
                assert!(
                    together.entropy == alone.iter().flat_map(|row| row.entropy.clone()).collect::<Vec<_>>(),
                    "{context}"
                );
                let mut spread = vec![-7.0; ROWS * (cols + 3)];
                for (row, to) in x.chunks(cols).zip(spread.chunks_mut(cols + 3)) {
                    to[..cols].copy_from_slice(row);
                }
                let rows = RowsMut::strided(&mut spread, cols, cols + 3).unwrap();
                engine.log_softmax_in_place_with(rows, &at(temperature)).unwrap();
                for (row, got) in alone.iter().zip(spread.chunks(cols + 3)) {
                    assert!(
                        bits(&got[..cols]) == row.log_softmax && got[cols..] == [-7.0; 3],
                        "{context}: in place"
                    );
                }
            }
        }
    }
}

/// A row is the same alone, anywhere in a batch, at any alignment, with a stride, in place, and in new memory.
#[test]
fn every_form_gives_the_same() {
    for engine in engines() {
        for cols in [1, 5, 8, 15, 16, 17, 33, 48, 63, 64, 65, 129, 1000, 4097] {
            let rows: Vec<_> = named_rows(cols);
            for (place, (name, row)) in rows.iter().enumerate() {
                let want = outputs(engine, row, cols, 1.3);
                let context = format!("{}: {name}, {cols} columns", engine.isa());
                // Among others, with a stride, at an odd address; the gaps are left alone. So many that short rows are done
                // sixteen at a time, and some are left over; one may be out of the ordinary.
                const ROWS: usize = 21;
                let at_row = place % ROWS;
                let stride = cols + 1 + place % 5;
                let mut x = vec![f32::NAN; 1 + ROWS * stride];
                for other in 0..ROWS {
                    let row = &rows[(place + ROWS - at_row + other) % rows.len()].1;
                    x[1 + other * stride..][..cols].copy_from_slice(row);
                }
                x[1 + at_row * stride..][..cols].copy_from_slice(row);
                let odd = [None, Some(f32::NAN), Some(f32::INFINITY), Some(f32::NEG_INFINITY)][place % 4];
                if let Some(odd) = odd {
                    x[1 + (at_row + 3) % ROWS * stride..][..cols].fill(odd);
                }
                let mut y = vec![-7.0; 2 + ROWS * stride];
                let from = Rows::strided(&x[1..], cols, stride).unwrap();
                let to = RowsMut::strided(&mut y[2..], cols, stride).unwrap();
                engine.softmax_with(from, to, &at(1.3)).unwrap();
                let got = bits(&y[2 + at_row * stride..][..cols]);
                assert_eq!(got, want.softmax, "{context}: among others, {odd:?}");
                let to = RowsMut::strided(&mut y[2..], cols, stride).unwrap();
                engine.log_softmax_with(from, to, &at(1.3)).unwrap();
                let got = bits(&y[2 + at_row * stride..][..cols]);
                assert_eq!(got, want.log_softmax, "{context}: among others, {odd:?}");
                let mut sums = [0.0; ROWS];
                engine.logsumexp(from, &mut sums).unwrap();
                let got = sums[at_row].to_bits();
                assert_eq!(got, want.logsumexp[0], "{context}: among others, {odd:?}");
                let gaps = y[2..].chunks(stride).flat_map(|row| &row[cols..]).chain(&y[..2]);
                assert!(gaps.copied().all(|gap| gap == -7.0), "{context}: a gap has been written");
                // In place, among others and alone.
                let mut y = x.clone();
                let batch = RowsMut::strided(&mut y[1..], cols, stride).unwrap();
                engine.softmax_in_place_with(batch, &at(1.3)).unwrap();
                assert_eq!(bits(&y[1 + at_row * stride..][..cols]), want.softmax, "{context}: in place");
                let mut y = row.clone();
                engine.softmax_in_place_with(RowsMut::new(&mut y, cols).unwrap(), &at(1.3)).unwrap();
                assert_eq!(bits(&y), want.softmax, "{context}: in place");
                let mut y = row.clone();
                engine.log_softmax_in_place_with(RowsMut::new(&mut y, cols).unwrap(), &at(1.3)).unwrap();
                assert_eq!(bits(&y), want.log_softmax, "{context}: in place");
                // In new memory.
                let mut new = vec![MaybeUninit::new(f32::NAN); cols];
                let y =
                    engine.softmax_uninit_with(Rows::new(row, cols).unwrap(), &mut new, &at(1.3)).unwrap();
                assert_eq!(bits(y), want.softmax, "{context}: in new memory");
                let y = engine
                    .log_softmax_uninit_with(Rows::new(row, cols).unwrap(), &mut new, &at(1.3))
                    .unwrap();
                assert_eq!(bits(y), want.log_softmax, "{context}: in new memory");
            }
        }
    }
}

/// A maximum may be there more than once.
#[test]
fn narrow_rows_with_ties_are_as_alone() {
    const ROWS: usize = 37;
    for engine in engines() {
        for cols in 1..=16 {
            let mut random = Random(cols as u64);
            let x: Vec<f32> = (0..ROWS * cols).map(|_| random.below(3) as f32).collect();
            let mut y = vec![-7.0; x.len()];
            engine.log_softmax(Rows::new(&x, cols).unwrap(), RowsMut::new(&mut y, cols).unwrap()).unwrap();
            for (x, y) in x.chunks(cols).zip(y.chunks(cols)) {
                assert_eq!(bits(y), bits(&log_softmax(engine, x, 1.0)), "{}: {x:?}", engine.isa());
            }
        }
    }
}

#[test]
fn free_functions_are_the_engine() {
    for (_, x) in named_rows(777) {
        let want = outputs(Engine::new().serial(), &x, x.len(), 1.0);
        let mut y = vec![0.0; x.len()];
        logits::softmax(&x, &mut y);
        assert_eq!(bits(&y), want.softmax);
        logits::log_softmax(&x, &mut y);
        assert_eq!(bits(&y), want.log_softmax);
        y.copy_from_slice(&x);
        logits::softmax_in_place(&mut y);
        assert_eq!(bits(&y), want.softmax);
        y.copy_from_slice(&x);
        logits::log_softmax_in_place(&mut y);
        assert_eq!(bits(&y), want.log_softmax);
        assert_eq!(logits::logsumexp(&x).to_bits(), want.logsumexp[0]);
        assert_eq!(logits::entropy(&x).to_bits(), want.entropy[0]);
    }
    assert!(logits::entropy(&[]).is_nan());
}

/// Every instruction set that this machine should have has been tested.
#[test]
fn no_instruction_set_is_skipped() {
    let available = tested();
    if Isa::from_env().unwrap().is_some() {
        println!("LOGITS_ISA is set: other instruction sets are left out");
        return;
    }
    println!("instruction sets: {}", available.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", "));
    assert!(available.contains(&Isa::Scalar) && available.contains(&Isa::Portable));
    #[cfg(target_arch = "x86_64")]
    {
        // What processors have together.
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        assert_eq!(available.contains(&Isa::Avx2), avx2);
        let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
        assert_eq!(available.contains(&Isa::Avx512), avx512);
    }
    #[cfg(target_arch = "aarch64")]
    assert!(available.contains(&Isa::Neon));
    assert_eq!(available.last(), Some(&Isa::detect()));
}
