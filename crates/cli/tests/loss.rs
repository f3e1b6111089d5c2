//! `logits loss`.

use common::{Place, digits, npy, npy_with_header, some_logits};
use half::f16;

mod common;

const INF: f32 = f32::INFINITY;

#[track_caller]
fn assert_close(got: f64, want: f64) {
    assert!((got - want).abs() <= 6e-7 + 4e-7 * want.abs(), "{got} instead of {want}");
}

/// The losses that the definition gives for `weights` of the classes, one row of them for each row of logits.
fn losses(logits: &[f32], cols: usize, weights: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let row = |(row, logits): (usize, &[f32])| {
        let weights: Vec<f64> = (0..cols).map(|class| weights(row, class)).collect();
        logits::reference::cross_entropy(logits, &weights)
    };
    logits.chunks(cols).enumerate().map(row).collect()
}

#[test]
fn digits_have_the_loss_that_they_have() {
    let place = Place::new();
    for (part, count, mean, perplexity) in [("val", 823, 0.711986, 2.038), ("test", 824, 0.735210, 2.0859)] {
        let (logits, labels) = (digits(&format!("{part}_logits")), digits(&format!("{part}_labels")));
        let run = place.run(&format!("loss {logits} {labels}")).quietly();
        assert_close(run.number("mean loss"), mean);
        assert!((run.number("perplexity") - perplexity).abs() < 1e-4);
        assert_eq!((run.number("weight"), run.number("count")), (count.into(), count.into()));
        assert!(run.text().lines().next().unwrap().ends_with(&format!(" · {count} rows · 10 classes")));
    }
}

#[test]
fn the_mean_and_its_error_are_those_of_the_rows() {
    let place = Place::new();
    let logits = [0.0, 0.0, 3.0, 0.0, 3.0, 0.0, 7.0, 9.0_f32];
    place.save("x.npy", &[4, 2], &logits);
    place.save("t.npy", &[4], &[0_i64, 0, 1, -100]);
    let run = place.run("loss x.npy t.npy --per-row l.npy").quietly();
    let (shape, rows) = place.load_doubles("l.npy");
    assert_eq!((shape, rows[3]), (vec![4], 0.0));
    let want = [2_f64.ln(), (-3_f64).exp().ln_1p(), 3.0 + (-3_f64).exp().ln_1p()];
    rows.iter().zip(want).for_each(|(&got, want)| assert_close(got, want));

    let mean = want.iter().sum::<f64>() / 3.0;
    let variance = want.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / 2.0;
    assert_close(run.number("mean loss"), mean);
    assert_close(run.number("±"), (variance / 3.0).sqrt());
    assert_close(run.number("perplexity"), mean.exp());
    assert_close(run.number("sum"), want.iter().sum());
    assert_eq!((run.number("weight"), run.number("count")), (3.0, 3.0));
    assert_eq!(run.text().lines().count(), 6);

    // Of one row there is no error to tell.
    let run = place.run("loss x.npy t.npy --ignore-index 0").says(1, &["t.npy: the target of row 3 is -100"]);
    assert!(run.stdout.is_empty());
    place.save("t.npy", &[4], &[5_u8, 5, 5, 1]);
    let run = place.run("loss x.npy t.npy --ignore-index 5").quietly();
    assert!(!run.text().contains('±'));
    assert_close(run.number("mean loss"), (-2_f64).exp().ln_1p());
    assert_eq!(run.number("count"), 1.0);
}

#[test]
fn targets_are_of_any_integer_type_and_shape() {
    let place = Place::new();
    let logits = some_logits(24);
    place.save("x.npy", &[2, 3, 4], &logits);
    let classes = [3_u8, 0, 1, 1, 2, 0];
    let want: f64 =
        losses(&logits, 4, |row, class| f64::from(usize::from(classes[row]) == class)).iter().sum();
    let check = |place: &Place| {
        let run = place.run("loss x.npy t.npy --per-row l.npy").quietly();
        assert_close(run.number("sum"), want);
        assert_eq!(place.load_doubles("l.npy").0, [2, 3]);
    };
    macro_rules! types {
        ($($integer:ty),*) => {$(
            place.save("t.npy", &[6], &classes.map(|class| class as $integer));
            check(&place);
        )*};
    }
    types!(i8, i16, i32, i64, u8, u16, u32, u64);
    place.save("t.npy", &[2, 3], &classes);
    check(&place);
}

#[test]
fn everything_that_can_be_asked_for_counts() {
    let place = Place::new();
    let logits = some_logits(12);
    let logsumexps: Vec<f64> = logits.chunks(4).map(logits::reference::logsumexp).collect();
    let (weights, classes) = ([0.5_f32, 2.0, 0.0, 1.0], [1_usize, 0, 3]);
    place.save("x.npy", &[3, 4], &logits);
    place.save("t.npy", &[3], &classes.map(|class| class as i32));
    place.save("w.npy", &[4], &weights);

    let run = place.run("loss x.npy t.npy --label-smoothing 0.2 --weights w.npy --z-loss 0.01").quietly();
    let weight = |class: usize| f64::from(weights[class]);
    let target = |row: usize, class| if classes[row] == class { 0.8 } else { 0.0 };
    let mut want = losses(&logits, 4, |row, class| weight(class) * (target(row, class) + 0.05));
    want.iter_mut().zip(&logsumexps).for_each(|(loss, logsumexp)| *loss += 0.01 * logsumexp * logsumexp);
    assert_close(run.number("sum"), want.iter().sum());
    assert_eq!(run.number("weight"), 3.5);
    assert_close(run.number("mean loss"), want.iter().sum::<f64>() / 3.5);

    // The classes as probabilities are the same, but that a row counts as one.
    let one_hot: Vec<f32> = (0..12).map(|at| f32::from(u8::from(classes[at / 4] == at % 4))).collect();
    place.save("t.npy", &[3, 4], &one_hot);
    let run = place.run("loss x.npy t.npy --label-smoothing 0.2 --weights w.npy --z-loss 0.01").quietly();
    assert_close(run.number("sum"), want.iter().sum());
    assert_eq!(run.number("weight"), 3.0);

    let halves: Vec<u8> = one_hot.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 4), }";
    place.write("t.npy", npy_with_header(header, &halves));
    let run = place.run("loss x.npy t.npy").says(0, &["logits: t.npy: note: f16 converted to f32"]);
    assert_close(run.number("sum"), losses(&logits, 4, |row, class| target(row, class) / 0.8).iter().sum());
}

#[test]
fn rows_are_counted_through_all_blocks() {
    let place = Place::new();
    let (rows, cols) = (5000, 1000); // 20 MB
    let logits = some_logits(rows * cols);
    let mut classes: Vec<i64> = (0..rows as i64).map(|row| row % 1000).collect();
    place.save("x.npy", &[rows as u64, cols as u64], &logits);
    place.save("t.npy", &[rows as u64], &classes);
    let run = place.run("loss x.npy t.npy --per-row l.npy").quietly();
    let want = losses(&logits, cols, |row, class| f64::from(row % 1000 == class));
    let (_, got) = place.load_doubles("l.npy");
    assert_eq!(got.len(), rows);
    got.iter().zip(&want).for_each(|(&got, &want)| assert_close(got, want));
    assert!((run.number("sum") / want.iter().sum::<f64>() - 1.0).abs() < 4e-7);

    classes[4321] = 1000;
    place.save("t.npy", &[rows as u64], &classes);
    place
        .run("loss x.npy t.npy --per-row l.npy")
        .says(1, &["logits: t.npy: the target of row 4321 is 1000, which is none of the 1000 classes"]);
    assert_eq!(place.load_doubles("l.npy").1, got, "a failed run leaves the old output alone");
}

#[test]
fn rows_without_a_number_are_told() {
    let place = Place::new();
    place.save("x.npy", &[3, 2], &[0.0, f32::NAN, 0.0, -INF, 1.0, 2.0]);
    place.save("t.npy", &[3], &[0_i32, 1, 0]);
    let run = place.run("loss x.npy t.npy").says(
        0,
        &[
            "logits: x.npy: warning: 1 of 3 rows has a loss of NaN (first: row 0)",
            "logits: x.npy: warning: 1 of 3 rows has a loss of inf",
            "(first: row 1)",
        ],
    );
    assert!(run.number("mean loss").is_nan() && !run.text().contains('±'));
    place.save("t.npy", &[3], &[-100_i32; 3]);
    let run = place.run("loss x.npy t.npy").quietly();
    assert!(run.number("mean loss").is_nan());
    assert_eq!(run.number("count"), 0.0);
}

#[test]
fn what_does_not_fit_is_explained() {
    let place = Place::new();
    place.save("x.npy", &[3, 2], &some_logits(6));
    place.save("t.npy", &[4], &[0_i64; 4]);
    place.run("loss x.npy t.npy").says(1, &["logits: t.npy: holds 4 targets, but x.npy has 3 rows"]);
    place.save("t.npy", &[3, 3], &[0.0_f32; 9]);
    place
        .run("loss x.npy t.npy")
        .says(1, &["logits: t.npy: holds target probabilities of shape (3, 3), but x.npy has shape (3, 2)"]);
    place.save("t.npy", &[3], &[0.0_f64; 3]);
    place.run("loss x.npy t.npy").says(1, &["of shape (3,)", "classes are integers"]);
    place.write(
        "t.npy",
        npy_with_header("{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", &[0; 3]),
    );
    place.run("loss x.npy t.npy").says(
        1,
        &[
            "logits: t.npy: the element type is '|b1'; targets are integers, or probabilities",
            "astype('<i8')",
        ],
    );
    place.write(
        "t.npy",
        npy_with_header("{'descr': '>i4', 'fortran_order': False, 'shape': (3,), }", &[0; 12]),
    );
    place.run("loss x.npy t.npy").says(1, &["'>i4' is big-endian; save x.astype('<i4')"]);
    place.write("t.npy", "0\n1\n0\n");
    place.run("loss x.npy t.npy").says(1, &["logits: t.npy: is no .npy file", "text"]);
    place.save("t.npy", &[3], &[0_u64, u64::MAX, 0]);
    place.run("loss x.npy t.npy").says(
        1,
        &["logits: t.npy: the target of row 1 is 18446744073709551615, which is none of the 2 classes"],
    );
    place.run("loss t.npy t.npy").says(1, &["logits: t.npy: the element type is '<u8'; logits are f32"]);
    place.run("loss x.npy nowhere.npy").says(1, &["logits: nowhere.npy: "]);

    place.save("t.npy", &[3], &[0_i64; 3]);
    place.save("w.npy", &[3], &[1.0_f32; 3]);
    place
        .run("loss x.npy t.npy --weights w.npy")
        .says(1, &["logits: w.npy: holds 3 weights, but the rows of x.npy have 2 columns"]);
    place.save("w.npy", &[2], &[1.0_f32, -1.0]);
    place.run("loss x.npy t.npy --weights w.npy").says(1, &["logits: w.npy: the weight of class 1 is -1"]);
    place.save::<f32>("empty.npy", &[0, 2], &[]);
    place.run("loss empty.npy t.npy").says(1, &["logits: empty.npy: shape (0, 2): there is nothing in it"]);
}

#[test]
fn usage_is_explained() {
    let place = Place::new();
    place.save("x.npy", &[3, 2], &some_logits(6));
    place.save("t.npy", &[3], &[0_i64; 3]);
    place.run("loss x.npy").says(2, &["<TARGETS>"]);
    place.run("loss - -").says(2, &["standard input, -, can be one of the files only"]);
    place.run("loss x.npy t.npy --label-smoothing 1.5").says(2, &["from 0 to 1"]);
    place.run("loss x.npy t.npy --z-loss -1").says(2, &["from 0 on"]);
    place.run("loss x.npy t.npy --per-row -").says(2, &["name a file"]);
    place.run("loss x.npy t.npy --per-row t.npy").says(1, &["logits: t.npy: is an input file too (t.npy)"]);
    place.run("loss x.npy t.npy --per-row nowhere/l.npy").says(1, &["logits: nowhere/l.npy: cannot write"]);
    assert_eq!(place.files(), ["t.npy", "x.npy"]);
    let run = place.run_with_input("loss - t.npy", &npy(&[3, 2], &some_logits(6))).quietly();
    assert!(run.text().starts_with("standard input · 3 rows"));
    assert!(place.run("loss --help").quietly().text().contains("Examples:"));
}
