//! Who may know whom: the dependency rules of the house, read from the sources' own paths.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// What the files of a part never name.
struct Rule {
    says: &'static str,
    part: fn(&str) -> bool,
    /// Paths, of which `a::b` stands for one that contains `b` right after `a`; or calls of a method, as `.begin`.
    never: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        says: "the chat knows neither HTTP nor JSON nor SQL nor how anybody speaks to it",
        part: |file| file.starts_with("src/chat/"),
        never: &["poem", "poem_openapi", "hyper", "serde_json", "sqlx", "dialects", "crate::server"],
    },
    Rule {
        says: "a dialect only translates: it opens no transaction and knows no database",
        part: |file| file.starts_with("src/dialects/"),
        never: &["sqlx", "Tx", ".begin", "storage::Storage", "crate::server"],
    },
    Rule {
        says: "the storage knows no caller, no dialect and no web",
        part: |file| file.starts_with("storage/src/"),
        never: &["poem", "poem_openapi", "hyper", "dragoman", "reqwest"],
    },
    Rule {
        says: "backends are named where the parts are opened, and nowhere else",
        part: |file| file.starts_with("src/") && !is_server(file) && file != "src/bus/postgres.rs",
        never: &["storage::memory", "storage::postgres", "bus::Postgres", "bus::Nats"],
    },
    Rule {
        says: "only the bell over PostgreSQL speaks to it beside the storage",
        part: |file| file.starts_with("src/") && file != "src/bus/postgres.rs",
        never: &["sqlx"],
    },
    Rule {
        says: "every transaction is begun anew when the store has undone it for the sake of others",
        part: |file| {
            let is_elsewhere = ["src/admin.rs", "src/auth/token/issue.rs", "src/demo.rs"].contains(&file);
            // Uploads and batches begin as well.
            let is_other = ["src/chat/upload_quota.rs", "src/chat/writer.rs"].contains(&file);
            is_elsewhere || (file.starts_with("src/chat/") && !is_other)
        },
        never: &[".begin"],
    },
    Rule {
        says: "the doorkeeper and the files know no dialect",
        part: |file| file.starts_with("src/auth/") || file.starts_with("src/blobs"),
        never: &["poem", "poem_openapi", "dialects", "sqlx"],
    },
    Rule {
        says: "every task has an owner that waits for it",
        part: |file| file != "src/lifecycle.rs",
        never: &["tokio::spawn", "task::spawn", "task::spawn_local", "task::JoinSet", "TaskTracker", "thread::spawn"],
    },
    Rule { says: "there is one clock", part: |file| file != "src/clock.rs", never: &["Utc::now", "Local::now", "SystemTime"] },
    Rule {
        says: "no queue grows without end",
        part: |_| true,
        never: &["mpsc::unbounded_channel", "unbounded_channel", "UnboundedSender", "channel::unbounded", "std::sync::mpsc"],
    },
];

fn is_server(file: &str) -> bool {
    file == "src/server.rs" || file.starts_with("src/server/")
}

/// The dialect to which a file belongs. What lies beside the rooms is their corridor.
fn room(file: &str) -> Option<&str> {
    file.strip_prefix("src/dialects/")?.split_once('/').map(|(room, _)| room)
}

/// Every place where `source`, the text of `file`, names what it must not. `rooms` are all dialects.
fn breaches(file: &str, source: &str, rooms: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (line, path) in paths(source) {
        for rule in RULES.iter().filter(|rule| (rule.part)(file)) {
            for never in rule.never.iter().filter(|never| names(&path, never)) {
                found.push(format!("{file}:{line} names {never}: {}", rule.says));
            }
        }
        if let Some(at_home) = room(file).or_else(|| (file.starts_with("src/dialects/") && !is_front_door(file)).then_some("")) {
            for other in rooms.iter().filter(|other| *other != at_home && is_room(&path, other)) {
                found.push(format!("{file}:{line} names {other}: a dialect knows no other"));
            }
        }
    }
    found
}

fn is_front_door(file: &str) -> bool {
    file == "src/dialects/mod.rs"
}

/// Whether a path leads into a dialect: from the top, or from beside it.
fn is_room(path: &[String], room: &str) -> bool {
    path.windows(2).any(|pair| (pair[0] == "dialects" || pair[0] == "super") && pair[1] == room)
}

fn names(path: &[String], never: &str) -> bool {
    let never: Vec<_> = never.split("::").collect();
    path.windows(never.len()).any(|part| part.iter().map(String::as_str).eq(never.iter().copied()))
}

/// All paths in a source with their lines, those of `use` trees spelled out; a called method is a path of its own,
/// with a dot. Comments, texts and tests do not count.
fn paths(source: &str) -> Vec<(usize, Vec<String>)> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (line, token) = &tokens[at];
        let is_capture = tokens.get(at + 1).is_some_and(|(_, next)| next == "<");
        if token == "use" && !is_capture {
            at = tree(&tokens, at + 1, &[], &mut found);
        } else if is_word(token) {
            let method = at > 0 && tokens[at - 1].1 == "." && tokens.get(at + 1).is_some_and(|(_, next)| next == "(");
            let mut path = vec![if method { format!(".{token}") } else { token.clone() }];
            while let [(_, colons), (_, next)] = &tokens[at + 1..(at + 3).min(tokens.len())]
                && colons == "::"
                && is_word(next)
            {
                path.push(next.clone());
                at += 2;
            }
            found.push((*line, path));
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Spells out the `use` tree that begins at `at`, behind `prefix`; gives where it ends.
fn tree(tokens: &[(usize, String)], mut at: usize, prefix: &[String], found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |(line, _)| *line);
    while let Some((_, token)) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| token != "}") {
                    at = tree(tokens, at, &path, found);
                    match tokens.get(at) {
                        Some((_, token)) if token == "}" => {}
                        Some((_, token)) if token == "," => at += 1,
                        after => panic!("no `use` tree goes on with {after:?}"),
                    }
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => at += 1,
            word if is_word(word) => path.push(word.to_owned()),
            _ => {}
        }
        at += 1;
    }
    found.push((line, path));
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs, each with its line; without comments and texts.
fn tokens(source: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let is_raw = rest.starts_with("r\"") || rest.starts_with("r#");
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if is_raw && rest[1..].trim_start_matches('#').starts_with('"') {
            let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            rest[2 + hashes..].find(&end).map_or(rest.len(), |found| 2 + hashes + found + end.len())
        } else if first == '"' {
            text(rest)
        } else if first == '\'' {
            letter(rest)
        } else if is_word(rest) {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push((line, rest[..end].to_owned()));
            end
        } else if rest.starts_with("::") {
            tokens.push((line, "::".into()));
            2
        } else {
            if !first.is_whitespace() {
                tokens.push((line, first.to_string()));
            }
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// How long the text is with which `rest` begins, quotes included.
fn text(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// How long the character with which `rest` begins is, quotes included; 1 if it is a lifetime.
fn letter(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((escaped, _))) => rest[escaped + 1..].find('\'').map_or(rest.len(), |end| escaped + 2 + end),
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

fn sources(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the sources are there") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push(path);
        }
    }
}

fn rooms(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("src/dialects")).expect("the sources are there");
    let folders = entries.map(|entry| entry.expect("the sources can be listed").path()).filter(|path| path.is_dir());
    let names = folders.map(|path| path.file_name().expect("it was listed").to_string_lossy().into_owned());
    // What all rooms share: the loop of the sockets, and the envelope of the Odoo-like ones.
    names.filter(|name| name != "socket" && name != "jsonrpc").collect()
}

#[test]
fn every_part_knows_only_what_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("storage/src"), &mut files);
    assert!(files.len() > 50, "all sources are read, not only {}", files.len());
    let rooms = rooms(root);
    let mut found = String::new();
    for path in files {
        let file = path.strip_prefix(root).expect("it lies there").to_string_lossy().into_owned();
        for breach in breaches(&file, &fs::read_to_string(&path).expect("it can be read"), &rooms) {
            let _ = writeln!(found, "{breach}");
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// What is seeded into a file there is found.
#[test]
fn a_breach_is_found_however_it_is_written() {
    let rooms = ["messaging".to_owned(), "odoo".to_owned()];
    for (file, seeded) in [
        ("src/chat/feed.rs", "use poem::Request;"),
        ("src/chat/feed.rs", "fn f() { serde_json::json!({}) }"),
        ("src/chat/feed.rs", "use crate::{auth, dialects::House};"),
        ("src/chat/feed.rs", "use sqlx as database;"),
        ("src/dialects/messaging/threads.rs", "use super::super::odoo;"),
        ("src/dialects/messaging/threads.rs", "use crate::{auth, dialects::{House, odoo::wire::Info}};"),
        ("src/dialects/loose.rs", "use super::messaging::Tag;"),
        ("src/dialects/odoo/session.rs", "let mut tx = storage\n    .begin()\n    .await?;"),
        ("src/chat/messages.rs", "let mut tx = self.0.storage.begin().await?;"),
        ("src/dialects/odoo/session.rs", "fn f(tx: &mut dyn Tx) {}"),
        ("src/dialects/odoo/session.rs", "fn f(tx: &mut dyn storage::Tx) {}"),
        ("storage/src/users.rs", "use poem_openapi::Object;"),
        ("src/main.rs", "use storage::{Role, memory::Memory};"),
        ("src/auth/mod.rs", "let it = storage::postgres::Postgres::open();"),
        ("src/server/accept.rs", "tokio::spawn(async {});"),
        ("src/auth/mod.rs", "use tokio::{sync::Notify, task::JoinSet};"),
        ("src/auth/mod.rs", "let now = chrono::Utc::now();"),
        ("src/chat/tail.rs", "let (a, b) = mpsc::unbounded_channel();"),
        ("src/chat/tail.rs", "let c = 'x'; let d: &'static str = \"\"; tokio::spawn(f())"),
        ("src/chat/tail.rs", "let c = '\\''; let d = r#\"\"\"#; tokio::spawn(f())"),
    ] {
        assert_ne!(breaches(file, seeded, &rooms), Vec::<String>::new(), "{file}: {seeded}");
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    let rooms = ["messaging".to_owned(), "odoo".to_owned()];
    for (file, allowed) in [
        ("src/server.rs", "use storage::{Storage, memory::Memory, postgres}; use crate::dialects::{House, messaging, odoo};"),
        ("src/dialects/messaging/threads.rs", "use super::{Tag, wire::Thread}; use crate::dialects::{House, jsonrpc::Call};"),
        ("src/dialects/messaging/threads.rs", "let own = house.config.odoo.server_version;"),
        ("src/chat/feed.rs", "// not sqlx::query\n/* nor poem::Request */ let text = \"tokio::spawn, '\\\" Utc::now\";"),
        ("src/transaction.rs", "let mut tx = storage.begin().await?; lifecycle.spawn(task);"),
        ("src/lifecycle.rs", "use tokio_util::task::TaskTracker;"),
        ("src/clock.rs", "chrono::Utc::now()"),
        ("src/auth/session.rs", "fn live() {}\n#[cfg(test)]\nmod tests { fn f() { tokio::spawn(g()); } }"),
    ] {
        assert_eq!(breaches(file, allowed, &rooms), Vec::<String>::new(), "{file}: {allowed}");
    }
}
