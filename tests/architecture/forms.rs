//! Tests of the form of the code: files, folders, names of types, and comments.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{Source, sources, texts};

/// The folders of all sources.
const ALL: &[&str] = &["src", "storage/src", "bench/src", "bench/load/src", "tests", "storage/tests"];
/// The most files of one folder that a reader looks through.
const FILES: usize = 20;
/// Names that several modules may define: each stands for the module's own.
const SHARED: &[&str] = &["Error", "Result", "Tag"];
/// First words of relative and indirect clauses.
const CLAUSES: &[&str] = &[
    "how",
    "if",
    "whatever",
    "what",
    "when",
    "whenever",
    "where",
    "wherever",
    "whether",
    "which",
    "whichever",
    "who",
    "whoever",
    "whom",
    "whose",
    "why",
];

#[test]
fn every_file_says_what_it_is() {
    let mut silent = texts(ALL);
    silent.retain(|(_, text)| !text.starts_with("//!") && !text.starts_with("#![doc"));
    assert_eq!(silent.into_iter().map(|(file, _)| file).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn no_folder_has_too_many_files() {
    let mut folders = BTreeMap::<String, usize>::new();
    for (file, _) in texts(&["src", "storage/src"]) {
        let (folder, _) = file.rsplit_once('/').expect("it lies in a folder");
        *folders.entry(folder.to_owned()).or_default() += 1;
    }
    folders.retain(|_, files| *files > FILES);
    assert_eq!(folders, BTreeMap::new());
}

#[test]
fn one_type_name_means_one_thing() {
    let mut defined = BTreeMap::<String, BTreeSet<String>>::new();
    for Source { file, types, .. } in sources(&["src"]) {
        if !file.ends_with("/wire.rs") {
            types.into_iter().filter(|name| !SHARED.contains(&name.as_str())).for_each(|name| {
                defined.entry(name).or_default().insert(file.clone());
            });
        }
    }
    defined.retain(|_, files| files.len() > 1);
    assert_eq!(defined, BTreeMap::new());
}

#[test]
fn no_type_shadows_the_prelude() {
    const PRELUDE: &[&str] = &[
        "Send", "Sync", "Copy", "Clone", "From", "Into", "Drop", "Fn", "Option", "Some", "Ok", "Box", "Vec", "String",
        "Iterator", "Default",
    ];
    for Source { file, types, .. } in sources(&["src", "storage/src"]) {
        assert!(types.iter().all(|name| !PRELUDE.contains(&name.as_str())), "{file} defines one of {PRELUDE:?}");
    }
}

/// Comment blocks begin with a term, not with a clause that hides it: at most 3 in 100 do.
#[test]
fn comments_begin_with_their_terms() {
    let (mut blocks, mut clauses) = (0, Vec::new());
    for (file, text) in texts(ALL) {
        let mut before = "";
        for (at, line) in text.lines().enumerate() {
            let (mark, words) = comment(line);
            if !mark.is_empty() && mark != before {
                blocks += 1;
                let mut words = words.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).map(str::to_lowercase);
                let first = words.next().unwrap_or_default();
                let is_preposition =
                    ["for", "by", "in", "on", "at", "to", "from", "since", "until", "after", "before", "of", "with"]
                        .contains(&first.as_str());
                let first = if is_preposition { words.next().unwrap_or_default() } else { first };
                if CLAUSES.contains(&first.as_str()) {
                    clauses.push(format!("{}:{}: {}", file, at + 1, line.trim()));
                }
            }
            before = mark;
        }
    }
    assert!(blocks > 1_000, "comments are found, not only {blocks}");
    assert!(clauses.len() * 100 < blocks * 3, "{} of {blocks}:\n{}", clauses.len(), clauses.join("\n"));
}

/// The mark and the words of a line that is a comment.
fn comment(line: &str) -> (&'static str, &str) {
    let line = line.trim_start();
    ["//!", "///", "//"].into_iter().find_map(|mark| line.strip_prefix(mark).map(|words| (mark, words))).unwrap_or(("", ""))
}
