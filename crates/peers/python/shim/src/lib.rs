//! logits behind C functions, for ctypes: contiguous rows, and threads by number.
//!
//! Each function is safe to call if `x` holds `rows * cols` floats and the result as many, or `rows` doubles.

use std::slice::{from_raw_parts, from_raw_parts_mut};
use std::sync::OnceLock;

use logits::{Draw, Engine, LogProbability, Preset, RowLoss, RowStatistics, Rows, RowsMut, Sampler, Token};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Runs on this thread, or in a pool of so many, made once.
fn on_threads(threads: usize, run: impl FnOnce(Engine) + Send) {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    if threads == 1 {
        return run(Engine::new().serial());
    }
    let pool = POOL.get_or_init(|| {
        ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of so many threads")
    });
    assert_eq!(pool.current_num_threads(), threads, "one number of threads beside 1");
    pool.install(|| run(Engine::new()));
}

macro_rules! transforms {
    ($($name:ident, $in_place:ident, $c_name:ident;)*) => {$(
        /// In place if `x` and `y` are the same.
        ///
        /// # Safety
        ///
        /// As above.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $c_name(x: *const f32, y: *mut f32, rows: usize, cols: usize, threads: usize) {
            // SAFETY: as the caller says.
            let out = unsafe { from_raw_parts_mut(y, rows * cols) };
            if x == y.cast_const() {
                return on_threads(threads, |engine| {
                    engine.$in_place(RowsMut::new(out, cols).expect("rows")).expect("one shape");
                });
            }
            // SAFETY: as the caller says.
            let x = unsafe { from_raw_parts(x, rows * cols) };
            on_threads(threads, |engine| {
                let (x, out) = (Rows::new(x, cols).expect("rows"), RowsMut::new(out, cols).expect("rows"));
                engine.$name(x, out).expect("one shape");
            });
        }
    )*};
}

transforms! {
    softmax, softmax_in_place, logits_softmax;
    log_softmax, log_softmax_in_place, logits_log_softmax;
}

macro_rules! summaries {
    ($($name:ident, $exported:ident;)*) => {$(
        /// # Safety
        ///
        /// As above.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $exported(
            x: *const f32,
            y: *mut f64,
            rows: usize,
            cols: usize,
            threads: usize,
        ) {
            // SAFETY: as the caller says.
            let (x, out) = unsafe { (from_raw_parts(x, rows * cols), from_raw_parts_mut(y, rows)) };
            on_threads(threads, |engine| {
                engine.$name(Rows::new(x, cols).expect("rows"), out).expect("one shape");
            });
        }
    )*};
}

summaries! {
    logsumexp, logits_logsumexp;
    entropy, logits_entropy;
}

/// # Safety
///
/// As above, with as many labels as rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn logits_cross_entropy(
    x: *const f32,
    labels: *const i64,
    y: *mut f64,
    rows: usize,
    cols: usize,
    threads: usize,
) {
    // SAFETY: as the caller says.
    let (x, labels) = unsafe { (from_raw_parts(x, rows * cols), from_raw_parts(labels, rows)) };
    // SAFETY: as the caller says.
    let out = unsafe { from_raw_parts_mut(y, rows) };
    on_threads(threads, |engine| {
        let mut losses = vec![RowLoss::default(); rows];
        engine.cross_entropy(Rows::new(x, cols).expect("rows"), labels, &mut losses).expect("labels");
        for (out, row) in out.iter_mut().zip(losses) {
            *out = row.loss;
        }
    });
}

/// Gives the entropy of what it computes.
///
/// # Safety
///
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn logits_statistics(
    x: *const f32,
    y: *mut f64,
    rows: usize,
    cols: usize,
    threads: usize,
) {
    // SAFETY: as the caller says.
    let (x, out) = unsafe { (from_raw_parts(x, rows * cols), from_raw_parts_mut(y, rows)) };
    on_threads(threads, |engine| {
        let mut statistics = vec![RowStatistics::default(); rows];
        engine.statistics(Rows::new(x, cols).expect("rows"), &mut statistics).expect("one shape");
        for (out, row) in out.iter_mut().zip(statistics) {
            *out = row.entropy;
        }
    });
}

/// # Safety
///
/// As above, with as many elements of both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn logits_kl(
    p: *const f32,
    q: *const f32,
    y: *mut f64,
    rows: usize,
    cols: usize,
    threads: usize,
) {
    // SAFETY: as the caller says.
    let (p, q) = unsafe { (from_raw_parts(p, rows * cols), from_raw_parts(q, rows * cols)) };
    // SAFETY: as the caller says.
    let out = unsafe { from_raw_parts_mut(y, rows) };
    on_threads(threads, |engine| {
        let (p, q) = (Rows::new(p, cols).expect("rows"), Rows::new(q, cols).expect("rows"));
        engine.kl_divergence(p, q, out).expect("one shape");
    });
}

/// Draws a token from one row, in llama.cpp's order: the temperature last. A filter is off with 0 for `top_k` and `min_p`, 1 for `top_p`
/// and `typical`; temperature 0 is greedy. Returns the token, or -1 if nothing can be drawn.
///
/// # Safety
///
/// `x` holds `cols` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn logits_sample(
    x: *const f32,
    cols: usize,
    temperature: f64,
    top_k: usize,
    top_p: f64,
    min_p: f64,
    typical: f64,
    seed: u64,
    position: u64,
) -> i64 {
    // SAFETY: as the caller says.
    let x = unsafe { from_raw_parts(x, cols) };
    let sampler = Sampler::preset(Preset::LlamaCpp)
        .temperature(temperature)
        .top_k(top_k)
        .top_p(top_p)
        .min_p(min_p)
        .typical(typical)
        // The others do not say it either.
        .log_probability(LogProbability::Skip)
        .build()
        .expect("values that make sense");
    let mut out = [Ok(Token::default())];
    let draws = [Draw::counted(seed, 0, position)];
    Engine::new()
        .serial()
        .sample(Rows::new(x, cols).expect("a row"), &sampler, &draws, &mut out)
        .expect("one row");
    out[0].map_or(-1, |token| i64::from(token.id))
}
