//! `logits calibrate`.

use std::fs;

use common::{Place, Run, digits, some_logits};

mod common;

/// The numbers behind `label` in the part of the text that begins with `title`.
#[track_caller]
fn numbers(run: &Run, title: &str, label: &str) -> [f64; 2] {
    let part = run.text().split("\n\n").find(|part| part.lines().next().unwrap().contains(title));
    let part = part.unwrap_or_else(|| panic!("{title} is not in\n{}", run.text()));
    let line = part.lines().skip(1).find(|line| line.split_whitespace().next() == Some(label));
    let line = line.unwrap_or_else(|| panic!("{label} is not in\n{part}"));
    let numbers: Vec<f64> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[track_caller]
fn assert_numbers(got: [f64; 2], want: [f64; 2]) {
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-4, "{got} instead of {want}");
    }
}

/// Four rows, as sure of the first of two classes as three is above zero, which is right in three of them.
fn three_of_four(place: &Place) {
    place.save("x.npy", &[4, 2], &[3.0_f32, 0.0, 3.0, 0.0, 3.0, 0.0, 3.0, 0.0]);
    place.save("t.npy", &[4], &[0_u8, 1, 0, 0]);
}

#[test]
fn digits_are_calibrated_on_one_set_and_so_on_the_other() {
    let part = |name: &str| digits(name);
    let fit = format!("calibrate {} {}", part("val_logits"), part("val_labels"));
    let run =
        Place::new().run(&format!("{fit} --apply {} {}", part("test_logits"), part("test_labels"))).quietly();
    assert!((run.number("temperature") - 2.056).abs() < 5e-4);
    assert_numbers(numbers(&run, "val_logits.npy · 823 rows", "NLL"), [0.7120, 0.5270]);
    let test = |label| numbers(&run, "test_logits.npy · 824 rows", label);
    assert_numbers(test("NLL"), [0.7352, 0.5378]);
    assert_numbers(test("ECE"), [0.0987, 0.0291]);
    let [before, after] = test("accuracy");
    assert_eq!(before, after, "a temperature changes no order");
    let [before, after] = test("confidence");
    assert!((before - test("accuracy")[0] - 0.0987).abs() < 0.01 && before > after);
}

#[test]
fn the_temperature_makes_confidence_what_accuracy_is() {
    let place = Place::new();
    three_of_four(&place);
    let run = place.run("calibrate x.npy t.npy").quietly();
    // 1 / (1 + exp(-3 / T)) = 3/4.
    assert!((run.number("temperature") - 3.0 / 3_f64.ln()).abs() < 1e-4);
    let of = |label| numbers(&run, "x.npy · 4 rows · 2 classes", label);
    assert_numbers(of("NLL"), [0.798587, 0.562335]);
    assert_numbers(of("ECE"), [0.202574, 0.0]);
    assert_numbers(of("MCE"), [0.202574, 0.0]);
    assert_numbers(of("Brier"), [0.457073, 0.375]);
    assert_numbers(of("accuracy"), [0.75, 0.75]);
    assert_numbers(of("confidence"), [0.952574, 0.75]);
}

#[test]
fn without_labels_there_is_confidence() {
    let place = Place::new();
    three_of_four(&place);
    place.save("y.npy", &[1, 2], &[6.0_f32, 0.0]);
    let run = place.run("calibrate x.npy t.npy --apply y.npy --plot p.svg").quietly();
    let of = |label| numbers(&run, "y.npy · 1 row · 2 classes", label);
    assert_numbers(of("confidence"), [0.997527, 0.9]);
    assert_numbers(of("entropy"), [0.017309, 0.325083]);
    assert!(!run.text().split("y.npy").nth(1).unwrap().contains("NLL"));
    let svg = fs::read_to_string(place.path("p.svg")).unwrap();
    assert!(svg.contains("Reliability: x.npy · 4 rows · 2 classes"), "of the set that has labels");
}

#[test]
fn rows_that_do_not_count_are_left_out() {
    let place = Place::new();
    place.save("x.npy", &[5, 2], &[3.0_f32, 0.0, 3.0, 0.0, 0.0, 9.0, 3.0, 0.0, 3.0, 0.0]);
    place.save("t.npy", &[5], &[0_i64, 1, -100, 0, 0]);
    place.save("y.npy", &[2, 2], &[f32::NAN, 0.0, 6.0, 0.0]);
    place.save("u.npy", &[2], &[0_i64, 0]);
    for labels in ["", "u.npy"] {
        let run = place.run(&format!("calibrate x.npy t.npy --apply y.npy {labels}")).quietly();
        assert_numbers(
            numbers(&run, "x.npy · 5 rows · 2 classes · 1 left out", "confidence"),
            [0.952574, 0.75],
        );
        assert_numbers(
            numbers(&run, "y.npy · 2 rows · 2 classes · 1 left out", "confidence"),
            [0.997527, 0.9],
        );
    }
    place.run("calibrate y.npy u.npy").says(
        1,
        &["logits: y.npy: the mean loss of the labels is NaN: it must be finite, to have a minimum"],
    );
}

#[test]
fn the_diagram_stands_by_itself() {
    let place = Place::new();
    three_of_four(&place);
    fs::rename(place.path("x.npy"), place.path("a&b.npy")).unwrap();
    place.run("calibrate a&b.npy t.npy --plot p.svg").quietly();
    let svg = fs::read_to_string(place.path("p.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert_eq!(svg.matches("http").count(), 1, "nothing but the name space");
    for part in [
        "Reliability: a&amp;b.npy · 4 rows · 2 classes",
        "before: T = 1, ECE 0.2026",
        "after: T = 2.7307, ECE ",
        "confidence",
        "accuracy",
        "rows",
    ] {
        assert!(svg.contains(part), "{part} is not in\n{svg}");
    }
    // The paper is white whatever is around it.
    assert!(svg.contains(r##"<rect x="0" y="0" width="960" height="676" opacity="1" fill="#FFFFFF""##));
    // One bin in each panel, and the square that tells what the colour is.
    assert_eq!(svg.matches(r##"fill="#3B82D0""##).count(), 2 + 1);
    assert_eq!(place.files(), ["a&b.npy", "p.svg", "t.npy"]);

    // With labels it is the other set that is drawn.
    place.save("y.npy", &[2, 2], &some_logits(4));
    place.save("u.npy", &[2], &[0_i64, 1]);
    place.run("calibrate a&b.npy t.npy --apply y.npy u.npy --plot p.svg").quietly();
    let svg = fs::read_to_string(place.path("p.svg")).unwrap();
    assert!(svg.contains("Reliability: y.npy · 2 rows · 2 classes"));
}

#[test]
fn what_does_not_fit_is_explained() {
    let place = Place::new();
    three_of_four(&place);
    place.save("u.npy", &[3], &[0_i64; 3]);
    place.run("calibrate x.npy u.npy").says(1, &["logits: u.npy: holds 3 labels, but x.npy has 4 rows"]);
    place
        .run("calibrate x.npy t.npy --apply x.npy u.npy")
        .says(1, &["logits: u.npy: holds 3 labels, but x.npy has 4 rows"]);
    place.save("u.npy", &[4], &[0_i64, 1, 0, 2]);
    place
        .run("calibrate x.npy u.npy")
        .says(1, &["logits: u.npy: the target of row 3 is 2, which is none of the 2 classes"]);
    place
        .run("calibrate x.npy t.npy --apply x.npy u.npy")
        .says(1, &["logits: u.npy: the target of row 3 is 2, which is none of the 2 classes"]);
    place
        .run("calibrate x.npy x.npy")
        .says(1, &["logits: x.npy: the element type is '<f4'; labels are integers: save x.astype('<i8')"]);
    place.save::<f32>("empty.npy", &[0, 2], &[]);
    place
        .run("calibrate empty.npy t.npy")
        .says(1, &["logits: empty.npy: shape (0, 2): there is nothing in it"]);
    place.run("calibrate x.npy t.npy --plot -").says(2, &["name a file"]);
    place.run("calibrate x.npy t.npy --plot t.npy").says(1, &["logits: t.npy: is an input file too (t.npy)"]);
    place.run("calibrate x.npy t.npy --plot nowhere/p.svg").says(1, &["logits: nowhere/p.svg: cannot write"]);
    place.run("calibrate - t.npy --apply -").says(2, &["standard input, -, can be one of the files only"]);
    place.run("calibrate x.npy").says(2, &["<LABELS>"]);
    assert!(place.run("calibrate --help").quietly().text().contains("Examples:"));
}
