//! The rules of the house: imports point down, links lead somewhere, the top level is what the README says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// For each layer, what it may import besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("media", &["domain", "clock", "failpoint"]),
    ("config", &["domain", "media", "clock"]),
    ("logging", &["domain", "clock"]),
    ("archive", &["domain", "media", "clock", "failpoint", "pool"]),
    ("actors", &["domain", "media", "config", "archive", "clock", "failpoint", "pool"]),
    ("web", &["domain", "media", "config", "archive", "actors", "clock", "pool"]),
    ("cli", &["domain", "media", "config", "logging", "archive", "actors", "web", "clock", "failpoint", "pool"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

/// Names that follow `crate::` in code; tests at the end of a file may look anywhere.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>())
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (layer, below) in LAYERS {
        for path in files_below(&root().join("src").join(layer), "rs") {
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.file_stem().is_some_and(|stem| stem == "tests" || stem == "testing");
            if is_test {
                continue;
            }
            for import in imports(&fs::read_to_string(&path).unwrap()) {
                seen += 1;
                let is_layer =
                    root().join("src").join(&import).is_dir() || ["clock", "failpoint", "pool"].contains(&&*import);
                if is_layer && import != *layer && !below.contains(&&*import) {
                    wrong.push(format!("{} imports crate::{import}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "an import points up:\n{}", wrong.join("\n"));
    assert!(seen > 100, "the test read too little: {seen} imports");
}

#[test]
fn every_folder_of_the_source_is_a_layer() {
    let folders: BTreeSet<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let layers: BTreeSet<String> = LAYERS.iter().map(|(layer, _)| (*layer).to_owned()).collect();
    assert_eq!(folders, layers);
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let mut documents = files_below(&root().join("docs"), "md");
    documents.push(root().join("README.md"));
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap_or("")) {
            if link.is_empty() || link.contains("://") {
                continue;
            }
            links += 1;
            let target = document.parent().unwrap().join(link);
            assert!(target.exists(), "{} links to {link}, which is not there", document.display());
        }
    }
    assert!(links > 5, "the test read too little: {links} links");
}

#[test]
fn every_picture_of_the_documents_is_shown_in_one() {
    let mut documents = files_below(&root().join("docs"), "md");
    documents.push(root().join("README.md"));
    let text: String = documents.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for picture in files_below(&root().join("docs"), "png") {
        let name = picture.file_name().unwrap().to_str().unwrap();
        assert!(text.contains(&format!("{name})")), "no document shows docs/{name}");
        let bytes = fs::metadata(&picture).unwrap().len();
        assert!(bytes < 300_000, "docs/{name} has {bytes} bytes: too many for the repository");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let reasons = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let crates: Vec<&str> = section
        .lines()
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .filter(|name| !name.starts_with('#'))
        .collect();
    assert!(crates.len() > 20);
    for name in crates {
        let is_told = reasons.lines().any(|line| {
            line.starts_with('|')
                && line.split('|').nth(1).is_some_and(|cell| cell.split(',').any(|c| c.trim() == name))
        });
        assert!(is_told, "docs/dependencies.md does not say why {name}");
    }
}

#[test]
fn every_row_for_users_of_pynvr_names_a_test_that_is_there() {
    let mut code = String::new();
    for folder in ["tests", "src"] {
        for path in files_below(&root().join(folder), "rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let text = fs::read_to_string(root().join("docs/from-pynvr.md")).unwrap();
    let rows: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| pynvr |")).collect();
    assert!(rows.len() > 30);
    for row in rows {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let tests: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test is named in: {row}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}()")), "there is no test {test}, but a row names it: {row}");
        }
    }
}
