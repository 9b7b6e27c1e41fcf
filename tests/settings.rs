//! Tests of the settings' documentation: `deploy/SETTINGS.md` is rendered from the types of the settings, their doc comments,
//! defaults and bounds.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use dragoman::config::BOUNDS;
use syn::{
    Attribute, Expr, Field, Fields, GenericArgument, Item, ItemEnum, ItemStruct, Lit, LitStr, Meta, PathArguments, Token, Type,
};
use toml::{Table, Value};

const DOCUMENT: &str = "deploy/SETTINGS.md";

/// Variable of the environment with which the test writes the document.
const WRITE: &str = "DRAGOMAN_TEST_WRITE";

const HEAD: &str = "# Settings

Sources, in order of precedence, lowest first: defaults, a TOML file (`--config FILE`, or `dragoman.toml` in the working
directory), the environment (`DRAGOMAN__LIMITS__BODY_BYTES` for `limits.body_bytes`; commas separate the elements of a list),
flags (`--listen`, `--data`, `--storage`, `--database`, `--demo`, `--log-format`). An unknown key or a bad value stops the start
with one line that names it. Numbers have bounds; [the guide](GUIDE.md#bounds-of-settings) has a summary.

This file is generated from the types in `src/config`: change their doc comments, and run the test `the_settings_are_documented`
with `DRAGOMAN_TEST_WRITE=1`. Defaults are written as in TOML; in the environment, texts have no quotes and lists no brackets.
";

/// Units in which a number is shown, greatest first.
type Units = &'static [(u64, &'static str)];
const BYTES: Units = &[(1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
const SECONDS: Units = &[(86_400, "days"), (3_600, "h"), (60, "min"), (1, "s")];
const MILLISECONDS: Units = &[(86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
const NONE: Units = &[(1, "")];

#[test]
fn the_settings_are_documented() {
    let rendered = document();
    let path = root().join(DOCUMENT);
    if env::var_os(WRITE).is_some() {
        fs::write(&path, rendered).expect("the document can be written");
        return;
    }
    let written = fs::read_to_string(&path).expect("the document is there");
    let common = written.lines().zip(rendered.lines()).take_while(|(written, rendered)| written == rendered).count();
    let [written_line, rendered_line] = [&written, &rendered].map(|text| text.lines().nth(common).unwrap_or("(the end)"));
    assert!(
        written == rendered,
        "line {} of {DOCUMENT} is out of date; run this test with {WRITE}=1\n in file: {written_line}\nrendered: {rendered_line}",
        common + 1
    );
}

/// Completeness: each setting and each section is described, and the values of an enum are named.
#[test]
fn every_setting_is_described() {
    let sections = sections();
    for Section { name, doc, settings } in &sections {
        assert!(!doc.is_empty(), "the type of [{name}] has no doc comment");
        for Setting { name, doc, values, .. } in settings {
            assert!(!doc.is_empty(), "{name} has no doc comment");
            for value in values {
                assert!(doc.contains(&format!("`{value}`")), "the doc comment of {name} does not name its value `{value}`");
            }
        }
    }
    let count: usize = sections.iter().map(|section| section.settings.len()).sum();
    assert!(count > BOUNDS.len(), "only {count} settings");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    for Section { name, doc, settings } in sections() {
        if name.is_empty() {
            text.push_str("\n## Top level\n");
        } else {
            write!(text, "\n## {name}\n\n{doc}\n").expect("a string takes all");
        }
        text.push_str("\n| setting | default | what |\n| --- | --- | --- |\n");
        settings.iter().for_each(|setting| text.push_str(&setting.row()));
    }
    text
}

/// A table of the settings.
struct Section {
    /// Path with dots; empty for the top level.
    name: String,
    doc: String,
    settings: Vec<Setting>,
}

struct Setting {
    /// Path with dots.
    name: String,
    aliases: Vec<String>,
    doc: String,
    /// Values of an enum whose variants have no fields.
    values: Vec<String>,
    /// `None` for an optional setting, which has no default.
    default: Option<Value>,
}

impl Setting {
    fn row(&self) -> String {
        let Self { name, aliases, doc, default, .. } = self;
        let aliases: String = aliases.iter().map(|alias| format!(", also `{alias}`")).collect();
        let variable = format!("DRAGOMAN__{}", name.replace('.', "__").to_uppercase());
        let default = default.as_ref().map_or("none".into(), |value| format!("`{value}`{}", self.in_units(value)));
        let bounds = BOUNDS.iter().find(|bound| bound.name == name);
        let bounds = bounds.map(|bound| format!(" Bounds: {} to {}.", self.amount(bound.least), self.amount(bound.most)));
        let what = format!("{doc}{}", bounds.unwrap_or_default()).replace('|', "\\|");
        format!("| `{name}`{aliases}<br>`{variable}` | {default} | {what} |\n")
    }

    fn units(&self) -> Units {
        if self.name.contains("bytes") {
            BYTES
        } else if self.name.ends_with("milliseconds") {
            MILLISECONDS
        } else if self.name.ends_with("seconds") {
            SECONDS
        } else {
            NONE
        }
    }

    /// The greatest unit of which this is a whole number.
    fn unit(&self, number: u64) -> Option<&'static (u64, &'static str)> {
        self.units().iter().find(|(size, _)| number >= *size && number.is_multiple_of(*size))
    }

    fn amount(&self, number: u64) -> String {
        let Some((size, unit)) = self.unit(number) else { return grouped(number) };
        let count = number / size;
        let unit = if count == 1 && *unit == "days" { "day" } else { unit };
        format!("{} {unit}", grouped(count)).trim_end().to_owned()
    }

    /// A number in a greater unit than its own.
    fn in_units(&self, value: &Value) -> String {
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| self.unit(*number).is_some_and(|(size, _)| *size > 1));
        number.map(|number| format!(" ({})", self.amount(number))).unwrap_or_default()
    }
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let before = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", before(at))).collect()
}

fn sections() -> Vec<Section> {
    let types = Types::read();
    let mut sections = Vec::new();
    types.section("", &types.structs["Config"], &mut sections);
    sections
}

/// Types of the settings, by name, and the defaults.
struct Types {
    /// Those with named fields.
    structs: BTreeMap<String, ItemStruct>,
    enums: BTreeMap<String, ItemEnum>,
    defaults: Value,
}

impl Types {
    fn read() -> Self {
        let folder = fs::read_dir(root().join("src/config")).expect("the sources are there");
        let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("it can be listed").path()).collect();
        files.retain(|path| path.extension().is_some_and(|kind| kind == "rs"));
        files.push(root().join("src/telemetry.rs"));
        let defaults = fs::read_to_string(root().join("src/config/defaults.toml")).expect("the defaults are there");
        let defaults = Value::Table(defaults.parse::<Table>().expect("the defaults are TOML"));
        let mut types = Self { structs: BTreeMap::new(), enums: BTreeMap::new(), defaults };
        for path in files {
            let source = fs::read_to_string(&path).expect("it can be read");
            for item in syn::parse_file(&source).unwrap_or_else(|error| panic!("{}: {error}", path.display())).items {
                match item {
                    Item::Struct(item) if matches!(item.fields, Fields::Named(_)) => {
                        types.structs.insert(item.ident.to_string(), item);
                    }
                    Item::Enum(item) => {
                        types.enums.insert(item.ident.to_string(), item);
                    }
                    _ => {}
                }
            }
        }
        types
    }

    /// Appends the section of a struct, and then those of the structs in it.
    fn section(&self, name: &str, settings: &ItemStruct, sections: &mut Vec<Section>) {
        let at = sections.len();
        sections.push(Section { name: name.into(), doc: doc(&settings.attrs), settings: Vec::new() });
        self.fill(at, settings, sections);
    }

    fn fill(&self, at: usize, settings: &ItemStruct, sections: &mut Vec<Section>) {
        let rename_all = Serde::of(&settings.attrs).rename_all;
        for field in &settings.fields {
            let serde = Serde::of(&field.attrs);
            let section = &sections[at].name;
            let below = |name: &str| if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            let name = below(&serde.name(&field.ident.as_ref().expect("the field is named").to_string(), rename_all.as_deref()));
            match self.structs.get(&type_name(&field.ty).0) {
                Some(inner) if serde.is_flat => self.fill(at, inner, sections),
                Some(inner) => self.section(&name, inner, sections),
                None => {
                    let aliases = serde.aliases.iter().map(|alias| below(alias)).collect();
                    sections[at].settings.push(self.setting(name, aliases, field));
                }
            }
        }
    }

    fn setting(&self, name: String, aliases: Vec<String>, field: &Field) -> Setting {
        let (kind, is_optional) = type_name(&field.ty);
        let default = name.split('.').try_fold(&self.defaults, |table, key| table.get(key)).cloned();
        assert!(is_optional || default.is_some(), "{name} has no default");
        Setting { doc: doc(&field.attrs), values: self.enums.get(&kind).map(values).unwrap_or_default(), name, aliases, default }
    }
}

/// Values that the derived `Deserialize` of an enum reads from a text.
fn values(item: &ItemEnum) -> Vec<String> {
    let is_derived = item.attrs.iter().any(|attribute| {
        attribute.path().is_ident("derive")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("Deserialize"))
    });
    if !is_derived || item.variants.iter().any(|variant| !matches!(variant.fields, Fields::Unit)) {
        return Vec::new();
    }
    let rename_all = Serde::of(&item.attrs).rename_all;
    item.variants
        .iter()
        .map(|variant| Serde::of(&variant.attrs).name(&variant.ident.to_string(), rename_all.as_deref()))
        .collect()
}

/// The last name of a type's path, that of the content for an `Option`; and true if it is one.
fn type_name(of: &Type) -> (String, bool) {
    let Type::Path(path) = of else { return (String::new(), false) };
    let last = path.path.segments.last().expect("a path has a name");
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) if last.ident == "Option" => match arguments.args.first() {
            Some(GenericArgument::Type(content)) => (type_name(content).0, true),
            _ => (String::new(), true),
        },
        _ => (last.ident.to_string(), false),
    }
}

/// A doc comment in one line.
fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<_> = attributes.iter().filter_map(line).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// Attributes of serde that change names.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    rename_all: Option<String>,
    aliases: Vec<String>,
    is_flat: bool,
}

impl Serde {
    fn of(attributes: &[Attribute]) -> Self {
        let mut serde = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let read = attribute.parse_nested_meta(|meta| {
                let name = meta.path.require_ident()?.to_string();
                let value = if meta.input.peek(Token![=]) { Some(meta.value()?.parse::<LitStr>()?.value()) } else { None };
                match name.as_str() {
                    "rename" => serde.rename = value,
                    "rename_all" => serde.rename_all = value,
                    "alias" => serde.aliases.extend(value),
                    "flatten" => serde.is_flat = true,
                    "default" | "deny_unknown_fields" | "deserialize_with" | "transparent" | "try_from" => {}
                    _ => return Err(meta.error("an attribute that this test does not know")),
                }
                Ok(())
            });
            read.unwrap_or_else(|error| panic!("serde: {error}"));
        }
        serde
    }

    fn name(&self, name: &str, rename_all: Option<&str>) -> String {
        let is_word_start = |(at, letter): &(usize, char)| *at > 0 && letter.is_uppercase();
        let separated = |separator: &str| -> String {
            let letter =
                |at: (usize, char)| format!("{}{}", if is_word_start(&at) { separator } else { "" }, at.1.to_lowercase());
            name.char_indices().map(letter).collect()
        };
        match (&self.rename, rename_all) {
            (Some(rename), _) => rename.clone(),
            (None, None) => name.to_owned(),
            (None, Some("lowercase")) => name.to_lowercase(),
            (None, Some("snake_case")) => separated("_"),
            (None, Some("kebab-case")) => separated("-").replace('_', "-"),
            (None, Some(other)) => panic!("serde: rename_all = {other:?} is not known to this test"),
        }
    }
}
