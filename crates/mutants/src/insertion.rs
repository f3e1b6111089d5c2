//! Source in, source out.

use std::collections::BTreeSet;

use crate::list::{Genre, Mutant, Place, Range};
use crate::sites;
use crate::splice::splice;
use crate::twins;

/// A mutant of the first place where `of` stands, on one line.
fn mutant(source: &str, genre: Genre, of: &str, replacement: &str) -> Mutant {
    let at = source.find(of).unwrap();
    let line = source[..at].matches('\n').count() + 1;
    let column = at - source[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
    let place = |column| Place { line, column };
    Mutant {
        name: of.to_owned(),
        file: "src/a.rs".to_owned(),
        genre,
        replacement: replacement.to_owned(),
        span: Range { start: place(column), end: place(column + of.len()) },
    }
}

/// The source with switches, and the numbers of those that have none.
fn switched(source: &str, mutants: &[Mutant]) -> (String, Vec<usize>) {
    let mutants: Vec<_> = mutants.iter().enumerate().collect();
    let mut all = BTreeSet::new();
    all.extend(twins::of_file("src/a.rs", &syn::parse_file(source).unwrap(), &mutants));
    let found = sites::find("src/a.rs", source, &mutants, &all, 0).unwrap();
    (splice(source, found.edits).0, found.constant)
}

#[test]
fn operators_nest_and_operands_stand_once() {
    let source = "fn f(a: f32, b: f32) -> f32 { a * b + a }";
    let mutants = [
        mutant(source, Genre::BinaryOperator, "+", "-"),
        mutant(source, Genre::BinaryOperator, "+", "*"),
        mutant(source, Genre::BinaryOperator, "*", "/"),
    ];
    let (out, _) = switched(source, &mutants);
    let inner = "crate::mutant::binary!(1; a ; b; * /)";
    assert_eq!(
        out,
        format!("fn f(a: f32, b: f32) -> f32 {{ crate::mutant::binary!(0; {inner} ; a; + - *) }}")
    );
}

#[test]
fn a_body_may_be_left_at_once() {
    let source = "fn f() -> u8 { g() }";
    let body = mutant(source, Genre::FnValue, "g()", "0");
    let (out, _) = switched(source, &[body]);
    assert!(out.contains("match crate::mutant::pick(0) {\n1 => return 0,\n_ => {}\n}"), "{out}");
}

#[test]
fn guards_and_arms() {
    let source = "fn f(x: u8) { match x { 1 if x > 0 => {}\n2 => {}\n_ => {} } }";
    let guard = mutant(source, Genre::MatchArmGuard, "x > 0", "true");
    let arm = mutant(source, Genre::MatchArm, "2 => {}", "");
    let (out, _) = switched(source, &[guard, arm]);
    assert!(out.contains("1 if match crate::mutant::pick(0) { 1 => true, _ => x > 0 } =>"), "{out}");
    assert!(out.contains("2 if crate::mutant::pick(1) != 1 =>"), "{out}");
}

#[test]
fn a_constant_has_a_twin_that_expressions_use_and_types_do_not() {
    let source = "const A: i32 = -1;\nconst N: usize = 1 + 1;\nfn f() -> [i32; N] { [A; N] }";
    let minus = mutant(source, Genre::UnaryOperator, "-", "");
    let length = mutant(source, Genre::BinaryOperator, "+", "*");
    let (out, constant) = switched(source, &[minus, length]);
    assert_eq!(constant, [1]);
    assert!(out.contains("|| crate::mutant::unary!(0; -1)); *V }"), "{out}");
    assert!(out.contains("const N: usize = 1 + 1;"), "{out}");
    assert!(out.ends_with("fn f() -> [i32; N] { [crate::a::twin_of_A(); N] }"), "{out}");
}
