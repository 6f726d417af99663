//! `tarsier check`: every problem of every configuration file at once, or what holds in the end and why.

use std::io::{self, Write};
use std::path::Path;

use super::run::state_folder;
use crate::archive::state::people::PeopleDb;
use crate::config::{self, Loaded, Models, Problem};
use crate::web::tls;

/// Returns the exit code: 0, or 1 where there is any problem.
///
/// The problems go to stdout, one a line; with `effective` stdout holds the configuration, and they go to stderr.
pub fn run(path: &Path, effective: bool) -> u8 {
    let (report, code) = report(path, effective);
    // Whoever closed the pipe has seen enough.
    let _ = io::stdout().write_all(report.stdout.as_bytes());
    let _ = io::stderr().write_all(report.stderr.as_bytes());
    code
}

/// What is wrong with the web server's settings that their values alone do not show.
fn of_web(loaded: &Loaded, path: &Path) -> Vec<Problem> {
    let web = &loaded.global.web;
    let mut problems = Vec::new();
    if let Some(Err(error)) = web.tls.as_ref().map(tls::check) {
        let what = format!("`{}`: {}: {}", error.key, error.path.display(), error.what);
        problems.push(loaded.problem(error.key, what, error.hint.to_owned()));
    }
    let people = PeopleDb::of(&loaded.global.archive.path, &state_folder(path));
    let has_users = people.had_users() || people.read().is_ok_and(|people| people.is_some_and(|p| !p.users.is_empty()));
    if !web.listen.ip().is_loopback() && !has_users {
        let what = format!("`web.listen`: other machines reach {}, and there are no users", web.listen);
        let hint = "add one first: `tarsier user add NAME`; or listen on 127.0.0.1".to_owned();
        problems.push(loaded.problem("web.listen", what, hint));
    }
    problems
}

struct Report {
    stdout: String,
    stderr: String,
}

fn report(path: &Path, effective: bool) -> (Report, u8) {
    let (loaded, mut problems) = config::load_what_can_be(path);
    let loaded = loaded.with(Models::Try);
    let (text, scan) = match effective {
        true => config::effective(&loaded),
        false => (String::new(), config::scan_cameras(&loaded)),
    };
    problems.extend(scan.all_problems());
    problems.extend(of_web(&loaded, path));
    let lines: String = problems.iter().map(|problem: &Problem| format!("{problem}\n")).collect();
    let code = u8::from(!problems.is_empty());
    if effective {
        return (Report { stdout: text, stderr: lines }, code);
    }
    let stdout = match problems.len() {
        0 => match scan.cameras.len() {
            1 => "1 camera, no problems\n".to_owned(),
            cameras => format!("{cameras} cameras, no problems\n"),
        },
        _ => lines,
    };
    (Report { stdout, stderr: String::new() }, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_and_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tarsier.yaml");
        std::fs::create_dir(dir.path().join("config.d")).unwrap();
        std::fs::write(dir.path().join("config.d/a.yaml"), "source: clip.mp4\n").unwrap();
        let (good, code) = report(&path, false);
        assert_eq!((good.stdout.as_str(), code), ("1 camera, no problems\n", 0));

        std::fs::write(&path, "archive: { pth: x }\n").unwrap();
        std::fs::write(dir.path().join("config.d/b.yaml"), "sorce: clip.mp4\n").unwrap();
        let (bad, code) = report(&path, false);
        assert_eq!((bad.stdout.lines().count(), code), (3, 1), "{}", bad.stdout);

        let (both, code) = report(&path, true);
        assert!(both.stdout.contains("camera a") && !both.stdout.contains("camera b"), "{}", both.stdout);
        assert_eq!((both.stderr.as_str(), code), (bad.stdout.as_str(), 1));
    }
}
