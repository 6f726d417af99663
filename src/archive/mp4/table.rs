//! The sample table of one track while its file is open: a few bytes a sample.

/// One sample, its time in ticks of its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Decode time since the track's own zero.
    pub dts: u64,
    pub duration: u32,
    /// Presentation time less decode time.
    pub composition: i32,
    pub size: u32,
    pub key: bool,
}

/// All samples of a track and where they are. Differences of differences are small: about five bytes a sample.
#[derive(Clone, Debug, Default)]
pub struct SampleTable {
    samples: Vec<u8>,
    chunks: Vec<u8>,
    count: u64,
    chunk_count: u64,
    first_dts: u64,
    last: Last,
    last_chunk_at: u64,
    last_duration: u32,
    /// Greatest presentation time + duration.
    end: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    dts: u64,
    step: u64,
    composition: i32,
}

impl SampleTable {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn len(&self) -> u64 {
        self.count
    }

    /// Decode time of the first sample.
    pub fn first_dts(&self) -> u64 {
        self.first_dts
    }

    pub fn last_dts(&self) -> Option<u64> {
        (self.count > 0).then_some(self.last.dts)
    }

    /// When the last picture that is shown ends.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Decode time at which the track ends.
    pub fn decode_end(&self) -> u64 {
        self.last.dts.saturating_add(u64::from(self.last_duration))
    }

    /// Bytes of memory that the table takes.
    pub fn memory_bytes(&self) -> usize {
        self.samples.capacity() + self.chunks.capacity()
    }

    /// Appends samples that lie one after the other from `at` of the file on.
    pub fn add(&mut self, at: u64, samples: &[Sample]) {
        if samples.is_empty() {
            return;
        }
        put(&mut self.chunks, at.wrapping_sub(self.last_chunk_at));
        put(&mut self.chunks, samples.len() as u64);
        self.last_chunk_at = at;
        self.chunk_count += 1;
        for sample in samples {
            if self.count == 0 {
                self.first_dts = sample.dts;
                self.last.dts = sample.dts;
            }
            let step = sample.dts.saturating_sub(self.last.dts);
            put(&mut self.samples, zigzag(step.wrapping_sub(self.last.step) as i64));
            put(&mut self.samples, zigzag(i64::from(sample.composition) - i64::from(self.last.composition)));
            put(&mut self.samples, u64::from(sample.size) << 1 | u64::from(sample.key));
            self.last = Last { dts: sample.dts, step, composition: sample.composition };
            self.last_duration = sample.duration;
            self.end = self.end.max(
                (i64::try_from(sample.dts).unwrap_or(i64::MAX))
                    .saturating_add(i64::from(sample.composition))
                    .saturating_add(i64::from(sample.duration)),
            );
            self.count += 1;
        }
    }

    /// The samples in order. A duration is the distance to the next sample's decode time.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        let mut rest = self.samples.as_slice();
        let mut last = Last { dts: self.first_dts, ..Last::default() };
        let mut next = move || {
            let step = last.step.wrapping_add(unzigzag(take(&mut rest)?) as u64);
            let composition = (i64::from(last.composition) + unzigzag(take(&mut rest)?)) as i32;
            let size = take(&mut rest)?;
            last = Last { dts: last.dts.saturating_add(step), step, composition };
            Some(Sample { dts: last.dts, duration: 0, composition, size: (size >> 1) as u32, key: size & 1 == 1 })
        };
        let mut held = next();
        std::iter::from_fn(move || {
            let mut sample = held.take()?;
            held = next();
            sample.duration = held
                .map_or(self.last_duration, |following| u32::try_from(following.dts - sample.dts).unwrap_or(u32::MAX));
            Some(sample)
        })
    }

    /// Where runs of samples begin, and how many each holds.
    pub fn chunks(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let mut rest = self.chunks.as_slice();
        let mut at = 0u64;
        std::iter::from_fn(move || {
            at = at.wrapping_add(take(&mut rest)?);
            Some((at, take(&mut rest)? as u32))
        })
    }

    /// Each sample with its place in the file, in order.
    pub fn placed(&self) -> impl Iterator<Item = (u64, Sample)> + '_ {
        let mut samples = self.samples();
        let mut chunks = self.chunks();
        let (mut at, mut left) = (0, 0);
        std::iter::from_fn(move || {
            while left == 0 {
                (at, left) = chunks.next()?;
            }
            let sample = samples.next()?;
            let placed = (at, sample);
            at = at.saturating_add(u64::from(sample.size));
            left -= 1;
            Some(placed)
        })
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            first in 0u64..1 << 40,
            runs in prop::collection::vec(
                (0u64..1 << 40, prop::collection::vec((1u32..1 << 20, -5000i32..90_000, 1u32..1 << 24, any::<bool>()), 1..20)),
                0..10,
            ),
        ) {
            let mut table = SampleTable::default();
            let (mut samples, mut chunks, mut dts) = (Vec::new(), Vec::new(), first);
            for (at, run) in runs {
                let run: Vec<Sample> = run
                    .into_iter()
                    .map(|(duration, composition, size, key)| {
                        let sample = Sample { dts, duration, composition, size, key };
                        dts += u64::from(duration);
                        sample
                    })
                    .collect();
                table.add(at, &run);
                chunks.push((at, run.len() as u32));
                samples.extend(run);
            }
            prop_assert_eq!(table.samples().collect::<Vec<_>>(), samples);
            prop_assert_eq!(table.chunks().collect::<Vec<_>>(), chunks);
        }
    }

    #[test]
    fn an_hour_of_video_takes_little_memory() {
        let mut table = SampleTable::default();
        let mut dts = 0;
        for second in 0..3600u64 {
            let run: Vec<Sample> = (0..30)
                .map(|n| {
                    dts += 3000 + n % 3;
                    let size = 20_000 + (n * 7919 % 5000) as u32;
                    Sample { dts, duration: 3000, composition: 3000 * (n % 3) as i32, size, key: n == 0 }
                })
                .collect();
            table.add(second * 1_000_000, &run);
        }
        assert!(table.memory_bytes() < 3600 * 30 * 12, "{} bytes", table.memory_bytes());
    }
}
