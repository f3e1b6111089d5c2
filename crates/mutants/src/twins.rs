//! Constants that have mutants, and what stands for them at run time.
//!
//! `const X: T = value;` gets a twin `fn twin_of_X() -> T { value }`, and so does a `const fn`; expressions that are evaluated at run time
//! use the twin, where switches can be. What is computed while compiling keeps the constant. A `static` becomes a `LazyLock`.

use std::collections::BTreeSet;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{File, ItemConst, ItemFn, ItemUse, Stmt, UseTree};

use crate::list::Mutant;

/// A constant, or a function that is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Twin {
    pub name: String,
    /// The file that has it.
    pub file: String,
}

/// Whether a mutant stands within a span.
pub fn has_mutant<'a>(span: proc_macro2::Span, mutants: impl IntoIterator<Item = &'a Mutant>) -> bool {
    let (start, end) = (span.start(), span.end());
    let within = |mutant: &Mutant| {
        let place = (mutant.span.start.line, mutant.span.start.column - 1);
        (start.line, start.column) <= place && place < (end.line, end.column)
    };
    mutants.into_iter().any(within)
}

/// The twins that items of a file are to have, and those of constants within functions.
pub fn of_file(name: &str, file: &File, mutants: &[(usize, &Mutant)]) -> BTreeSet<Twin> {
    let mut collector = Collector { name, mutants, twins: BTreeSet::new(), inner: 0 };
    collector.visit_file(file);
    collector.twins
}

struct Collector<'a> {
    name: &'a str,
    mutants: &'a [(usize, &'a Mutant)],
    twins: BTreeSet<Twin>,
    inner: usize,
}

impl Collector<'_> {
    fn consider(&mut self, span: proc_macro2::Span, name: &syn::Ident) {
        // Those within functions are found again where they are used.
        if self.inner == 0 && has_mutant(span, self.mutants.iter().map(|(_, mutant)| *mutant)) {
            self.twins.insert(Twin { name: name.to_string(), file: self.name.to_owned() });
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        // The length of an array is part of its type.
        let is_length = matches!(&*item.ty, syn::Type::Path(path) if path.path.is_ident("usize"));
        if !is_length {
            self.consider(item.expr.span(), &item.ident);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if item.sig.constness.is_some() {
            self.consider(item.block.span(), &item.sig.ident);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.inner += 1;
        visit::visit_item_mod(self, item);
        self.inner -= 1;
    }

    fn visit_item_impl(&mut self, _: &'ast syn::ItemImpl) {}
}

/// The constants of a block that have mutants.
pub fn of_block(block: &syn::Block, mutants: &[&Mutant]) -> Vec<String> {
    let constants = block.stmts.iter().filter_map(|statement| match statement {
        Stmt::Item(syn::Item::Const(item)) if has_mutant(item.expr.span(), mutants.iter().copied()) => {
            Some(item.ident.to_string())
        }
        _ => None,
    });
    constants.collect()
}

/// The names that a file brings in from a module, given that module's last name.
pub fn imported(file: &File, module: &str) -> BTreeSet<String> {
    struct Imports<'a>(&'a str, BTreeSet<String>);

    impl Imports<'_> {
        fn tree(&mut self, tree: &UseTree, of_module: bool) {
            match tree {
                UseTree::Path(path) => self.tree(&path.tree, path.ident == self.0),
                UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, of_module)),
                UseTree::Name(name) if of_module => _ = self.1.insert(name.ident.to_string()),
                _ => {}
            }
        }
    }

    impl<'ast> Visit<'ast> for Imports<'_> {
        fn visit_item_use(&mut self, item: &'ast ItemUse) {
            self.tree(&item.tree, false);
        }

        fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}
    }

    let mut imports = Imports(module, BTreeSet::new());
    imports.visit_file(file);
    imports.1
}

/// Of `src/math/exp.rs` it is `crate::math::exp`.
pub fn module_of(file: &str) -> String {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    let inner = inner.strip_suffix("/mod.rs").or(inner.strip_suffix(".rs")).unwrap_or(inner);
    format!("crate::{}", inner.replace('/', "::"))
}
