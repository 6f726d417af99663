//! The detector's way over a ring: decode, compare, decide. Runs in short turns on the shared threads.
//!
//! When it falls behind it goes on at the newest keyframe and counts what it left out; recording is never held
//! up by it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::registry::Glimpses;
use super::shots::{Shot, Shots};
use crate::archive::backgrounds::Backgrounds;
use crate::domain::adaptive::Memory;
use crate::domain::config::DetectConfig;
use crate::domain::finding::Finding;
use crate::domain::motion::{Motion, MotionChange, MotionState};
use crate::domain::ring::Read;
use crate::domain::stream::Track;
use crate::domain::tamper::TamperChange;
use crate::failpoint;
use crate::media::decode::{LumaDecoder, LumaView};
use crate::media::detect::{Detector, Score};
use crate::media::glimpse::Glimpse;
use crate::media::looks::Seen;
use crate::media::packet::Session;
use crate::media::picture::{Picture, ToBgr};
use crate::media::{Packet, PacketRing};

/// Video packets a turn takes before another camera gets its turn.
const PACKETS_A_TURN: usize = 8;
/// Further behind than this, the detector goes on at the newest keyframe.
const MAX_LAG_US: i64 = 3_000_000;
/// Pictures a decoder may hold back; times of so many packets are remembered.
const REORDERED: usize = 64;
/// Whoever watches the detector gets a picture so often, by the stream's time.
const SHOW_EACH_US: i64 = 200_000;

/// What is known of the scene is kept so often.
const KEEP_EVERY_US: i64 = 5_000_000;

/// A camera's detector between two turns.
pub struct Looker {
    camera: String,
    config: DetectConfig,
    ring: Arc<PacketRing>,
    /// Next packet to look at; None before the first.
    cursor: Option<u64>,
    settled: bool,
    session: Option<Arc<Session>>,
    decoder: LumaDecoder,
    detector: Detector,
    motion: Motion,
    /// (pts, sequence) of the packets that are in the decoder.
    in_decoder: VecDeque<(i64, u64)>,
    needs_keyframe: bool,
    show: Option<Show>,
    backgrounds: Option<Arc<Backgrounds>>,
    /// None: nobody wants an event's best pictures.
    shots: Option<Shots>,
    /// When what is known of the scene was kept last, in the session's time.
    kept_us: Option<i64>,
}

/// Shows what the detector sees, while somebody watches.
struct Show {
    to: Arc<Glimpses>,
    to_bgr: ToBgr,
    shown_us: Option<i64>,
}

impl Show {
    /// Takes a picture that `detector` just looked at.
    fn show(
        &mut self,
        (session, packet): (&Session, Option<&Packet>),
        view: &LumaView,
        picture: Picture,
        detector: &Detector,
        found: (Score, MotionState),
    ) {
        let newest = &self.to.newest;
        if newest.receiver_count() == 0 {
            if self.shown_us.take().is_some() {
                newest.send_replace(None);
            }
            return;
        }
        // Times may jump back.
        if self.shown_us.is_some_and(|shown_us| (0..SHOW_EACH_US).contains(&(view.pts_us - shown_us))) {
            return;
        }
        self.shown_us = Some(view.pts_us);
        let quarter_turns = packet.map_or(0, |packet| packet.stream.video.quarter_turns);
        let time = session.utc(view.pts_us).format("%Y-%m-%d %H:%M:%S UTC").to_string();
        // A picture that can't be scaled is not shown; whoever records it says so.
        if let Ok(glimpse) = Glimpse::take(picture, view, quarter_turns, &mut self.to_bgr, detector, found, time) {
            newest.send_replace(Some(Arc::new(glimpse)));
        }
    }
}

/// What a turn brought.
#[derive(Default)]
pub struct Look {
    /// In order, each with its session and the sequence of the frame that decided.
    pub changes: Vec<Change>,
    /// Every picture that was looked at.
    pub seen: Vec<Seen>,
    /// What became of the camera's being tampered with, each with its session.
    pub tampering: Vec<(Arc<Session>, TamperChange)>,
    /// Pictures of events that are worth a closer look.
    pub shots: Vec<Shot>,
    /// Everything up to here was looked at.
    pub looked: Option<(Arc<Session>, i64)>,
    /// Every packet before this one was decoded, if that is news.
    pub passed: Option<u64>,
    pub decoded: u64,
    pub skipped: u64,
    /// There is more for another turn.
    pub more: bool,
    /// The last fault of the decoder.
    pub fault: Option<String>,
}

/// A change of motion, and where.
pub struct Change {
    pub session: Arc<Session>,
    pub seq: u64,
    pub motion: MotionChange,
    /// What the picture that decided was found to show; of an end, nothing.
    pub finding: Finding,
}

impl Looker {
    /// `settled`: the camera runs already, so that no warm-up is needed (a restart of the detector alone).
    pub fn new(camera: &str, config: &DetectConfig, ring: Arc<PacketRing>, settled: bool) -> Result<Self, String> {
        let warm_up = if settled { 0 } else { config.warm_up.as_micros() as i64 };
        Ok(Looker {
            camera: camera.to_owned(),
            detector: Detector::new(config).map_err(|error| error.to_string())?.with_tamper(config),
            motion: Motion::new(warm_up, config.minimal_duration.as_micros() as i64),
            config: config.clone(),
            ring,
            cursor: None,
            settled,
            session: None,
            decoder: LumaDecoder::new(),
            in_decoder: VecDeque::new(),
            needs_keyframe: true,
            show: None,
            backgrounds: None,
            shots: None,
            kept_us: None,
        })
    }

    /// Lets others see what the detector sees.
    pub fn shown_to(mut self, glimpses: Option<Arc<Glimpses>>) -> Self {
        self.show = glimpses.map(|to| Show { to, to_bgr: ToBgr::default(), shown_us: None });
        self
    }

    /// What is known of the scene is kept there, and each connection begins with that.
    pub fn with_backgrounds(mut self, backgrounds: Option<Arc<Backgrounds>>) -> Self {
        self.backgrounds = backgrounds;
        self
    }

    /// The best pictures of events are kept for a closer look.
    pub fn with_shots(mut self, are_wanted: bool) -> Self {
        self.shots = are_wanted.then(Shots::default);
        self
    }

    /// Keeps what is known of the scene, where it is known well.
    pub fn keep_background(&self) {
        if let Some(backgrounds) = &self.backgrounds
            && let Some(memory) = self.detector.memory()
        {
            backgrounds.keep(&self.camera, memory);
        }
    }

    /// Likewise, every now and then.
    fn keep_background_at(&mut self, pts_us: i64) {
        if self.kept_us.is_none_or(|kept_us| (pts_us - kept_us).abs() >= KEEP_EVERY_US) {
            // Not with the first picture, of which nothing is known yet.
            if self.kept_us.replace(pts_us).is_some() {
                self.keep_background();
            }
        }
    }

    /// One turn.
    pub fn look(&mut self) -> Look {
        failpoint::reach("worker.detector", &self.camera);
        let mut look = Look::default();
        let before = self.cursor;
        self.advance(&mut look);
        look.passed = self.cursor.filter(|_| self.cursor != before);
        self.hand_over_shots(&mut look);
        look
    }

    fn advance(&mut self, look: &mut Look) {
        let mut taken = 0;
        loop {
            let Some(seq) = self.cursor.or_else(|| self.first()) else { return };
            if taken == PACKETS_A_TURN {
                look.more = true;
                return;
            }
            let seq = self.catch_up(seq, look);
            match self.ring.read(seq) {
                Read::Empty => {
                    self.cursor = Some(seq);
                    return;
                }
                Read::Overtaken { resume } => {
                    look.skipped += resume - seq;
                    self.jump();
                    self.cursor = Some(resume);
                }
                Read::Item(packet) => {
                    self.cursor = Some(seq + 1);
                    if packet.track == Track::Video {
                        taken += 1;
                        self.take(seq, &packet, look);
                    }
                }
            }
        }
    }

    /// Where to begin: with all there is; after a crash with what is new, lest it happen again.
    fn first(&self) -> Option<u64> {
        if self.settled { self.ring.newest_keyframe() } else { self.ring.next_keyframe(0) }
    }

    /// The session's last packets: takes what the decoder still holds.
    pub fn drain(&mut self) -> Look {
        let mut look = Look::default();
        if let Some(session) = self.session.clone() {
            let newest_us = self.ring.newest().filter(|p| p.session.id == session.id).map(|p| p.pts_us());
            self.decode(None, &session, &mut look);
            self.jump();
            self.keep_background();
            if let Some(newest_us) = newest_us {
                look.looked = Some((session, newest_us));
            }
        }
        self.hand_over_shots(&mut look);
        look
    }

    fn hand_over_shots(&mut self, look: &mut Look) {
        if let Some(shots) = &mut self.shots {
            look.shots = shots.take();
        }
    }

    /// Where to go on, when the ring is too far ahead.
    fn catch_up(&mut self, seq: u64, look: &mut Look) -> u64 {
        let (Some(current), Some(newest)) = (self.ring.get(seq), self.ring.newest()) else { return seq };
        let lag_us = newest.dts_us() - current.dts_us();
        if newest.session.id != current.session.id || lag_us < MAX_LAG_US {
            return seq;
        }
        match self.ring.newest_keyframe() {
            Some(key) if key > seq => {
                look.skipped += key - seq;
                self.jump();
                key
            }
            _ => seq,
        }
    }

    fn jump(&mut self) {
        self.decoder.flush();
        self.in_decoder.clear();
        self.needs_keyframe = true;
    }

    fn take(&mut self, seq: u64, packet: &Arc<Packet>, look: &mut Look) {
        if self.session.as_ref().is_none_or(|session| session.id != packet.session.id) {
            if let Some(old) = self.session.replace(Arc::clone(&packet.session)) {
                self.decode(None, &old, look);
                if let Some(motion) = self.motion.end() {
                    if let Some(shots) = &mut self.shots {
                        shots.follow(old.id, Some(&motion));
                    }
                    look.changes.push(Change { session: old, seq, motion, finding: Finding::default() });
                }
                self.keep_background();
                // A new connection may show a new scene: settle again, unless it turns out to be known.
                self.motion = Motion::new(
                    self.config.warm_up.as_micros() as i64,
                    self.config.minimal_duration.as_micros() as i64,
                );
            }
            self.jump();
            self.kept_us = None;
            let known = self.backgrounds.as_ref().and_then(|backgrounds| backgrounds.of(&self.camera));
            if let Some(known) = known {
                self.detector.recall(Memory::clone(&known));
            }
        }
        if self.needs_keyframe && !packet.keyframe {
            look.skipped += 1;
            return;
        }
        self.needs_keyframe = false;
        self.in_decoder.push_back((packet.pts_us(), seq));
        if self.in_decoder.len() > REORDERED {
            self.in_decoder.pop_front();
        }
        let session = Arc::clone(&packet.session);
        self.decode(Some(packet), &session, look);
        if let Some((_, pts_us)) = look.looked {
            self.keep_background_at(pts_us);
        }
    }

    fn decode(&mut self, packet: Option<&Packet>, session: &Arc<Session>, look: &mut Look) {
        let Looker { decoder, detector, motion, in_decoder, show, shots, .. } = self;
        let mut fault = None;
        let mut sink = |view: LumaView<'_>, picture: Picture<'_>| {
            look.decoded += 1;
            let pts_us = view.pts_us;
            let seq = in_decoder.iter().find(|(pts, _)| *pts == pts_us).map_or(0, |(_, seq)| *seq);
            match detector.look(&view) {
                Ok(score) => {
                    let (width, height) = detector.picture_size();
                    let share = f64::from(score.changed_pixels) / (f64::from(width) * f64::from(height)).max(1.0);
                    let finding = score.finding.clone();
                    let change = motion.look(session.id, pts_us, score.moving);
                    if detector.has_recalled() {
                        motion.settle();
                    }
                    if let Some(shots) = shots {
                        shots.follow(session.id, change.as_ref());
                        if score.moving {
                            shots.see(pts_us, share, picture);
                        }
                    }
                    if let Some(motion) = change {
                        let (session, finding) = (Arc::clone(session), finding.clone());
                        look.changes.push(Change { session, seq, motion, finding });
                    }
                    if let Some(show) = show {
                        show.show((session, packet), &view, picture, detector, (score, motion.state()));
                    }
                    look.seen.push(Seen { session: Arc::clone(session), pts_us, share, finding });
                }
                Err(error) => fault = Some(error.to_string()),
            }
            look.tampering.extend(detector.take_tamper_change().map(|change| (Arc::clone(session), change)));
            look.looked = Some((Arc::clone(session), pts_us));
        };
        let result = match packet {
            Some(packet) => decoder.decode_pictures(packet, &mut sink),
            None => decoder.drain_pictures(&mut sink),
        };
        if let Err(error) = result {
            fault = Some(error.to_string());
        }
        if fault.is_some() {
            look.fault = fault;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::sync::watch;

    use super::*;
    use crate::domain::config::{Algorithm, Area};
    use crate::domain::ring::RingBounds;
    use crate::media::source::{self, Cancel, OpenOptions};

    fn config(algorithm: Algorithm) -> DetectConfig {
        DetectConfig {
            algorithm,
            warm_up: Duration::from_secs(2),
            minimal_duration: Duration::from_secs(1),
            width: 160,
            blur: 5,
            dilate: 2,
            erode: 1,
            min_area: Area::Share(0.005),
            ..DetectConfig::default()
        }
    }

    /// A noisy wall before which a box goes to and fro, and rests.
    fn packets(folder: &Path) -> Vec<Arc<Packet>> {
        let clip = folder.join("clip.mp4");
        let scene = "gradients=s=160x96:r=15:c0=gray:c1=white:speed=0.00001:seed=3,noise=alls=5:allf=t[wall];\
                     color=black:s=12x30:r=15[box];\
                     [wall][box]overlay=x='if(lt(mod(t,6),3),20,20+40*(mod(t,6)-3))':y=40:shortest=0,format=yuv420p";
        let status = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", scene, "-t", "14"])
            .args(["-c:v", "libx264", "-bf", "2", "-g", "30"])
            .arg(&clip)
            .status()
            .expect("ffmpeg is installed");
        assert!(status.success());
        let options = OpenOptions::of_file(&clip);
        let session = Arc::new(Session::new(1));
        let mut source = source::open(&options, session, &Cancel::new()).expect("the clip opens");
        std::iter::from_fn(|| source.next().expect("the clip is whole")).map(Arc::new).collect()
    }

    /// What is found when so many packets at a time come in, with pauses of so many microseconds.
    fn changes(packets: &[Arc<Packet>], config: &DetectConfig, chunks: &[(usize, u64)]) -> Vec<(u64, MotionChange)> {
        shown_changes(packets, config, chunks, None)
    }

    /// Likewise while others look at it.
    fn shown_changes(
        packets: &[Arc<Packet>],
        config: &DetectConfig,
        chunks: &[(usize, u64)],
        glimpses: Option<Arc<Glimpses>>,
    ) -> Vec<(u64, MotionChange)> {
        let ring = Arc::new(PacketRing::new(RingBounds { keep_us: 60_000_000, max_bytes: 64 << 20 }));
        let producer = ring.admit();
        let looker = Looker::new("test", config, Arc::clone(&ring), false).expect("it starts");
        let mut looker = looker.shown_to(glimpses);
        let mut found = Vec::new();
        let mut rest = packets;
        for &(packets, pause_us) in chunks.iter().cycle() {
            let (now, later) = rest.split_at(packets.min(rest.len()));
            rest = later;
            now.iter().for_each(|packet| {
                ring.push(producer, Arc::clone(packet));
            });
            thread::sleep(Duration::from_micros(pause_us));
            let look = if rest.is_empty() { last_look(&mut looker) } else { looker.look() };
            assert_eq!((look.skipped, look.fault), (0, None));
            found.extend(look.changes.into_iter().map(|change| (change.seq, change.motion)));
            if rest.is_empty() {
                return found;
            }
        }
        found
    }

    /// All turns that are left, and what the decoder still holds.
    fn last_look(looker: &mut Looker) -> Look {
        let mut all = Look::default();
        loop {
            let look = looker.look();
            all.changes.extend(look.changes);
            all.skipped += look.skipped;
            if !look.more {
                all.changes.extend(looker.drain().changes);
                return all;
            }
        }
    }

    #[test]
    fn what_is_found_does_not_depend_on_who_looks_at_it() {
        let folder = tempfile::tempdir().unwrap();
        let packets = packets(folder.path());
        for algorithm in [Algorithm::Adaptive, Algorithm::Seed] {
            let config = config(algorithm);
            let expected = changes(&packets, &config, &[(8, 0)]);
            assert!(!expected.is_empty(), "{algorithm:?}: the clip has events to find");
            let glimpses = Arc::new(Glimpses { config: config.clone(), newest: watch::channel(None).0 });
            let viewers = [glimpses.newest.subscribe(), glimpses.newest.subscribe()];
            assert_eq!(shown_changes(&packets, &config, &[(8, 0)], Some(glimpses)), expected);
            assert!(viewers.iter().all(|viewer| viewer.borrow().is_some()), "they were shown something");
        }
    }

    #[test]
    fn what_is_found_does_not_depend_on_chunks_and_pauses() {
        let folder = tempfile::tempdir().unwrap();
        let packets = packets(folder.path());
        for algorithm in [Algorithm::Adaptive, Algorithm::Seed] {
            let config = config(algorithm);
            let expected = changes(&packets, &config, &[(1, 0)]);
            let starts = expected.iter().filter(|(_, change)| matches!(change, MotionChange::Started { .. })).count();
            assert!(starts >= 1, "{algorithm:?}: the clip has events to find, not {expected:?}");
            let runner = ProptestConfig { cases: 6, ..Default::default() };
            // At most eight at a time: that is what a turn takes.
            proptest!(runner, |(chunks in prop::collection::vec((1usize..9, 0u64..2000), 1..20))| {
                prop_assert_eq!(&changes(&packets, &config, &chunks), &expected);
            });
        }
    }
}
