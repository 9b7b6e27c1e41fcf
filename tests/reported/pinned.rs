//! Tests of pinned dependencies: packages from PyPI and npm for tests and benchmark have hashes and come from the configured
//! registry.

use std::{fs, path::Path};

use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn npm_packages_have_an_integrity_and_no_host() {
    let lock: Value = serde_json::from_str(&read(".ci/npm/package-lock.json")).unwrap();
    let packages = lock["packages"].as_object().unwrap().iter().filter(|(path, _)| !path.is_empty());
    let mut count = 0;
    for (path, package) in packages {
        assert!(package["integrity"].as_str().is_some_and(|hash| hash.starts_with("sha512-")), "{path}: {package}");
        assert!(package["resolved"].is_null(), "{path}: {package}");
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn python_packages_have_hashes_and_no_host() {
    for path in [
        ".ci/python/requirements.txt",
        ".ci/python/autobahn.txt",
        ".ci/python/autobahn-build.txt",
        "bench/channels/requirements.txt",
    ] {
        let text = read(path).replace("\\\n", " ");
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            assert!(line.contains("==") && line.contains("--hash=sha256:") && !line.contains("//"), "{path}: {line}");
            count += 1;
        }
        assert!(count > 1, "{path}");
    }
}

/// Every call of either installer, in scripts and in images.
#[test]
fn nothing_else_is_installed() {
    for path in [".ci/tools", ".ci/services", ".ci/demo", ".ci/deny", ".ci/run", "bench/run", "deploy/Dockerfile"] {
        for line in read(path).lines().filter(|line| !line.trim_start().starts_with('#')) {
            let installs =
                |word: &str| line.contains(&format!("{word} install ")) || line.contains(&format!("{word}\" install "));
            assert!(!installs("pip") || line.contains("--require-hashes"), "{path}: {line}");
            assert!(!installs("npm") && !line.contains("npx "), "{path}: {line}");
        }
    }
}
