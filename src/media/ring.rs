//! A camera's encoded packets: one producer, many cursors, no copies.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::packet::Packet;
use crate::domain::ring::{Read, Ring, RingBounds};

/// The shared ring of one stream. It is the memory bound of its camera and its buffer against a stalling disk.
pub struct PacketRing {
    inner: Mutex<Inner>,
    /// [`Inner::passed`] has risen.
    passed: Condvar,
    /// The ring's end, for readers that are no threads.
    ends: watch::Sender<u64>,
}

struct Inner {
    ring: Ring<Arc<Packet>>,
    /// Packets of an older producer are refused: a thread past its deadline writes nothing more.
    producer: u64,
    /// Recorder and detector are through with everything before this sequence.
    passed: u64,
    max_bytes: u64,
}

impl PacketRing {
    pub fn new(bounds: RingBounds) -> Self {
        let max_bytes = bounds.max_bytes;
        let inner = Inner { ring: Ring::new(bounds), producer: 0, passed: 0, max_bytes };
        PacketRing { inner: Mutex::new(inner), passed: Condvar::new(), ends: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a new producer in and cuts off the one before it.
    pub fn admit(&self) -> u64 {
        let mut inner = self.lock();
        inner.producer += 1;
        inner.producer
    }

    /// Appends a packet; None where `producer` was cut off.
    pub fn push(&self, producer: u64, packet: Arc<Packet>) -> Option<u64> {
        let seq = {
            let mut inner = self.lock();
            (inner.producer == producer).then(|| inner.ring.push(packet))
        }?;
        // Outside of the lock, which those who are woken want.
        self.ends.send_replace(seq + 1);
        Some(seq)
    }

    /// Tells of each packet that comes: the ring's end, as far as it is known.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.ends.subscribe()
    }

    /// Recorder and detector are through with everything before `seq`.
    pub fn pass(&self, seq: u64) {
        let mut inner = self.lock();
        if seq > inner.passed {
            inner.passed = seq;
            self.passed.notify_all();
        }
    }

    /// For a producer that can wait (a file's): waits, at most for `limit`, until recorder and detector are no
    /// further than `lead_us` behind the decode time `next_us`, and a quarter of the ring's bytes. True if they are.
    pub fn wait_for_readers(&self, next_us: i64, lead_us: i64, limit: Duration) -> bool {
        self.wait_until(limit, |inner| {
            let (ahead_us, ahead_bytes) = inner.ring.ahead_of(inner.passed, next_us);
            inner.passed >= inner.ring.end() || (ahead_us <= lead_us && ahead_bytes <= inner.max_bytes / 4)
        })
    }

    /// Likewise, until they are through with all that is there.
    pub fn wait_till_read(&self, limit: Duration) -> bool {
        self.wait_until(limit, |inner| inner.passed >= inner.ring.end())
    }

    fn wait_until(&self, limit: Duration, is_there: impl Fn(&Inner) -> bool) -> bool {
        let waited = self.passed.wait_timeout_while(self.lock(), limit, |inner| !is_there(inner));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub fn read(&self, seq: u64) -> Read<Arc<Packet>> {
        self.lock().ring.read(seq)
    }

    /// Sequence the next packet will get.
    pub fn end(&self) -> u64 {
        self.lock().ring.end()
    }

    pub fn bytes(&self) -> u64 {
        self.lock().ring.bytes()
    }

    pub fn newest(&self) -> Option<Arc<Packet>> {
        self.lock().ring.newest().cloned()
    }

    pub fn get(&self, seq: u64) -> Option<Arc<Packet>> {
        self.lock().ring.get(seq).cloned()
    }

    /// By how much decode time a reader at `seq` is behind; None where what it has before it is of another session.
    pub fn lag_us(&self, seq: u64) -> Option<i64> {
        let inner = self.lock();
        let newest = inner.ring.newest()?;
        let next = inner.ring.get(seq.max(inner.ring.start())).unwrap_or(newest);
        (next.session.id == newest.session.id).then(|| newest.dts_us() - next.dts_us())
    }

    /// The first keyframe held at or after `seq`.
    pub fn next_keyframe(&self, seq: u64) -> Option<u64> {
        self.lock().ring.next_keyframe(seq)
    }

    pub fn newest_keyframe(&self) -> Option<u64> {
        self.lock().ring.newest_keyframe()
    }

    /// See [`Ring::start_for`].
    pub fn start_for(&self, session: u64, pts_us: i64) -> Option<u64> {
        self.lock().ring.start_for(session, pts_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ring::RingBounds;
    use crate::media::testing;

    const BOUNDS: RingBounds = RingBounds { keep_us: 60_000_000, max_bytes: 64 << 20 };

    fn packets() -> Vec<Arc<Packet>> {
        let folder = tempfile::tempdir().unwrap();
        let clip = testing::clip(folder.path(), "clip.mp4", "64x48", 1, &["-c:v", "libx264", "-g", "15"]);
        testing::packets(&clip, 1).into_iter().map(Arc::new).collect()
    }

    #[test]
    fn ring_writer_and_detector_share_the_bytes() {
        let ring = PacketRing::new(BOUNDS);
        let producer = ring.admit();
        for packet in packets() {
            let bytes = packet.data().as_ptr();
            let seq = ring.push(producer, packet).unwrap();
            let (Read::Item(writer), Read::Item(detector)) = (ring.read(seq), ring.read(seq)) else {
                panic!("what was pushed is there");
            };
            assert_eq!([writer.data().as_ptr(), detector.data().as_ptr()], [bytes; 2]);
            let mut decoded = ffmpeg_next::Packet::empty();
            crate::media::decode::carry(&mut decoded, &detector);
            assert_eq!(decoded.data().map(<[u8]>::as_ptr), Some(bytes), "the decoder reads a copy");
        }
    }

    #[test]
    fn a_producer_that_was_replaced_is_cut_off() {
        let ring = PacketRing::new(BOUNDS);
        let packet = packets().remove(0);
        let old = ring.admit();
        assert!(ring.push(old, Arc::clone(&packet)).is_some());
        let new = ring.admit();
        assert!(ring.push(old, Arc::clone(&packet)).is_none());
        assert!(ring.push(new, packet).is_some());
        assert_eq!(ring.end(), 2);
    }
}
