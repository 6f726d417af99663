//! What an admin may change of cameras over the network: nothing that reads or runs what is on this machine. Who has a
//! shell here edits the files; who stole a login must not come that far. `web.allow_local` lifts it.
//!
//! Judged are values as they are written, by their keys (`detect.width`), and only those that change: what a person
//! wrote into a file stays possible.

use std::collections::BTreeMap;

use crate::domain::config::Model;
use crate::domain::source_url::{SourceKind, SourceUrl};

/// Values by key, as a file has them: variables are not filled in.
pub type Written = BTreeMap<String, String>;

/// Keys that name a file of this machine.
pub const PATH_KEYS: &[&str] = &["password_file", MODEL, CLASSES];
const MODEL: &str = "detect.confirm.model";
const CLASSES: &str = "detect.confirm.classes";
const SOURCES: [&str; 2] = ["source", "detect_source"];
const PASSWORDS: [&str; 2] = ["password", "password_file"];
/// What begins like this runs programs.
const HOOKS: &str = "hooks";

/// A change that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub key: String,
    /// Why, and what to do; quotes no value.
    pub why: &'static str,
}

/// What is against changing a camera from `before` to `after` over the network. Empty: nothing.
pub fn refusals(before: &Written, after: &Written) -> Vec<Refusal> {
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    let mut refusals: Vec<Refusal> =
        changed.filter_map(|(key, value)| of_value(key, value).map(|why| Refusal { key: key.clone(), why })).collect();
    let has_moved = |key: &str| {
        let (from, to) = (before.get(key), after.get(key));
        to.is_some() && from.and_then(|from| host(from)) != to.and_then(|to| host(to))
    };
    let keeps_password = PASSWORDS.iter().any(|key| before.contains_key(*key) && before.get(*key) == after.get(*key));
    if keeps_password && let Some(key) = SOURCES.iter().find(|key| has_moved(key)) {
        let why = "the camera's password would go to another host (give the password anew, too)";
        refusals.push(Refusal { key: (*key).to_owned(), why });
    }
    refusals
}

/// Is this a camera's address? What is asked for a picture over the network must be one.
pub fn check_source(source: &str) -> Result<(), &'static str> {
    match SourceUrl::new(source).kind() {
        SourceKind::Rtsp | SourceKind::Http if is_metadata(source) => {
            Err("this is where clouds tell a machine its secrets, and no camera")
        }
        SourceKind::Rtsp | SourceKind::Http => Ok(()),
        SourceKind::Device | SourceKind::File => {
            Err("files and devices of this machine are not for the network (rtsp, rtsps, http and https are)")
        }
    }
}

/// Does an address name the service by which clouds hand out a machine's credentials? A name that leads there is not
/// known here; nothing of what it answers would be shown.
fn is_metadata(source: &str) -> bool {
    const NAMES: [&str; 4] = ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:a9fe:a9fe]", "metadata.google.internal"];
    // Only web addresses are brought into one form: `http://2852039166/` is the first of these.
    let address = source.split_once("://").and_then(|(_, rest)| url::Url::parse(&format!("http://{rest}")).ok());
    address.as_ref().and_then(url::Url::host_str).is_some_and(|host| NAMES.contains(&host))
}

fn of_value(key: &str, value: &str) -> Option<&'static str> {
    if key == HOOKS || key.strip_prefix(HOOKS).is_some_and(|rest| rest.starts_with('.')) {
        return Some("programs are not set over the network (edit the camera's file)");
    }
    // A model that is no file, and names that are listed and not in one.
    let is_list = || !value.contains('/') && serde_json::from_str::<Vec<String>>(value).is_ok();
    let is_no_path = (key == MODEL && value == Model::HOG) || (key == CLASSES && is_list());
    if PATH_KEYS.contains(&key) && !is_no_path {
        return Some("files of this machine are not named over the network (edit the camera's file)");
    }
    if value.replace("$${", "").contains("${") {
        return Some("variables of this machine are not read over the network (edit the camera's file)");
    }
    if SOURCES.contains(&key) { check_source(value).err() } else { None }
}

/// Host and port of an address.
fn host(source: &str) -> Option<(String, Option<u16>)> {
    let address = url::Url::parse(source).ok()?;
    Some((address.host_str()?.to_ascii_lowercase(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn written(pairs: &[(&str, &str)]) -> Written {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn keys(before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<String> {
        refusals(&written(before), &written(after)).into_iter().map(|refusal| refusal.key).collect()
    }

    #[test]
    fn cameras_may_be_added_and_tuned() {
        let camera = [("source", "rtsp://192.0.2.1/live"), ("username", "v"), ("password", "pa$$${x}")];
        assert_eq!(keys(&[], &camera), [""; 0]);
        let tuned = [&camera[..], &[("detect.width", "320"), ("record.mode", "continuous")]].concat();
        assert_eq!(keys(&camera, &tuned), [""; 0]);
        assert_eq!(keys(&camera, &[("source", "http://192.0.2.1/live.mjpeg")]), [""; 0]);
        let confirmed = [("detect.confirm.model", "hog"), ("detect.confirm.classes", "[\"person\"]")];
        assert_eq!(keys(&camera, &[&camera[..], &confirmed].concat()), [""; 0]);
    }

    #[test]
    fn nothing_of_this_machine_is_named() {
        for source in ["/etc/passwd", "clip.mp4", "0", "/dev/video0", "file:///etc/passwd", "concat:a|b", "RTSPX://h/"]
        {
            assert_eq!(keys(&[], &[("source", source)]), ["source"], "{source}");
            assert_eq!(keys(&[], &[("source", "rtsp://h/"), ("detect_source", source)]), ["detect_source"], "{source}");
            assert!(check_source(source).is_err());
        }
        for host in
            ["169.254.169.254", "2852039166", "169.254.169.254:80", "[fd00:ec2::254]", "u:p@metadata.google.internal"]
        {
            for scheme in ["http", "https", "rtsp", "RTSP"] {
                assert!(check_source(&format!("{scheme}://{host}/latest")).is_err(), "{scheme} {host}");
            }
        }
        for (key, value) in [
            ("password_file", "/etc/shadow"),
            ("detect.confirm.model", "/etc/shadow"),
            ("detect.confirm.classes", "/etc/shadow"),
            ("detect.confirm.classes", "[/../../../../etc/shadow"),
            ("hooks", "rm"),
            ("hooks.motion", "rm -rf /"),
            ("username", "${HOME}"),
            ("source", "rtsp://h/${AWS_SECRET}"),
        ] {
            assert_eq!(keys(&[], &[(key, value)]), [key], "{value}");
        }
    }

    #[test]
    fn what_a_person_wrote_stays_and_its_password_goes_to_no_other_host() {
        let file = [("source", "rtsp://camera/1"), ("username", "v"), ("password", "${PASSWORD}")];
        let with = |source| [("source", source), ("username", "v"), ("password", "${PASSWORD}")];
        assert_eq!(keys(&file, &with("rtsp://CAMERA/2")), [""; 0]);
        assert_eq!(keys(&file, &with("rtsp://evil.example/1")), ["source"]);
        assert_eq!(keys(&file, &with("rtsp://camera:8554/1")), ["source"]);
        assert_eq!(
            keys(&file, &[&file[..], &[("detect_source", "rtsp://evil.example/2")]].concat()),
            ["detect_source"]
        );
        assert_eq!(keys(&file, &[("source", "rtsp://other/1"), ("username", "v"), ("password", "mine")]), [""; 0]);
        let local = [("source", "clip.mp4"), ("password_file", "a.password")];
        assert_eq!(keys(&local, &[&local[..], &[("detect.width", "320")]].concat()), [""; 0]);
    }

    #[test]
    fn every_key_that_is_a_path_is_known_here() {
        let rows = config::reference();
        let of_cameras = rows.iter().skip_while(|row| !row.starts_with("| `source`"));
        let paths: Vec<&str> =
            of_cameras.filter(|row| row.contains("a path")).filter_map(|row| row.split('`').nth(1)).collect();
        assert_eq!(paths, PATH_KEYS);
    }
}
