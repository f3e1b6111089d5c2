//! `logits bench`: what it prints, not how fast anything is.

use common::Place;

mod common;

/// Tolerates a kernel that breaks its promise, which `the_check_holds` is there to find.
fn bench(arguments: &str) -> String {
    let run = Place::new().run(&format!("bench {arguments}"));
    assert!(run.code == Some(0) || run.stderr.contains("less exact than promised"), "{}", run.stderr);
    run.text().to_owned()
}

#[test]
fn the_check_holds() {
    let run = Place::new().run("bench --shapes 1x1 --isa scalar").quietly();
    assert!(run.text().contains("Checked against the f64 definition: every kernel keeps its promise"));
}

#[test]
fn a_table_fits_in_a_hundred_columns() {
    let text = bench("--shapes 2x30 --isa scalar,portable");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for part in [
        "logits 0.",
        "compiled for",
        "instruction sets",
        "softmax",
        "log-softmax",
        "logsumexp",
        "memcpy",
        "scalar loop",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.contains("2 x 30, 1 thread, out of place") && text.contains("2 x 30, 1 thread, in place"));
}

#[test]
fn csv_carries_everything() {
    let text = bench("--shapes 2x30,1x64 --isa portable --threads 1,2 --layout misaligned --format csv");
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    let titles = csv.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    // memcpy, and for three operations the scalar loop and a kernel; two shapes, two numbers of threads.
    assert_eq!(rows.len(), 4 * (1 + 3 * 2));
    let column = |name: &str| titles.iter().position(|title| title == name).unwrap();
    let float = |row: &csv::StringRecord, name: &str| row[column(name)].parse::<f64>().unwrap();
    for row in &rows {
        assert!(float(row, "ns_per_element") > 0.0);
        assert_eq!(&row[column("layout")], "misaligned");
        assert!(!row[column("cpu")].is_empty());
        let kernel = &row[column("subject")] == "portable";
        assert_eq!(row[column("worst_error")].is_empty(), !kernel);
    }
    let speedup = float(&rows[1], "ns_per_element") / float(&rows[2], "ns_per_element");
    assert!((float(&rows[2], "speedup_over_scalar_loop") / speedup - 1.0).abs() < 1e-9);
}

#[test]
fn json_is_one_document() {
    let text = bench("--shapes 2x30 --isa scalar --threads 1 --layout in-place --format json");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["machine"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["check"].as_array().unwrap().len(), 3);
    let measurements = report["measurements"].as_array().unwrap();
    assert_eq!(measurements.len(), 1 + 2 * 2, "logsumexp has no place to be in");
    assert_eq!(measurements[0]["subject"], "memcpy");
    assert_eq!(measurements[2]["operation"], "softmax");
}

#[test]
fn bad_plans_are_explained() {
    let place = Place::new();
    place.run("bench --shapes 64").says(2, &["ROWSxCOLS"]);
    place.run("bench --threads none").says(2, &["or all"]);
    place.run("bench --isa sse9").says(2, &["portable"]);
    assert!(place.run("bench --help").quietly().text().contains("Examples:"));
}
