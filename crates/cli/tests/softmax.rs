//! `logits softmax`, good input and bad.

use std::collections::HashMap;
use std::fs;

use common::{Place, assert_softmax, finish, npy, npy_with_header, parse_npy, some_logits};
use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

mod common;

const INF: f32 = f32::INFINITY;

#[test]
fn rows_become_probabilities() {
    let place = Place::new();
    let logits = some_logits(35);
    place.save("x.npy", &[5, 7], &logits);
    place.run("softmax x.npy -o y.npy").quietly();
    let (shape, got) = place.load("y.npy");
    assert_eq!(shape, [5, 7]);
    assert_softmax(&got, &logits, 7, 1.0, false);
    assert_eq!(place.files(), ["x.npy", "y.npy"]);
}

#[test]
fn log_and_temperature() {
    let place = Place::new();
    let logits = some_logits(40);
    place.save("x.npy", &[4, 10], &logits);
    place.run("softmax x.npy -o y.npy --log").quietly();
    assert_softmax(&place.load("y.npy").1, &logits, 10, 1.0, true);
    place.run("softmax x.npy -o y.npy --temperature 0.7 --threads 1").quietly();
    assert_softmax(&place.load("y.npy").1, &logits, 10, 0.7, false);
    place.run("softmax x.npy -o y.npy --log -t 2.5 --threads 2 --isa portable").quietly();
    assert_softmax(&place.load("y.npy").1, &logits, 10, 2.5, true);
}

#[test]
fn temperatures_at_the_ends() {
    let place = Place::new();
    place.save("x.npy", &[2, 4], &[1.0, 3.0, 3.0, 2.0, 0.0, -INF, 5.0, -INF]);
    place.run("softmax x.npy -o y.npy -t 0").quietly();
    assert_eq!(place.load("y.npy").1, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    place.run("softmax x.npy -o y.npy -t inf").quietly();
    assert_eq!(place.load("y.npy").1, [0.25, 0.25, 0.25, 0.25, 0.5, 0.0, 0.5, 0.0]);
    let run = place.run("explain x.npy --temperature 0,inf").quietly();
    let line = |label| run.text().lines().find(|line| line.contains(label)).unwrap().split_whitespace();
    assert!(line("perplexity").eq(["perplexity", "1.0000", "4.0000"]));
    assert!(line("logsumexp").eq(["logsumexp", "of", "x/T", "-", "1.3863"]));
}

#[test]
fn masked_rows_become_what_is_asked_for() {
    let place = Place::new();
    place.save("x.npy", &[2, 2], &[-INF, -INF, 0.0, 0.0]);
    let warning =
        ["1 of 2 rows has nothing but -inf (first: row 0, column 0): the result there is no probability"];
    place.run("softmax x.npy -o y.npy --masked-rows zeros").says(0, &warning);
    assert_eq!(place.load("y.npy").1, [0.0, 0.0, 0.5, 0.5]);
    place.run("softmax x.npy -o y.npy --masked-rows zeros --log").says(0, &warning);
    assert_eq!(place.load("y.npy").1[..2], [-INF, -INF]);
    place.run("softmax x.npy -o y.npy").says(0, &["the result there is NaN (see --masked-rows)"]);
    assert!(place.load("y.npy").1[..2].iter().all(|p| p.is_nan()));
}

#[test]
fn softmax_runs_along_the_last_axis_of_any_shape() {
    let place = Place::new();
    for (shape, cols) in [(&[24][..], 24), (&[2, 3, 4], 4), (&[2, 1, 3, 2, 2], 2)] {
        let logits = some_logits(24);
        place.save("x.npy", shape, &logits);
        place.run("softmax x.npy -o y.npy").quietly();
        let (got_shape, got) = place.load("y.npy");
        assert_eq!(got_shape, shape);
        assert_softmax(&got, &logits, cols, 1.0, false);
    }
}

#[test]
fn a_file_of_several_blocks_comes_out_whole() {
    let place = Place::new();
    let (rows, cols) = (700, 8000); // 22 MB
    let logits = some_logits(rows * cols);
    place.save("x.npy", &[rows as u64, cols as u64], &logits);
    place.run("softmax x.npy -o y.npy").quietly();
    assert_softmax(&place.load("y.npy").1, &logits, cols, 1.0, false);
    // Every row is longer than a block, and comes through a pipe.
    let row = 3_000_000;
    let file = npy(&[1, row as u64], &logits[..row]);
    let run = place.run_with_input("softmax - --log", &file).quietly();
    assert_softmax(&parse_npy(&run.stdout).1, &logits[..row], row, 1.0, true);
}

#[test]
fn empty_arrays_stay_empty() {
    let place = Place::new();
    for shape in [&[0, 4][..], &[3, 0], &[0], &[2, 0, 5]] {
        place.save::<f32>("x.npy", shape, &[]);
        place.run("softmax x.npy -o y.npy").quietly();
        assert_eq!(place.load("y.npy"), (shape.to_vec(), vec![]));
    }
}

#[test]
fn standard_streams() {
    let place = Place::new();
    let logits = some_logits(12);
    let file = npy(&[3, 4], &logits);
    for arguments in ["softmax -", "softmax - -o -"] {
        let run = place.run_with_input(arguments, &file).quietly();
        let (shape, got) = parse_npy(&run.stdout);
        assert_eq!(shape, [3, 4]);
        assert_softmax(&got, &logits, 4, 1.0, false);
    }
    let run = place.run_with_input("softmax - -o y.npy", &file).quietly();
    assert!(run.stdout.is_empty());
    assert_softmax(&place.load("y.npy").1, &logits, 4, 1.0, false);
}

#[test]
fn f64_and_f16_are_converted_with_a_note() {
    let place = Place::new();
    let logits = some_logits(12);
    let doubles: Vec<f64> = logits.iter().map(|&x| x.into()).collect();
    place.save("x.npy", &[3, 4], &doubles);
    place.run("softmax x.npy -o y.npy").says(0, &["logits: x.npy: note: f64 converted to f32"]);
    assert_softmax(&place.load("y.npy").1, &logits, 4, 1.0, false);

    let halves: Vec<f16> = logits.iter().map(|&x| f16::from_f32(x)).collect();
    let bytes: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
    let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 4), }";
    place.write("x.npy", npy_with_header(header, &bytes));
    place.run("softmax x.npy -o y.npy").says(0, &["logits: x.npy: note: f16 converted to f32"]);
    let logits: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
    assert_softmax(&place.load("y.npy").1, &logits, 4, 1.0, false);
}

/// A file with these tensors of shape (2, 3).
fn safetensors_file(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let bytes: HashMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|&(name, data)| (name, data.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views =
        bytes.iter().map(|(&name, bytes)| (name, TensorView::new(Dtype::F32, vec![2, 3], bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn safetensors_in_and_out() {
    let place = Place::new();
    let (first, second) = (some_logits(6), some_logits(12)[6..].to_vec());
    let several = safetensors_file(&[("first", &first), ("head.second", &second)]);
    place.write("x.safetensors", &several);
    place
        .run("softmax x.safetensors -o y.npy")
        .says(1, &["logits: x.safetensors: holds 2 tensors", "--tensor", "`first`", "`head.second`"]);
    place.run("softmax x.safetensors -o y.npy --tensor third").says(1, &["no tensor `third`", "`first`"]);
    for (name, logits) in [("first", &first), ("head.second", &second)] {
        place.run(&format!("softmax x.safetensors --tensor {name} -o y.npy")).quietly();
        assert_eq!(place.load("y.npy").0, [2, 3]);
        assert_softmax(&place.load("y.npy").1, logits, 3, 1.0, false);
        let run = place.run_with_input(&format!("softmax - --tensor {name}"), &several).quietly();
        assert_softmax(&parse_npy(&run.stdout).1, logits, 3, 1.0, false);
    }

    place.write("x.safetensors", safetensors_file(&[("only", &first)]));
    place.run("softmax x.safetensors -o y.safetensors").quietly();
    let file = fs::read(place.path("y.safetensors")).unwrap();
    let tensor = SafeTensors::deserialize(&file).unwrap().tensor("only").unwrap();
    assert_eq!((tensor.shape(), tensor.dtype()), (&[2, 3][..], Dtype::F32));
    let got: Vec<f32> = tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_softmax(&got, &first, 3, 1.0, false);
}

#[test]
fn damaged_safetensors_files_are_refused() {
    let place = Place::new();
    let good = safetensors_file(&[("only", &some_logits(6))]);
    place.write("x.safetensors", &good[..good.len() - 5]);
    place
        .run("softmax x.safetensors -o y.npy")
        .says(1, &["x.safetensors: is truncated", "24 bytes", "found 19"]);
    place.write("x.safetensors", &good[..30]);
    place
        .run("softmax x.safetensors -o y.npy")
        .says(1, &["x.safetensors: cannot read the .safetensors header"]);
    let mut corrupt = good.clone();
    corrupt[20] = b'?';
    place.write("x.safetensors", corrupt);
    place
        .run("softmax x.safetensors -o y.npy")
        .says(1, &["x.safetensors: cannot read the .safetensors header"]);
    assert_eq!(place.files(), ["x.safetensors"]);
}

#[test]
fn odd_rows_are_warned_about_and_touch_no_other() {
    let place = Place::new();
    let mut logits = some_logits(24);
    logits[5] = f32::NAN;
    logits[13] = f32::NAN;
    logits[18] = INF;
    logits[8..12].fill(-INF);
    logits[1] = -INF;
    place.save("x.npy", &[6, 4], &logits);
    place.run("softmax x.npy -o y.npy").says(
        0,
        &[
            "logits: x.npy: warning: 2 of 6 rows have NaN (first: row 1, column 1)",
            "1 of 6 rows has +inf (first: row 4, column 2)",
            "1 of 6 rows has nothing but -inf (first: row 2, column 0)",
        ],
    );
    let (_, got) = place.load("y.npy");
    assert!(got[4..20].iter().all(|p| p.is_nan()));
    assert_softmax(&got[..4], &logits[..4], 4, 1.0, false);
    assert_softmax(&got[20..], &logits[20..], 4, 1.0, false);
    assert_eq!(got[1], 0.0);
}

#[test]
fn a_truncated_file_says_what_is_missing() {
    let place = Place::new();
    let file = npy(&[5, 7], &some_logits(35));
    let cut = &file[..file.len() - 140 + 72];
    let parts = ["is truncated: shape (5, 7) of f32 takes 140 bytes", "found 72", "row 2, column 4"];
    place.write("x.npy", cut);
    place.run("softmax x.npy -o y.npy").says(1, &parts).says(1, &["logits: x.npy: "]);
    place.run_with_input("softmax - -o y.npy", cut).says(1, &parts).says(1, &["logits: standard input: "]);
    place.write("x.npy", &file[..40]);
    place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: cannot read the .npy header"]);
    assert_eq!(place.files(), ["x.npy"], "nothing half-written is left");
}

#[test]
fn other_element_types_and_orders_are_refused() {
    let place = Place::new();
    place.save("x.npy", &[2, 2], &[1_i64, 2, 3, 4]);
    place
        .run("softmax x.npy -o y.npy")
        .says(1, &["logits: x.npy: ", "'<i8'", "f32, f64, f16", "astype('<f4')"]);
    let header =
        |descr, order, shape| format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    place.write("x.npy", npy_with_header(&header(">f4", "False", "(2, 2)"), &[0; 16]));
    place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: ", "'>f4' is big-endian"]);
    place.write("x.npy", npy_with_header(&header("<f4", "True", "(2, 2)"), &[0; 16]));
    place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: ", "Fortran order", "ascontiguousarray"]);
    place.write("x.npy", npy_with_header(&header("<f4", "True", "(4,)"), &[0; 16]));
    place.run("softmax x.npy -o y.npy").quietly();
    place.write("x.npy", npy_with_header(&header("<f4", "False", "()"), &[0; 4]));
    place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: ", "single number", "(1,)"]);
    place.write("x.npy", npy_with_header(&header("<f4", "False", "(9000000000000000000,)"), &[0; 4]));
    place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: the header is corrupt"]);
}

/// What a parser would take ages for, or gigabytes, or a product that is no number.
#[test]
fn headers_of_ill_will_are_refused() {
    let place = Place::new();
    let says = |file: &[u8], part: &str| {
        place.write("x.npy", file);
        place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: cannot read the .npy header: ", part]);
        place.run_with_input("softmax - -o y.npy", file).says(1, &["logits: standard input: ", part]);
    };
    for bracket in ["[", "{", "("] {
        says(&npy_with_header(&bracket.repeat(40), &[]), "brackets within brackets");
    }
    let four_gigabytes = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..], b"{'descr': '<f4'"].concat();
    says(&four_gigabytes, "4294967295 bytes");
    let axes = |shape| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    says(&npy_with_header(&axes("(4294967296, 4294967296)"), &[]), "4294967296 is too large for an axis");
    says(&npy_with_header(&axes("(99999999999999999999,)"), &[]), "99999999999999999999");
    says(&npy_with_header(&axes("(0x10,)"), &[]), "0x10");
    says(&npy_with_header("{'descr: 3}", &[]), "string without an end");
    // Where there are no rows their length has to be one nevertheless.
    place.write("x.npy", npy_with_header(&axes("(0, 9223372036854775808)"), &[]));
    place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: the header is corrupt"]);
    // Records are told from that.
    place.write(
        "x.npy",
        npy_with_header(&axes("(1,)").replace("'<f4'", "[('a', [('b', '<f4', (2,))])]"), &[0; 8]),
    );
    place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: the element type is [('a', "]);
}

#[test]
fn what_is_no_array_file_is_refused() {
    let place = Place::new();
    for (content, hint) in [
        (&b""[..], "empty"),
        (b"PK\x03\x04rest of it", ".npz"),
        (b"1 2 3\n", "text"),
        (b"\xff\x00\xff", "neither"),
    ] {
        place.write("x.npy", content);
        place.run("softmax x.npy -o y.npy").says(1, &["logits: x.npy: is neither an .npy nor", hint]);
    }
    place.run("softmax nowhere.npy -o y.npy").says(1, &["logits: nowhere.npy: "]);
    place.run("softmax . -o y.npy").says(1, &["logits: .: is a directory"]);
    place.run("softmax x.npy -o y.npy --tensor t").says(1, &["x.npy"]);
    assert_eq!(place.files(), ["x.npy"]);
}

#[test]
fn the_input_is_not_overwritten_unless_told_to() {
    let place = Place::new();
    let logits = some_logits(12);
    place.save("x.npy", &[3, 4], &logits);
    place.run("softmax x.npy -o x.npy").says(1, &["logits: x.npy: is the input file too", "--overwrite"]);
    place.run("softmax ./x.npy -o x.npy").says(1, &["--overwrite"]);
    assert_eq!(place.load("x.npy").1, logits);
    place.run("softmax x.npy -o x.npy --overwrite").quietly();
    assert_softmax(&place.load("x.npy").1, &logits, 4, 1.0, false);
}

#[test]
fn usage_is_explained() {
    let place = Place::new();
    place.save("x.npy", &[1], &[1.0_f32]);
    place.run("softmax").says(2, &["<IN>"]);
    place.run("softmax x.npy -o y.npy --isa sse9").says(2, &["scalar", "portable", "avx2", "avx512", "neon"]);
    for temperature in ["-1", "nan", "warm"] {
        place.run(&format!("softmax x.npy -o y.npy -t {temperature}")).says(2, &["from 0 (one-hot)"]);
    }
    for threads in ["0", "2000000", "all"] {
        place.run(&format!("softmax x.npy -o y.npy --threads {threads}")).says(2, &["from 1 to 4096"]);
    }
    assert!(place.run("softmax --help").quietly().text().contains("Examples:"));
    assert!(place.run("--help").quietly().text().contains("Exit codes:"));
    assert!(place.run("--version").quietly().text().starts_with("logits "));
}

#[test]
fn the_environment_chooses_the_instruction_set() {
    let place = Place::new();
    place.save("x.npy", &[1], &[1.0_f32]);
    let with = |value: &str, arguments: &str| finish(place.command(arguments).env("LOGITS_ISA", value));
    with("scalar", "softmax x.npy -o y.npy").quietly();
    let names = ["LOGITS_ISA", "sse9", "scalar", "portable", "avx2", "avx512", "neon"];
    with("sse9", "softmax x.npy -o z.npy").says(2, &names);
    with("sse9", "explain x.npy").says(2, &names);
    with("sse9", "bench --shapes 1x1").says(2, &names);
    with("sse9", "softmax x.npy -o y.npy --isa scalar").quietly();
    let elsewhere = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    with(elsewhere, "softmax x.npy -o z.npy").says(1, &["cannot use", elsewhere, "available here: scalar"]);
    assert_eq!(place.files(), ["x.npy", "y.npy"]);
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let place = Place::new();
    place.save("x.npy", &[3, 4], &some_logits(12));
    place
        .run("softmax x.npy -o nowhere/y.npy")
        .says(1, &["logits: nowhere/y.npy: cannot write: ", "no directory"]);
    place.run("softmax x.npy -o .").says(1, &["logits: .: cannot write: "]);
    place.write("y.npy", "precious");
    let mut permissions = fs::metadata(place.path("y.npy")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(place.path("y.npy"), permissions).unwrap();
    place.run("softmax x.npy -o y.npy").says(1, &["logits: y.npy: cannot write: ", "read-only"]);
    assert_eq!(fs::read(place.path("y.npy")).unwrap(), b"precious");
    assert_eq!(place.files(), ["x.npy", "y.npy"]);
}

#[test]
fn a_failed_run_leaves_the_old_output_alone() {
    let place = Place::new();
    let file = npy(&[5, 7], &some_logits(35));
    place.write("y.npy", "precious");
    place.run_with_input("softmax - -o y.npy", &file[..file.len() - 1]).says(1, &["is truncated"]);
    assert_eq!(fs::read(place.path("y.npy")).unwrap(), b"precious");
    assert_eq!(place.files(), ["y.npy"]);
}
