//! `tarsier recordings retention`: what goes to keep the archive within its limits, and why.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chrono::SecondsFormat;
use clap::Args;

use crate::archive::disk;
use crate::archive::index::{Index, IndexReader};
use crate::archive::retention::{self, Limits, RetentionReport};
use crate::archive::state::StateDb;
use crate::clock;
use crate::config::{self, Loaded};
use crate::domain::config::RetentionConfig;
use crate::domain::retention::Why;

#[derive(Args, Clone, Debug, Default)]
pub struct RetentionArgs {
    /// Delete nothing, and print what would go; works while `tarsier run` does
    #[arg(long)]
    dry_run: bool,
}

/// Holds the archive to the limits of this configuration, once. Returns the exit code.
pub fn run(arguments: &RetentionArgs, loaded: &Loaded, out: &mut dyn Write) -> anyhow::Result<u8> {
    let root = &loaded.global.archive.path;
    let scan = config::scan_cameras(loaded);
    // Of a camera whose file is broken nobody knows the limits: it has none.
    for problem in scan.all_problems() {
        eprintln!("{problem}");
    }
    let cameras: BTreeMap<String, RetentionConfig> =
        scan.cameras.into_iter().filter_map(|(name, camera)| Some((name, camera.ok()?.retention))).collect();
    let space = disk::space(root).ok();
    let limits = Limits {
        cameras,
        others: RetentionConfig::default(),
        max_size_bytes: loaded.global.archive.max_size_bytes,
        min_free: retention::with_reserve(loaded.global.archive.min_free, space),
        space,
        now: Some(clock::utc_now()),
    };
    let report = if arguments.dry_run {
        let index = IndexReader::open(root)?;
        let protected = StateDb::of(root).protected()?;
        retention::dry_run(root, &index, protected, &limits)?
    } else {
        // Where there is no index none is made: the same words as for those who only look.
        IndexReader::open(root)?;
        let index = Index::open(root)?;
        // What is protected has to be known: without it nothing would go, and nobody would hear why.
        index.state().protected()?;
        let report = retention::run(root, &index, &limits)?;
        index.close();
        report
    };
    print(&report, &limits, arguments.dry_run, out)?;
    Ok(u8::from(!report.failures.is_empty()))
}

fn print(report: &RetentionReport, limits: &Limits, is_dry: bool, out: &mut dyn Write) -> io::Result<()> {
    for deleted in &report.deleted {
        let row = &deleted.recording;
        let limit = limits.cameras.get(&row.camera).unwrap_or(&limits.others);
        let why = match deleted.why {
            Why::Age if limit.events_max_age.is_some() && row.is_event() => "older than retention.events",
            Why::Age => "older than retention.max_age",
            Why::Room => "to make room (retention.max_size, archive.max_size, archive.min_free)",
        };
        let start = row.start.to_rfc3339_opts(SecondsFormat::Secs, true);
        writeln!(out, "{start}  {:>12} B  {}: {why}", row.bytes, row.path)?;
    }
    for failure in &report.failures {
        writeln!(out, "{failure}")?;
    }
    let (count, bytes) = (report.deleted.len(), report.freed_bytes);
    match is_dry {
        true => writeln!(out, "{count} recordings would be deleted, {bytes} bytes freed")?,
        false => writeln!(out, "{report}")?,
    }
    Ok(())
}
