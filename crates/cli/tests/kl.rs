//! `logits kl`.

use common::{Place, digits, some_logits};

mod common;

const INF: f32 = f32::INFINITY;

fn log_softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let mut out = vec![0.0; logits.len()];
    logits::reference::log_softmax(logits, temperature, &mut out);
    out
}

/// `KL(P||Q)` of log-probabilities.
fn kl(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| if p.exp() > 0.0 { p.exp() * (p - q) } else { 0.0 }).sum()
}

fn js(p: &[f64], q: &[f64], beta: f64) -> f64 {
    let mean = |(p, q): (&f64, &f64)| (beta * p.exp() + (1.0 - beta) * q.exp()).ln();
    let m: Vec<f64> = p.iter().zip(q).map(mean).collect();
    beta * kl(p, &m) + (1.0 - beta) * kl(q, &m)
}

#[track_caller]
fn assert_all_close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-6 * want.abs() + 1e-9, "{got} instead of {want}");
    }
}

/// Two files of ten rows of four classes: the logits of `p.npy`, and those of `q.npy`.
fn two_files(place: &Place) -> (Vec<f32>, Vec<f32>) {
    let p = some_logits(40);
    let q: Vec<f32> = p.iter().enumerate().map(|(at, x)| x * 0.9 + (at % 3) as f32 * 0.25).collect();
    place.save("p.npy", &[10, 4], &p);
    place.save("q.npy", &[10, 4], &q);
    (p, q)
}

/// What `measure` makes of the log-probabilities of each row.
fn each_row(p: &[f32], q: &[f32], temperature: f64, measure: impl Fn(&[f64], &[f64]) -> f64) -> Vec<f64> {
    let log = |logits| log_softmax(logits, temperature);
    p.chunks(4).zip(q.chunks(4)).map(|(p, q)| measure(&log(p), &log(q))).collect()
}

#[test]
fn divergences_are_those_of_the_definition() {
    let place = Place::new();
    let (p, q) = two_files(&place);
    let check = |options: &str, want: &[f64]| {
        let run = place.run(&format!("kl p.npy q.npy --per-row d.npy {options}")).quietly();
        let (shape, got) = place.load_doubles("d.npy");
        assert_eq!(shape, [10]);
        assert_all_close(&got, want);
        let mean = want.iter().sum::<f64>() / 10.0;
        let name = if options.contains("--js") { "JSD" } else { "KLD" };
        assert!((run.number(&format!("Mean    {name}:")) - mean).abs() < 1e-6);
        let variance = want.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / 9.0;
        assert!((run.number("±") - (variance / 10.0).sqrt()).abs() < 1e-6);
    };
    check("", &each_row(&p, &q, 1.0, kl));
    check("--temperature 2.5", &each_row(&p, &q, 2.5, kl));
    check("--js", &each_row(&p, &q, 1.0, |p, q| js(p, q, 0.5)));
    check("--js 0.1 -t 0.5", &each_row(&p, &q, 0.5, |p, q| js(p, q, 0.1)));
    check("--js 0", &each_row(&p, &q, 1.0, kl));
    check("--js=1", &each_row(&p, &q, 1.0, |p, q| kl(q, p)));
}

#[test]
fn files_may_hold_probabilities() {
    let place = Place::new();
    let (p, q) = two_files(&place);
    place.save("t.npy", &[10], &[0_i64, 1, 2, 3, 0, 1, 2, 3, 0, 1]);
    let want = place.run("kl p.npy q.npy --targets t.npy").quietly();
    for (of, log) in [("log-probabilities", true), ("probabilities", false)] {
        for (name, logits) in [("p", &p), ("q", &q)] {
            let of_log = |log_probability: f64| if log { log_probability } else { log_probability.exp() };
            let numbers: Vec<f64> =
                logits.chunks(4).flat_map(|row| log_softmax(row, 1.0)).map(of_log).collect();
            place.save(
                &format!("{name}2.npy"),
                &[10, 4],
                &numbers.iter().map(|&x| x as f32).collect::<Vec<_>>(),
            );
        }
        let run = place.run(&format!("kl p2.npy q2.npy --of {of} --targets t.npy")).quietly();
        for label in [
            "Mean PPL(Q)                   :",
            "Mean PPL(base)                :",
            "Mean    KLD:",
            "Same top p:",
        ] {
            let (got, want) = (run.number(label), want.number(label));
            assert!((got / want - 1.0).abs() < 1e-5, "{of}: {label} {got} instead of {want}");
        }
    }
    place
        .run("kl p2.npy q2.npy --of probabilities -t 2")
        .says(2, &["logits: --temperature is for logits and log-probabilities"]);
    place.run("kl p2.npy q2.npy -t 0").says(2, &["above 0"]);
    place.save("p.npy", &[10], &[0_i64; 10]);
    place
        .run("kl p.npy q.npy --of probabilities")
        .says(1, &["logits: p.npy: the element type is '<i8'; probabilities are f32"]);
}

#[test]
fn what_is_printed_reads_as_that_of_llama_perplexity() {
    let place = Place::new();
    // KL of (1/2, 1/2) and (3/4, 1/4) is (ln 4/3)/2; of equal rows 0.
    place.save("p.npy", &[3, 2], &[0.0_f32; 6]);
    place.save("q.npy", &[3, 2], &[0.0, 0.0, 3_f32.ln(), 0.0, 0.0, 3_f32.ln()]);
    place.save("t.npy", &[3], &[0_i32, 0, 0]);
    let text = place.run("kl p.npy q.npy --targets t.npy").quietly().text().to_owned();
    let want = "\
q.npy against p.npy · 3 rows · 2 classes
Mean PPL(Q)                   :   2.201285 ±   0.706053
Mean PPL(base)                :   2.000000 ±          0

Mean    KLD:   0.095894 ±   0.047947
Maximum KLD:   0.143841
99.9%   KLD:   0.143841
99.0%   KLD:   0.143841
95.0%   KLD:   0.143841
90.0%   KLD:   0.143841
Median  KLD:   0.143841
10.0%   KLD:   0.028768
 5.0%   KLD:   0.014384
 1.0%   KLD:   0.002877
 0.1%   KLD:   0.000288
Minimum KLD:          0

Same top p: 66.667 ± 33.333 %
";
    assert_eq!(text, want);
    let text = place.run("kl p.npy q.npy --js").quietly().text().replace("JSD", "KLD");
    assert!(!text.contains("PPL"));
    let labels = |text: &str| -> Vec<String> {
        text.lines().skip(1).map(|line| line.split(':').next().unwrap().to_owned()).collect()
    };
    assert_eq!(labels(&text), labels(want)[3..]);
}

#[test]
fn a_file_is_not_far_from_itself() {
    let place = Place::new();
    let logits = digits("test_logits");
    let labels = digits("test_labels");
    let run = place.run(&format!("kl {logits} {logits} --targets {labels}")).quietly();
    assert_eq!((run.number("Mean    KLD:"), run.number("Maximum KLD:")), (0.0, 0.0));
    assert_eq!(run.number("Same top p:"), 100.0);
    assert!((run.number("Mean PPL(Q)                   :") - 2.08592).abs() < 1e-5);
    assert!((run.number("Mean PPL(base)                :") - 2.08592).abs() < 1e-5);
}

#[test]
fn rows_without_a_target_are_left_out() {
    let place = Place::new();
    let (p, q) = two_files(&place);
    place.save("t.npy", &[10], &[0_i64, -100, 2, 3, -100, 1, 2, 3, 0, 1]);
    let run = place.run("kl p.npy q.npy --targets t.npy --per-row d.npy").quietly();
    let all = each_row(&p, &q, 1.0, kl);
    let kept: Vec<f64> =
        all.iter().enumerate().filter(|(row, _)| ![1, 4].contains(row)).map(|(_, &it)| it).collect();
    assert!((run.number("Mean    KLD:") - kept.iter().sum::<f64>() / 8.0).abs() < 1e-6);
    assert!(run.text().starts_with("q.npy against p.npy · 10 rows · 4 classes · 2 left out\n"));
    assert_all_close(&place.load_doubles("d.npy").1, &all);
    place.save("t.npy", &[10], &[-100_i64; 10]);
    place.run("kl p.npy q.npy --targets t.npy").says(1, &["logits: t.npy: every target is -100"]);
    // One row has no error.
    place.save("p.npy", &[1, 4], &p[..4]);
    place.save("q.npy", &[1, 4], &q[..4]);
    let run = place.run("kl p.npy q.npy").quietly();
    assert!(!run.text().contains('±') && run.text().ends_with("Same top p: 100.000 %\n"), "{}", run.text());
}

#[test]
fn rows_without_a_number_are_told() {
    let place = Place::new();
    place.save("p.npy", &[4, 2], &[0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0, 1.0]);
    place.save("q.npy", &[4, 2], &[0.0, 1.0, 0.0, 0.0, 0.0, -INF, 0.0, 1.0]);
    place.run("kl p.npy q.npy").says(
        0,
        &[
            "logits: q.npy: warning: 1 of 4 rows has a KLD of NaN (first: row 1)",
            "logits: q.npy: warning: 1 of 4 rows has a KLD of inf",
            "(first: row 2)",
        ],
    );
}

#[test]
fn rows_are_counted_through_all_blocks() {
    let place = Place::new();
    let (rows, cols) = (5000_usize, 1000_usize); // 20 MB
    let logits = some_logits(rows * cols);
    place.save("p.npy", &[rows as u64, cols as u64], &logits);
    let mut classes = vec![7_u32; rows];
    classes[4321] = 1000;
    place.save("t.npy", &[rows as u64], &classes);
    place
        .run("kl p.npy p.npy --targets t.npy")
        .says(1, &["logits: t.npy: the target of row 4321 is 1000, which is none of the 1000 classes"]);
}

#[test]
fn what_does_not_fit_is_explained() {
    let place = Place::new();
    two_files(&place);
    place.save("r.npy", &[10, 5], &some_logits(50));
    place.run("kl p.npy r.npy").says(1, &["logits: r.npy: has shape (10, 5), but p.npy has shape (10, 4)"]);
    place.save("t.npy", &[9], &[0_i64; 9]);
    place
        .run("kl p.npy q.npy --targets t.npy")
        .says(1, &["logits: t.npy: holds 9 targets, but p.npy has 10 rows"]);
    place.save("t.npy", &[10, 4], &[0.0_f32; 40]);
    place
        .run("kl p.npy q.npy --targets t.npy")
        .says(1, &["logits: t.npy: the element type is '<f4'; targets are integers"]);
    place.save::<f32>("empty.npy", &[3, 0], &[]);
    place.run("kl empty.npy empty.npy").says(1, &["logits: empty.npy: shape (3, 0): there is nothing in it"]);
    place.run("kl p.npy q.npy --js 1.5").says(2, &["from 0 to 1"]);
    place.run("kl --js p.npy q.npy").says(2, &["a file stands before --js"]);
    place.run("kl - -").says(2, &["standard input, -, can be one of the files only"]);
    place.run("kl p.npy q.npy --per-row q.npy").says(1, &["logits: q.npy: is an input file too (q.npy)"]);
    place.run("kl p.npy").says(2, &["<Q>"]);
    assert!(place.run("kl --help").quietly().text().contains("Examples:"));
}
