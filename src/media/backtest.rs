//! Stored video through detectors, as fast as it goes: what they would have found.
//!
//! Belongs here: files that go on one into the other, decoding no more than the detectors look at, several detectors
//! over one decoding, several stretches at once. Does not belong here: which files a camera's time is in
//! ([`crate::archive::stretches`]), and whether what was found is right ([`crate::domain::judge`]).
//!
//! The answer depends on the files and the configurations alone, not on the number of cores.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::decode::{DecodeError, LumaDecoder, LumaView};
use super::detect::{DetectError, Detector, Score, SharedScaler, compared_width};
use super::nal;
use super::packet::{Packet, Session};
use super::picture::Picture;
use super::source::{self, Cancel, OpenOptions, Source, SourceErrorKind};
use crate::domain::adaptive::Grid;
use crate::domain::config::{Algorithm, DetectConfig};
use crate::domain::finding::{Cause, Region, ZoneSet};
use crate::domain::motion::{Motion, MotionChange};
use crate::domain::score;
use crate::domain::stream::Track;

/// So much before the part that is asked for is looked at, if it is there: detectors have to settle.
const LEAD_US: i64 = 10_000_000;
/// Packets that wait for the next keyframe; in longer groups nothing is left out.
const MOST_WAITING: usize = 1500;
/// Scores are kept for so many seconds; times beyond are no times.
const MOST_SECONDS: usize = 7 * 86_400;
/// All of a reel is one.
const SESSION: u64 = 1;
/// A last picture lasts so long.
const LAST_PICTURE_US: i64 = 50_000;

/// Video that goes on without a gap, in a time of its own: microseconds from its first picture on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reel {
    pub parts: Vec<Part>,
    /// What lies between these times is looked at; what comes shortly before is, too, but not told.
    pub from_us: i64,
    pub to_us: i64,
    /// How long it is, as far as is known; for the progress.
    pub length_us: i64,
}

/// One file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub path: PathBuf,
    /// Where in the reel's time its first picture is.
    pub start_us: i64,
}

impl Reel {
    /// All of one file.
    pub fn of_file(path: PathBuf) -> Self {
        Reel { parts: vec![Part { path, start_us: 0 }], from_us: 0, to_us: i64::MAX, length_us: 0 }
    }
}

/// How it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Reels and pictures that are worked on at once; 0: as many as there are cores.
    pub threads: usize,
    /// Decode without the loop filter: a fifth quicker, and pictures that differ a little from what the camera sent.
    pub without_loop_filter: bool,
}

/// What was found in one reel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Played {
    /// One of each configuration, in their order.
    pub runs: Vec<Run>,
    /// Time of the last picture.
    pub last_us: i64,
    /// Pictures that were decoded.
    pub pictures: u64,
    /// What kept files from being looked at to their ends, with their names.
    pub faults: Vec<String>,
}

/// What one detector found. All times are the reel's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    pub events: Vec<FoundEvent>,
    /// From when to when pictures were motion, without any minimal duration.
    pub moving: Vec<(i64, i64)>,
    /// The largest changed share of each second.
    pub scores: Vec<score::Score>,
}

/// A motion event that would have been.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundEvent {
    /// Of the picture that decided.
    pub start_us: i64,
    /// Of the last picture with motion.
    pub last_motion_us: i64,
    /// The video ended before the event did.
    pub open: bool,
    pub cause: Option<Cause>,
    /// Those that it touched, in the order of the configuration.
    pub zones: Vec<String>,
    pub best: Best,
}

/// The picture of an event that changed most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Best {
    pub at_us: i64,
    /// Of the picture, 0 to 1.
    pub share: f64,
    pub regions: Vec<Region>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    #[error("the backtest was cancelled")]
    Cancelled,
    #[error(transparent)]
    Detect(#[from] DetectError),
}

/// Runs every reel through a detector of each configuration. `progress` is told how many microseconds of all reels
/// together are done, from several threads. Blocks until all is done or `cancel` says so.
///
/// Files that can't be read are told in [`Played::faults`]; the others go on.
pub fn run(
    reels: &[Reel],
    configs: &[DetectConfig],
    options: Options,
    cancel: &Cancel,
    progress: &(dyn Fn(i64) + Sync),
) -> Result<Vec<Played>, BacktestError> {
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    };
    let workers = threads.clamp(1, reels.len().max(1));
    let decoder_threads = (threads / workers).max(1);
    let (next, done_us, stop) = (AtomicUsize::new(0), AtomicI64::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<Option<Result<Played, BacktestError>>>> = Mutex::new(reels.iter().map(|_| None).collect());
    let work = || {
        while let Some((n, reel)) = {
            let n = next.fetch_add(1, Ordering::Relaxed);
            reels.get(n).map(|reel| (n, reel)).filter(|_| !stop.load(Ordering::Relaxed))
        } {
            let told = |more_us: i64| progress(done_us.fetch_add(more_us, Ordering::Relaxed) + more_us);
            let mut decoder = LumaDecoder::with_threads(decoder_threads);
            decoder.leave_out_loop_filter(options.without_loop_filter);
            let played = Player::new(configs, decoder).and_then(|player| player.play(reel, cancel, &told));
            if played.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner)[n] = Some(played);
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // What was not begun is behind one that failed.
    results.into_iter().flatten().collect()
}

/// Shows `each` the pictures of a reel at these times, which rise: their place in the list, and the picture. Times at
/// which there is none are left out.
pub fn pictures_at(
    reel: &Reel,
    times_us: &[i64],
    cancel: &Cancel,
    each: &mut dyn FnMut(usize, &LumaView, Picture),
) -> Result<(), BacktestError> {
    let wanted = |from_us: i64, to_us: i64| times_us.iter().any(|at| (from_us..to_us).contains(at));
    let mut decoder = LumaDecoder::new();
    for part in &reel.parts {
        let Ok(mut tape) = Tape::open(part, cancel) else { continue };
        while let Ok(Some(group)) = tape.next() {
            let first_us = group.times_us.iter().copied().min().unwrap_or(0);
            if group.next_us.is_some_and(|next_us| !wanted(first_us, next_us)) {
                continue;
            }
            let offset_us = tape.offset_us;
            let mut show = |view: LumaView, picture: Picture| {
                let at_us = view.pts_us + offset_us;
                for (n, _) in times_us.iter().enumerate().filter(|(_, time)| **time == at_us) {
                    each(n, &view, picture);
                }
            };
            for packet in &group.packets {
                // What is damaged is told by the run.
                decoder.decode_pictures(packet, &mut show).ok();
            }
            decoder.drain_pictures(&mut show).ok();
        }
        if cancel.is_cancelled() {
            return Err(BacktestError::Cancelled);
        }
    }
    Ok(())
}

/// The packets of a file, from keyframe to keyframe.
struct Tape {
    source: Box<dyn Source>,
    start_us: i64,
    /// The keyframe that began the next group.
    ahead: Option<Packet>,
    is_over: bool,
    /// Reel's time less the file's; known with the first group.
    offset_us: i64,
    is_first: bool,
    fault: Option<String>,
}

struct Group {
    packets: Vec<Packet>,
    /// The reel's, of each packet.
    times_us: Vec<i64>,
    /// Of the keyframe behind it; None at the end, and where it was cut because it is long.
    next_us: Option<i64>,
    /// It is whole: what nobody needs may be left out.
    is_whole: bool,
}

impl Tape {
    fn open(part: &Part, cancel: &Cancel) -> Result<Self, String> {
        let session = Arc::new(Session::new(SESSION));
        let source = source::open(&OpenOptions::of_file(&part.path), session, cancel);
        let source = source.map_err(|error| error.to_string())?;
        let start_us = part.start_us;
        Ok(Tape { source, start_us, ahead: None, is_over: false, offset_us: 0, is_first: true, fault: None })
    }

    /// None at the end, which `fault` may give a cause for. The error is a cancel.
    fn next(&mut self) -> Result<Option<Group>, BacktestError> {
        let mut packets: Vec<Packet> = self.ahead.take().into_iter().collect();
        let mut is_whole = true;
        while !self.is_over {
            match self.source.next() {
                Ok(Some(packet)) if packet.track != Track::Video => {}
                Ok(Some(packet)) if packet.keyframe && !packets.is_empty() => {
                    self.ahead = Some(packet);
                    break;
                }
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => self.is_over = true,
                Err(error) if error.kind == SourceErrorKind::Cancelled => return Err(BacktestError::Cancelled),
                Err(error) => {
                    self.fault = Some(error.to_string());
                    self.is_over = true;
                }
            }
            if packets.len() == MOST_WAITING {
                is_whole = false;
                break;
            }
        }
        let Some(first_us) = packets.iter().map(Packet::pts_us).min() else { return Ok(None) };
        if self.is_first {
            self.offset_us = self.start_us - first_us;
            self.is_first = false;
        }
        let times_us = packets.iter().map(|packet| packet.pts_us() + self.offset_us).collect();
        let next_us = self.ahead.as_ref().map(|packet| packet.pts_us() + self.offset_us);
        Ok(Some(Group { packets, times_us, next_us, is_whole }))
    }
}

/// Which pictures nobody looks at, by their times.
struct Plan {
    /// Looks a second of each detector that has a grid; None: one looks at every picture.
    rates: Option<Vec<u32>>,
    grids: Vec<Grid>,
}

impl Plan {
    fn new(configs: &[DetectConfig]) -> Self {
        let is_adaptive = |config: &DetectConfig| config.algorithm == Algorithm::Adaptive;
        let rates = configs.iter().all(is_adaptive).then(|| {
            let mut rates: Vec<u32> = configs.iter().map(|config| config.fps).collect();
            rates.sort_unstable();
            rates.dedup();
            rates
        });
        Plan { rates, grids: Vec::new() }
    }

    /// The times of a group at which nobody looks.
    fn idle(&mut self, times_us: &[i64]) -> HashSet<i64> {
        let mut idle = HashSet::new();
        let Some(rates) = &self.rates else { return idle };
        let mut times: Vec<i64> = times_us.to_vec();
        times.sort_unstable();
        for at_us in times {
            if self.grids.is_empty() {
                self.grids = rates.iter().map(|&fps| Grid::new(fps, at_us)).collect();
                continue;
            }
            let mut is_idle = true;
            for grid in self.grids.iter_mut().filter(|grid| grid.is_due(at_us)) {
                grid.advance(at_us);
                is_idle = false;
            }
            if is_idle {
                idle.insert(at_us);
            }
        }
        idle
    }
}

/// For each packet of the group: does nobody need it decoded?
fn unneeded(group: &Group, idle: &HashSet<i64>) -> Vec<bool> {
    if !group.is_whole || idle.is_empty() {
        return vec![false; group.packets.len()];
    }
    let layer = |packet: &Packet| nal::temporal_layer(packet.codec(), packet.data(), packet.length_prefixed);
    let highest = group.packets.iter().map(layer).max().unwrap_or(0);
    let is_unneeded = |packet: &Packet| {
        nal::unneeded_layer(packet.codec(), packet.data(), packet.length_prefixed).is_some_and(|own| own >= highest)
    };
    let times = group.packets.iter().zip(&group.times_us);
    times.map(|(packet, at_us)| idle.contains(at_us) && is_unneeded(packet)).collect()
}

/// Plays one reel to its detectors.
struct Player<'a> {
    decoder: LumaDecoder,
    audience: Audience<'a>,
    plan: Plan,
    faults: Vec<String>,
}

impl<'a> Player<'a> {
    fn new(configs: &'a [DetectConfig], decoder: LumaDecoder) -> Result<Self, BacktestError> {
        Ok(Player { decoder, audience: Audience::new(configs)?, plan: Plan::new(configs), faults: Vec::new() })
    }

    fn play(mut self, reel: &Reel, cancel: &Cancel, told: &dyn Fn(i64)) -> Result<Played, BacktestError> {
        let mut done_us = 0;
        self.audience.between = reel.from_us.saturating_sub(LEAD_US)..reel.to_us;
        for part in reel.parts.iter().filter(|part| part.start_us < reel.to_us) {
            match Tape::open(part, cancel) {
                Ok(mut tape) => self.play_part(&mut tape, &mut |at_us| {
                    let more_us = at_us - reel.from_us.max(0) - done_us;
                    if more_us > 0 {
                        done_us += more_us;
                        told(more_us);
                    }
                })?,
                Err(cause) => self.faults.push(cause),
            }
            if cancel.is_cancelled() {
                return Err(BacktestError::Cancelled);
            }
        }
        let Audience { watches, last_us, pictures, .. } = self.audience;
        let runs = watches.into_iter().map(|watch| watch.end(reel.from_us, last_us)).collect();
        Ok(Played { runs, last_us, pictures, faults: self.faults })
    }

    fn play_part(&mut self, tape: &mut Tape, at: &mut dyn FnMut(i64)) -> Result<(), BacktestError> {
        let Player { decoder, audience, plan, faults } = self;
        let between = audience.between.clone();
        'groups: while let Some(group) = tape.next()? {
            if group.times_us.first().is_some_and(|first_us| *first_us >= between.end) {
                break;
            }
            if group.next_us.is_some_and(|next_us| next_us <= between.start) {
                continue;
            }
            let idle = plan.idle(&group.times_us);
            let is_unneeded = unneeded(&group, &idle);
            for ((packet, at_us), is_unneeded) in group.packets.iter().zip(&group.times_us).zip(is_unneeded) {
                if is_unneeded {
                    audience.left_out.insert(*at_us);
                    continue;
                }
                // What is damaged is passed over, as it is live.
                if let Err(error @ DecodeError::Unsupported { .. }) =
                    decoder.decode(packet, &mut |view| audience.see(&view, tape.offset_us))
                {
                    faults.push(error.to_string());
                    break 'groups;
                }
            }
            audience.check()?;
            at(audience.last_us);
        }
        decoder.drain(&mut |view| audience.see(&view, tape.offset_us)).ok();
        audience.pass(i64::MAX);
        faults.extend(tape.fault.take());
        audience.check()
    }
}

/// All detectors that see one reel.
struct Audience<'a> {
    watches: Vec<Watch<'a>>,
    /// Those that compare pictures of the same width share them.
    rows: Vec<(SharedScaler, Vec<usize>)>,
    /// Pictures of these times are looked at.
    between: Range<i64>,
    /// Times of pictures that were not decoded, and have not come by yet: what was found last holds for them.
    left_out: BTreeSet<i64>,
    last_us: i64,
    pictures: u64,
    fault: Option<DetectError>,
}

impl<'a> Audience<'a> {
    fn new(configs: &'a [DetectConfig]) -> Result<Self, BacktestError> {
        let watches = configs.iter().map(Watch::new).collect::<Result<Vec<_>, _>>()?;
        let mut widths: Vec<u32> = configs.iter().map(compared_width).collect();
        widths.sort_unstable();
        widths.dedup();
        let of_width = |width: u32| (0..configs.len()).filter(|&n| compared_width(&configs[n]) == width).collect();
        let rows = widths.into_iter().map(|width| (SharedScaler::to(width), of_width(width))).collect();
        Ok(Audience { watches, rows, between: 0..0, left_out: BTreeSet::new(), last_us: 0, pictures: 0, fault: None })
    }

    /// The next picture, in order of presentation; its time is the file's.
    fn see(&mut self, view: &LumaView, offset_us: i64) {
        let view = LumaView { pts_us: view.pts_us.saturating_add(offset_us), ..*view };
        self.pass(view.pts_us);
        if !self.between.contains(&view.pts_us) {
            return;
        }
        self.pictures += 1;
        self.last_us = self.last_us.max(view.pts_us);
        if let Err(error) = self.look(&view) {
            self.fault = Some(error);
        }
    }

    /// Pictures before this time that were left out have come by.
    fn pass(&mut self, before_us: i64) {
        while let Some(at_us) = self.left_out.first().copied().filter(|at_us| *at_us < before_us) {
            self.left_out.remove(&at_us);
            if self.between.contains(&at_us) {
                self.last_us = self.last_us.max(at_us);
                self.watches.iter_mut().for_each(|watch| watch.again(at_us));
            }
        }
    }

    fn look(&mut self, view: &LumaView) -> Result<(), DetectError> {
        for (scaler, members) in &mut self.rows {
            let is_due = members.iter().any(|&n| self.watches[n].detector.is_due(view.pts_us));
            // Nobody looks at one that is not due: its size does not matter.
            let view = if is_due { scaler.scale(view)? } else { *view };
            members.iter().try_for_each(|&n| self.watches[n].look(&view))?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), BacktestError> {
        self.fault.take().map_or(Ok(()), |fault| Err(fault.into()))
    }
}

/// One detector, and what it has found so far.
struct Watch<'a> {
    config: &'a DetectConfig,
    detector: Detector,
    motion: Motion,
    run: Run,
    event: Option<(FoundEvent, ZoneSet)>,
    was_moving: bool,
    last: Option<Score>,
}

impl<'a> Watch<'a> {
    fn new(config: &'a DetectConfig) -> Result<Self, DetectError> {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Ok(Watch {
            config,
            detector: Detector::new(config)?,
            motion: Motion::new(us(config.warm_up), us(config.minimal_duration)),
            run: Run::default(),
            event: None,
            was_moving: false,
            last: None,
        })
    }

    fn look(&mut self, view: &LumaView) -> Result<(), DetectError> {
        let score = self.detector.look(view)?;
        self.take(view.pts_us, &score);
        self.last = Some(score);
        Ok(())
    }

    /// A picture that was not worth a look: what was found last still holds.
    fn again(&mut self, at_us: i64) {
        if let Some(score) = self.last.take() {
            self.take(at_us, &score);
            self.last = Some(score);
        }
    }

    fn take(&mut self, at_us: i64, score: &Score) {
        let (width, height) = self.detector.picture_size();
        let share = f64::from(score.changed_pixels) / (f64::from(width) * f64::from(height)).max(1.0);
        self.note(at_us, share);
        match self.run.moving.last_mut() {
            Some(last) if self.was_moving => last.1 = at_us,
            _ => {}
        }
        if score.moving && !self.was_moving {
            self.run.moving.push((at_us, at_us));
        }
        self.was_moving = score.moving;
        match self.motion.look(SESSION, at_us, score.moving) {
            Some(MotionChange::Started { onset_us }) => {
                let best = Best { at_us, share: 0.0, regions: Vec::new() };
                let (cause, zones) = (score.finding.cause, Vec::new());
                let event =
                    FoundEvent { start_us: onset_us, last_motion_us: onset_us, open: false, cause, zones, best };
                self.event = Some((event, ZoneSet::default()));
            }
            Some(MotionChange::Prolonged { last_motion_us, .. }) => {
                if let Some((event, _)) = &mut self.event {
                    event.last_motion_us = last_motion_us;
                }
            }
            Some(MotionChange::Ended { .. }) => self.close(false),
            None => {}
        }
        if let Some((event, zones)) = &mut self.event {
            *zones = zones.union(score.finding.zones);
            if score.moving && share > event.best.share {
                event.best = Best { at_us, share, regions: score.finding.regions.clone() };
            }
        }
    }

    fn note(&mut self, at_us: i64, share: f64) {
        let Ok(second) = usize::try_from(at_us / 1_000_000) else { return };
        if second >= MOST_SECONDS {
            return;
        }
        let scores = &mut self.run.scores;
        if scores.len() <= second {
            scores.resize(second + 1, score::Score::UNSEEN);
        }
        scores[second] = scores[second].max(score::Score::of(share));
    }

    fn close(&mut self, open: bool) {
        if let Some((event, zones)) = self.event.take() {
            self.run.events.push(FoundEvent { open, zones: self.config.zone_names(zones), ..event });
        }
    }

    fn end(mut self, from_us: i64, last_us: i64) -> Run {
        if self.was_moving
            && let Some(last) = self.run.moving.last_mut()
        {
            last.1 = last_us + LAST_PICTURE_US;
        }
        if self.motion.end().is_some() {
            self.close(true);
        }
        let Run { mut events, mut moving, mut scores } = self.run;
        events.retain(|event| event.last_motion_us >= from_us);
        moving.retain(|(_, to_us)| *to_us > from_us);
        moving.iter_mut().for_each(|(moving_from_us, _)| *moving_from_us = (*moving_from_us).max(from_us));
        let before = usize::try_from(from_us / 1_000_000).unwrap_or(0).min(scores.len());
        scores[..before].fill(score::Score::UNSEEN);
        Run { events, moving, scores }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::domain::config::Area;
    use crate::media::testing;

    /// 12 s of noise before which a box goes to and fro, in two stretches.
    fn clip(folder: &Path, name: &str, encode: &[&str]) -> PathBuf {
        let path = folder.join(name);
        let scene = "gradients=s=96x64:r=25:c0=gray:c1=white:speed=0.00001:seed=3,noise=alls=5:allf=t[wall];\
                     color=black:s=10x24:r=25[box];\
                     [wall][box]overlay=x='10+60*abs(mod(max(4,min(t,6))+max(9,min(t,11)),2)-1)':y=30,format=yuv420p";
        let shown = path.to_str().expect("the path is text");
        let arguments = [&["-f", "lavfi", "-i", scene, "-t", "12"], encode, &[shown]].concat();
        testing::ffmpeg(&arguments);
        path
    }

    const B_PICTURES: &[&str] =
        &["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-x264-params", "b-adapt=0:keyint=50:scenecut=0"];

    fn config(algorithm: Algorithm) -> DetectConfig {
        DetectConfig {
            algorithm,
            warm_up: Duration::from_secs(2),
            minimal_duration: Duration::from_secs(1),
            width: 96,
            blur: 5,
            dilate: 2,
            erode: 1,
            min_area: Area::Share(0.005),
            ..DetectConfig::default()
        }
    }

    fn one(reel: &Reel, configs: &[DetectConfig], threads: usize) -> Played {
        let options = Options { threads, ..Options::default() };
        let played = run(std::slice::from_ref(reel), configs, options, &Cancel::new(), &|_| {});
        played.expect("it runs").pop().expect("of one reel")
    }

    /// What a detector finds that is shown every picture.
    fn every_picture(path: &Path, config: &DetectConfig) -> Run {
        let mut watch = Watch::new(config).expect("it starts");
        let mut decoder = LumaDecoder::new();
        let (mut first_us, mut last_us) = (None, 0);
        let mut look = |view: LumaView| {
            let pts_us = view.pts_us - *first_us.get_or_insert(view.pts_us);
            last_us = pts_us;
            watch.look(&LumaView { pts_us, ..view }).expect("it looks");
        };
        testing::packets(path, 1).iter().for_each(|packet| decoder.decode(packet, &mut look).expect("it decodes"));
        decoder.drain(&mut look).expect("it drains");
        watch.end(0, last_us)
    }

    #[test]
    fn what_is_left_out_changes_nothing_that_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let x265 = [
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "log-level=none:bframes=3:b-adapt=0:keyint=50:scenecut=0",
        ];
        for (name, encode) in
            [("h264.mp4", B_PICTURES), ("h265.mp4", &x265), ("jpeg.mkv", &["-c:v", "mjpeg", "-q:v", "4"])]
        {
            let path = clip(folder.path(), name, encode);
            let config = config(Algorithm::Adaptive);
            let played = one(&Reel::of_file(path.clone()), std::slice::from_ref(&config), 1);
            let expected = every_picture(&path, &config);
            assert!(!expected.events.is_empty(), "{name}: the clip has events to find");
            assert_eq!(played.runs[0], expected, "{name}");
            assert!(played.pictures < 260 && played.faults.is_empty(), "{name}: {} pictures", played.pictures);
        }
    }

    #[test]
    fn the_answer_is_the_same_on_any_number_of_threads_and_beside_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = clip(folder.path(), "clip.mp4", B_PICTURES);
        let reels: Vec<Reel> = (0..2).map(|_| Reel::of_file(path.clone())).collect();
        let other = DetectConfig { fps: 4, width: 80, ..config(Algorithm::Adaptive) };
        let configs = [config(Algorithm::Adaptive), config(Algorithm::Seed), other];
        let on = |threads| {
            let options = Options { threads, ..Options::default() };
            run(&reels, &configs, options, &Cancel::new(), &|_| {}).expect("it runs")
        };
        let expected = on(1);
        assert_eq!(expected.len(), 2);
        assert_eq!(on(5), expected);
        for (n, config) in configs.iter().enumerate() {
            let alone = one(&reels[0], std::slice::from_ref(config), 2);
            assert_eq!(alone.runs[0], expected[0].runs[n], "{:?}", config.algorithm);
        }
    }

    #[test]
    fn files_that_go_on_one_into_the_other_are_one_stretch() {
        let folder = tempfile::tempdir().unwrap();
        let path =
            clip(folder.path(), "whole.mp4", &["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "0"]);
        let shown = path.to_str().unwrap();
        let pattern = folder.path().join("part%d.mp4");
        let cut = ["-i", shown, "-c", "copy", "-f", "segment", "-segment_time", "4", "-reset_timestamps", "1"];
        testing::ffmpeg(&[&cut[..], &[pattern.to_str().unwrap()]].concat());
        let part = |n: i64| Part { path: folder.path().join(format!("part{n}.mp4")), start_us: n * 4_000_000 };
        let reel = Reel { parts: (0..3).map(part).collect(), ..Reel::of_file(path.clone()) };
        let config = [config(Algorithm::Adaptive)];
        let (cut, whole) = (one(&reel, &config, 1), one(&Reel::of_file(path), &config, 1));
        assert!(!whole.runs[0].events.is_empty());
        assert_eq!(cut, whole);
        // Of a part of it, what ends before is not told.
        let event = &whole.runs[0].events[0];
        let later = one(&Reel { from_us: event.last_motion_us + 1, ..reel.clone() }, &config, 1);
        assert_eq!(later.runs[0].events, whole.runs[0].events[1..]);
        let earlier = one(&Reel { to_us: event.start_us, ..reel }, &config, 1);
        assert_eq!(earlier.runs[0].events, []);
    }

    #[test]
    fn the_best_pictures_can_be_seen_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = clip(folder.path(), "clip.mp4", B_PICTURES);
        let reel = Reel::of_file(path.clone());
        let run = one(&reel, &[config(Algorithm::Adaptive)], 1).runs.remove(0);
        let times: Vec<i64> = run.events.iter().map(|event| event.best.at_us).collect();
        let mut shown = Vec::new();
        pictures_at(&reel, &times, &Cancel::new(), &mut |n, view, _| shown.push((n, view.width))).unwrap();
        assert_eq!(shown, (0..times.len()).map(|n| (n, 96)).collect::<Vec<_>>());
        assert!(run.events.iter().all(|event| !event.best.regions.is_empty()), "{run:?}");
    }

    #[test]
    fn it_ends_when_it_is_told_to_and_says_what_it_could_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = clip(folder.path(), "clip.mp4", B_PICTURES);
        let reels = [Reel::of_file(folder.path().join("gone.mp4")), Reel::of_file(path)];
        let config = [config(Algorithm::Adaptive)];
        let played = run(&reels, &config, Options::default(), &Cancel::new(), &|_| {}).unwrap();
        assert!(played[0].faults[0].contains("gone.mp4"), "{:?}", played[0].faults);
        assert!(played[0].runs[0].events.is_empty() && !played[1].runs[0].events.is_empty());
        let (cancel, told) = (Cancel::new(), AtomicI64::new(0));
        let ended = run(&reels, &config, Options::default(), &cancel, &|us| {
            told.store(us, Ordering::Relaxed);
            cancel.cancel();
        });
        assert!(matches!(ended, Err(BacktestError::Cancelled)));
        assert!(told.into_inner() < 9_000_000, "it went on");
    }
}
