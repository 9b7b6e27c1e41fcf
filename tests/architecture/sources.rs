//! Sources of the product as the rules need them: their paths, spawned tasks and matches, without tests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Arm, Attribute, Expr, ExprMatch, ExprMethodCall, ImplItem, Item, Macro, Pat, UseTree,
    spanned::Spanned,
    visit::{self, Visit},
};

/// A file with what it names. Lines begin with 1.
pub(super) struct Source {
    /// From the repository's root.
    pub(super) file: String,
    /// Its module, from the crate's root.
    pub(super) module: Vec<String>,
    /// Paths, those of `use` trees spelled out; a called method is a path of its own, with a dot.
    pub(super) paths: Vec<(usize, Vec<String>)>,
    /// The last name of each receiver of `.spawn(..)`.
    pub(super) spawns: Vec<(usize, String)>,
    /// Enums that are matched with a wildcard.
    pub(super) open_matches: Vec<(usize, String)>,
    pub(super) types: Vec<String>,
    /// Variants that are imported, each with its enum.
    variants: BTreeMap<String, String>,
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources below some folders of the repository, parsed.
pub(super) fn sources(folders: &[&str]) -> Vec<Source> {
    texts(folders).iter().map(|(file, text)| Source::of(file, text)).collect()
}

/// The files of all sources below some folders of the repository, from its root, with their texts.
pub(super) fn texts(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| collect(&root().join(folder), &mut files));
    files.sort();
    let read = |path: &PathBuf| {
        let file = path.strip_prefix(root()).expect("it lies there").to_string_lossy().into_owned();
        (file, fs::read_to_string(path).expect("it can be read"))
    };
    files.iter().map(read).collect()
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the sources are there") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push(path);
        }
    }
}

impl Source {
    pub(super) fn of(file: &str, text: &str) -> Self {
        let within = file.split_once("src/").map_or(file, |(_, within)| within).trim_end_matches(".rs");
        let mut module: Vec<_> = within.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        let mut source = Self {
            file: file.into(),
            module,
            paths: Vec::new(),
            spawns: Vec::new(),
            open_matches: Vec::new(),
            types: Vec::new(),
            variants: BTreeMap::new(),
        };
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        source.visit_file(&parsed);
        source
    }

    /// The folder of the package's sources.
    pub(super) fn package(&self) -> &str {
        self.file.split("src/").next().unwrap_or_default()
    }

    /// A path from the crate's root; a path that is not of this crate has its own beginning.
    pub(super) fn absolute(&self, path: &[String]) -> Vec<String> {
        let ups = path.iter().take_while(|name| *name == "super").count();
        match path.first().map(String::as_str) {
            Some("crate" | "dragoman") => path[1..].to_vec(),
            Some("self") => self.module.iter().chain(&path[1..]).cloned().collect(),
            Some("super") => self.module[..self.module.len().saturating_sub(ups)].iter().chain(&path[ups..]).cloned().collect(),
            // A child of this module, or a crate: only modules that are there are looked up.
            _ if self.file.ends_with("/mod.rs") => self.module.iter().chain(path).cloned().collect(),
            _ => vec!["".into()],
        }
    }

    fn spell(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |name: String| prefix.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.spell(&path.tree, &with(path.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.spell(tree, prefix)),
            UseTree::Name(name) if name.ident == "self" => self.paths.push((tree.span().start().line, prefix.to_vec())),
            UseTree::Name(name) => {
                if let Some(of) = prefix.last().filter(|of| of.starts_with(char::is_uppercase)) {
                    self.variants.insert(name.ident.to_string(), of.clone());
                }
                self.paths.push((tree.span().start().line, with(name.ident.to_string())));
            }
            UseTree::Rename(rename) => self.paths.push((tree.span().start().line, with(rename.ident.to_string()))),
            UseTree::Glob(_) => self.paths.push((tree.span().start().line, prefix.to_vec())),
        }
    }

    /// Paths in the arguments of a macro, and methods that are called there.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is = |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) => {
                    let is_call = at > 0 && is(at - 1, '.') && matches!(tokens.get(at + 1), Some(TokenTree::Group(_)));
                    if is_call && first == "spawn" {
                        let receiver =
                            at.checked_sub(2).and_then(|at| tokens.get(at)).map(ToString::to_string).unwrap_or_default();
                        self.spawns.push((first.span().start().line, receiver));
                    }
                    let mut path = vec![if is_call { format!(".{first}") } else { first.to_string() }];
                    while is(at + 1, ':')
                        && is(at + 2, ':')
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.paths.push((first.span().start().line, path));
                }
                _ => {}
            }
            at += 1;
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

/// True for `_`. A name that takes the rest hands it on to where all variants are named.
fn is_open(arm: &Arm) -> bool {
    matches!(arm.pat, Pat::Wild(_))
}

/// The enums whose variants a pattern names, and the variants that it names alone.
#[derive(Default)]
struct Enums {
    named: Vec<String>,
    bare: Vec<String>,
}

impl<'a> Visit<'a> for Enums {
    fn visit_path(&mut self, path: &'a syn::Path) {
        let mut names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let variant = names.pop();
        match names.pop() {
            Some(of) => self.named.push(of),
            None => self.bare.extend(variant),
        }
    }

    fn visit_pat_ident(&mut self, name: &'a syn::PatIdent) {
        self.bare.push(name.ident.to_string());
        visit::visit_pat_ident(self, name);
    }
}

impl<'a> Visit<'a> for Source {
    fn visit_item(&mut self, item: &'a Item) {
        let (attributes, name) = match item {
            Item::Mod(item) => (&item.attrs, None),
            Item::Fn(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            Item::Const(item) => (&item.attrs, None),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        self.types.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        if !matches!(item, ImplItem::Fn(function) if is_test(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.spell(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.push((path.span().start().line, names));
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'a ExprMethodCall) {
        let line = call.method.span().start().line;
        if call.method == "spawn" {
            let receiver = match &*call.receiver {
                Expr::Field(field) => match &field.member {
                    syn::Member::Named(name) => name.to_string(),
                    syn::Member::Unnamed(index) => index.index.to_string(),
                },
                Expr::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default(),
                _ => "an expression".into(),
            };
            self.spawns.push((line, receiver));
        }
        self.paths.push((line, vec![format!(".{}", call.method)]));
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_match(&mut self, matched: &'a ExprMatch) {
        if matched.arms.iter().any(is_open) {
            let mut enums = Enums::default();
            matched.arms.iter().for_each(|arm| enums.visit_pat(&arm.pat));
            let Enums { mut named, bare } = enums;
            named.extend(bare.iter().filter_map(|variant| self.variants.get(variant).cloned()));
            named.sort();
            named.dedup();
            let line = matched.match_token.span.start().line;
            self.open_matches.extend(named.into_iter().map(|name| (line, name)));
        }
        visit::visit_expr_match(self, matched);
    }

    fn visit_macro(&mut self, call: &'a Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
