//! `logits explain`.

use common::{OCR_CLASSES, OCR_LOGITS, Place, some_logits};

mod common;

/// Three rows of four classes: one sure of class 2, one even, one torn between 1 and 3.
fn three_rows(place: &Place) {
    let rows = [0.0, 1.0, 9.0, 2.0, 5.0, 5.0, 5.0, 5.0, -3.0, 4.0, 0.0, 4.0];
    place.save("x.npy", &[3, 4], &rows.map(|x: f64| x as f32));
    place.write("names.txt", "blank\nsquirrel\n \n松鼠\n");
}

/// The line that holds `label`, as words.
#[track_caller]
fn line<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.contains(label));
    line.unwrap_or_else(|| panic!("{label} is not in\n{text}")).split_whitespace().collect()
}

#[test]
fn the_sentence_is_read() {
    let run =
        Place::new().run(&format!("explain {OCR_LOGITS} --classes {OCR_CLASSES} --all --ctc")).quietly();
    assert!(run.text().ends_with("\nreads  softmax(x) = exp(x- max) / sum\n"), "{}", run.text());
    assert_eq!(run.text().lines().count(), 2 + 53 + 2);
    assert!(line(run.text(), "5233 \"m\"").len() > 8);
}

#[test]
fn the_sentence_is_read_from_one_row_too() {
    let run =
        Place::new().run(&format!("explain {OCR_LOGITS} --classes {OCR_CLASSES} --row 3 --ctc")).quietly();
    assert!(run.text().contains("row 3 of 53 · 6625 classes"));
    assert!(run.text().contains("\"o\""));
    assert!(run.text().ends_with("\nreads  softmax(x) = exp(x- max) / sum\n"));
}

#[test]
fn a_row_is_shown_in_full() {
    let place = Place::new();
    three_rows(&place);
    let run = place.run("explain x.npy --classes names.txt --row 1").quietly();
    let text = run.text();
    assert!(text.starts_with("x.npy · row 1 of 3 · 4 classes\n"));
    assert!(text.contains("T = 0.5") && text.contains("T = 1") && text.contains("T = 2"));
    assert_eq!(line(text, "confidence"), ["confidence", "25.00%", "25.00%", "25.00%"]);
    assert_eq!(line(text, "entropy"), ["entropy", "(nats)", "1.3863", "1.3863", "1.3863"]);
    assert_eq!(line(text, "perplexity"), ["perplexity", "4.0000", "4.0000", "4.0000"]);
    // ln(4 e^5), and of 10 and of 2.5.
    assert_eq!(line(text, "logsumexp"), ["logsumexp", "of", "x/T", "11.3863", "6.3863", "3.8863"]);
    for name in ["\"blank\"", "\"squirrel\"", "\" \"", "\"松鼠\""] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}

#[test]
fn the_numbers_agree_with_the_definition() {
    let place = Place::new();
    let logits = some_logits(100);
    place.save("x.npy", &[100], &logits);
    let run = place.run("explain x.npy --top 2 --temperature 1,0.3").quietly();
    let number = |label: &str, column: usize| -> f64 {
        let words = line(run.text(), label);
        words[words.len() - 2 + column].trim_end_matches('%').parse().unwrap()
    };
    for (column, temperature) in [1.0, 0.3].into_iter().enumerate() {
        let mut probabilities = [0.0; 100];
        logits::reference::softmax(&logits, temperature, &mut probabilities);
        let entropy = logits::reference::entropy(&logits, temperature);
        let confidence = probabilities.iter().copied().fold(0.0, f64::max);
        assert!((number("confidence", column) - 100.0 * confidence).abs() < 0.0051);
        assert!((number("entropy", column) - entropy).abs() < 0.000_051);
        assert!((number("perplexity", column) - entropy.exp()).abs() < 0.000_051);
        let scaled: Vec<f32> = logits.iter().map(|x| x / temperature as f32).collect();
        assert!((number("logsumexp", column) - logits::reference::logsumexp(&scaled)).abs() < 0.0002);
    }
    assert!(run.text().contains("98 others"));
}

#[test]
fn top_classes_come_first_and_only_those() {
    let place = Place::new();
    three_rows(&place);
    let text = place.run("explain x.npy --row 2 --top 3").quietly().text().to_owned();
    let classes: Vec<&str> =
        text.lines().skip(2).take(4).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(classes, ["1", "3", "2", "1"], "the last is the count of others\n{text}");
}

#[test]
fn all_rows_are_shown_in_lines_or_in_full() {
    let place = Place::new();
    three_rows(&place);
    let text = place.run("explain x.npy --all").quietly().text().to_owned();
    assert_eq!(text.lines().count(), 2 + 3);
    assert_eq!(line(&text, "  1  0")[..2], ["1", "0"]);
    let text = place.run("explain x.npy --all --top 1").quietly().text().to_owned();
    assert_eq!(text.matches("perplexity").count(), 3);
    assert!(text.contains("row 0 of 3") && text.contains("row 2 of 3"));
}

#[test]
fn odd_rows_are_explained() {
    let place = Place::new();
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    place.save("x.npy", &[4, 2], &[0.0, nan, inf, 0.0, -inf, -inf, 0.0, -inf]);
    for all in ["--all", "--all --top 2"] {
        let run = place.run(&format!("explain x.npy {all}")).quietly();
        for part in ["NaN in column 1", "+inf in column 0", "entirely masked"] {
            assert!(run.text().contains(part), "{}", run.text());
        }
    }
    let run = place.run("explain x.npy --row 3").quietly();
    assert_eq!(line(run.text(), "perplexity")[1..], ["1.0000"; 3]);
    assert_eq!(line(run.text(), "entropy")[2..], ["0"; 3]);
    place
        .run("explain x.npy --ctc")
        .says(0, &["logits: x.npy: warning: --ctc passed over", "row 0, column 1"]);
}

#[test]
fn ctc_without_names_reads_numbers() {
    let place = Place::new();
    three_rows(&place);
    assert!(place.run("explain x.npy --ctc").quietly().text().ends_with("\nreads  2 1\n"));
}

#[test]
fn names_must_fit() {
    let place = Place::new();
    three_rows(&place);
    place.write("few.txt", "a\nb\n");
    place
        .run("explain x.npy --classes few.txt")
        .says(1, &["logits: few.txt: holds 2 names, but the rows of x.npy have 4 columns"]);
    place.run("explain x.npy --classes nowhere.txt").says(1, &["logits: nowhere.txt: "]);
    place.write("binary.txt", [0xff, 0xfe, 0x00]);
    place.run("explain x.npy --classes binary.txt").says(1, &["logits: binary.txt: ", "UTF-8"]);
}

#[test]
fn names_do_not_command_the_terminal() {
    let place = Place::new();
    three_rows(&place);
    place.write("names.txt", "\x1b[2J\n\x1b[2J\n\x1b[2J\n\x1b[2J\n");
    let run = place.run("explain x.npy --classes names.txt --ctc").quietly();
    assert!(!run.text().contains('\x1b'));
}

#[test]
fn rows_that_are_not_there() {
    let place = Place::new();
    three_rows(&place);
    place
        .run("explain x.npy --row 3")
        .says(1, &["logits: x.npy: there is no row 3: the last of its 3 rows is 2"]);
    place.run("explain x.npy --row 1 --all").says(2, &["--all"]);
    place.save::<f32>("empty.npy", &[0, 4], &[]);
    let run = place.run("explain empty.npy --all --ctc").quietly();
    assert_eq!(run.text(), "empty.npy: shape (0, 4): there is nothing in it\n");
    place.run("explain nowhere.npy").says(1, &["logits: nowhere.npy: "]);
}

#[test]
fn help_has_examples() {
    assert!(Place::new().run("explain --help").quietly().text().contains("--ctc\n"));
}
