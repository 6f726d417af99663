//! What a backtest tells: events gained and lost, tables, proposals, and sheets of pictures.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::look::Trouble;
use super::super::sheet;
use super::takes::Take;
use super::variants::{self, Kind, Variant};
use super::{Outcome, seconds, trouble};
use crate::domain::finding::Cause;
use crate::domain::judge::{Figures, HEADINGS, Summary};
use crate::media::DetectError;
use crate::media::backtest::{self, FoundEvent, Played};
use crate::media::new_file::NewFile;
use crate::media::sheet::{Sheet, SheetFormat};
use crate::media::source::Cancel;

/// All that was found.
pub struct Report<'a> {
    pub takes: &'a [Take],
    pub played: &'a [Played],
    pub variants: &'a [Variant],
    pub outcomes: &'a [Outcome],
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Kept,
    Gained,
    Lost,
    /// There is nothing to compare it with.
    Found,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Kept => "kept",
            Change::Gained => "gained",
            Change::Lost => "lost",
            Change::Found => "found",
        }
    }
}

#[derive(Serialize)]
struct EventLine<'a> {
    change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    /// RFC 3339, or seconds.
    start: serde_json::Value,
    end: serde_json::Value,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
    cause: Option<Cause>,
    zones: &'a [String],
}

#[derive(Serialize)]
struct VariantLine<'a> {
    /// What is changed; empty: nothing.
    parameters: &'a str,
    events: usize,
    kept: usize,
    gained: usize,
    lost: usize,
    /// null: nothing is labelled.
    figures: Option<Summary>,
}

#[derive(Serialize)]
struct SuggestLine<'a> {
    /// null: nothing that was tried is better than today's values.
    suggested: Option<&'a str>,
    yaml: Option<String>,
}

impl Report<'_> {
    pub fn print(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        let mut out = io::BufWriter::new(out);
        if json {
            self.print_json(&mut out)?
        } else {
            self.print_text(&mut out)?
        }
        out.flush()
    }

    /// The variant whose events are told one by one.
    fn told(&self) -> usize {
        usize::from(self.variants.iter().any(|variant| variant.kind == Kind::Changed))
    }

    /// Events in order, of each what became of it and the take it is in.
    fn events(&self) -> Vec<(Change, usize, &FoundEvent)> {
        let told = self.told();
        let mut all = Vec::new();
        for (n, played) in self.played.iter().enumerate() {
            let (Some(before), Some(after)) = (played.runs.first(), played.runs.get(told)) else { continue };
            if told == 0 {
                all.extend(before.events.iter().map(|event| (Change::Found, n, event)));
                continue;
            }
            let Some(changes) = self.outcomes[told].changes.get(n) else { continue };
            let parts = [
                (Change::Kept, &changes.kept, &after.events),
                (Change::Gained, &changes.gained, &after.events),
                (Change::Lost, &changes.lost, &before.events),
            ];
            let mut here: Vec<(Change, usize, &FoundEvent)> = Vec::new();
            for (change, list, events) in parts {
                here.extend(list.iter().filter_map(|at| events.get(*at)).map(|event| (change, n, event)));
            }
            here.sort_by_key(|(.., event)| event.start_us);
            all.extend(here);
        }
        all
    }

    fn print_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (change, n, event) in self.events() {
            let take = &self.takes[n];
            let file = take.file.as_ref().map_or(String::new(), |file| format!("{}  ", file.display()));
            let lasted = seconds(event.last_motion_us - event.start_us);
            let cause = event.cause.map_or("", Cause::name);
            let open = if event.open { ", open at its end" } else { "" };
            let (change, start, zones) = (change.name(), take.time(event.start_us), event.zones.join(","));
            let line = format!("{change:<6}  {file}{start}  {lasted:>7.1} s{open}  {cause}  {zones}");
            writeln!(out, "{}", line.trim_end())?;
        }
        let video_s = seconds(self.played.iter().zip(self.takes).map(|(p, take)| looked_us(p, take)).sum());
        writeln!(out, "{video_s:.0} s of video in {} stretches", self.takes.len())?;
        let rows: Vec<usize> = (0..self.variants.len()).filter(|n| self.variants[*n].kind != Kind::Proposed).collect();
        write!(out, "{}", self.table(&rows))?;
        self.print_proposal(out)
    }

    fn table(&self, rows: &[usize]) -> String {
        let is_labelled = self.outcomes.iter().any(|outcome| outcome.figures.is_some());
        let mut cells: Vec<Vec<String>> =
            vec![["values", "found", "kept", "gained", "lost"].map(str::to_owned).to_vec()];
        if is_labelled {
            // The first of them is how many are labelled.
            cells[0].push("labelled".to_owned());
            cells[0].extend(HEADINGS[1..].iter().map(|heading| (*heading).to_owned()));
        }
        for &n in rows {
            let line = self.line(n);
            let name = if line.parameters.is_empty() { "today's" } else { line.parameters };
            let mut row = vec![name.to_owned(), line.events.to_string()];
            row.extend(match self.variants[n].kind {
                Kind::Today => [(); 3].map(|()| "–".to_owned()),
                _ => [line.kept, line.gained, line.lost].map(|count| count.to_string()),
            });
            if let Some(summary) = line.figures {
                row.extend(summary.cells());
            }
            cells.push(row);
        }
        columns(&cells)
    }

    fn line(&self, n: usize) -> VariantLine<'_> {
        let outcome = &self.outcomes[n];
        let count = |of: fn(&crate::domain::judge::Changes) -> usize| outcome.changes.iter().map(of).sum();
        VariantLine {
            parameters: &self.variants[n].name,
            events: outcome.events,
            kept: count(|changes| changes.kept.len()),
            gained: count(|changes| changes.gained.len()),
            lost: count(|changes| changes.lost.len()),
            figures: outcome.figures.as_ref().map(Figures::summary),
        }
    }

    /// Those that are proposed from, today's first, and the place of the best; None: nothing is to be proposed.
    fn proposal(&self) -> Option<(Vec<usize>, usize)> {
        let is_tried = |n: &usize| matches!(self.variants[*n].kind, Kind::Today | Kind::Proposed);
        let tried: Vec<usize> = (0..self.variants.len()).filter(is_tried).collect();
        let figures: Option<Vec<Figures>> = tried.iter().map(|n| self.outcomes[*n].figures.clone()).collect();
        let best = variants::best(&figures.filter(|figures| figures.len() > 1)?)?;
        let best = *tried.get(best)?;
        Some((tried, best))
    }

    fn print_proposal(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some((tried, best)) = self.proposal() else { return Ok(()) };
        writeln!(out, "\ntried:")?;
        write!(out, "{}", self.table(&tried))?;
        let (Some(before), Some(after)) = (&self.outcomes[0].figures, &self.outcomes[best].figures) else {
            return Ok(());
        };
        if best == 0 {
            return writeln!(out, "\nNothing that was tried is better than today's values.");
        }
        let change = |what: &str, before: u32, after: u32, of: u32| format!("{what} {after} of {of}, not {before}");
        writeln!(
            out,
            "\nOn what is labelled ({} events, {:.0} s without) {} would have found {}; {} false alarms, not {}.\n\n{}",
            before.events,
            before.idle_s,
            self.variants[best].name,
            change("events:", before.hit, after.hit, before.events),
            after.wrong,
            before.wrong,
            variants::as_yaml(&self.variants[best].config),
        )
    }

    fn print_json(&self, out: &mut dyn Write) -> io::Result<()> {
        for (change, n, event) in self.events() {
            let take = &self.takes[n];
            let time = |at_us: i64| match take.utc(at_us) {
                Some(_) => serde_json::Value::from(take.time(at_us)),
                None => serde_json::Value::from((at_us as f64 / 1000.0).round() / 1000.0),
            };
            let (start, end) = (time(event.start_us), time(event.last_motion_us));
            let FoundEvent { open, cause, zones, .. } = event;
            let file = take.file.as_deref();
            line(out, &EventLine { change, file, start, end, open: *open, cause: *cause, zones })?;
        }
        for n in 0..self.variants.len() {
            line(out, &self.line(n))?;
        }
        match self.proposal() {
            Some((_, 0)) => line(out, &SuggestLine { suggested: None, yaml: None }),
            Some((_, best)) => {
                let Variant { name, config, .. } = &self.variants[best];
                line(out, &SuggestLine { suggested: Some(name), yaml: Some(variants::as_yaml(config)) })
            }
            None => Ok(()),
        }
    }
}

fn looked_us(played: &Played, take: &Take) -> i64 {
    (played.last_us - take.reel.from_us).max(0)
}

fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)
}

/// Cells in columns, the first one to the left.
fn columns(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0))
        .map(|n| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(n, (cell, width))| match n {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// The image files of what changed.
pub struct Sheets {
    of: [(Change, PathBuf, NewFile, File); 2],
}

impl Sheets {
    /// An error says why nothing can be written there.
    pub fn in_folder(folder: &Path) -> Result<Self, String> {
        let cannot = |path: &Path, error: io::Error| format!("cannot write {}: {error}", path.display());
        fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
        let open = |change: Change| {
            let path = folder.join(format!("{}.png", change.name()));
            let (name, file) = NewFile::create(&path).map_err(|error| cannot(&path, error))?;
            Ok::<_, String>((change, path, name, file))
        };
        Ok(Sheets { of: [open(Change::Gained)?, open(Change::Lost)?] })
    }

    /// Draws them. Returns what to say of each.
    pub fn draw(self, report: &Report, cancel: &Cancel) -> Result<Vec<String>, Trouble> {
        let events = report.events();
        let mut said = Vec::new();
        for (wanted, path, name, file) in self.of {
            let mut sheet = Sheet::new(0);
            for (n, take) in report.takes.iter().enumerate() {
                let here: Vec<&FoundEvent> = events
                    .iter()
                    .filter(|(change, of, _)| (*change, *of) == (wanted, n))
                    .map(|(.., event)| *event)
                    .collect();
                let times: Vec<i64> = here.iter().map(|event| event.best.at_us).collect();
                if times.is_empty() {
                    continue;
                }
                let mut fault: Option<DetectError> = None;
                backtest::pictures_at(&take.reel, &times, cancel, &mut |at, view, picture| {
                    let event = here[at];
                    let lasted = seconds(event.last_motion_us - event.start_us);
                    let start = take.utc(event.start_us).map_or_else(
                        || format!("{:.1} s", seconds(event.start_us)),
                        |utc| utc.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
                    );
                    let put = sheet.put(view, picture, &event.best.regions, format!("{start}, {lasted:.1} s"));
                    fault = fault.take().or(put.err());
                })
                .map_err(trouble)?;
                if let Some(fault) = fault {
                    return Err(fault.into());
                }
            }
            let foot = format!("{} events that would be {}", sheet.counts().0, wanted.name());
            said.push(sheet::write(&sheet, SheetFormat::Png, &foot, &path, name, file)?);
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns() {
        let rows = [["values", "found"], ["today's", "12"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows), "values   found\ntoday's     12\n");
    }
}
