//! `tarsier detect`: when there is motion in a source, without a daemon and without recording.
//!
//! Files are read as fast as the processor can, live sources as they come; all times are the stream's own, so both
//! give the same events.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::limit::LimitArgs;
use super::look::{News, Progress, Trouble, Viewer, Watch, cancel_on_signal, exit_code, look, seconds};
use super::sheet::{self, Paper};
use super::{INPUT_WRONG, or_told};
use crate::actors::shared::Playback;
use crate::config;
use crate::domain::motion::MotionState;
use crate::media::decode::DecodeCounts;
use crate::media::packet::Session;
use crate::media::picture::Picture;
use crate::media::source::{Cancel, Source};
use crate::media::{DetectError, LumaView};

/// What `tarsier detect` takes.
#[derive(Args)]
pub struct DetectArgs {
    /// Address, device or file; ${NAME} is taken from the environment
    #[arg(value_name = "SOURCE")]
    source: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Change a key of the camera's configuration
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Write a picture of each event, with what moved outlined, into one image (.png or .jpg)
    #[arg(long, value_name = "FILE", value_parser = sheet::path)]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    limit: LimitArgs,
}

/// Looks at the source until it ends or a signal comes.
pub fn run(arguments: &DetectArgs, config_path: &Path) -> anyhow::Result<u8> {
    let camera = config::load_global(config_path)
        .and_then(|loaded| config::camera_from_source(&arguments.source, &arguments.sets, &loaded));
    let Some(camera) = or_told(camera) else { return Ok(INPUT_WRONG) };
    let paper = match arguments.sheet.as_deref().map(|path| Paper::at(path, &camera)).transpose() {
        Ok(paper) => paper,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(INPUT_WRONG);
        }
    };
    let cancel = Cancel::new();
    cancel_on_signal(cancel.clone())?;
    let printer = Printer { json: arguments.json, out: io::stdout(), progress: Progress::hidden() };
    let mut teller = Teller { watch: Watch::new(&camera)?, printer, news: Vec::new(), paper, fault: None };
    let result = look(&camera, Playback { real_time: false, at_most: arguments.limit.at_most() }, &cancel, &mut teller);
    teller.printer.progress.clear();
    exit_code(result)
}

/// Watches for motion, and prints it.
struct Teller<W> {
    watch: Watch,
    printer: Printer<W>,
    /// Not told yet.
    news: Vec<News>,
    paper: Option<Paper>,
    fault: Option<DetectError>,
}

impl<W: Write> Viewer for Teller<W> {
    fn opened(&mut self, session: &Arc<Session>, source: &dyn Source) -> Result<(), Trouble> {
        if let Some(paper) = &mut self.paper {
            paper.opened(session, source.quarter_turns());
        }
        self.printer.progress.start(source.duration_us());
        Ok(())
    }

    fn look(&mut self, view: &LumaView, picture: Picture) {
        if let Err(error) = self.look_and_draw(view, picture) {
            self.fault = Some(error);
        }
    }

    fn after_packet(&mut self) -> Result<(), Trouble> {
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        for news in std::mem::take(&mut self.news) {
            self.printer.tell(news).map_err(Trouble::Output)?;
        }
        self.printer.progress.set(self.watch.last_us);
        Ok(())
    }

    fn end(&mut self, counts: DecodeCounts) -> Result<(), Trouble> {
        self.watch.end();
        self.hear();
        self.after_packet()?;
        self.printer.progress.clear();
        if let Some(paper) = self.paper.take() {
            let said = paper.finish(&sum(&self.watch))?;
            if !self.printer.json {
                eprintln!("{said}");
            }
        }
        self.printer.sum_up(&self.watch, counts);
        Ok(())
    }
}

impl<W> Teller<W> {
    fn look_and_draw(&mut self, view: &LumaView, picture: Picture) -> Result<(), DetectError> {
        let score = self.watch.look(view)?;
        if let Some(paper) = &mut self.paper {
            let in_event = score.moving && matches!(self.watch.state(), MotionState::Motion { .. });
            paper.look(view, picture, &self.watch.detector, score.changed_pixels, in_event)?;
        }
        self.hear();
        Ok(())
    }

    fn hear(&mut self) {
        for news in self.watch.news() {
            if let (News::Event { start, end, open }, Some(paper)) = (news, &mut self.paper) {
                paper.close(start, end, open);
            }
            self.news.push(news);
        }
    }
}

fn sum(watch: &Watch) -> String {
    format!("{} events in {:.1} s", watch.events, seconds(watch.last_us))
}

/// What is printed, and how far the work is.
struct Printer<W> {
    json: bool,
    out: W,
    progress: Progress,
}

#[derive(Serialize)]
struct Line {
    event: &'static str,
    start: f64,
    end: f64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
}

impl<W: Write> Printer<W> {
    fn tell(&mut self, news: News) -> io::Result<()> {
        let Some(line) = self.line(news) else { return Ok(()) };
        let out = &mut self.out;
        self.progress.suspend(|| {
            out.write_all(line.as_bytes())?;
            out.flush()
        })
    }

    fn line(&self, news: News) -> Option<String> {
        Some(match (news, self.json) {
            (News::Started { .. }, true) => return None,
            (News::Started { start }, false) => format!("{start:10.3} s  motion\n"),
            (News::Event { start, end, open }, true) => {
                let line = Line { event: "motion", start, end, open };
                serde_json::to_string(&line).expect("numbers and a word become JSON") + "\n"
            }
            (News::Event { start, end, open }, false) => {
                let how = if open { "last motion, still within an event" } else { "last motion" };
                format!("{end:10.3} s  {how}, after {:.3} s\n", end - start)
            }
        })
    }

    /// For people, on standard error.
    fn sum_up(&self, watch: &Watch, counts: DecodeCounts) {
        if counts.errors > 0 {
            eprintln!("{} damaged packets or pictures", counts.errors);
        }
        if !self.json {
            eprintln!("{} ({} pictures)", sum(watch), counts.pictures);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: bool, news: News) -> Option<String> {
        Printer { json, out: Vec::new(), progress: Progress::hidden() }.line(news)
    }

    #[test]
    fn an_event_is_one_object_a_line() {
        let event = |open| News::Event { start: 12.4, end: 31.0, open };
        assert_eq!(line(true, News::Started { start: 12.4 }), None);
        assert_eq!(line(true, event(false)).unwrap(), "{\"event\":\"motion\",\"start\":12.4,\"end\":31.0}\n");
        assert_eq!(
            line(true, event(true)).unwrap(),
            "{\"event\":\"motion\",\"start\":12.4,\"end\":31.0,\"open\":true}\n"
        );
    }

    #[test]
    fn people_get_lines_too() {
        assert_eq!(line(false, News::Started { start: 12.4 }).unwrap(), "    12.400 s  motion\n");
        let event = News::Event { start: 12.4, end: 31.0, open: false };
        assert_eq!(line(false, event).unwrap(), "    31.000 s  last motion, after 18.600 s\n");
    }
}
