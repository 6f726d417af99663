//! `tarsier.yaml`: its settings become a `GlobalConfig`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::problem::{Mark, Problem};
use super::settings::Settings;
use super::table::GLOBAL;
use super::units::{Bytes, FreeText, SyncText};
use crate::domain::config::{ArchiveConfig, GlobalConfig, LogConfig, LogFormat, TlsConfig, WebConfig};
use crate::domain::layout::Layout;
use crate::domain::timezone::Zone;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGlobal {
    cameras: PathBuf,
    archive: RawArchive,
    log: RawLog,
    web: RawWeb,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArchive {
    path: PathBuf,
    layout: LayoutText,
    timezone: ZoneText,
    max_size: Option<Bytes>,
    min_free: FreeText,
    sync: SyncText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    path: Option<PathBuf>,
    level: String,
    max_size: Bytes,
    backups: u32,
    format: LogFormat,
    console: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWeb {
    listen: SocketAddr,
    address_file: Option<PathBuf>,
    names: Option<String>,
    tls: RawTls,
    allow_local: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct LayoutText(Layout);

impl TryFrom<String> for LayoutText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Layout::parse(&text).map(LayoutText)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ZoneText(pub Zone);

impl TryFrom<String> for ZoneText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(ZoneText).map_err(|()| "a time zone")
    }
}

/// From the root on, unless the working folder is gone.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Paths become relative to `folder`, the folder of `tarsier.yaml`.
pub(super) fn build(settings: &Settings, file: &Mark, folder: &Path) -> Result<GlobalConfig, Problem> {
    let raw: RawGlobal = settings.typed(GLOBAL, file)?;
    let at = |path: &str| settings.get(path).map_or(file, |setting| &setting.at);
    let names = names(raw.web.names.as_deref().unwrap_or_default()).map_err(|name| {
        let hint = "write for example `nvr.example.org, nvr.lan`, without `https://` and without a port".to_owned();
        at("web.names").problem(format!("`web.names`: `{name}` is no name of a host"), hint)
    })?;
    let tls = match (raw.web.tls.certificate, raw.web.tls.key) {
        (Some(certificate), Some(key)) => {
            Some(TlsConfig { certificate: folder.join(certificate), key: folder.join(key) })
        }
        (None, None) => None,
        (Some(_), None) => {
            return Err(at("web.tls.certificate").problem("a certificate without its key", "add `key`".to_owned()));
        }
        (None, Some(_)) => {
            return Err(at("web.tls.key").problem("a key without its certificate", "add `certificate`".to_owned()));
        }
    };
    Ok(GlobalConfig {
        cameras_dir: folder.join(raw.cameras),
        archive: ArchiveConfig {
            // Alarms name it to people who don't know where the daemon was started.
            path: absolute(folder.join(raw.archive.path)),
            layout: raw.archive.layout.0.in_zone(raw.archive.timezone.0),
            max_size_bytes: raw.archive.max_size.map(|size| size.0),
            min_free: raw.archive.min_free.0,
            sync: raw.archive.sync.0,
        },
        log: LogConfig {
            path: raw.log.path.map(|path| folder.join(path)),
            level: raw.log.level,
            max_size_bytes: raw.log.max_size.0,
            backups: raw.log.backups,
            format: raw.log.format,
            console: raw.log.console,
        },
        web: WebConfig {
            listen: raw.web.listen,
            address_file: raw.web.address_file.map(|path| folder.join(path)),
            names,
            tls,
            allow_local: raw.web.allow_local,
        },
    })
}

/// The names of a list, in small letters; or the one that can be none.
fn names(list: &str) -> Result<Vec<String>, &str> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let is_host = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    names.map(|name| if is_host(name) { Ok(name.to_ascii_lowercase()) } else { Err(name) }).collect()
}
