//! Test of the documentation of public async functions: errors and cancellation, at the function or at what it stands in.

use std::collections::BTreeSet;

use syn::{
    Attribute, Expr, ExprLit, ImplItem, ItemFn, ItemImpl, ItemTrait, Lit, Meta, ReturnType, Signature, TraitItem, Type,
    TypeParamBound, Visibility,
    visit::{self, Visit},
};

use super::sources::texts;

/// The folders whose public async functions say their errors and what a dropped future leaves behind.
const FOLDERS: &[&str] = &["src/chat", "src/auth", "src/events", "storage/src"];
const ERRORS: &str = "# Errors";
const CANCELLATION: &str = "# Cancel safety";

#[test]
fn public_async_functions_have_their_headings() {
    let files = texts(FOLDERS);
    // The rules of these two hold for the methods of all their supertraits.
    let mut joined = JoinedTraits::default();
    files.iter().filter(|(file, _)| file == "storage/src/lib.rs").for_each(|(file, text)| joined.visit_file(&parse(file, text)));
    assert!(joined.0.len() > 20, "the supertraits are found: {:?}", joined.0);
    let (mut functions, mut silent) = (0, Vec::new());
    for (file, text) in &files {
        let parsed = parse(file, text);
        let mut found =
            Functions { around: vec![documentation(&parsed.attrs)], joined: joined.0.clone(), ..Functions::default() };
        found.visit_file(&parsed);
        functions += found.functions;
        silent.extend(found.silent.into_iter().map(|function| format!("{file}: {function}")));
    }
    assert!(functions > 100, "functions are found, not only {functions}");
    assert_eq!(silent, Vec::<String>::new());
}

fn parse(file: &str, text: &str) -> syn::File {
    syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The supertraits of the storage's two traits.
#[derive(Default)]
struct JoinedTraits(BTreeSet<String>);

impl Visit<'_> for JoinedTraits {
    fn visit_item_trait(&mut self, item: &ItemTrait) {
        if !["Storage", "Tx"].contains(&item.ident.to_string().as_str()) {
            return;
        }
        assert!(
            [ERRORS, CANCELLATION].iter().all(|heading| has(&documentation(&item.attrs), heading)),
            "{} lacks one",
            item.ident
        );
        let last = |bound: &TypeParamBound| match bound {
            TypeParamBound::Trait(bound) => bound.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.0.extend(item.supertraits.iter().filter_map(last));
    }
}

#[derive(Default)]
struct Functions {
    /// Documentation of the file, and of the block that is visited.
    around: Vec<String>,
    joined: BTreeSet<String>,
    functions: usize,
    silent: Vec<String>,
}

impl Functions {
    fn check(&mut self, attributes: &[Attribute], signature: &Signature) {
        if signature.asyncness.is_none() {
            return;
        }
        self.functions += 1;
        let own = documentation(attributes);
        for heading in [ERRORS, CANCELLATION] {
            let applies = heading == CANCELLATION || returns_result(&signature.output);
            if applies && !has(&own, heading) && !self.around.iter().any(|text| has(text, heading)) {
                self.silent.push(format!("{} lacks {heading}", signature.ident));
            }
        }
    }
}

impl Visit<'_> for Functions {
    fn visit_item_impl(&mut self, item: &ItemImpl) {
        self.around.push(documentation(&item.attrs));
        for member in &item.items {
            if let (ImplItem::Fn(function), None) = (member, &item.trait_)
                && matches!(function.vis, Visibility::Public(_))
            {
                self.check(&function.attrs, &function.sig);
            }
        }
        self.around.pop();
    }

    fn visit_item_trait(&mut self, item: &ItemTrait) {
        if !matches!(item.vis, Visibility::Public(_)) || self.joined.contains(&item.ident.to_string()) {
            return;
        }
        self.around.push(documentation(&item.attrs));
        for member in &item.items {
            if let TraitItem::Fn(function) = member {
                self.check(&function.attrs, &function.sig);
            }
        }
        self.around.pop();
    }

    fn visit_item_fn(&mut self, item: &ItemFn) {
        if matches!(item.vis, Visibility::Public(_)) {
            self.check(&item.attrs, &item.sig);
        }
        visit::visit_item_fn(self, item);
    }
}

fn returns_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, kind) = output else { return false };
    matches!(&**kind, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "Result"))
}

fn has(documentation: &str, heading: &str) -> bool {
    documentation.lines().any(|line| line.trim() == heading)
}

fn documentation(attributes: &[Attribute]) -> String {
    let text = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(named) if attribute.path().is_ident("doc") => match &named.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}
