//! `tarsier.yaml`: its settings become a `GlobalConfig`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::problem::{Mark, Problem};
use super::settings::Settings;
use super::table::GLOBAL;
use super::units::{Bytes, FreeText, SyncText};
use crate::domain::config::{ArchiveConfig, GlobalConfig, LogConfig, LogFormat, WebConfig};
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
        web: WebConfig { listen: raw.web.listen, address_file: raw.web.address_file.map(|path| folder.join(path)) },
    })
}
