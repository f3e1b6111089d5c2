//! The rules of the house, held by reading the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, from the lowest: a module uses those before its own, never those behind.
const LAYERS: [&[&str]; 20] = [
    &["error"],
    &["simd"],
    &["math"],
    &["element"],
    &["span", "threads", "caches"],
    &["rows"],
    &["lanes"],
    &["sums"],
    &["narrow"],
    &["operation"],
    &["pipeline"],
    &["row"],
    &["stream"],
    &["grid"],
    &["visit"],
    &["batch"],
    &["engine"],
    &["ops"],
    &["sampling"],
    &["lib", "reference"],
];

/// What names the crate gives its layers from outside: `crate::Isa` is of `simd`.
const REEXPORTS: [(&str, &str); 7] = [
    ("Isa", "simd"),
    ("ParseIsaError", "simd"),
    ("Error", "error"),
    ("Element", "element"),
    ("Rows", "rows"),
    ("RowsMut", "rows"),
    ("Engine", "engine"),
];

fn source_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Each file of the library by its path below `src`, without comments and without its tests.
fn sources() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    let code = |text: &str| {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
    let texts = files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap()));
    let tests_alone = |text: &str| text.contains("\n#![cfg(test)]\n");
    texts.filter(|(_, text)| !tests_alone(text)).map(|(name, text)| (name, code(&text))).collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a file names through `crate::`.
fn named_modules(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        let list = match part.strip_prefix('{') {
            // `crate::{a::b, C}`: what stands before the first `::` of each entry.
            Some(list) => {
                let list = list.split('}').next().unwrap();
                assert!(!list.contains('{'), "a list within a list, which this test does not read: {list}");
                list
            }
            None => part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap(),
        };
        for entry in list.split(',') {
            let name = entry.trim().split("::").next().unwrap();
            if !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn layers_import_one_way() {
    for (file, code) in sources() {
        let module = file.split(['/', '.']).next().unwrap();
        let own = layer_of(module).unwrap_or_else(|| panic!("src/{file} has no layer"));
        for name in named_modules(&code) {
            let reexport = REEXPORTS.iter().find(|(reexport, _)| *reexport == name);
            let used = reexport.map_or(name.as_str(), |(_, module)| module);
            // The error of an instruction set that is missing names it.
            if (module, used) == ("error", "simd") {
                continue;
            }
            let layer =
                layer_of(used).unwrap_or_else(|| panic!("src/{file} uses crate::{name}, which has no layer"));
            assert!(
                layer < own || used == module,
                "src/{file} uses crate::{name}, of a layer that is not below its own"
            );
        }
    }
}

/// Only some files may name something.
fn only_in(what: &[&str], allowed: &[&str]) {
    for (file, code) in sources() {
        for what in what {
            let there = code
                .match_indices(what)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            assert!(!there || allowed.contains(&file.as_str()), "src/{file} names {what}");
        }
    }
}

const BACKENDS: [&str; 5] =
    ["simd/scalar.rs", "simd/portable.rs", "simd/avx2.rs", "simd/avx512.rs", "simd/neon.rs"];

#[test]
fn only_backends_name_instructions() {
    only_in(&["core::arch", "std::arch", "wide::"], &BACKENDS);
}

#[test]
fn only_isa_names_backends() {
    let names = ["Scalar", "Portable", "Avx2", "Avx512", "Neon"];
    only_in(&names, &[&BACKENDS[..], &["simd/isa.rs"]].concat());
}

#[test]
fn only_threads_names_rayon() {
    only_in(&["rayon::"], &["threads.rs"]);
}

#[test]
fn nothing_below_the_operations_names_one() {
    for (file, code) in sources() {
        if file.starts_with("ops/")
            || file.starts_with("sampling/")
            || file == "lib.rs"
            || file.starts_with("reference/")
            || file == "error.rs"
        {
            continue;
        }
        let code = code.to_lowercase();
        for operation in ["softmax", "logsumexp", "entropy"] {
            assert!(!code.contains(operation), "src/{file} names {operation}");
        }
    }
}

#[test]
fn only_the_library_imports_the_reference() {
    for (file, code) in sources() {
        assert!(file == "lib.rs" || !code.contains("reference"), "src/{file} uses the reference");
    }
}

/// `unsafe` is for instructions, in the backends, and for memory that is written before it is read, in `span.rs`; `engine.rs`
/// has the one block that says all of a batch has been written.
#[test]
fn unsafe_has_few_homes() {
    only_in(&["unsafe {", "unsafe fn", "unsafe impl"], &[&BACKENDS[..], &["span.rs", "engine.rs"]].concat());
    let sources = sources();
    assert_eq!(sources["engine.rs"].matches("unsafe {").count(), 1);
    assert!(!sources["simd/scalar.rs"].contains("unsafe") && !sources["simd/portable.rs"].contains("unsafe"));
}
