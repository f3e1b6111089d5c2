//! `logits stats`.

use common::{OCR_CLASSES, OCR_LOGITS, Place, digits, some_logits};
use serde_json::Value;

mod common;

const INF: f32 = f32::INFINITY;

/// The lines of a run with `--format csv`, by column.
fn columns(text: &str) -> (Vec<String>, Vec<csv::StringRecord>) {
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    let titles = csv.headers().unwrap().iter().map(str::to_owned).collect();
    (titles, csv.records().map(Result::unwrap).collect())
}

#[track_caller]
fn number(titles: &[String], line: &csv::StringRecord, title: &str) -> f64 {
    let at =
        titles.iter().position(|it| it == title).unwrap_or_else(|| panic!("{title} is not in {titles:?}"));
    line[at].parse().unwrap()
}

#[test]
fn numbers_are_those_of_the_definition() {
    let place = Place::new();
    let (logits, cols) = (some_logits(700), 100);
    place.save("x.npy", &[7, 100], &logits);
    let classes: Vec<i16> = (0..7).map(|row| row * 13).collect();
    place.save("t.npy", &[7], &classes);
    for temperature in [1.0, 0.7] {
        let run = place
            .run(&format!("stats x.npy --targets t.npy --top 3 --format csv --temperature {temperature}"))
            .quietly();
        let (titles, lines) = columns(run.text());
        assert_eq!(
            titles.join(","),
            "row,max,argmax,logsumexp,entropy,varentropy,perplexity,target,log_probability,rank,\
             top1,top1_log_probability,top2,top2_log_probability,top3,top3_log_probability"
        );
        assert_eq!(lines.len(), 7);
        for (row, line) in lines.iter().enumerate() {
            let x = &logits[row * cols..][..cols];
            let mut p = vec![0.0; cols];
            logits::reference::log_softmax(x, temperature, &mut p);
            let mut order: Vec<usize> = (0..cols).collect();
            order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
            let entropy = logits::reference::entropy(x, temperature);
            let varentropy: f64 = p.iter().map(|p| p.exp() * (-p - entropy).powi(2)).sum();
            let class = usize::try_from(classes[row]).unwrap();
            let close = |title: &str, want: f64| {
                let got = number(&titles, line, title);
                assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "{title}: {got} instead of {want}");
            };
            close("row", row as f64);
            close("max", x[order[0]].into());
            close("argmax", order[0] as f64);
            close("logsumexp", f64::from(x[order[0]]) / temperature - p[order[0]]);
            close("entropy", entropy);
            close("varentropy", varentropy);
            close("perplexity", entropy.exp());
            close("target", class as f64);
            close("log_probability", p[class]);
            close("rank", 1.0 + order.iter().position(|&it| it == class).unwrap() as f64);
            for place in 0..3 {
                close(&format!("top{}", place + 1), order[place] as f64);
                close(&format!("top{}_log_probability", place + 1), p[order[place]]);
            }
        }
    }
}

#[test]
fn digits_are_summed_up() {
    let place = Place::new();
    let run =
        place.run(&format!("stats {} --targets {}", digits("test_logits"), digits("test_labels"))).quietly();
    let text = run.text();
    assert!(text.lines().next().unwrap().ends_with(" · 824 rows · 10 classes"));
    // The title, the head, ten rows, three of all, and the gap between.
    assert_eq!(text.lines().count(), 2 + 10 + 1 + 3);
    let mean: Vec<&str> =
        text.lines().find(|line| line.contains("mean")).unwrap().split_whitespace().collect();
    assert_eq!(mean[mean.len() - 2], "-0.7352", "minus the mean loss");
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }

    // As many rows as are shown need no summary.
    place.save("x.npy", &[10, 2], &some_logits(20));
    let run = place.run("stats x.npy").quietly();
    assert_eq!(run.text().lines().count(), 2 + 10);
    assert!(!run.text().contains("mean"));
    place.save("x.npy", &[11, 2], &some_logits(22));
    let run = place.run("stats x.npy").quietly();
    assert_eq!(run.text().lines().count(), 2 + 10 + 4);
}

#[test]
fn json_is_an_array_of_lines() {
    let place = Place::new();
    let run =
        place.run(&format!("stats {OCR_LOGITS} --classes {OCR_CLASSES} --top 2 --format json")).quietly();
    let rows: Vec<Value> = serde_json::from_str(run.text()).unwrap();
    assert_eq!(rows.len(), 53);
    assert_eq!(run.text().lines().count(), 53 + 2);
    assert_eq!(
        (&rows[3]["row"], &rows[3]["argmax"], &rows[3]["argmax_name"]),
        (&3.into(), &4245.into(), &"o".into())
    );
    assert_eq!((&rows[3]["top2"], &rows[3]["top2_name"]), (&4741.into(), &"O".into()));
    assert!((rows[3]["top2_log_probability"].as_f64().unwrap() + 8.9686).abs() < 1e-4);
    assert!(rows[3].get("target").is_none());

    place.save::<f32>("empty.npy", &[0, 4], &[]);
    let run = place.run("stats empty.npy --format json").quietly();
    assert!(serde_json::from_str::<Vec<Value>>(run.text()).unwrap().is_empty());
    let run = place.run("stats empty.npy --format csv").quietly();
    assert_eq!(run.text(), "row,max,argmax,logsumexp,entropy,varentropy,perplexity\n");
    assert!(place.run("stats empty.npy").quietly().text().starts_with("empty.npy · 0 rows · 4 classes\n"));
}

#[test]
fn names_stand_beside_their_classes() {
    let place = Place::new();
    place.save("x.npy", &[2, 3], &[0.0_f32, 2.0, 1.0, 5.0, 0.0, 0.0]);
    place.save("t.npy", &[2], &[2_i64, -100]);
    place.write("names.txt", "cat\n\"dog\", wet\n \n");
    let run = place.run("stats x.npy --targets t.npy --classes names.txt --format csv").quietly();
    let (titles, lines) = columns(run.text());
    assert_eq!(
        titles.join(","),
        "row,max,argmax,argmax_name,logsumexp,entropy,varentropy,perplexity,\
         target,target_name,log_probability,rank"
    );
    assert_eq!((&lines[0][3], &lines[0][9], &lines[0][11]), ("\"dog\", wet", " ", "2"));
    // An ignored target has nothing.
    assert_eq!((&lines[1][8], &lines[1][9], &lines[1][10], &lines[1][11]), ("-100", "", "", ""));
    let text = place.run("stats x.npy --targets t.npy --classes names.txt").quietly().text().to_owned();
    assert!(text.contains("\"cat\"") && text.contains("\" \""), "{text}");

    place.write("names.txt", "\x1b[2J\n\x1b[2J\n\x1b[2J\n");
    assert!(!place.run("stats x.npy --classes names.txt").quietly().text().contains('\x1b'));
    place.write("names.txt", "cat\n");
    place
        .run("stats x.npy --classes names.txt")
        .says(1, &["logits: names.txt: holds 1 names, but the rows of x.npy have 3 columns"]);
}

#[test]
fn more_than_all_classes_are_all() {
    let place = Place::new();
    place.save("x.npy", &[1, 3], &[0.0_f32, 2.0, 2.0]);
    let run = place.run("stats x.npy --top 5 --format csv").quietly();
    let (titles, lines) = columns(run.text());
    assert_eq!(titles.last().unwrap(), "top3_log_probability");
    let top = ["top1", "top2", "top3"].map(|title| number(&titles, &lines[0], title));
    assert_eq!(top, [1.0, 2.0, 0.0], "ties to the lower class");
}

#[test]
fn rows_without_a_distribution_have_no_numbers() {
    let place = Place::new();
    place.save("x.npy", &[4, 2], &[0.0, 0.0, f32::NAN, 0.0, -INF, -INF, INF, 0.0]);
    let warning = ["logits: x.npy: warning: 3 of 4 rows have no distribution (first: row 1)"];
    let run = place.run("stats x.npy --format csv").says(0, &warning);
    let (titles, lines) = columns(run.text());
    assert!(lines[1..].iter().all(|line| number(&titles, line, "entropy").is_nan()));
    assert!((number(&titles, &lines[0], "perplexity") - 2.0).abs() < 1e-6);
    let run = place.run("stats x.npy --format json").says(0, &warning);
    let rows: Vec<Value> = serde_json::from_str(run.text()).unwrap();
    assert!(rows[1]["perplexity"].is_null() && rows[0]["perplexity"].is_number());
    // The summary is of the others.
    let mut logits = vec![0.0_f32; 24];
    logits[5] = f32::NAN;
    place.save("x.npy", &[12, 2], &logits);
    let run = place.run("stats x.npy").says(0, &["1 of 12 rows has no distribution (first: row 2)"]);
    assert!(
        run.text().lines().any(|line| line.contains("mean") && line.contains("2.0000")),
        "{}",
        run.text()
    );
}

#[test]
fn rows_are_counted_through_all_blocks() {
    let place = Place::new();
    let (rows, cols) = (5000_usize, 1000_usize); // 20 MB
    place.save("x.npy", &[rows as u64, cols as u64], &some_logits(rows * cols));
    let mut classes = vec![7_u16; rows];
    place.save("t.npy", &[rows as u64], &classes);
    let run = place.run("stats x.npy --targets t.npy --format csv").quietly();
    let (titles, lines) = columns(run.text());
    assert_eq!(lines.len(), rows);
    let last = &lines[rows - 1];
    let x = &some_logits(rows * cols)[(rows - 1) * cols..];
    assert!((number(&titles, last, "entropy") / logits::reference::entropy(x, 1.0) - 1.0).abs() < 1e-6);
    assert_eq!(number(&titles, last, "row"), 4999.0);

    classes[4321] = 1000;
    place.save("t.npy", &[rows as u64], &classes);
    place
        .run("stats x.npy --targets t.npy")
        .says(1, &["logits: t.npy: the target of row 4321 is 1000, which is none of the 1000 classes"]);
}

#[test]
fn what_does_not_fit_is_explained() {
    let place = Place::new();
    place.save("x.npy", &[3, 2], &some_logits(6));
    place.save("t.npy", &[3], &[0.0_f32; 3]);
    place
        .run("stats x.npy --targets t.npy")
        .says(1, &["logits: t.npy: the element type is '<f4'; targets are integers: save x.astype('<i8')"]);
    place.save("t.npy", &[2], &[0_i8; 2]);
    place
        .run("stats x.npy --targets t.npy")
        .says(1, &["logits: t.npy: holds 2 targets, but x.npy has 3 rows"]);
    place.save("t.npy", &[3], &[0_i8, -1, 0]);
    place.run("stats x.npy --targets t.npy").says(1, &["logits: t.npy: the target of row 1 is -1"]);
    place.run("stats - --targets -").says(2, &["standard input, -, can be one of the files only"]);
    for temperature in ["-1", "0", "nan"] {
        place.run(&format!("stats x.npy --temperature {temperature}")).says(2, &["above 0"]);
    }
    place.run("stats x.npy --format xml").says(2, &["table", "csv", "json"]);
    assert!(place.run("stats --help").quietly().text().contains("Examples:"));
}
