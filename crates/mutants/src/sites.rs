//! Where the mutants of a file stand in its syntax, and the switches that are put there.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use anyhow::Result;
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, ExprMatch, ExprStruct, GenericArgument, ReturnType, Signature, Type, UnOp};

use crate::list::{Genre, Mutant};
use crate::splice::Edit;
use crate::twins::{self, Twin};

/// One switch: its number, and the mutants that are its variants, from 1 on.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Site {
    pub number: usize,
    pub mutants: Vec<usize>,
}

/// What becomes of a file.
#[derive(Debug, Default)]
pub struct Found {
    pub edits: Vec<Edit>,
    pub sites: Vec<Site>,
    /// Mutants that no switch can stand for: of what is computed while compiling, and of functions whose result's type
    /// follows from the body.
    pub constant: Vec<usize>,
    /// `let` on a side of `||`, which the grammar does not have.
    pub ungrammatical: Vec<usize>,
}

/// Finds the mutants of one file, given with their numbers. Sites are numbered from `first` on.
pub fn find(
    name: &str,
    source: &str,
    mutants: &[(usize, &Mutant)],
    twins: &BTreeSet<Twin>,
    first: usize,
) -> Result<Found> {
    let file = syn::parse_file(source)?;
    let mut wanted: HashMap<_, Vec<_>> = HashMap::new();
    for &(number, mutant) in mutants {
        let key = (mutant.genre, mutant.span.start.line, mutant.span.start.column);
        wanted.entry(key).or_default().push((number, mutant.replacement.clone()));
    }
    let (mut names, mut qualified) = (HashMap::new(), HashMap::new());
    for twin in twins {
        let module = twins::module_of(&twin.file);
        let stem = module.rsplit("::").next().unwrap_or_default().to_owned();
        let path = format!("{module}::twin_of_{}", twin.name);
        if twin.file == name || twins::imported(&file, &stem).contains(&twin.name) {
            names.insert(twin.name.clone(), path.clone());
        }
        qualified.insert(format!("{stem}::{}", twin.name), path);
    }
    let mutants = mutants.iter().map(|&(_, mutant)| mutant).collect();
    let found = Found::default();
    let mut finder =
        Finder { source, wanted, mutants, names, qualified, next: first, depth: 0, constant: 0, found };
    finder.visit_file(&file);
    Ok(finder.found)
}

struct Finder<'a> {
    source: &'a str,
    wanted: HashMap<(Genre, usize, usize), Vec<(usize, String)>>,
    mutants: Vec<&'a Mutant>,
    /// What constants are called at run time: by their names here, and by those with a module's before it.
    names: HashMap<String, String>,
    qualified: HashMap<String, String>,
    next: usize,
    depth: i32,
    /// Within how many constants we are.
    constant: usize,
    found: Found,
}

fn bytes(span: Span) -> Range<usize> {
    span.byte_range()
}

/// Whether it is `let`, or a chain with one.
fn has_let(operand: &Expr) -> bool {
    match operand {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// Whether a function gives back an `impl Trait`.
fn is_opaque(output: &ReturnType) -> bool {
    matches!(output, ReturnType::Type(_, output) if matches!(**output, Type::ImplTrait(_)))
}

impl Finder<'_> {
    /// The mutants that begin here, with the number of a new site for them: none in a constant.
    fn take(&mut self, genre: Genre, span: Span, constant: bool) -> Option<(usize, Vec<(usize, String)>)> {
        let start = span.start();
        let mutants = self.wanted.remove(&(genre, start.line, start.column + 1))?;
        let numbers = mutants.iter().map(|(number, _)| *number).collect();
        if constant || self.constant > 0 {
            self.found.constant.extend::<Vec<usize>>(numbers);
            return None;
        }
        let site = self.next;
        self.next += 1;
        self.found.sites.push(Site { number: site, mutants: numbers });
        Some((site, mutants))
    }

    /// An edit at the start of an expression.
    fn before(&mut self, at: usize, site: usize, text: String) {
        self.found.edits.push(Edit::new(at, 0, self.depth, Some(site)).text(text));
    }

    /// An edit at the end of an expression.
    fn after(&mut self, at: usize, site: usize, text: &str) {
        self.found.edits.push(Edit::new(at, 0, -self.depth, Some(site)).text(text));
    }

    /// Results of a function instead of its body.
    fn body(&mut self, signature: &Signature, block: &Block) {
        self.visit_signature(signature);
        if let Some(first) = block.stmts.first()
            && let Some((site, mutants)) =
                self.take(Genre::FnValue, first.span(), is_opaque(&signature.output))
        {
            let mut edit = Edit::new(bytes(block.brace_token.span.open()).end, 0, i32::MIN, Some(site))
                .text(format!("\nmatch crate::mutant::pick({site}) {{\n"));
            for (variant, (number, value)) in (1..).zip(mutants) {
                edit =
                    edit.text(format!("{variant} => ")).mutant(number, format!("return {value}")).text(",\n");
            }
            self.found.edits.push(edit.text("_ => {}\n}\n"));
        }
        let names = self.names.clone();
        for name in twins::of_block(block, &self.mutants) {
            self.names.insert(name.clone(), format!("twin_of_{name}"));
        }
        self.visit_block(block);
        self.names = names;
    }

    /// A function that may be a constant.
    fn function(&mut self, signature: &Signature, block: &Block) {
        if signature.constness.is_some() {
            self.constant(|this| this.body(signature, block));
        } else {
            self.body(signature, block);
        }
    }

    /// Puts text somewhere that is no switch.
    fn put(&mut self, at: usize, removed: usize, rank: i32, text: impl Into<String>) {
        self.found.edits.push(Edit::new(at, removed, rank, None).text(text));
    }

    /// Whether an item has a twin here.
    fn has_twin(&self, name: &syn::Ident) -> bool {
        let path = self.names.get(&name.to_string());
        path.is_some_and(|path| path.ends_with(&format!("twin_of_{name}")))
    }

    /// `macro!(site; left; right; op variants)`.
    fn two_operands(&mut self, left: &Expr, op: &BinOp, right: &Expr) {
        if has_let(left) || has_let(right) {
            let start = op.span().start();
            let mutants = self.wanted.remove(&(Genre::BinaryOperator, start.line, start.column + 1));
            self.found.ungrammatical.extend(mutants.into_iter().flatten().map(|(number, _)| number));
            return;
        }
        let Some((site, mutants)) = self.take(Genre::BinaryOperator, op.span(), false) else { return };
        let form = match op {
            BinOp::And(_) | BinOp::Or(_) => "logic",
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => {
                "compare"
            }
            BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Div(_) | BinOp::Rem(_) => "binary",
            BinOp::BitXor(_) | BinOp::BitAnd(_) | BinOp::BitOr(_) | BinOp::Shl(_) | BinOp::Shr(_) => "binary",
            _ => "assign",
        };
        let (op, end) = (bytes(op.span()), bytes(right.span()).end);
        self.before(bytes(left.span()).start, site, format!("crate::mutant::{form}!({site}; "));
        self.found.edits.push(Edit::new(op.start, op.len(), 0, Some(site)).text(";"));
        let mut edit = Edit::new(end, 0, -self.depth, Some(site)).text(format!("; {}", &self.source[op]));
        for (number, other) in mutants {
            edit = edit.text(" ").mutant(number, other);
        }
        self.found.edits.push(edit.text(")"));
    }

    fn one_operand(&mut self, op: &UnOp, operand: &Expr) {
        let Some((site, mutants)) = self.take(Genre::UnaryOperator, op.span(), false) else { return };
        let op = bytes(op.span());
        let edit = Edit::new(op.start, op.len(), self.depth, Some(site))
            .text("crate::mutant::")
            .mutant(mutants[0].0, format!("unary!({site}; {}", &self.source[op]));
        self.found.edits.push(edit);
        self.after(bytes(operand.span()).end, site, ")");
    }

    fn arms(&mut self, expression: &ExprMatch) {
        for arm in &expression.arms {
            let guard = arm.guard.as_ref().map(|(_, guard)| bytes(guard.span()));
            if let Some((site, mutants)) = self.take(Genre::MatchArm, arm.span(), false) {
                let on = format!("crate::mutant::pick({site}) != 1");
                match &guard {
                    Some(guard) => {
                        self.before(guard.start, site, format!("{on} && ("));
                        self.after(guard.end, site, ")");
                    }
                    None => {
                        let at = bytes(arm.fat_arrow_token.span()).start;
                        let edit =
                            Edit::new(at, 0, 0, Some(site)).text("if ").mutant(mutants[0].0, on).text(" ");
                        self.found.edits.push(edit);
                    }
                }
            }
            if let (Some(guard), Some((_, condition))) = (guard, &arm.guard)
                && let Some((site, mutants)) = self.take(Genre::MatchArmGuard, condition.span(), false)
            {
                let mut edit = Edit::new(guard.start, 0, self.depth, Some(site))
                    .text(format!("match crate::mutant::pick({site}) {{ "));
                for (variant, (number, value)) in (1..).zip(mutants) {
                    edit = edit.text(format!("{variant} => ")).mutant(number, value).text(", ");
                }
                self.found.edits.push(edit.text("_ => "));
                self.after(guard.end, site, " }");
            }
        }
    }

    /// A field that is left to the rest.
    fn fields(&mut self, expression: &ExprStruct) {
        let Some(rest) = &expression.rest else { return };
        for field in &expression.fields {
            let Some((site, mutants)) = self.take(Genre::StructField, field.span(), false) else { continue };
            let rest = match &**rest {
                Expr::Call(_) => {
                    format!("<{} as Default>::default()", &self.source[bytes(expression.path.span())])
                }
                rest => self.source[bytes(rest.span())].to_owned(),
            };
            let syn::Member::Named(name) = &field.member else { continue };
            let value = bytes(field.expr.span());
            // A field may be told by its name alone.
            let colon = if field.colon_token.is_some() { String::new() } else { format!("{name}: ") };
            let edit = Edit::new(value.start, 0, self.depth, Some(site))
                .text(format!("{colon}match crate::mutant::pick({site}) {{ 1 => "))
                .mutant(mutants[0].0, format!("{rest}.{name}"))
                .text(", _ => ");
            self.found.edits.push(edit);
            self.after(value.end, site, " }");
        }
    }

    /// The twin of a constant instead of it.
    fn twin(&mut self, path: &syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let twin = match &names[..] {
            [name] => self.names.get(name),
            [.., module, name] => self.qualified.get(&format!("{module}::{name}")),
            [] => None,
        };
        let (Some(twin), Some(name)) = (twin, names.last()) else { return };
        // A constant has to be called.
        let call = if name.chars().all(|letter| !letter.is_lowercase()) { "()" } else { "" };
        let (text, range) = (format!("{twin}{call}"), bytes(path.span()));
        self.put(range.start, range.len(), self.depth, text);
    }

    /// What `visit` finds is computed while compiling.
    fn constant(&mut self, visit: impl FnOnce(&mut Self)) {
        self.constant += 1;
        visit(self);
        self.constant -= 1;
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr(&mut self, expression: &'ast Expr) {
        self.depth += 1;
        match expression {
            Expr::Binary(binary) => self.two_operands(&binary.left, &binary.op, &binary.right),
            Expr::Unary(unary) => self.one_operand(&unary.op, &unary.expr),
            Expr::Match(expression) => self.arms(expression),
            Expr::Struct(expression) => self.fields(expression),
            Expr::Path(path) if self.constant == 0 => self.twin(&path.path),
            _ => {}
        }
        visit::visit_expr(self, expression);
        self.depth -= 1;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let (Some(constant), true) = (&item.sig.constness, self.has_twin(&item.sig.ident)) else {
            return self.function(&item.sig, &item.block);
        };
        // The function as it is, and then its twin.
        let private = matches!(item.vis, syn::Visibility::Inherited);
        let start = bytes(if private { constant.span() } else { item.vis.span() }).start;
        let end = bytes(item.block.span()).end;
        self.put(start, 0, 0, format!("{}\n", &self.source[start..end]));
        self.put(bytes(constant.span()).start, "const".len(), 1, "");
        self.put(bytes(item.sig.ident.span()).start, 0, 0, "twin_of_");
        self.body(&item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        let value = bytes(item.expr.span());
        if !self.has_twin(&item.ident) {
            return self.constant(|this| visit::visit_item_const(this, item));
        }
        let (visible, of_type) = (bytes(item.vis.span()), bytes(item.ty.span()));
        let visible = if matches!(item.vis, syn::Visibility::Inherited) { "" } else { &self.source[visible] };
        let of_type = &self.source[of_type];
        let twin = format!("#[inline(always)] {visible} fn twin_of_{}() -> {of_type}", item.ident);
        // Computed once, and not wherever it is used.
        let once = format!("static V: std::sync::LazyLock<{of_type}> = std::sync::LazyLock::new(||");
        self.put(value.start, 0, i32::MIN, format!("{};\n{twin} {{ {once} ", &self.source[value.clone()]));
        self.visit_expr(&item.expr);
        self.put(bytes(item.semi_token.span()).start, 1, 0, "); *V }");
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        if !twins::has_mutant(item.expr.span(), self.mutants.iter().copied()) {
            return self.constant(|this| visit::visit_item_static(this, item));
        }
        let (of_type, value) = (bytes(item.ty.span()), bytes(item.expr.span()));
        self.put(of_type.start, 0, i32::MIN, "std::sync::LazyLock<");
        self.put(of_type.end, 0, i32::MAX, ">");
        self.put(value.start, 0, i32::MIN, "std::sync::LazyLock::new(|| ");
        self.visit_expr(&item.expr);
        self.put(value.end, 0, i32::MAX, ")");
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constant(|this| visit::visit_impl_item_const(this, item));
    }

    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.constant(|this| visit::visit_trait_item_const(this, item));
    }

    fn visit_expr_const(&mut self, block: &'ast syn::ExprConst) {
        self.constant(|this| visit::visit_expr_const(this, block));
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
        self.constant(|this| this.visit_expr(&repeat.len));
    }

    fn visit_type_array(&mut self, array: &'ast syn::TypeArray) {
        self.visit_type(&array.elem);
        self.constant(|this| this.visit_expr(&array.len));
    }

    fn visit_generic_argument(&mut self, argument: &'ast GenericArgument) {
        self.constant(|this| visit::visit_generic_argument(this, argument));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.constant(|this| visit::visit_variant(this, variant));
    }
}
