//! Tests of the dependency rules, read from the sources with `syn`: layers, circles, paths that a part must not name, and the
//! form of files, folders, names and comments.

mod forms;
mod headings;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use sources::{Source, root, sources};

/// The layers from the top down: a module knows itself, what stands below its layer, and nothing else. `README.md` of `src` has
/// the same lines.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["server"],
    &["dialects"],
    &["web"],
    &["config", "demo"],
    &["admin", "backup", "relocation"],
    &["chat"],
    &["auth"],
    &["events"],
    &["bus", "blobs"],
    &["shares", "outgoing", "transaction"],
    &["characters", "keyed_semaphore", "metrics", "networks", "pruning_map", "telemetry", "token_bucket", "weighed"],
    &["clock", "error", "lifecycle"],
];

/// Paths that the files of a part must not name.
struct Rule {
    says: &'static str,
    part: fn(&str) -> bool,
    /// Paths: `a::b` stands for a path that contains `b` right after `a`; `.begin` stands for a call of that method.
    never: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        says: "the chat knows neither HTTP nor JSON nor SQL nor a dialect",
        part: |file| file.starts_with("src/chat/"),
        never: &["poem", "poem_openapi", "hyper", "serde_json", "sqlx"],
    },
    Rule {
        says: "the event log's delivery knows no caller and no rule of the chat",
        part: |file| file.starts_with("src/events/"),
        never: &["poem", "poem_openapi", "hyper", "serde_json", "sqlx", "Caller"],
    },
    Rule {
        says: "a dialect only translates: it begins no transaction and knows no database",
        part: |file| file.starts_with("src/dialects/") || file.starts_with("src/web/"),
        never: &["sqlx", "Tx", ".begin", "storage::Storage"],
    },
    Rule {
        says: "the storage knows no caller, no dialect and no web",
        part: |file| file.starts_with("storage/src/"),
        never: &["poem", "poem_openapi", "hyper", "dragoman", "reqwest"],
    },
    Rule {
        says: "backends are named where the parts are opened, and nowhere else",
        part: |file| file.starts_with("src/") && !file.starts_with("src/server/") && file != "src/bus/postgres.rs",
        never: &["storage::memory", "storage::postgres", "storage::sqlite", "bus::PostgresBus", "bus::NatsBus"],
    },
    Rule {
        says: "only the notifier over PostgreSQL speaks to it beside the storage",
        part: |file| file.starts_with("src/") && file != "src/bus/postgres.rs",
        never: &["sqlx"],
    },
    Rule {
        says: "every transaction is retried after contention",
        part: |file| {
            let is_elsewhere = ["src/admin.rs", "src/auth/token/issue.rs", "src/demo.rs"].contains(&file);
            // Uploads and batches begin transactions as well.
            let is_other = ["src/chat/attachments/quota.rs", "src/chat/group_commit/mod.rs"].contains(&file);
            is_elsewhere || (file.starts_with("src/chat/") && !is_other)
        },
        never: &[".begin"],
    },
    Rule {
        says: "authentication and files know no HTTP server and no database",
        part: |file| file.starts_with("src/auth/") || file.starts_with("src/blobs"),
        never: &["poem", "poem_openapi", "sqlx"],
    },
    Rule {
        says: "every task has an owner that waits for it",
        part: |file| file != "src/lifecycle.rs",
        never: &["tokio::spawn", "task::spawn", "task::spawn_local", "task::JoinSet", "TaskTracker", "thread::spawn"],
    },
    Rule { says: "there is one clock", part: |file| file != "src/clock.rs", never: &["Utc::now", "Local::now", "SystemTime"] },
    Rule {
        says: "no queue grows without bound",
        part: |_| true,
        never: &["mpsc::unbounded_channel", "unbounded_channel", "UnboundedSender", "channel::unbounded", "std::sync::mpsc"],
    },
];

/// Owners of tasks, as receivers of `.spawn(..)`: lifecycles, and in the storage the runtime, whose tasks hold connections of the
/// pool, which waits for them. A program is no task, and is waited for where it is started. A thread
/// that hashes holds nothing that the stop needs, and ends with the process.
const OWNERS: &[&str] = &["lifecycle", "services", "requests", "tasks", "runtime", "pg_restore", "thread"];
/// Enums whose every variant a dialect names where it matches on one.
const EXHAUSTIVE: &[&str] = &["Error", "Fact"];

/// The layer of a file of `src`, by its number in [`LAYERS`], and its module directly below the crate's root.
fn layer(file: &str) -> Option<(usize, &str)> {
    let module = file.strip_prefix("src/")?.split(['/', '.']).next()?;
    LAYERS.iter().position(|layer| layer.contains(&module)).map(|at| (at, module))
}

/// The dialect to which a file belongs.
fn dialect(file: &str) -> Option<&str> {
    file.strip_prefix("src/dialects/")?.split_once('/').map(|(dialect, _)| dialect)
}

fn names(path: &[String], never: &str) -> bool {
    let never: Vec<_> = never.split("::").collect();
    path.windows(never.len()).any(|part| part.iter().map(String::as_str).eq(never.iter().copied()))
}

/// Every place where a source names what it must not. `dialects` are all of them.
fn breaches(source: &Source, dialects: &BTreeSet<String>) -> Vec<String> {
    let file = source.file.as_str();
    let mut found = Vec::new();
    for (line, path) in &source.paths {
        let mut say = |what: &str| found.push(format!("{file}:{line} names {}: {what}", path.join("::")));
        for rule in RULES.iter().filter(|rule| (rule.part)(file)) {
            if rule.never.iter().any(|never| names(path, never)) {
                say(rule.says);
            }
        }
        let absolute = source.absolute(path);
        let top = absolute.first().map(String::as_str);
        if let (Some((here, module)), Some(top)) = (layer(file), top)
            && let Some(there) = LAYERS.iter().position(|layer| layer.contains(&top))
            && top != module
            && there <= here
        {
            say("it stands above or beside");
        }
        if let (Some(at_home), Some("dialects"), Some(other)) = (dialect(file), top, absolute.get(1))
            && other != at_home
            && dialects.contains(other)
        {
            say("a dialect knows no other");
        }
    }
    for (line, receiver) in &source.spawns {
        if file != "src/lifecycle.rs" && !OWNERS.contains(&receiver.as_str()) {
            found.push(format!("{file}:{line} spawns by {receiver}: every task has an owner that waits for it"));
        }
    }
    if file.starts_with("src/dialects/") {
        for (line, name) in source.open_matches.iter().filter(|(_, name)| EXHAUSTIVE.contains(&name.as_str())) {
            found.push(format!("{file}:{line} matches {name} with a wildcard: a dialect translates every variant by name"));
        }
    }
    found
}

/// Circles of files that import each other. A file may name its ancestors, whose `mod.rs` is the face of their folder.
fn circles(all: &[Source]) -> Vec<Vec<&str>> {
    let by_module: BTreeMap<(&str, &[String]), &str> =
        all.iter().map(|source| ((source.package(), source.module.as_slice()), source.file.as_str())).collect();
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in all {
        for (_, path) in &source.paths {
            let absolute = source.absolute(path);
            let target = (0..=absolute.len()).rev().find_map(|length| {
                by_module.get_key_value(&(source.package(), &absolute[..length])).map(|((_, module), file)| (*module, *file))
            });
            if let Some((module, file)) = target
                && !source.module.starts_with(module)
            {
                imports.entry(&source.file).or_default().insert(file);
            }
        }
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports.keys().map(|file| (*file, reachable(&imports, file))).collect();
    let mut found: Vec<Vec<&str>> = Vec::new();
    for (file, files) in reached.iter().filter(|(file, files)| files.contains(*file)) {
        let circle: Vec<_> =
            files.iter().copied().filter(|other| reached.get(other).is_some_and(|back| back.contains(file))).collect();
        if !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// The files that a file imports, directly or not.
fn reachable<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = imports.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = next.pop() {
        if seen.insert(file) {
            next.extend(imports.get(file).into_iter().flatten());
        }
    }
    seen
}

fn dialects(all: &[Source]) -> BTreeSet<String> {
    all.iter().filter_map(|source| dialect(&source.file)).map(str::to_owned).collect()
}

#[test]
fn every_part_knows_only_what_it_may() {
    let all = sources(&["src", "storage/src"]);
    assert!(all.len() > 50, "all sources are read, not only {}", all.len());
    let dialects = dialects(&all);
    let found: Vec<_> = all.iter().flat_map(|source| breaches(source, &dialects)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let unplaced: Vec<_> =
        all.iter().map(|source| &source.file).filter(|file| file.starts_with("src/") && layer(file).is_none()).collect();
    assert_eq!(unplaced, ["src/lib.rs"], "files without a layer");
}

#[test]
fn no_files_import_each_other() {
    let all = sources(&["src", "storage/src"]);
    assert_eq!(circles(&all), Vec::<Vec<&str>>::new());
}

/// `src/README.md` shows the layers as they are tested.
#[test]
fn the_layers_are_documented() {
    let written: Vec<_> = LAYERS.iter().map(|layer| layer.join(", ")).collect();
    let readme = fs::read_to_string(root().join("src/README.md")).expect("src has a README");
    assert!(readme.contains(&written.join("\n")), "src/README.md lacks the lines\n{}", written.join("\n"));
}

/// A breach that is seeded into a file is found.
#[test]
fn a_breach_is_found_however_it_is_written() {
    let dialects = BTreeSet::from(["messaging".to_owned(), "odoo".to_owned()]);
    for (file, seeded) in [
        ("src/chat/people.rs", "use poem::Request;"),
        ("src/chat/people.rs", "fn f() { serde_json::json!({}) }"),
        ("src/chat/people.rs", "use crate::{auth, dialects::odoo};"),
        ("src/chat/people.rs", "use sqlx as database;"),
        ("src/chat/people.rs", "fn f() { tokio::select! { _ = crate::web::accept::run() => {} } }"),
        ("src/auth/session.rs", "use crate::chat::Chat;"),
        ("src/events/feed.rs", "use crate::auth::Caller;"),
        ("src/telemetry.rs", "use crate::config::Config;"),
        ("src/blobs/mod.rs", "use crate::bus::Bus;"),
        ("src/dialects/messaging/threads.rs", "use super::super::odoo;"),
        ("src/dialects/messaging/threads.rs", "use crate::{auth, dialects::odoo::wire::Info};"),
        ("src/web/lenient.rs", "use crate::dialects::messaging::Tag;"),
        ("src/dialects/odoo/session.rs", "async fn f() { let mut tx = storage\n    .begin()\n    .await?; }"),
        ("src/chat/messages.rs", "async fn f() { let mut tx = self.0.storage.begin().await?; }"),
        ("src/dialects/odoo/session.rs", "fn f(tx: &mut dyn Tx) {}"),
        ("src/dialects/odoo/session.rs", "fn f(tx: &mut dyn storage::Tx) {}"),
        ("src/dialects/odoo/error.rs", "fn f(error: &Error) -> u8 { match error { Error::NotFound(_) => 1, _ => 2 } }"),
        ("src/dialects/odoo/error.rs", "fn f(fact: &Fact) -> u8 { match fact { storage::Fact::Read { .. } => 1, _ => 2 } }"),
        (
            "src/dialects/odoo/error.rs",
            "fn f(error: &Error) -> u8 { use auth::Error::{Denied, Ended}; match error { Denied => 1, _ => 2 } }",
        ),
        ("storage/src/users.rs", "use poem_openapi::Object;"),
        ("src/main.rs", "use storage::{Role, memory::Memory};"),
        ("src/auth/mod.rs", "fn f() { let it = storage::postgres::Postgres::open(); }"),
        ("src/web/accept.rs", "fn f() { tokio::spawn(async {}); }"),
        ("src/web/accept.rs", "fn f() { set.spawn(async {}); }"),
        ("src/auth/mod.rs", "use tokio::{sync::Notify, task::JoinSet};"),
        ("src/auth/mod.rs", "fn f() { let now = chrono::Utc::now(); }"),
        ("src/events/tail.rs", "fn f() { let (a, b) = mpsc::unbounded_channel(); }"),
        ("src/events/tail.rs", "fn f() { let c = 'x'; let d: &'static str = \"\"; tokio::spawn(f()) }"),
    ] {
        assert_ne!(breaches(&Source::of(file, seeded), &dialects), Vec::<String>::new(), "{file}: {seeded}");
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    let dialects = BTreeSet::from(["messaging".to_owned(), "odoo".to_owned()]);
    for (file, allowed) in [
        ("src/server/mod.rs", "use storage::{Storage, memory::Memory, postgres}; use crate::dialects::{messaging, odoo};"),
        ("src/dialects/messaging/threads.rs", "use super::{Tag, wire::Thread}; use crate::web::jsonrpc::Call;"),
        ("src/dialects/messaging/threads.rs", "fn f() { let own = context.config.odoo.server_version; }"),
        (
            "src/dialects/odoo/error.rs",
            "fn f(error: &Error) -> u8 { match error { Error::NotFound(_) => 1, Error::Ended => 2 } }",
        ),
        (
            "src/chat/people.rs",
            "// not sqlx::query\n/* nor poem::Request */ const TEXT: &str = \"tokio::spawn, '\\\" Utc::now\";",
        ),
        ("src/transaction.rs", "async fn f() { let mut tx = storage.begin().await?; lifecycle.spawn(task); }"),
        ("src/lifecycle.rs", "use tokio_util::task::TaskTracker;"),
        ("src/clock.rs", "fn f() { chrono::Utc::now() }"),
        ("src/auth/session.rs", "fn live() {}\n#[cfg(test)]\nmod tests { fn f() { tokio::spawn(g()); } }"),
    ] {
        assert_eq!(breaches(&Source::of(file, allowed), &dialects), Vec::<String>::new(), "{file}: {allowed}");
    }
}

#[test]
fn a_circle_is_found() {
    let all = [
        Source::of("src/chat/mod.rs", "mod people; mod rates; use people::Person;"),
        Source::of("src/chat/people.rs", "use super::{Chat, rates::Rate};"),
        Source::of("src/chat/rates.rs", "fn f() { crate::chat::people::all() }"),
    ];
    assert_eq!(circles(&all), [["src/chat/people.rs", "src/chat/rates.rs"]]);
    assert_eq!(circles(&all[..2]), Vec::<Vec<&str>>::new(), "a file may name its ancestors");
}
