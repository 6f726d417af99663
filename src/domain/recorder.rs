//! What to do with each packet: the recorder of one camera as a pure state machine.
//!
//! It is told of triggers, of how far the detector has looked, and of each packet that the cursor meets; it
//! answers with what to do. An event's content goes from the last keyframe at or before (trigger - pre-alarm)
//! to (last motion + minimal duration). The file is finalised only when no trigger can reach back into it any
//! more, so that no packet is stored twice and none is missing between two events.

use super::camera::Reason;
use super::config::RecordMode;

/// What the recorder is set to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecorderConfig {
    pub mode: RecordMode,
    pub pre_alarm_us: i64,
    /// An event lasts this long after its last motion.
    pub minimal_duration_us: i64,
    /// A file that is this long ends at the next keyframe.
    pub max_file_us: i64,
}

/// The decision that there is motion, as the writer gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onset {
    pub session: u64,
    /// Presentation time of the picture that started the event.
    pub onset_us: i64,
    /// Presentation time of the last picture with motion so far; at least `onset_us`.
    pub last_motion_us: i64,
    pub reason: Reason,
}

/// The packet at the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketMeta {
    pub seq: u64,
    pub session: u64,
    /// Which description of the stream it belongs to; another one needs another file.
    pub stream: u64,
    pub dts_us: i64,
    pub pts_us: i64,
    /// A video keyframe.
    pub keyframe: bool,
}

/// What to do with the packet at the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Append it to the open file.
    Write,
    /// Close the open file, if any, and begin one with this packet.
    Begin,
    /// Leave it: nothing before it may be decoded without what is missing.
    Skip,
    /// The event's content ends before it. Leave it and ask again when there is news.
    Wait,
    /// The event is over: finalise its file.
    Finish,
}

/// Where a recording begins that nothing triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first keyframe from this sequence on, of whatever session.
    At(u64),
    /// Where one starts that wants everything from this time of the newest session on (see `Ring::start_for`).
    Time(i64),
}

/// What a trigger means for the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It belongs to the open event, or to none (recording is off, or its session is gone).
    GoesOn,
    /// Finalise what is open, then call [`Recorder::begin`] with this sequence.
    Begin(u64),
}

/// The recorder of one camera.
#[derive(Clone, Debug)]
pub struct Recorder {
    config: RecorderConfig,
    /// How far the detector has looked, and in which session.
    looked: Option<(u64, i64)>,
    detector_down: bool,
    event: Option<Event>,
    file: Option<FileState>,
    /// No event begins before this sequence: what is before it is stored already.
    stored_to: u64,
}

#[derive(Clone, Debug)]
struct Event {
    session: u64,
    /// Motion so far, in order; empty while everything is recorded and nothing moved.
    motion: Vec<Span>,
    reason: Reason,
    /// First packet not yet stored.
    cursor: u64,
    /// The content is stored; the file is only kept open for a trigger that may reach back.
    waiting: bool,
    /// Files begun so far.
    files: u32,
}

/// From the picture that started motion to the last one with motion.
#[derive(Clone, Copy, Debug)]
struct Span {
    onset_us: i64,
    last_us: i64,
}

#[derive(Clone, Copy, Debug)]
struct FileState {
    stream: u64,
    start_us: i64,
}

impl Event {
    /// Adds motion: the last span grows, or a new one follows it.
    fn prolong(&mut self, span: Span) {
        match self.motion.last_mut() {
            Some(last) if span.onset_us <= last.last_us => last.last_us = last.last_us.max(span.last_us),
            _ => self.motion.push(span),
        }
    }
}

impl Recorder {
    pub fn new(config: RecorderConfig) -> Self {
        Recorder { config, looked: None, detector_down: false, event: None, file: None, stored_to: 0 }
    }

    /// What is recorded now.
    pub fn mode(&self) -> RecordMode {
        self.config.mode
    }

    /// The first packet that is not stored yet, while there is something to record.
    pub fn cursor(&self) -> Option<u64> {
        self.event.as_ref().map(|event| event.cursor)
    }

    /// The first packet that is known to belong into a file and is not stored yet.
    pub fn storing_from(&self) -> Option<u64> {
        self.event.as_ref().filter(|event| !event.waiting).map(|event| event.cursor)
    }

    pub fn is_file_open(&self) -> bool {
        self.file.is_some()
    }

    /// The session of the open event.
    pub fn session(&self) -> Option<u64> {
        self.event.as_ref().map(|event| event.session)
    }

    /// Did the open event begin more than one file?
    pub fn has_rolled(&self) -> bool {
        self.event.as_ref().is_some_and(|event| event.files > 1)
    }

    /// Why the file that begins now is made.
    pub fn reason(&self) -> Reason {
        self.event.as_ref().map_or(Reason::Continuous, |event| event.reason)
    }

    /// When the event's first trigger was, if there was one.
    pub fn onset_us(&self) -> Option<i64> {
        Some(self.event.as_ref()?.motion.first()?.onset_us)
    }

    /// Microseconds of motion between two moments of the event.
    pub fn motion_between(&self, from_us: i64, to_us: i64) -> i64 {
        let spans = self.event.iter().flat_map(|event| &event.motion);
        spans.map(|span| (span.last_us.min(to_us) - span.onset_us.max(from_us)).max(0)).sum()
    }

    /// For how long the event that goes on at `pts_us` still lasts, as far as is known: all of the minimal duration
    /// while something moves. None: nothing has moved, or it is over.
    pub fn motion_left_us(&self, pts_us: i64) -> Option<i64> {
        let spans = self.event.iter().flat_map(|event| &event.motion);
        let since_us = spans.filter(|span| span.onset_us <= pts_us).map(|span| (pts_us - span.last_us).max(0)).min()?;
        Some(self.config.minimal_duration_us - since_us).filter(|left_us| *left_us > 0)
    }

    /// Is everything recorded, whether something moves or not?
    fn records_all(&self) -> bool {
        match self.config.mode {
            RecordMode::Continuous => true,
            RecordMode::Motion => self.detector_down,
            RecordMode::Off => false,
        }
    }

    /// The detector has looked at everything up to here.
    pub fn looked(&mut self, session: u64, pts_us: i64) {
        if self.looked.is_none_or(|(s, pts)| session > s || (session == s && pts_us > pts)) {
            self.looked = Some((session, pts_us));
        }
    }

    /// The detector is dead or hopelessly behind, or is back at `now_us` of `session`.
    pub fn detector_down(&mut self, down: bool, session: u64, now_us: i64) {
        if self.detector_down == down {
            return;
        }
        self.detector_down = down;
        if down {
            return;
        }
        // What was open for want of a detector ends like an event whose last motion was now.
        self.looked(session, now_us);
        if let Some(event) = &mut self.event
            && event.session == session
            && self.config.mode == RecordMode::Motion
        {
            event.prolong(Span { onset_us: now_us, last_us: now_us });
        }
    }

    /// Another mode holds from `now_us` of `session` on.
    pub fn set_mode(&mut self, mode: RecordMode, session: u64, now_us: i64) {
        if self.config.mode == mode {
            return;
        }
        let recorded_all = self.records_all();
        self.config.mode = mode;
        let Some(event) = self.event.as_mut().filter(|event| event.session == session) else { return };
        match mode {
            // What comes after the file that is open is no event.
            RecordMode::Continuous => event.reason = Reason::Continuous,
            // What was recorded without an event ends like one whose last motion was now.
            RecordMode::Motion if recorded_all => event.prolong(Span { onset_us: now_us, last_us: now_us }),
            RecordMode::Motion | RecordMode::Off => {}
        }
    }

    /// Motion began or goes on. Ask only when the cursor has reached the end of what was to be stored, else two
    /// events that touch would not be told from two that do not. `start_for`: see [`Recorder::step`].
    pub fn trigger(&mut self, onset: Onset, start_for: impl Fn(i64) -> Option<u64>) -> Answer {
        if self.config.mode == RecordMode::Off {
            return Answer::GoesOn;
        }
        let horizon_us = self.horizon_us();
        let start = || start_for(onset.onset_us - self.config.pre_alarm_us);
        match &mut self.event {
            Some(event) if event.session > onset.session => Answer::GoesOn,
            Some(event) if event.session == onset.session => {
                if horizon_us.is_some_and(|horizon| onset.onset_us > horizon)
                    && let Some(seq) = start()
                    && seq > event.cursor
                {
                    return Answer::Begin(seq);
                }
                event.prolong(Span { onset_us: onset.onset_us, last_us: onset.last_motion_us.max(onset.onset_us) });
                Answer::GoesOn
            }
            _ => start().map_or(Answer::GoesOn, Answer::Begin),
        }
    }

    /// Begins an event at `seq`, which a keyframe of `session` holds; without an onset, because everything is
    /// recorded. What is stored already is not stored again: an event that was told twice comes to nothing.
    pub fn begin(&mut self, session: u64, seq: u64, onset: Option<Onset>) {
        let reason = match onset {
            Some(onset) => onset.reason,
            None if self.config.mode == RecordMode::Continuous => Reason::Continuous,
            None => Reason::DetectorDown,
        };
        let span = |o: Onset| Span { onset_us: o.onset_us, last_us: o.last_motion_us.max(o.onset_us) };
        let motion = onset.map(span).into_iter().collect();
        self.file = None;
        let cursor = seq.max(self.stored_to);
        self.event = Some(Event { session, motion, reason, cursor, waiting: false, files: 0 });
    }

    /// Should recording begin although nothing triggered, and where?
    pub fn wants_start(&self, newest_session: u64) -> Option<Start> {
        if self.event.is_some() || !self.records_all() {
            return None;
        }
        Some(match (self.config.mode, self.looked) {
            // A session may have come and gone while the disk took nothing.
            (RecordMode::Continuous, _) => Start::At(self.stored_to),
            // What the dead detector had not looked at may hold motion, and that motion has a past.
            (_, Some((session, looked_us))) if session == newest_session => {
                Start::Time(looked_us - self.config.pre_alarm_us)
            }
            _ => Start::Time(i64::MIN / 2),
        })
    }

    /// The time up to which packets belong to the event; None: all do.
    fn horizon_us(&self) -> Option<i64> {
        if self.records_all() {
            return None;
        }
        let last_us = self.event.as_ref()?.motion.last().map(|span| span.last_us);
        Some(last_us.map_or(i64::MIN / 2, |last| last.saturating_add(self.config.minimal_duration_us)))
    }

    /// What to do with the packet at the cursor. `start_for` tells where a recording that wants everything
    /// from a time of the event's session would start (see `Ring::start_for`).
    pub fn step(&mut self, packet: PacketMeta, start_for: impl Fn(i64) -> Option<u64>) -> Step {
        let horizon_us = self.horizon_us();
        let Some(event) = &mut self.event else { return Step::Finish };
        if packet.session != event.session {
            return Step::Finish;
        }
        if horizon_us.is_some_and(|horizon| packet.dts_us > horizon) {
            let horizon = horizon_us.unwrap_or(i64::MAX);
            event.waiting = true;
            let cursor = event.cursor;
            return if self.may_finish(horizon, cursor, start_for) { Step::Finish } else { Step::Wait };
        }
        event.waiting = false;
        match self.file {
            None if !packet.keyframe => {
                event.cursor = packet.seq + 1;
                Step::Skip
            }
            Some(file)
                if !(packet.keyframe
                    && (file.stream != packet.stream || packet.pts_us - file.start_us >= self.config.max_file_us)) =>
            {
                event.cursor = packet.seq + 1;
                self.stored_to = event.cursor;
                Step::Write
            }
            _ => {
                event.cursor = packet.seq + 1;
                event.files += 1;
                self.stored_to = event.cursor;
                if let (Some(file), Some(last)) = (self.file, event.motion.last().copied()) {
                    // Motion before the file that ends here is told already.
                    event.motion.retain(|span| span.last_us >= file.start_us || span.onset_us == last.onset_us);
                }
                self.file = Some(FileState { stream: packet.stream, start_us: packet.pts_us });
                Step::Begin
            }
        }
    }

    /// Can no trigger reach back into the event any more?
    fn may_finish(&self, horizon_us: i64, cursor: u64, start_for: impl Fn(i64) -> Option<u64>) -> bool {
        let Some(event) = &self.event else { return true };
        let looked_us = match self.looked {
            Some((session, _)) if session > event.session => return true,
            Some((session, pts_us)) if session == event.session => pts_us,
            _ => return false,
        };
        if looked_us < horizon_us.saturating_add(self.config.pre_alarm_us) {
            return false;
        }
        start_for(looked_us - self.config.pre_alarm_us).is_none_or(|seq| seq >= cursor)
    }

    /// The cursor was overtaken: packets before `resume` are gone. True if they should have been stored.
    pub fn overtaken(&mut self, resume: u64) -> bool {
        self.file = None;
        self.event.as_mut().is_some_and(|event| {
            event.cursor = resume;
            !event.waiting
        })
    }

    /// Begins the next file at `seq` again, after a file that failed.
    pub fn rewind(&mut self, seq: u64) {
        self.file = None;
        self.stored_to = seq;
        if let Some(event) = &mut self.event {
            event.files = event.files.saturating_sub(1);
            event.cursor = seq;
        }
    }

    /// The event is over and its file finalised.
    pub fn finished(&mut self) {
        if let Some(event) = self.event.take() {
            self.stored_to = self.stored_to.max(event.cursor);
        }
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME_US: i64 = 100_000;
    const SECOND_US: i64 = 1_000_000;

    /// A camera of 10 pictures a second, one session, whose packets all stay in reach.
    struct Bench {
        recorder: Recorder,
        gop: u64,
        frames: u64,
        files: Vec<Vec<u64>>,
    }

    impl Bench {
        fn new(mode: RecordMode, gop: u64, pre_alarm_s: i64, minimal_s: i64) -> Self {
            let config = RecorderConfig {
                mode,
                pre_alarm_us: pre_alarm_s * SECOND_US,
                minimal_duration_us: minimal_s * SECOND_US,
                max_file_us: 600 * SECOND_US,
            };
            Bench { recorder: Recorder::new(config), gop, frames: 0, files: Vec::new() }
        }

        fn start_for(gop: u64, frames: u64, pts_us: i64) -> Option<u64> {
            (frames > 0).then(|| (pts_us.max(0) / FRAME_US) as u64 / gop * gop)
        }

        /// Lets the recorder take what is there.
        fn run(&mut self) {
            let (gop, frames) = (self.gop, self.frames);
            let start = self.recorder.wants_start(1).and_then(|start| match start {
                Start::At(seq) => Some(seq.next_multiple_of(gop)).filter(|seq| *seq < frames),
                Start::Time(pts_us) => Self::start_for(gop, frames, pts_us),
            });
            if let Some(seq) = start {
                self.recorder.begin(1, seq, None);
            }
            while let Some(seq) = self.recorder.cursor() {
                if seq >= frames {
                    break;
                }
                let us = seq as i64 * FRAME_US;
                let packet =
                    PacketMeta { seq, session: 1, stream: 1, dts_us: us, pts_us: us, keyframe: seq % gop == 0 };
                match self.recorder.step(packet, |pts| Self::start_for(gop, frames, pts)) {
                    Step::Begin => self.files.push(vec![seq]),
                    Step::Write => self.files.last_mut().expect("a file is open").push(seq),
                    Step::Skip => {}
                    Step::Wait => break,
                    Step::Finish => self.recorder.finished(),
                }
            }
        }

        /// One more picture; `moving` as the detector saw it at once.
        fn frame(&mut self, moving: bool) {
            let (gop, at_us) = (self.gop, self.frames as i64 * FRAME_US);
            self.frames += 1;
            self.run();
            let frames = self.frames;
            if moving {
                let onset = Onset { session: 1, onset_us: at_us, last_motion_us: at_us, reason: Reason::Motion };
                if let Answer::Begin(seq) = self.recorder.trigger(onset, |pts| Self::start_for(gop, frames, pts)) {
                    self.recorder.finished();
                    self.recorder.begin(1, seq, Some(onset));
                }
            }
            self.recorder.looked(1, at_us);
            self.run();
        }
    }

    #[test]
    fn an_event_holds_its_pre_alarm_and_its_minimal_duration() {
        let mut bench = Bench::new(RecordMode::Motion, 20, 5, 10);
        for frame in 0..400 {
            bench.frame(frame == 117);
        }
        // 11.7 s - 5 s = 6.7 s: the keyframe before is frame 60; the last frame is at 21.7 s.
        assert_eq!(bench.files, vec![(60..=217).collect::<Vec<u64>>()]);
    }

    #[test]
    fn another_mode_begins_and_ends_without_a_packet_missing_or_doubled() {
        let mut bench = Bench::new(RecordMode::Motion, 5, 2, 1);
        for frame in 0..900u64 {
            let at_us = frame as i64 * FRAME_US;
            match frame {
                // While nothing moves; what the ring holds goes along.
                200 => bench.recorder.set_mode(RecordMode::Continuous, 1, at_us),
                300 => bench.recorder.set_mode(RecordMode::Motion, 1, at_us),
                // While something moves.
                410 => bench.recorder.set_mode(RecordMode::Continuous, 1, at_us),
                500 => bench.recorder.set_mode(RecordMode::Off, 1, at_us),
                800 => bench.recorder.set_mode(RecordMode::Motion, 1, at_us),
                _ => {}
            }
            bench.frame([405, 600, 850].contains(&frame));
            if frame == 450 {
                assert_eq!(bench.recorder.reason(), Reason::Continuous, "the next file is no event's");
            }
        }
        let stored: Vec<u64> = bench.files.concat();
        assert!(stored.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", bench.files);
        let files: Vec<(u64, u64)> = bench.files.iter().map(|file| (file[0], file[file.len() - 1])).collect();
        // An event's end is a second after its last motion; a file that was open when all was to be recorded goes on.
        assert_eq!(files, [(0, 310), (385, 499), (830, 860)]);
        assert!(bench.files.iter().all(|file| file.len() as u64 == file[file.len() - 1] - file[0] + 1));
    }

    #[test]
    fn a_trigger_that_reaches_back_goes_on_in_the_same_file() {
        let mut bench = Bench::new(RecordMode::Motion, 5, 5, 1);
        for frame in 0..400 {
            bench.frame(frame == 100 || frame == 155);
        }
        assert_eq!(bench.files, vec![(50..=165).collect::<Vec<u64>>()]);
    }

    #[test]
    fn a_late_trigger_begins_a_file_of_its_own() {
        let mut bench = Bench::new(RecordMode::Motion, 5, 5, 1);
        for frame in 0..400 {
            bench.frame(frame == 100 || frame == 180);
        }
        assert_eq!(bench.files, vec![(50..=110).collect::<Vec<u64>>(), (130..=190).collect()]);
    }

    #[test]
    fn continuous_stores_everything_and_cuts_at_keyframes() {
        let mut bench = Bench::new(RecordMode::Continuous, 15, 5, 1);
        bench.recorder.config.max_file_us = 2 * SECOND_US;
        for frame in 0..100 {
            bench.frame(frame == 50);
        }
        assert_eq!(bench.files.concat(), (0..100).collect::<Vec<u64>>());
        assert!(bench.files.iter().all(|file| file[0] % 15 == 0), "{:?}", bench.files);
        assert_eq!(bench.files[0].len(), 30);
    }

    #[test]
    fn without_a_detector_everything_is_recorded_until_it_is_back() {
        let mut bench = Bench::new(RecordMode::Motion, 10, 2, 1);
        for _ in 0..100 {
            bench.frame(false);
        }
        assert!(bench.files.is_empty());
        bench.recorder.detector_down(true, 1, 0);
        for _ in 0..50 {
            bench.frames += 1;
            bench.run();
        }
        assert_eq!(bench.recorder.reason(), Reason::DetectorDown);
        bench.recorder.detector_down(false, 1, 149 * FRAME_US);
        for _ in 0..100 {
            bench.frame(false);
        }
        // From the last look at 9.9 s, less the pre-alarm, to a second after its return at 14.9 s.
        assert_eq!(bench.files, vec![(70..=159).collect::<Vec<u64>>()]);
    }

    #[test]
    fn another_description_of_the_stream_needs_another_file() {
        let mut recorder = Bench::new(RecordMode::Continuous, 1, 0, 0).recorder;
        recorder.begin(1, 0, None);
        let packet = |seq, stream, keyframe| PacketMeta { seq, session: 1, stream, dts_us: 0, pts_us: 0, keyframe };
        assert_eq!(recorder.step(packet(0, 1, true), |_| None), Step::Begin);
        assert_eq!(recorder.step(packet(1, 1, true), |_| None), Step::Write);
        assert_eq!(recorder.step(packet(2, 2, true), |_| None), Step::Begin);
        let other_session = PacketMeta { session: 2, ..packet(3, 3, true) };
        assert_eq!(recorder.step(other_session, |_| None), Step::Finish);
    }

    proptest! {
        #[test]
        fn nothing_is_stored_twice_and_every_event_is_whole(
            gop in 1u64..60,
            pre_alarm_s in 0i64..8,
            minimal_s in 0i64..5,
            motion in prop::collection::vec(any::<bool>().prop_map(|b| b), 1..40),
        ) {
            let mut bench = Bench::new(RecordMode::Motion, gop, pre_alarm_s, minimal_s);
            for chunk in &motion {
                for frame in 0..12 {
                    bench.frame(*chunk && frame % 5 == 0);
                }
            }
            for _ in 0..2000 {
                bench.frame(false);
            }
            let all: Vec<u64> = bench.files.concat();
            prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "stored twice: {:?}", bench.files);
            prop_assert!(!bench.recorder.is_file_open());
            for (chunk, moving) in motion.iter().enumerate() {
                for frame in (0..12).filter(|frame| *moving && frame % 5 == 0) {
                    let at = (chunk * 12 + frame) as i64;
                    let file = bench.files.iter().find(|file| file.contains(&(at as u64)));
                    let file = file.expect("every motion is in a file");
                    let from = (at - pre_alarm_s * 10).max(0) as u64;
                    let to = (at + minimal_s * 10) as u64;
                    prop_assert!(file[0] <= from && *file.last().expect("not empty") >= to);
                    prop_assert!(file[0] % gop == 0);
                    prop_assert!(file.windows(2).all(|pair| pair[0] + 1 == pair[1]), "hole in {:?}", file);
                }
            }
        }
    }
}
