//! The audio of a source as it is stored: AAC as it came, G.711 as FLAC, without loss.

use std::collections::VecDeque;

use ffmpeg_next::codec::Id;
use ffmpeg_next::{ChannelLayout, Packet, codec, decoder, encoder, frame};

use super::intake::Ticks;
use crate::domain::config::AudioMode;
use crate::domain::stream::{AudioCodec, AudioTrack};
use crate::domain::timeline::{Stamp, Timeline};

/// A shorter break in G.711 is filled with silence, so that sound and picture stay together.
const MAX_SILENCE_S: i64 = 2;

/// What libav says of an audio stream.
pub(super) struct AudioSetup {
    pub parameters: codec::Parameters,
    pub ticks: Ticks,
    pub sample_rate: u32,
    pub channels: u16,
    /// AAC: libav's profile number.
    pub profile: i32,
    pub extradata: Vec<u8>,
}

/// The way in of one audio stream.
pub(super) struct AudioIntake {
    ticks: Ticks,
    track: AudioTrack,
    timeline: Timeline,
    way: Way,
    ready: VecDeque<(Packet, Stamp)>,
}

enum Way {
    /// `adts`: each frame may have a header of its own, which is taken off.
    Copy {
        adts: bool,
    },
    Flac(Box<FlacWay>),
}

impl AudioIntake {
    /// None: this audio is not stored; the log says why.
    pub fn new(setup: AudioSetup, mode: AudioMode) -> Option<Self> {
        let id = setup.parameters.id();
        let is_g711 = matches!(id, Id::PCM_ALAW | Id::PCM_MULAW);
        match (mode, id) {
            (AudioMode::Off, _) => None,
            (_, Id::AAC) if setup.sample_rate > 0 && setup.channels > 0 => Self::aac(setup),
            (AudioMode::Auto, _) if is_g711 && setup.sample_rate > 0 && setup.channels > 0 => {
                match FlacWay::new(&setup) {
                    Ok(way) => Some(Self::flac(setup, way)),
                    Err(error) => {
                        tracing::warn!(%error, "the sound cannot be converted to FLAC and is left out");
                        None
                    }
                }
            }
            _ => {
                tracing::info!(codec = id.name(), "sound of this kind is left out");
                None
            }
        }
    }

    fn aac(setup: AudioSetup) -> Option<Self> {
        let adts = setup.extradata.is_empty();
        let config_record = match adts {
            true => audio_specific_config(setup.profile, setup.sample_rate, setup.channels)?,
            false => setup.extradata,
        };
        let AudioSetup { ticks, sample_rate, channels, .. } = setup;
        let nominal = ticks.in_ticks(1024 * 1_000_000 / i64::from(sample_rate));
        let track =
            AudioTrack { codec: AudioCodec::Aac, sample_rate, channels, timescale: ticks.timescale, config_record };
        let timeline = Timeline::new(ticks.timescale, nominal);
        Some(AudioIntake { ticks, track, timeline, way: Way::Copy { adts }, ready: VecDeque::new() })
    }

    fn flac(setup: AudioSetup, way: FlacWay) -> Self {
        let AudioSetup { ticks, sample_rate, channels, .. } = setup;
        let config_record = way.stream_info.clone();
        let track =
            AudioTrack { codec: AudioCodec::Flac, sample_rate, channels, timescale: sample_rate, config_record };
        let timeline = Timeline::new(sample_rate, way.block as i64);
        AudioIntake { ticks, track, timeline, way: Way::Flac(Box::new(way)), ready: VecDeque::new() }
    }

    pub fn track(&self) -> &AudioTrack {
        &self.track
    }

    /// The source's ticks, which for FLAC are not the track's.
    pub fn ticks(&self) -> Ticks {
        self.ticks
    }

    pub fn pop(&mut self) -> Option<(Packet, Stamp)> {
        self.ready.pop_front()
    }

    /// Takes a packet in; `dts` is in the source's ticks.
    pub fn take(&mut self, payload: Packet, dts: Option<i64>, arrival_us: Option<i64>) {
        match &mut self.way {
            Way::Copy { adts } => {
                let header = if *adts { adts_header_bytes(payload.data().unwrap_or_default()) } else { 0 };
                let payload = match payload.data().and_then(|data| data.get(header..)) {
                    Some(frame) if header > 0 && !frame.is_empty() => Packet::copy(frame),
                    Some(frame) if !frame.is_empty() => payload,
                    _ => return,
                };
                let stamp = self.timeline.stamp(dts, dts, arrival_us);
                self.ready.push_back((payload, stamp));
            }
            Way::Flac(way) => {
                let rate = i128::from(self.track.sample_rate);
                let sample = dts.map(|dts| (i128::from(dts) * rate / i128::from(self.ticks.timescale.max(1))) as i64);
                if let Err(error) = way.take(&payload, sample) {
                    tracing::debug!(%error, "a packet of sound cannot be converted and is left out");
                }
                self.collect(arrival_us);
            }
        }
    }

    fn collect(&mut self, arrival_us: Option<i64>) {
        let Way::Flac(way) = &mut self.way else { return };
        for (payload, sample) in way.encoded.drain(..) {
            let stamp = self.timeline.stamp(Some(sample), Some(sample), arrival_us);
            self.ready.push_back((payload, stamp));
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        if let Way::Flac(way) = &mut self.way {
            if let Err(error) = way.fill_block() {
                tracing::debug!(%error, "the last sound cannot be converted");
            }
            self.collect(None);
        }
    }
}

/// G.711 in, FLAC out, in blocks of a tenth of a second.
struct FlacWay {
    decoder: decoder::Audio,
    encoder: encoder::audio::Encoder,
    stream_info: Vec<u8>,
    layout: ChannelLayout,
    channels: usize,
    rate: u32,
    /// Samples (of each channel) in a block.
    block: usize,
    /// Interleaved samples that do not fill a block yet.
    waiting: Vec<i16>,
    /// Number of the first waiting sample on the source's clock; None before the first packet.
    first: Option<i64>,
    encoded: Vec<(Packet, i64)>,
}

impl FlacWay {
    fn new(setup: &AudioSetup) -> Result<Self, ffmpeg_next::Error> {
        let decoder = codec::Context::from_parameters(setup.parameters.clone())?.decoder().audio()?;
        let flac = encoder::find(Id::FLAC).ok_or(ffmpeg_next::Error::EncoderNotFound)?;
        let mut encoder = codec::Context::new_with_codec(flac).encoder().audio()?;
        let layout = ChannelLayout::default(i32::from(setup.channels));
        let format = ffmpeg_next::format::Sample::I16(ffmpeg_next::format::sample::Type::Packed);
        let rate = i32::try_from(setup.sample_rate).map_err(|_| ffmpeg_next::Error::InvalidData)?;
        encoder.set_rate(rate);
        encoder.set_format(format);
        encoder.set_channel_layout(layout);
        encoder.set_channels(i32::from(setup.channels));
        encoder.set_time_base((1, rate));
        let block = (setup.sample_rate / 10).clamp(16, 65_535);
        // SAFETY: the context is ours and not opened yet; FLAC takes its block size from here.
        unsafe { (*encoder.as_mut_ptr()).frame_size = block as i32 };
        let encoder = encoder.open_as(flac)?;
        // SAFETY: an open encoder's extradata is as long as it says, and is copied here.
        let stream_info = unsafe {
            let context = &*encoder.as_ptr();
            super::libav::copied(context.extradata, context.extradata_size)
        };
        if stream_info.len() != 34 {
            return Err(ffmpeg_next::Error::InvalidData);
        }
        Ok(FlacWay {
            decoder,
            encoder,
            stream_info,
            layout,
            channels: usize::from(setup.channels),
            rate: setup.sample_rate,
            block: block as usize,
            waiting: Vec::new(),
            first: None,
            encoded: Vec::new(),
        })
    }

    fn waiting_samples(&self) -> i64 {
        (self.waiting.len() / self.channels) as i64
    }

    fn take(&mut self, payload: &Packet, sample: Option<i64>) -> Result<(), ffmpeg_next::Error> {
        let expected = self.first.map(|first| first + self.waiting_samples());
        let said = sample.or(expected).unwrap_or(0);
        let break_samples = said - expected.unwrap_or(said);
        let rate = i64::from(self.rate);
        if break_samples > rate / 10 && break_samples <= MAX_SILENCE_S * rate {
            self.waiting.resize(self.waiting.len() + break_samples as usize * self.channels, 0);
        } else if break_samples.abs() > rate / 10 {
            self.fill_block()?;
            self.first = Some(said);
        }
        self.first.get_or_insert(said);
        self.decoder.send_packet(payload)?;
        let mut frame = frame::Audio::empty();
        while self.decoder.receive_frame(&mut frame).is_ok() {
            let bytes = frame.samples() * self.channels * 2;
            let data = frame.data(0).get(..bytes).unwrap_or_default();
            self.waiting.extend(data.chunks_exact(2).map(|pair| i16::from_ne_bytes([pair[0], pair[1]])));
        }
        while self.waiting_samples() >= self.block as i64 {
            self.encode_block()?;
        }
        Ok(())
    }

    /// Encodes what waits, made up to a block with silence.
    fn fill_block(&mut self) -> Result<(), ffmpeg_next::Error> {
        if !self.waiting.is_empty() {
            self.waiting.resize(self.block * self.channels, 0);
            self.encode_block()?;
        }
        Ok(())
    }

    fn encode_block(&mut self) -> Result<(), ffmpeg_next::Error> {
        let format = ffmpeg_next::format::Sample::I16(ffmpeg_next::format::sample::Type::Packed);
        let first = self.first.unwrap_or(0);
        let mut block = frame::Audio::new(format, self.block, self.layout);
        block.set_rate(self.rate);
        block.set_pts(Some(first));
        let samples = self.waiting.drain(..self.block * self.channels);
        for (bytes, sample) in block.data_mut(0).chunks_exact_mut(2).zip(samples) {
            bytes.copy_from_slice(&sample.to_ne_bytes());
        }
        self.first = Some(first + self.block as i64);
        self.encoder.send_frame(&block)?;
        let mut packet = Packet::empty();
        while self.encoder.receive_packet(&mut packet).is_ok() {
            let sample = packet.pts().unwrap_or(first);
            self.encoded.push((std::mem::replace(&mut packet, Packet::empty()), sample));
        }
        Ok(())
    }
}

/// Length of the ADTS header that a frame begins with; 0: none.
fn adts_header_bytes(frame: &[u8]) -> usize {
    match frame {
        [0xff, second, ..] if second & 0xf6 == 0xf0 => {
            if second & 1 == 1 {
                7
            } else {
                9
            }
        }
        _ => 0,
    }
}

/// The AudioSpecificConfig of AAC whose frames say so themselves.
fn audio_specific_config(profile: i32, sample_rate: u32, channels: u16) -> Option<Vec<u8>> {
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    // Object types 1 to 4; anything else is Low Complexity underneath.
    let object = u16::try_from(profile + 1).ok().filter(|object| (1..=4).contains(object)).unwrap_or(2);
    let rate = RATES.iter().position(|rate| *rate == sample_rate)? as u16;
    let channels = match channels {
        1..=6 => channels,
        8 => 7,
        _ => return None,
    };
    Some((object << 11 | rate << 7 | channels << 3).to_be_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_of_plain_aac() {
        // 44.1 kHz stereo, Low Complexity: the bytes every encoder writes.
        assert_eq!(audio_specific_config(1, 44_100, 2), Some(vec![0x12, 0x10]));
        assert_eq!(audio_specific_config(-99, 16_000, 1), Some(vec![0x14, 0x08]));
        assert_eq!(audio_specific_config(1, 12_345, 2), None);
    }

    #[test]
    fn headers_of_frames() {
        assert_eq!(adts_header_bytes(&[0xff, 0xf1, 0x50]), 7);
        assert_eq!(adts_header_bytes(&[0xff, 0xf0, 0x50]), 9);
        assert_eq!(adts_header_bytes(&[0x21, 0x10]), 0);
    }
}
