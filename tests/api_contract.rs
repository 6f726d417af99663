//! The API does what its document says: schemathesis reads the document as it is served, makes good and bad requests
//! of every operation, and holds the answers against it.
//!
//! Streams are left out, and so is what would ask other machines; `support/schemathesis.toml` says which and why.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::*;

const PASSWORD: &str = "canary battery staple\n";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,negative_data_rejection,positive_data_acceptance,\
                      missing_required_header,unsupported_method,allow_header_conformance,ignored_auth";

/// A daemon with something of everything, and what schemathesis is told of it.
struct Asked {
    daemon: Daemon,
    token: String,
    config: String,
}

impl Asked {
    fn start() -> Self {
        let clip = Clip::spec().seconds(12.0).gop_seconds(1.0).motion(3.0, 4.0).make();
        let camera = format!(
            "source: {}\nloop: true\ndetect: {{ warm_up: 1s, minimal_duration: 1s }}\nrecord: {{ pre_alarm: 1s }}\n",
            clip.path.display()
        );
        let daemon = Daemon::builder().camera("yard", &camera).camera("gate", &camera).camera("shed", &camera).start();
        daemon.wait_for_state("shed", "running", secs(20));
        daemon.wait_for_recording("gate", secs(60), |row| row.complete);
        let recording = daemon.wait_for_recording("yard", secs(60), |row| row.complete);
        let event =
            daemon.get("/api/events?camera=gate")["events"].as_array().unwrap().last().unwrap()["id"].to_string();
        let cursor = daemon.get("/api/recordings?limit=1")["next"].as_str().expect("a second page").to_owned();
        let done = |arguments: &[&str], input: &str| {
            let output = daemon.tarsier(arguments, input);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        done(&["user", "add", "anna"], PASSWORD);
        done(&["user", "add", "bert", "--role", "viewer"], PASSWORD);
        done(&["token", "add", "spare"], "");
        let token = done(&["token", "add", "contract", "--role", "admin"], "");
        let config = include_str!("support/schemathesis.toml")
            // Numbers, which the file can hold as names only.
            .replace("\"${RECORDING}\"", &recording.id.to_string())
            .replace("\"${EVENT}\"", &event)
            .replace("${FROM}", &recording.start.to_rfc3339())
            .replace("${TO}", &recording.end.unwrap().to_rfc3339())
            .replace("${CURSOR}", &cursor)
            .replace("${TOKEN}", &token);
        Asked { daemon, token, config }
    }

    fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let bearer = format!("Bearer {}", self.token);
        let (status, _, body) = self.daemon.request(method, path, &[("Authorization", &bearer)]);
        (status, body)
    }

    fn document(&self) -> Value {
        let (status, body) = self.ask("GET", "/api/openapi.json");
        assert_eq!(status, 200);
        serde_json::from_slice(&body).unwrap()
    }

    /// Has every operation tried that `only` lets through; gives what was answered, by method and path as the document
    /// has them.
    #[track_caller]
    fn try_all(&self, only: &[String]) -> BTreeMap<(String, String), BTreeSet<u64>> {
        let document = self.document();
        let folder = tempfile::tempdir().unwrap();
        let [file, told, config] = ["openapi.json", "told.har", "config.toml"].map(|name| folder.path().join(name));
        std::fs::write(&file, document.to_string()).unwrap();
        std::fs::write(&config, &self.config).unwrap();
        let output = Command::new(schemathesis())
            .arg("--config-file")
            .arg(&config)
            .args(["run", "--no-color", "--phases", "examples,coverage,fuzzing", "--checks", CHECKS, "--report", "har"])
            .arg("--report-har-path")
            .arg(&told)
            .args(["--url", &self.daemon.url("/")])
            .args(only)
            .arg(&file)
            .current_dir(folder.path())
            .output()
            .expect("schemathesis is installed (make setup)");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&std::fs::read(told).unwrap()).unwrap();
        let mut answers: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        for entry in told["log"]["entries"].as_array().unwrap() {
            let url = url::Url::parse(entry["request"]["url"].as_str().unwrap()).unwrap();
            let Some(path) = path_of(&document, url.path()) else { continue };
            let method = entry["request"]["method"].as_str().unwrap().to_owned();
            answers.entry((method, path)).or_default().insert(entry["response"]["status"].as_u64().unwrap());
        }
        answers
    }
}

/// In the folder of the binaries' own target folder, where `make setup` puts it.
fn schemathesis() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_tarsier")).ancestors().nth(2).expect("the target folder");
    target.join("schemathesis/bin/schemathesis")
}

/// The path of the document that an asked one is: one that is there as it is before one with names in it.
fn path_of(document: &Value, asked: &str) -> Option<String> {
    let fits = |path: &str| {
        let (parts, asked) = (path.split('/'), asked.split('/'));
        parts.clone().count() == asked.clone().count()
            && parts.zip(asked).all(|(part, asked)| part == asked || part.starts_with('{'))
    };
    let paths = document["paths"].as_object().unwrap().keys();
    paths.filter(|path| fits(path)).min_by_key(|path| path.contains('{')).cloned()
}

/// They remove what the others need, so they come last.
const REMOVING: [&str; 5] =
    ["delete_cameras_name", "delete_recordings_id", "delete_events_id", "delete_users_user", "delete_tokens_token"];

/// Those that schemathesis cannot ask well, or is not let ask, and the test that does.
const ASKED_ELSEWHERE: [(&str, &str, &str); 7] = [
    ("POST", "/api/login", "who: it takes the password"),
    ("PUT", "/api/cameras/{name}/config", "cameras: it takes a whole file"),
    ("POST", "/api/cameras/probe", "cameras"),
    ("GET", "/readyz", "service: the camera that is added here is nowhere"),
    ("GET", "/api/cameras/{name}/live", "live"),
    ("GET", "/api/cameras/{name}/live.mjpeg", "live"),
    ("GET", "/api/cameras/{name}/inspect.mjpeg", "inspect"),
];

#[test]
fn every_operation_answers_as_the_document_says() {
    let asked = Asked::start();
    let all_of = |option: &str| -> Vec<String> {
        REMOVING.iter().flat_map(|id| [option.to_owned(), (*id).to_owned()]).collect()
    };
    let mut answers = asked.try_all(&all_of("--exclude-operation-id"));
    for (operation, statuses) in asked.try_all(&all_of("--include-operation-id")) {
        answers.entry(operation).or_default().extend(statuses);
    }
    // That nothing was wrong says little of an operation that never did anything.
    let mut never_well = BTreeSet::new();
    for (path, methods) in asked.document()["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let operation = (method.to_uppercase(), path.clone());
            if !answers.get(&operation).is_some_and(|statuses| statuses.iter().any(|&status| status < 400)) {
                never_well.insert(operation);
            }
        }
    }
    let expected = ASKED_ELSEWHERE.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()));
    assert_eq!(
        never_well,
        expected.collect(),
        "{:?}",
        never_well.iter().map(|operation| (operation, answers.get(operation))).collect::<Vec<_>>()
    );
    assert_eq!(asked.daemon.request("GET", "/api/me", &[]).0, 401, "the users are still there");
}
