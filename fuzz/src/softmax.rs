//! Softmax, log-softmax and logsumexp, in all forms, and the shapes of rows.

use std::mem::MaybeUninit;

use logits::{Engine, Error, MaskedRows, Rows, RowsMut, Softmax, reference};

use crate::bytes::Bytes;
use crate::judge::{
    Kind, Table, assert_near, assert_one_nan, assert_refused, assert_within, bits, effective, first_maximum,
    is_temperature, kind, on_all, rows_of,
};

pub fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.byte() % 16 {
        0..=5 => distribution(&mut bytes, false),
        6..=11 => distribution(&mut bytes, true),
        12 | 13 => logsumexp(&mut bytes),
        14 => one_row(&mut bytes),
        _ => shapes(&mut bytes),
    }
}

fn apply(
    engine: Engine,
    x: &Table,
    form: u8,
    gap: usize,
    options: &Softmax,
    log: bool,
) -> Result<Table, Error> {
    const BEFORE: f32 = 7.0;
    let mut y;
    let result = match form % 3 {
        0 => {
            y = x.filled(gap, BEFORE);
            if log {
                engine.log_softmax_with(x.view(), y.view_mut(), options)
            } else {
                engine.softmax_with(x.view(), y.view_mut(), options)
            }
        }
        1 => {
            y = Table { data: x.data.clone(), ..*x };
            if log {
                engine.log_softmax_in_place_with(y.view_mut(), options)
            } else {
                engine.softmax_in_place_with(y.view_mut(), options)
            }
        }
        _ => {
            y = x.filled(0, BEFORE);
            let mut memory = vec![MaybeUninit::new(BEFORE); x.rows * x.cols];
            let written = if log {
                engine.log_softmax_uninit_with(x.view(), &mut memory, options)
            } else {
                engine.softmax_uninit_with(x.view(), &mut memory, options)
            };
            written.map(|written| y.data.copy_from_slice(written))
        }
    };
    if result.is_err() {
        let before = if form % 3 == 1 { x.bits() } else { vec![BEFORE.to_bits(); x.rows * x.cols] };
        assert!(y.bits() == before, "a refused call has written");
    }
    result.map(|()| y)
}

fn distribution(bytes: &mut Bytes<'_>, log: bool) {
    let (form, temperature) = (bytes.byte(), bytes.temperature());
    let masked_rows = if form >= 192 { MaskedRows::Zeros } else { MaskedRows::Nan };
    let (gap, other_gap) = if form & 4 == 0 { (0, 0) } else { (bytes.below(4), bytes.below(4)) };
    let x = Table::new(bytes.shape(), gap, |cols| bytes.row(cols));
    let options = Softmax { temperature, masked_rows };
    if !is_temperature(temperature) {
        return assert_refused(
            apply(Engine::new(), &x, form, other_gap, &options, log).map(|_| ()),
            temperature,
        );
    }
    on_all(
        bytes.luck,
        x.rows * x.cols,
        |engine| apply(engine, &x, form, other_gap, &options, log).expect("nothing to refuse").bits(),
        |got, fused, isa| {
            let mut want = vec![0.0; x.cols];
            for (x, got) in x.each().zip(got.chunks(x.cols)) {
                let got: Vec<f32> = got.iter().map(|&bits| f32::from_bits(bits)).collect();
                let context = || format!("{isa:?}, temperature {temperature:e}, log {log}, row {x:?}");
                judge(x, &got, &mut want, &options, log, fused, &context);
            }
        },
    );
}

fn judge(
    x: &[f32],
    got: &[f32],
    want: &mut [f64],
    options: &Softmax,
    log: bool,
    fused: bool,
    context: &dyn Fn() -> String,
) {
    let nothing = if log { f32::NEG_INFINITY } else { 0.0 };
    match kind(x) {
        Kind::Masked if options.masked_rows == MaskedRows::Zeros => {
            assert!(got.iter().all(|y| y.to_bits() == nothing.to_bits()), "{got:?}: {}", context());
        }
        Kind::Fine if options.temperature == 0.0 => {
            let first = first_maximum(x);
            for (i, y) in got.iter().enumerate() {
                let want = if i != first { nothing } else { f32::from(u8::from(!log)) };
                assert!(y.to_bits() == want.to_bits(), "element {i} is {y:e}: {}", context());
            }
        }
        Kind::Fine => {
            let temperature = effective(options.temperature);
            let ulp = if fused { 7.0 } else { 9.0 };
            if log {
                reference::log_softmax(x, temperature, want);
                for (i, (&got, &want)) in got.iter().zip(&*want).enumerate() {
                    let error = reference::ulp_error(got, want);
                    let small = (f64::from(got) - want).abs() <= f64::from(f32::MIN_POSITIVE);
                    assert!(
                        small || error <= ulp,
                        "element {i} is {got:e} and not {want:e}, {error}: {}",
                        context()
                    );
                }
            } else {
                reference::softmax(x, temperature, want);
                assert_within(got, want, ulp, if fused { 5.0 } else { 7.0 }, context);
            }
            for (x, y) in x.iter().zip(got) {
                let masked = *x == f32::NEG_INFINITY;
                assert!(!masked || y.to_bits() == nothing.to_bits(), "{y:e} of -inf: {}", context());
            }
        }
        Kind::Nan | Kind::Infinite | Kind::Masked => assert_one_nan(got),
    }
}

fn judge_logsumexp(x: &[f32], got: f64, context: &dyn Fn() -> String) {
    let want = reference::logsumexp(x);
    assert_near(got, want, 3e-7 + 2_f64.powi(-50) * want.abs(), context);
}

fn logsumexp(bytes: &mut Bytes<'_>) {
    let gap = bytes.below(3);
    let x = Table::new(bytes.shape(), gap, |cols| bytes.row(cols));
    on_all(
        bytes.luck,
        x.rows * x.cols,
        |engine| {
            let mut out = vec![7.0; x.rows];
            engine.logsumexp(x.view(), &mut out).expect("nothing to refuse");
            bits(&out)
        },
        |got, _, isa| {
            for (x, got) in x.each().zip(got) {
                judge_logsumexp(x, f64::from_bits(*got), &|| format!("{isa:?}, row {x:?}"));
            }
        },
    );
}

/// The functions without an engine have the bits of those with one.
fn one_row(bytes: &mut Bytes<'_>) {
    let (_, cols) = bytes.shape();
    let x = if bytes.byte() == 0 { Vec::new() } else { bytes.row(cols) };
    let (mut y, mut log_y) = (vec![7.0; x.len()], vec![7.0; x.len()]);
    logits::softmax(&x, &mut y);
    logits::log_softmax(&x, &mut log_y);
    for (out, log) in [(&y, false), (&log_y, true)] {
        let mut in_place = x.clone();
        if log {
            logits::log_softmax_in_place(&mut in_place);
        } else {
            logits::softmax_in_place(&mut in_place);
        }
        let same = out.iter().zip(&in_place).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "in place: {out:?} and not {in_place:?}");
        let context = || format!("the row {x:?}");
        judge(&x, out, &mut vec![0.0; x.len()], &Softmax::default(), log, true, &context);
    }
    judge_logsumexp(&x, logits::logsumexp(&x), &|| format!("the row {x:?}"));
    let (got, want) = (logits::entropy(&x), reference::entropy(&x, 1.0));
    if kind(&x) == Kind::Fine {
        assert_near(got, want, (1e-6 * want).max(1e-12), || format!("entropy of {x:?}"));
    } else {
        assert!(got.is_nan());
    }
}

/// Shapes that fit, and shapes that do not.
fn shapes(bytes: &mut Bytes<'_>) {
    let mut number = || match bytes.byte() {
        byte @ 0..=239 => usize::from(byte % 24),
        byte => [usize::MAX, usize::MAX / 2, usize::MAX / 2 + 1, 1 << 32, 0, 1][usize::from(byte) % 6],
    };
    let (len, cols, stride, other_len, other_cols) =
        (number() % 200, number(), number(), number() % 200, number());
    let x = vec![1.0; len];
    let view = Rows::strided(&x, cols, stride);
    assert_eq!(view.as_ref().map(|view| view.rows()).ok(), rows_of(len, cols, stride));
    assert_eq!(Rows::new(&x, cols).map(|view| view.rows()).ok(), rows_of(len, cols, cols));
    let Ok(view) = view else { return };
    let mut y = vec![7.0; other_len];
    let rows = rows_of(other_len, other_cols, other_cols);
    let out = RowsMut::new(&mut y, other_cols);
    assert_eq!(out.as_ref().map(|out| out.rows()).ok(), rows);
    let Ok(out) = out else { return };
    let (rows, engine) = (out.rows(), Engine::new());
    // A batch of no rows has no columns to speak of.
    let fits = view.rows() == rows && (cols == other_cols || rows == 0);
    let result = engine.softmax(view, out);
    assert_eq!(result.is_ok(), fits, "{result:?}");
    assert!(fits || y.iter().all(|&y| y == 7.0), "a refused call has written");
    let mut numbers = vec![7.0; other_len];
    assert_eq!(engine.logsumexp(view, &mut numbers).is_ok(), other_len == view.rows());
    assert!(other_len == view.rows() || numbers.iter().all(|&y| y == 7.0), "a refused call has written");
    let mut memory = vec![MaybeUninit::new(7.0); other_len];
    let written = engine.softmax_uninit(view, &mut memory).map(|written| written.len());
    assert_eq!(
        written.is_ok(),
        other_len == view.rows() * cols || view.rows() == 0 && other_len == 0,
        "{written:?}"
    );
}
