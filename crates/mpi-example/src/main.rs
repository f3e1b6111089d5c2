//! Cross-entropy, perplexity and entropy of a batch whose columns, the vocabulary, are spread over the processes of MPI; and
//! a check of it against one process that has them all.
//!
//! A process sends 64 bytes for each of its rows, and a float for each target, instead of its logits. With `--segments` it has
//! whole segments, and sends 64 bytes for each: then results are the same bits on any number of processes.

use std::ops::Range;
use std::process::ExitCode;

use logits::{
    Classes, Engine, Error, MaskedRows, RowPart, RowStatistics, Rows, RowsMut, Softmax, Statistics,
};
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::traits::*;

const ROWS: usize = 64;
const COLS: usize = 128_256;
/// The row whose softmax is written.
const WRITTEN: usize = 1;

fn main() -> ExitCode {
    let segments = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option] if option == "--segments" => true,
        _ => {
            eprintln!("usage: mpirun -n PROCESSES mpi-example [--segments]");
            return ExitCode::from(2);
        }
    };
    let universe = mpi::initialize().expect("an MPI that has not been initialised");
    match run(&universe.world(), segments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            universe.world().abort(1)
        }
    }
}

/// Whether this process, which may be the one that checks, is content.
fn run(world: &impl Communicator, segments: bool) -> Result<bool, Error> {
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    let columns = columns(rank, size, segments);
    let x: Vec<f32> = (0..ROWS).flat_map(|row| columns.clone().map(move |col| logit(row, col))).collect();
    let targets: Vec<usize> = (0..ROWS).map(target).collect();

    let parts = parts(&x, &columns, if segments { RowPart::SEGMENT } else { COLS })?;
    let (mut here, mut rows) = ([RowPart::default(); ROWS], [RowPart::default(); ROWS]);
    merge(&mut here, &parts);
    merge(&mut rows, &gather_parts(world, &parts));

    // One process has the target's logit.
    let logit_here = |(row, col): (usize, &usize)| match columns.contains(col) {
        true => x[row * columns.len() + col - columns.start],
        false => f32::NEG_INFINITY,
    };
    let logits_here: Vec<f32> = targets.iter().enumerate().map(logit_here).collect();
    let mut logits = [0.0_f32; ROWS];
    world.all_reduce_into(&logits_here[..], &mut logits[..], SystemOperation::max());

    // The softmax of what is here, times what part of the mass that is.
    let mut written = vec![0.0_f32; columns.len()];
    if !columns.is_empty() {
        let row = Rows::new(&x[WRITTEN * columns.len()..][..columns.len()], columns.len())?;
        let masked = Softmax { masked_rows: MaskedRows::Zeros, ..Default::default() };
        engine().softmax_with(row, RowsMut::new(&mut written, columns.len())?, &masked)?;
        let share = here[WRITTEN].share(&rows[WRITTEN]);
        written.iter_mut().for_each(|p| *p = (f64::from(*p) * share) as f32);
    }
    let softmax = gather(world, &written);

    if rank > 0 {
        return Ok(true);
    }
    let mean = |of: &dyn Fn(usize) -> f64| (0..ROWS).map(of).sum::<f64>() / ROWS as f64;
    let loss = mean(&|row| rows[row].loss(logits[row]));
    let sent = parts.len() * RowPart::BYTES;
    println!("{ROWS} rows of {COLS} columns; processes: {size}, bytes sent by the first: {sent}");
    println!("mean cross-entropy {loss}");
    println!("perplexity         {}", loss.exp());
    println!("mean entropy       {}", mean(&|row| rows[row].finish().entropy));
    check(&rows, &logits, &targets, &softmax, segments)
}

/// A process a core: it needs no threads.
fn engine() -> Engine {
    Engine::new().serial()
}

/// The columns of a process: as many as another, or as many segments.
fn columns(rank: usize, size: usize, segments: bool) -> Range<usize> {
    let start = |rank: usize| match segments {
        true => (COLS.div_ceil(RowPart::SEGMENT) * rank / size * RowPart::SEGMENT).min(COLS),
        false => COLS * rank / size,
    };
    start(rank)..start(rank + 1)
}

/// What so many columns at a time tell, of all rows each time.
fn parts(x: &[f32], columns: &Range<usize>, width: usize) -> Result<Vec<RowPart>, Error> {
    let mut parts = Vec::new();
    for at in (0..columns.len()).step_by(width) {
        let block = Rows::strided(&x[at..], width.min(columns.len() - at), columns.len())?;
        let mut out = [RowPart::default(); ROWS];
        engine().parts(block, columns.start + at, 1.0, &mut out)?;
        parts.extend(out);
    }
    Ok(parts)
}

/// Merges parts of all rows, from the left.
fn merge(rows: &mut [RowPart; ROWS], parts: &[RowPart]) {
    for parts in parts.chunks(ROWS) {
        for (row, part) in rows.iter_mut().zip(parts) {
            *row = row.merge(*part);
        }
    }
}

/// The parts of all processes, by rank.
fn gather_parts(world: &impl Communicator, parts: &[RowPart]) -> Vec<RowPart> {
    let bytes: Vec<u8> = parts.iter().flat_map(RowPart::to_bytes).collect();
    gather(world, &bytes).as_chunks().0.iter().map(RowPart::from_bytes).collect()
}

/// What all processes have, by rank.
fn gather<T: Equivalence + Clone + Default>(world: &impl Communicator, here: &[T]) -> Vec<T>
where
    [T]: Buffer,
{
    let mut counts = vec![0_i32; world.size() as usize];
    world.all_gather_into(&(here.len() as i32), &mut counts[..]);
    let starts = counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count)));
    let starts: Vec<i32> = starts.collect();
    let mut all = vec![T::default(); counts.iter().sum::<i32>() as usize];
    world.all_gather_varcount_into(here, &mut PartitionMut::new(&mut all[..], counts, starts));
    all
}

/// Prints how far this is from one process that has all columns, and says whether it is near enough.
fn check(
    rows: &[RowPart; ROWS],
    logits: &[f32; ROWS],
    targets: &[usize],
    softmax: &[f32],
    segments: bool,
) -> Result<bool, Error> {
    let x: Vec<f32> = (0..ROWS).flat_map(|row| (0..COLS).map(move |col| logit(row, col))).collect();
    let (mut whole, mut options) = ([RowStatistics::default(); ROWS], Statistics::default());
    options.chosen = Some(Classes::from(targets));
    engine().statistics_with(Rows::new(&x, COLS)?, &options, &mut whole, &mut [])?;
    let mut one = vec![0.0_f32; COLS];
    let row = Rows::new(&x[WRITTEN * COLS..][..COLS], COLS)?;
    engine().softmax(row, RowsMut::new(&mut one, COLS)?)?;

    let (mut logsumexp, mut entropy, mut loss, mut places) = (0.0_f64, 0.0_f64, 0.0_f64, 0);
    for ((row, whole), x) in rows.iter().zip(&whole).zip(logits) {
        let statistics = row.finish();
        let want = whole.chosen.map_or(f64::NAN, |chosen| -chosen.log_probability);
        logsumexp = largest(logsumexp, statistics.logsumexp - whole.logsumexp);
        entropy = largest(entropy, relative(statistics.entropy, whole.entropy));
        loss = largest(loss, relative(row.loss(*x), want));
        places += usize::from((statistics.max, statistics.argmax) != (whole.max, whole.argmax));
    }
    let normal = softmax.iter().zip(&one).filter(|(_, one)| one.is_normal());
    let of_softmax = normal.map(|(p, one)| relative(f64::from(*p), f64::from(*one))).fold(0.0_f64, largest);
    println!("largest differences from one process:");
    let mut good = places == 0 && softmax.len() == one.len();
    for (name, difference, bound, exact) in [
        ("logsumexp", logsumexp, 3e-7, segments),
        ("entropy, relative", entropy, 1e-6, segments),
        ("cross-entropy, relative", loss, 4e-7, segments),
        ("softmax of a row, relative", of_softmax, 1e-6, false),
    ] {
        let bound = if exact { 0.0 } else { bound };
        println!("  {name:26} {difference:8.1e}, allowed {bound:.0e}");
        good &= difference <= bound;
    }
    println!("  maxima elsewhere           {places}");
    Ok(good)
}

fn relative(got: f64, want: f64) -> f64 {
    if got == want { 0.0 } else { got / want - 1.0 }
}

/// Of sizes; NaN is the largest.
fn largest(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b.abs()) }
}

/// SplitMix64 of a counter, in [0, 1): everyone can make any logit.
fn unit(counter: usize) -> f64 {
    let z = (counter as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Plain rows, rows with an offset, rows of which nothing but a stretch is allowed, and rows with an outstanding logit.
fn logit(row: usize, col: usize) -> f32 {
    let counter = 2 * (row * COLS + col);
    // Normal, by Box and Muller.
    let radius = (-2.0 * (1.0 - unit(counter)).ln()).sqrt();
    let normal = 2.5 * radius * (std::f64::consts::TAU * unit(counter + 1)).cos();
    let x = match row % 4 {
        1 => 3000.0 + normal,
        2 if !stretch(row).contains(&col) => f64::NEG_INFINITY,
        3 if col == row * 1999 => 40.0,
        _ => normal,
    };
    // A model that has learnt something.
    let learnt = if col == target(row) { 13.0 } else { 0.0 };
    (x + learnt) as f32
}

/// The columns that a masked row allows.
fn stretch(row: usize) -> Range<usize> {
    row * 1500..row * 1500 + 20_000
}

/// A class that is allowed; every other time that of the outstanding logit, where there is one.
fn target(row: usize) -> usize {
    let within = if row % 4 == 2 { stretch(row) } else { 0..COLS };
    let any = within.start + (unit(usize::MAX / 2 + row) * within.len() as f64) as usize;
    if row % 8 == 3 { row * 1999 } else { any }
}
