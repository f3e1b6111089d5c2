//! Operation x instruction set x shape, one thread, beside the scalar loop that people write and a copy of the same rows.
//!
//! `cargo bench -- softmax/1x4096` runs a part. `LOGITS_ISA=avx2` leaves the other instruction sets out.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use logits::{Draw, Engine, Isa, LogProbability, RowLoss, RowStatistics, Rows, RowsMut, Sampler, Token};
use timing::{scalar_loop, uniform};

/// Rows and columns: short rows, rows in cache, a vocabulary, a batch out of cache.
const SHAPES: [(usize, usize); 8] =
    [(1, 1000), (1, 4096), (1, 32_000), (1, 131_072), (64, 64), (256, 128), (16, 4096), (64, 131_072)];

fn ops(criterion: &mut Criterion) {
    let only = Isa::from_env().unwrap_or_else(|error| panic!("LOGITS_ISA: {error}"));
    for (rows, cols) in SHAPES {
        let x: Vec<f32> = uniform(1).take(rows * cols).collect();
        let mut y = vec![0.0; x.len()];
        let mut sums = vec![0.0; rows];
        let engines: Vec<_> = Isa::available()
            .filter(|&isa| only.is_none_or(|only| only == isa) && isa != Isa::Scalar)
            .map(|isa| Engine::new().with_isa(isa).expect("it is available").serial())
            .collect();
        let bytes = size_of_val(&x[..]) as u64;
        for operation in ["softmax", "log_softmax", "logsumexp", "entropy"] {
            let mut group = criterion.benchmark_group(operation);
            let written = matches!(operation, "softmax" | "log_softmax");
            let moved = if written { 2 * bytes } else { bytes };
            group.throughput(Throughput::ElementsAndBytes { elements: x.len() as u64, bytes: moved });
            let shape = format!("{rows}x{cols}");
            for engine in &engines {
                group.bench_function(BenchmarkId::new(engine.isa().name(), &shape), |bencher| {
                    bencher.iter(|| {
                        let from = Rows::new(black_box(&x), cols).expect("whole rows");
                        let to = RowsMut::new(&mut y, cols).expect("whole rows");
                        match operation {
                            "softmax" => engine.softmax(from, to),
                            "log_softmax" => engine.log_softmax(from, to),
                            "logsumexp" => engine.logsumexp(from, &mut sums),
                            _ => engine.entropy(from, &mut sums),
                        }
                    });
                });
            }
            group.bench_function(BenchmarkId::new("scalar loop", &shape), |bencher| {
                bencher.iter(|| {
                    for (x, y) in black_box(&x).chunks(cols).zip(y.chunks_mut(cols)) {
                        match operation {
                            "softmax" => scalar_loop::softmax(x, y),
                            "log_softmax" => scalar_loop::log_softmax(x, y),
                            "logsumexp" => y[0] = scalar_loop::logsumexp(x),
                            _ => y[0] = scalar_loop::entropy(x),
                        }
                    }
                });
            });
            if written {
                group.bench_function(BenchmarkId::new("memcpy", &shape), |bencher| {
                    bencher.iter(|| black_box(&mut y).copy_from_slice(black_box(&x)));
                });
            }
            group.finish();
        }
    }
}

/// What else is read from a row, beside logsumexp of the same rows: one read of one batch, or of two.
fn losses(criterion: &mut Criterion) {
    let engine = Engine::new().serial();
    for (rows, cols) in SHAPES {
        let x: Vec<f32> = uniform(1).take(rows * cols).collect();
        let other: Vec<f32> = uniform(2).take(rows * cols).map(|x| x * 0.5).collect();
        let labels: Vec<usize> = (0..rows).map(|row| row * 31 % cols).collect();
        let (mut sums, mut gradient) = (vec![0.0; rows], vec![0.0; x.len()]);
        let (mut losses, mut statistics) =
            (vec![RowLoss::default(); rows], vec![RowStatistics::default(); rows]);
        let mut group = criterion.benchmark_group("losses");
        group.throughput(Throughput::Elements(x.len() as u64));
        let shape = format!("{rows}x{cols}");
        for operation in [
            "logsumexp",
            "cross_entropy",
            "entropy",
            "varentropy",
            "statistics",
            "kl",
            "js",
            "softmax_backward",
        ] {
            group.bench_function(BenchmarkId::new(operation, &shape), |bencher| {
                bencher.iter(|| {
                    let from = Rows::new(black_box(&x), cols).expect("whole rows");
                    let other = Rows::new(black_box(&other), cols).expect("whole rows");
                    match operation {
                        "logsumexp" => engine.logsumexp(from, &mut sums),
                        "cross_entropy" => engine.cross_entropy(from, &labels, &mut losses).map(|_| ()),
                        "entropy" => engine.entropy(from, &mut sums),
                        "varentropy" => engine.varentropy(from, &mut sums),
                        "statistics" => engine.statistics(from, &mut statistics),
                        "kl" => engine.kl_divergence(from, other, &mut sums).map(|_| ()),
                        "js" => engine.js_divergence(from, other, 0.5, &mut sums).map(|_| ()),
                        _ => {
                            let out = RowsMut::new(&mut gradient, cols).expect("whole rows");
                            engine.softmax_backward(from, other, out)
                        }
                    }
                });
            });
        }
        group.finish();
    }
}

/// A token from a vocabulary, by each filter alone, beside the logsumexp of the row.
fn sampling(criterion: &mut Criterion) {
    let cols = 128_256;
    let engine = Engine::new().serial();
    // Sums of uniform numbers are nearly normal.
    let mut random = uniform(1).map(|x| x / 4.0);
    let normal: Vec<f32> = (0..cols).map(|_| random.by_ref().take(3).sum()).collect();
    let mut peaked: Vec<f32> = normal.iter().map(|x| 2.0 * x).collect();
    peaked[cols / 3] += 12.0;
    let flat = uniform(2).map(|x| x / 20.0).take(cols).collect();
    let builder = || Sampler::builder().log_probability(LogProbability::Skip);
    let samplers = [
        ("greedy", builder().temperature(0.0)),
        ("temperature", builder().temperature(0.8)),
        ("top-k", builder().top_k(40)),
        ("top-p", builder().top_p(0.9)),
        ("min-p", builder().min_p(0.05)),
        ("typical", builder().typical(0.9)),
    ];
    let rows: [(&str, Vec<f32>); 3] = [("peaked", peaked), ("normal", normal), ("flat", flat)];
    for (row, x) in rows {
        let mut group = criterion.benchmark_group("sampling");
        group.throughput(Throughput::Elements(cols as u64));
        group.bench_function(BenchmarkId::new("logsumexp", row), |bencher| {
            bencher.iter(|| logits::logsumexp(black_box(&x)));
        });
        for (name, builder) in &samplers {
            let sampler = builder.clone().build().expect("values that make sense");
            let (mut token, mut position) = ([Ok(Token::default())], 0);
            group.bench_function(BenchmarkId::new(*name, row), |bencher| {
                bencher.iter(|| {
                    position += 1;
                    let rows = Rows::new(black_box(&x), cols).expect("a row");
                    engine.sample(rows, &sampler, &[Draw::counted(1, 0, position)], &mut token)
                });
            });
        }
        group.finish();
    }

    // A batch of them, on one thread and on all.
    let rows = 64;
    let x: Vec<f32> = uniform(3).map(|x| x / 2.0).take(rows * cols).collect();
    let sampler = builder().temperature(0.8).top_p(0.9).build().expect("values that make sense");
    let draws: Vec<_> = (0..rows as u64).map(|stream| Draw::counted(1, stream, 0)).collect();
    let mut tokens = vec![Ok(Token::default()); rows];
    let pool = rayon::ThreadPoolBuilder::new().build().expect("a pool");
    let mut group = criterion.benchmark_group(format!("sampling {rows}x{cols}"));
    group.throughput(Throughput::Elements((rows * cols) as u64));
    for (name, engine) in [("one thread", engine), ("all threads", Engine::new())] {
        group.bench_function(name, |bencher| {
            let rows = Rows::new(&x, cols).expect("whole rows");
            pool.install(|| bencher.iter(|| engine.sample(black_box(rows), &sampler, &draws, &mut tokens)));
        });
    }
    group.finish();
}

/// Softmax into new memory: as it comes, and filled with zeros first. What `softmax_uninit` spares, and the unsafe code behind it.
fn new_memory(criterion: &mut Criterion) {
    let engine = Engine::new().serial();
    for (rows, cols) in [(1, 4096), (256, 1000), (64, 131_072)] {
        let x: Vec<f32> = uniform(1).take(rows * cols).collect();
        let mut group = criterion.benchmark_group("new memory");
        group.throughput(Throughput::Elements(x.len() as u64));
        let shape = format!("{rows}x{cols}");
        group.bench_function(BenchmarkId::new("uninitialised", &shape), |bencher| {
            bencher.iter(|| {
                let mut y: Vec<f32> = Vec::with_capacity(x.len());
                let from = Rows::new(black_box(&x), cols).expect("whole rows");
                let written = engine.softmax_uninit(from, &mut y.spare_capacity_mut()[..x.len()]);
                black_box(written.expect("the same shape").len())
            });
        });
        group.bench_function(BenchmarkId::new("zeros", &shape), |bencher| {
            bencher.iter(|| {
                let mut y = Vec::with_capacity(x.len());
                y.resize(x.len(), 0.0);
                let from = Rows::new(black_box(&x), cols).expect("whole rows");
                engine.softmax(from, RowsMut::new(black_box(&mut y), cols).expect("whole rows"))
            });
        });
        group.finish();
    }
}

/// From what size on threads are worth waking: one row on this thread alone, and on all, called from the pool and from outside it;
/// right after another call, and when threads have been idle for so long that they sleep.
fn threads(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().build().expect("threads");
    for cols in [32_768, 65_536, 128_256, 262_144] {
        let x: Vec<f32> = uniform(1).take(cols).collect();
        for (state, pause) in [("awake", Duration::ZERO), ("asleep", Duration::from_micros(300))] {
            let mut group = criterion.benchmark_group(format!("threads {state}"));
            group.throughput(Throughput::Elements(cols as u64));
            let mut y = vec![0.0; cols];
            let mut time = |engine: Engine, calls: u64| {
                let mut time = Duration::ZERO;
                for _ in 0..calls {
                    let start = Instant::now();
                    while start.elapsed() < pause {
                        std::hint::spin_loop();
                    }
                    let start = Instant::now();
                    let from = Rows::new(black_box(&x), cols).expect("whole rows");
                    engine.softmax(from, RowsMut::new(&mut y, cols).expect("whole rows")).expect("one shape");
                    time += start.elapsed();
                }
                time
            };
            let shape = format!("1x{cols}");
            group.bench_function(BenchmarkId::new("one", &shape), |bencher| {
                bencher.iter_custom(|calls| time(Engine::new().serial(), calls));
            });
            group.bench_function(BenchmarkId::new("from the pool", &shape), |bencher| {
                bencher.iter_custom(|calls| pool.install(|| time(Engine::new(), calls)));
            });
            group.bench_function(BenchmarkId::new("from outside", &shape), |bencher| {
                bencher.iter_custom(|calls| time(Engine::new(), calls));
            });
            group.finish();
        }
    }
}

/// A thousand times a multiplication and an addition that wait for each other, which take four cycles together: how fast this processor
/// turns, for the floors in BENCHMARKS.md.
fn clock(criterion: &mut Criterion) {
    criterion.bench_function("clock/4000 cycles", |bencher| {
        let addend = black_box(1_u64);
        bencher.iter(|| {
            let mut x = black_box(3_u64);
            for _ in 0..1000 {
                x = x.wrapping_mul(x).wrapping_add(addend);
            }
            x
        });
    });
}

criterion_group!(benches, ops, losses, sampling, new_memory, threads, clock);
criterion_main!(benches);
