//! The camera's own video for its viewers: a cursor each in the camera's ring, the fragments in common.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use tokio::sync::watch;

use crate::actors::registry::CameraEntry;
use crate::archive::mp4::live;
use crate::domain::ring::{Read, RingItem};
use crate::domain::stream::{StreamInfo, Track};
use crate::media::{Packet, PacketRing};

/// A viewer that is further behind goes on at the newest keyframe, once there is one that it has not had.
const MOST_LAG_US: i64 = 1_500_000;
/// The stream's time begins so long before the first keyframe that is sent: sound may be a little earlier.
const BEFORE_US: i64 = 1_000_000;
/// Fragments are kept for the viewers that come for them a little later: so many, and so many bytes.
const MOST_KEPT: usize = 64;
const MOST_KEPT_BYTES: usize = 4 << 20;
/// Pictures that are there already go out together, in messages of about so many bytes.
const MESSAGE_BYTES: usize = 64 << 10;
/// How far back the packet before one of its track is looked for.
const LOOK_BACK: u64 = 32;

/// What the viewers of one ring share.
pub struct Feed {
    ring: Arc<PacketRing>,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    /// The session that is shown, and where its time begins.
    zero: Option<(u64, i64)>,
    /// By their packets' sequences, in the order in which they were made. None: nothing for a viewer.
    fragments: VecDeque<(u64, Option<Bytes>)>,
    bytes: usize,
}

impl Feed {
    pub fn new(ring: Arc<PacketRing>) -> Self {
        Feed { ring, made: Mutex::default() }
    }

    pub fn is_of(&self, ring: &Arc<PacketRing>) -> bool {
        Arc::ptr_eq(&self.ring, ring)
    }

    /// The packet as a fragment, made by whoever comes for it first.
    fn fragment(&self, seq: u64, packet: &Arc<Packet>) -> io::Result<Option<Bytes>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // From the newest on: that is where most viewers are.
        if let Some((_, fragment)) = made.fragments.iter().rev().find(|(number, _)| *number == seq) {
            return Ok(fragment.clone());
        }
        let session = packet.session.id;
        let zero_us = match made.zero {
            Some((of, zero_us)) if of == session => zero_us,
            _ => made.zero.insert((session, packet.dts_us() - BEFORE_US)).1,
        };
        let number = (seq as u32).wrapping_add(1);
        let fragment = live::segment(packet, number, zero_us, self.duration(seq, packet))?.map(Bytes::from);
        made.bytes += fragment.as_ref().map_or(0, Bytes::len);
        made.fragments.push_back((seq, fragment.clone()));
        while made.fragments.len() > MOST_KEPT || made.bytes > MOST_KEPT_BYTES {
            let Some((_, old)) = made.fragments.pop_front() else { break };
            made.bytes -= old.map_or(0, |old| old.len());
        }
        Ok(fragment)
    }

    /// How long the packet lasts, in ticks: up to the next of its track where that is here, else as long as the one
    /// before it.
    fn duration(&self, seq: u64, packet: &Packet) -> u32 {
        let neighbour = |seq: u64| {
            let found = self.ring.get(seq)?;
            (found.track == packet.track && found.session.id == packet.session.id).then_some(found.dts)
        };
        let next = (seq + 1..seq + LOOK_BACK).find_map(neighbour).map(|next| next - packet.dts);
        let before =
            || (seq.saturating_sub(LOOK_BACK)..seq).rev().find_map(neighbour).map(|before| packet.dts - before);
        let ticks = next.or_else(before).unwrap_or_else(|| i64::from(packet.timescale()) / 25);
        u32::try_from(ticks).unwrap_or(1).max(1)
    }
}

/// One viewer's way through the ring.
pub struct Viewer {
    feed: Arc<Feed>,
    entry: Arc<CameraEntry>,
    arrivals: watch::Receiver<u64>,
    cursor: u64,
    /// What the viewer was told it gets: the session and its description.
    told: Option<(u64, Arc<StreamInfo>)>,
    awaits_keyframe: bool,
    /// Nothing but the description went out yet.
    is_first: bool,
}

impl Viewer {
    /// Begins at the newest keyframe.
    pub fn new(feed: Arc<Feed>, entry: Arc<CameraEntry>) -> Self {
        let (arrivals, cursor) = begin(&feed.ring);
        Viewer { feed, entry, arrivals, cursor, told: None, awaits_keyframe: true, is_first: true }
    }

    /// Where the camera was started anew and writes into another ring: goes on there, as a viewer that comes now.
    pub fn be_in(&mut self, ring: &Arc<PacketRing>, feed: impl FnOnce() -> Arc<Feed>) {
        if !self.feed.is_of(ring) {
            self.feed = feed();
            (self.arrivals, self.cursor) = begin(ring);
            (self.told, self.awaits_keyframe) = (None, true);
        }
    }

    pub fn entry(&self) -> &Arc<CameraEntry> {
        &self.entry
    }

    /// Waits for a packet.
    pub async fn arrival(&mut self) {
        // The ring is held, so its sender is there.
        let _ = self.arrivals.changed().await;
    }

    /// What goes out next; None while there is nothing.
    pub fn next(&mut self) -> io::Result<Option<Bytes>> {
        // Sound goes with the next picture: many small messages would cost more than they bring.
        if !self.has_picture_ahead() {
            return Ok(None);
        }
        // The description goes alone, and so does the first picture, which is then seen at once.
        let was_first = self.is_first;
        let Some(first) = self.one()? else { return Ok(None) };
        if was_first || self.is_first {
            return Ok(Some(first));
        }
        let mut whole = Vec::new();
        while first.len() + whole.len() < MESSAGE_BYTES && self.continues() {
            let Some(more) = self.one()? else { break };
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&more);
        }
        Ok(Some(if whole.is_empty() { first } else { whole.into() }))
    }

    fn has_picture_ahead(&self) -> bool {
        let ring = &self.feed.ring;
        // A sequence that is gone counts too: what is there instead is found by reading.
        (self.cursor..ring.end()).any(|seq| ring.get(seq).is_none_or(|packet| packet.track == Track::Video))
    }

    /// Is the next packet more of the same?
    fn continues(&self) -> bool {
        let next = self.feed.ring.get(self.cursor);
        next.is_some_and(|packet| !packet.keyframe && self.is_told(&packet))
    }

    fn is_told(&self, packet: &Packet) -> bool {
        self.told.as_ref().is_some_and(|(session, stream)| {
            *session == packet.session.id && (Arc::ptr_eq(stream, &packet.stream) || **stream == *packet.stream)
        })
    }

    fn one(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            self.skip_if_behind();
            let packet = match self.feed.ring.read(self.cursor) {
                Read::Empty => return Ok(None),
                Read::Overtaken { resume } => {
                    self.skip_to(resume);
                    continue;
                }
                Read::Item(packet) => packet,
            };
            if self.awaits_keyframe || !self.is_told(&packet) {
                if !packet.is_keyframe() || packet.track != Track::Video {
                    self.cursor += 1;
                    continue;
                }
                self.awaits_keyframe = false;
                if !self.is_told(&packet) {
                    self.told = Some((packet.session.id, Arc::clone(&packet.stream)));
                    self.is_first = true;
                    return live::init_segment(&packet.stream).map(|head| Some(head.into()));
                }
            }
            let seq = self.cursor;
            self.cursor += 1;
            if let Some(fragment) = self.feed.fragment(seq, &packet)? {
                self.is_first = false;
                return Ok(Some(fragment));
            }
        }
    }

    fn skip_if_behind(&mut self) {
        let ring = &self.feed.ring;
        if ring.lag_us(self.cursor).is_some_and(|lag_us| lag_us <= MOST_LAG_US) {
            return;
        }
        if let Some(keyframe) = ring.newest_keyframe().filter(|keyframe| *keyframe > self.cursor) {
            self.skip_to(keyframe);
        }
    }

    fn skip_to(&mut self, seq: u64) {
        self.entry.counters.viewer_skips.fetch_add(1, Ordering::Relaxed);
        self.cursor = seq;
        self.awaits_keyframe = true;
    }
}

fn begin(ring: &PacketRing) -> (watch::Receiver<u64>, u64) {
    let arrivals = ring.arrivals();
    (arrivals, ring.newest_keyframe().unwrap_or_else(|| ring.end()))
}
