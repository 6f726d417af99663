//! From packets to grey pictures: libav's decoder, the luma plane as it lies in libav's memory.
//!
//! Belongs here: opening a decoder for a stream, feeding it, its errors. Does not belong here: what is done with a
//! picture ([`super::detect`], [`super::jpeg`]).

use std::sync::Arc;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::Pixel;
use thiserror::Error;

use super::packet::Packet;
use super::picture::Picture;
use super::{av, nal};
use crate::domain::stream::{StreamInfo, Track, VideoCodec, VideoTrack, ticks_to_us};

/// More decoding threads bring little and hold a picture each.
const MOST_THREADS: usize = 8;

/// The grey values of a decoded picture, borrowed from the decoder.
#[derive(Clone, Copy)]
pub struct LumaView<'a> {
    /// In pixels, after the stream's own cropping.
    pub width: u32,
    pub height: u32,
    /// Bytes from one row to the next, at least `width`.
    pub stride: usize,
    /// Eight bits a pixel; the last row ends with its last pixel.
    pub data: &'a [u8],
    pub pts_us: i64,
    pub session: u64,
    /// Black is 0 and white 255; otherwise 16 and 235.
    pub full_range: bool,
}

/// Why there is no picture.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The stream can't be decoded at all; every packet gets this answer until the stream changes.
    #[error("cannot decode this {codec} stream: {cause}")]
    Unsupported { codec: &'static str, cause: String },
    /// This packet was damaged; go on with the next one.
    #[error("a damaged {codec} packet could not be decoded: {cause}")]
    Damaged { codec: &'static str, cause: String },
    #[error("this packet is not a keyframe, so it can't be decoded by itself")]
    NotAKeyframe,
    #[error("the keyframe holds no whole picture")]
    NoPicture,
    #[error("cannot make an image file: {0}")]
    Image(String),
}

/// What a decoder has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeCounts {
    pub pictures: u64,
    /// Packets and pictures that libav found damaged.
    pub errors: u64,
    /// Packets left out because no keyframe had come yet.
    pub skipped: u64,
}

/// Decodes the video of one camera. Takes packets in order; opens a new decoder by itself where the stream changes.
pub struct LumaDecoder {
    open: Option<Open>,
    /// Nothing can be decoded before the next keyframe.
    awaits_keyframe: bool,
    /// Carries each packet's bytes, shared, with the session's own timestamps.
    carrier: ffmpeg::Packet,
    frame: ffmpeg::frame::Video,
    /// Luma of more than eight bits, shifted down.
    shifted: Vec<u8>,
    counts: DecodeCounts,
    threads: usize,
    without_loop_filter: bool,
}

/// The decoder of one description of a stream.
struct Open {
    session: u64,
    stream: Arc<StreamInfo>,
    length_prefixed: bool,
    decoder: Result<ffmpeg::decoder::Video, String>,
}

impl Open {
    fn fits(&self, packet: &Packet) -> bool {
        self.length_prefixed == packet.length_prefixed
            && (Arc::ptr_eq(&self.stream, &packet.stream) || self.stream.video == packet.stream.video)
    }
}

impl Default for LumaDecoder {
    fn default() -> Self {
        LumaDecoder::new()
    }
}

impl LumaDecoder {
    /// One thread: pictures come out without delay, and a camera takes no more than its turn.
    pub fn new() -> Self {
        LumaDecoder::with_threads(1)
    }

    /// As many threads as there are: the same pictures sooner, each as many packets later as there are threads. For
    /// files that are read as fast as they can.
    pub fn with_all_threads() -> Self {
        LumaDecoder::with_threads(std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS))
    }

    /// So many threads: the same pictures, each as many packets later as there are threads beyond the first.
    pub fn with_threads(threads: usize) -> Self {
        LumaDecoder {
            threads,
            without_loop_filter: false,
            open: None,
            awaits_keyframe: true,
            carrier: ffmpeg::Packet::empty(),
            frame: ffmpeg::frame::Video::empty(),
            shifted: Vec::new(),
            counts: DecodeCounts::default(),
        }
    }

    /// Leaves out the filter that smooths the edges of blocks: quicker, and pictures that are not quite those that were
    /// sent. Before the first packet.
    pub fn leave_out_loop_filter(&mut self, left_out: bool) {
        self.without_loop_filter = left_out;
    }

    /// Decodes the next packet and gives `look` each picture that is ready, in order of presentation. Audio is
    /// passed over. An error is counted and never the end: go on with the next packet.
    pub fn decode(&mut self, packet: &Packet, look: &mut dyn FnMut(LumaView)) -> Result<(), DecodeError> {
        self.decode_pictures(packet, &mut |view, _| look(view))
    }

    /// As [`LumaDecoder::decode`], with the whole picture beside its luma.
    pub fn decode_pictures(
        &mut self,
        packet: &Packet,
        look: &mut dyn FnMut(LumaView, Picture),
    ) -> Result<(), DecodeError> {
        if packet.track != Track::Video {
            return Ok(());
        }
        match &self.open {
            Some(open) if open.fits(packet) && open.session == packet.session.id => {}
            _ => {
                // The pictures still inside belong to the stream before.
                self.drain_pictures(look).ok();
                self.switch_to(packet);
            }
        }
        if self.awaits_keyframe && !packet.keyframe {
            self.counts.skipped += 1;
            return Ok(());
        }
        let Some(Open { decoder: Ok(decoder), .. }) = &mut self.open else {
            return Err(self.refuse());
        };
        self.awaits_keyframe = false;
        carry(&mut self.carrier, packet);
        let sent = decoder.send_packet(&self.carrier);
        let received = self.receive(look);
        match sent {
            Ok(()) => received,
            Err(error) => Err(self.damaged(error)),
        }
    }

    /// Gives out the pictures that are still inside, at the end of a stream.
    pub fn drain(&mut self, look: &mut dyn FnMut(LumaView)) -> Result<(), DecodeError> {
        self.drain_pictures(&mut |view, _| look(view))
    }

    /// As [`LumaDecoder::drain`], with the whole picture beside its luma.
    pub fn drain_pictures(&mut self, look: &mut dyn FnMut(LumaView, Picture)) -> Result<(), DecodeError> {
        let Some(Open { decoder: Ok(decoder), .. }) = &mut self.open else { return Ok(()) };
        let result = match decoder.send_eof() {
            Ok(()) => self.receive(look),
            Err(error) => Err(self.damaged(error)),
        };
        self.flush();
        result
    }

    /// Forgets the pictures inside, after a jump in the stream; goes on at the next keyframe.
    pub fn flush(&mut self) {
        if let Some(Open { decoder: Ok(decoder), .. }) = &mut self.open {
            decoder.flush();
        }
        self.awaits_keyframe = true;
    }

    pub fn counts(&self) -> DecodeCounts {
        self.counts
    }

    fn switch_to(&mut self, packet: &Packet) {
        self.awaits_keyframe = true;
        match &mut self.open {
            Some(open) if open.fits(packet) => open.session = packet.session.id,
            _ => {
                let mut decoder = open_decoder(&packet.stream.video, packet.length_prefixed, self.threads);
                if let (Ok(decoder), true) = (&mut decoder, self.without_loop_filter) {
                    decoder.skip_loop_filter(ffmpeg::codec::discard::Discard::All);
                }
                self.open = Some(Open {
                    session: packet.session.id,
                    stream: packet.stream.clone(),
                    length_prefixed: packet.length_prefixed,
                    decoder,
                })
            }
        }
    }

    fn receive(&mut self, look: &mut dyn FnMut(LumaView, Picture)) -> Result<(), DecodeError> {
        let Some(Open { decoder: Ok(decoder), session, stream, .. }) = &mut self.open else { return Ok(()) };
        let timescale = stream.video.timescale;
        let session = *session;
        loop {
            match decoder.receive_frame(&mut self.frame) {
                Ok(()) => {}
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN } | ffmpeg::Error::Eof) => return Ok(()),
                Err(error) => return Err(self.damaged(error)),
            }
            if self.frame.is_corrupt() || self.frame.has_decode_errors() {
                self.counts.errors += 1;
            }
            let Some((stride, data)) = luma(&self.frame, &mut self.shifted) else {
                let cause = format!("pictures in {:?} have no grey plane that is known here", self.frame.format());
                if let Some(open) = &mut self.open {
                    open.decoder = Err(cause);
                }
                return Err(self.refuse());
            };
            self.counts.pictures += 1;
            let view = LumaView {
                width: self.frame.width(),
                height: self.frame.height(),
                stride,
                data,
                pts_us: ticks_to_us(self.frame.pts().or(self.frame.timestamp()).unwrap_or(0), timescale),
                session,
                full_range: is_full_range(&self.frame),
            };
            look(view, Picture::new(&self.frame));
        }
    }

    fn codec(&self) -> &'static str {
        self.open.as_ref().map_or("video", |open| open.stream.video.codec.name())
    }

    fn damaged(&mut self, error: ffmpeg::Error) -> DecodeError {
        self.counts.errors += 1;
        DecodeError::Damaged { codec: self.codec(), cause: error.to_string() }
    }

    fn refuse(&mut self) -> DecodeError {
        self.counts.errors += 1;
        let cause = match &self.open {
            Some(Open { decoder: Err(cause), .. }) => cause.clone(),
            _ => "no decoder is open".into(),
        };
        DecodeError::Unsupported { codec: self.codec(), cause }
    }
}

/// Opens a decoder.
pub(super) fn open_decoder(
    video: &VideoTrack,
    length_prefixed: bool,
    threads: usize,
) -> Result<ffmpeg::decoder::Video, String> {
    let id = match video.codec {
        VideoCodec::H264 => ffmpeg::codec::Id::H264,
        VideoCodec::H265 => ffmpeg::codec::Id::HEVC,
        VideoCodec::Mjpeg => ffmpeg::codec::Id::MJPEG,
        VideoCodec::Mpeg4 => ffmpeg::codec::Id::MPEG4,
    };
    av::init();
    let codec = ffmpeg::decoder::find(id).ok_or("libav was built without a decoder for it")?;
    let mut context = ffmpeg::codec::Context::new_with_codec(codec);
    context.set_threading(ffmpeg::threading::Config {
        kind: if threads > 1 { ffmpeg::threading::Type::Frame } else { ffmpeg::threading::Type::None },
        count: threads,
        ..Default::default()
    });
    // libav tells lengths from start codes by what the parameter sets look like.
    let parameter_sets = match length_prefixed || video.codec == VideoCodec::Mpeg4 {
        true => video.config_record.clone(),
        false => start_coded(video),
    };
    unsafe_av::set_extradata(&mut context, &parameter_sets)?;
    let mut decoder = context.decoder();
    decoder.set_packet_time_base((1, video.timescale.max(1).min(i32::MAX as u32) as i32));
    decoder.open_as(codec).and_then(|opened| opened.video()).map_err(|error| error.to_string())
}

/// Puts `packet`'s bytes, shared, into `carrier` under the session's own timestamps.
pub(super) fn carry(carrier: &mut ffmpeg::Packet, packet: &Packet) {
    unsafe_av::share(carrier, &packet.payload);
    carrier.set_pts(Some(packet.pts));
    carrier.set_dts(Some(packet.dts));
}

/// `packet`'s bytes, shared.
pub(super) fn shared(packet: &Packet) -> ffmpeg::Packet {
    let mut carrier = ffmpeg::Packet::empty();
    carry(&mut carrier, packet);
    carrier
}

/// The parameter sets of `avcC` or `hvcC` as NAL units with start codes; empty where there are none: they come in
/// band then.
fn start_coded(video: &VideoTrack) -> Vec<u8> {
    let units = nal::record_units(video.codec, &video.config_record).unwrap_or_default();
    units.into_iter().flat_map(|unit| [&[0, 0, 0, 1], unit].concat()).collect()
}

/// How the luma plane of a pixel format is stored.
enum Luma {
    Bytes,
    /// Little-endian words; the eight bits that count begin at this bit.
    Words(u32),
}

fn luma_of(format: Pixel) -> Option<Luma> {
    Some(match format {
        Pixel::YUV420P | Pixel::YUV422P | Pixel::YUV444P | Pixel::YUV440P | Pixel::YUV411P | Pixel::YUV410P => {
            Luma::Bytes
        }
        Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P => Luma::Bytes,
        Pixel::GRAY8 | Pixel::NV12 | Pixel::NV21 | Pixel::NV16 | Pixel::YUVA420P => Luma::Bytes,
        Pixel::YUV420P9LE | Pixel::YUV422P9LE | Pixel::YUV444P9LE | Pixel::GRAY9LE => Luma::Words(1),
        Pixel::YUV420P10LE | Pixel::YUV422P10LE | Pixel::YUV444P10LE | Pixel::GRAY10LE => Luma::Words(2),
        Pixel::YUV420P12LE | Pixel::YUV422P12LE | Pixel::YUV444P12LE | Pixel::GRAY12LE => Luma::Words(4),
        Pixel::P010LE | Pixel::GRAY16LE => Luma::Words(8),
        _ => return None,
    })
}

/// Stride and bytes of the picture's luma; of what has more than eight bits, the upper eight, in `shifted`.
fn luma<'a>(frame: &'a ffmpeg::frame::Video, shifted: &'a mut Vec<u8>) -> Option<(usize, &'a [u8])> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    match luma_of(frame.format())? {
        Luma::Bytes => unsafe_av::plane(frame, width, height),
        Luma::Words(shift) => {
            let (stride, words) = unsafe_av::plane(frame, 2 * width, height)?;
            shifted.clear();
            for row in words.chunks(stride) {
                let pixels = row.chunks_exact(2).take(width);
                shifted.extend(pixels.map(|word| (u16::from_le_bytes([word[0], word[1]]) >> shift) as u8));
            }
            Some((width, shifted))
        }
    }
}

fn is_full_range(frame: &ffmpeg::frame::Video) -> bool {
    matches!(frame.format(), Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P)
        || frame.color_range() == ffmpeg::color::Range::JPEG
}

/// What ffmpeg-next has no safe call for.
mod unsafe_av {
    use ffmpeg_next as ffmpeg;
    use ffmpeg_next::ffi;
    use ffmpeg_next::packet::{Mut, Ref};

    /// Makes `carrier` share the bytes of `payload`, without a copy (`Packet::clone` is a deep one).
    pub fn share(carrier: &mut ffmpeg::Packet, payload: &ffmpeg::Packet) {
        // SAFETY: both are live packets; av_packet_ref only adds a reference to the payload's buffer, which is
        // counted atomically. It copies where the payload has no such buffer. On failure the carrier is left empty.
        unsafe {
            ffi::av_packet_unref(carrier.as_mut_ptr());
            ffi::av_packet_ref(carrier.as_mut_ptr(), payload.as_ptr());
        }
    }

    /// Gives a decoder that is not open yet its parameter sets.
    pub fn set_extradata(context: &mut ffmpeg::codec::Context, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        let size = i32::try_from(bytes.len()).map_err(|_| "its parameter sets are too long")?;
        // SAFETY: the buffer comes from av_mallocz with the padding libav asks for, is filled within its bounds, and
        // is owned (and freed) by the context from here on; a new context has no extradata that could leak.
        unsafe {
            let buffer = ffi::av_mallocz(bytes.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
            if buffer.is_null() {
                return Err("out of memory".into());
            }
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len());
            (*context.as_mut_ptr()).extradata = buffer;
            (*context.as_mut_ptr()).extradata_size = size;
        }
        Ok(())
    }

    /// The first plane of a decoded picture: its stride in bytes, and its bytes up to the last one of the last row.
    pub fn plane(frame: &ffmpeg::frame::Video, row_bytes: usize, rows: usize) -> Option<(usize, &[u8])> {
        // SAFETY: libav's pictures hold `rows` rows of `row_bytes`, `linesize` apart, from data[0] on (cropping
        // included), for as long as the frame keeps its reference; the borrow of `frame` covers that.
        unsafe {
            let (data, linesize) = ((*frame.as_ptr()).data[0], (*frame.as_ptr()).linesize[0]);
            let stride = usize::try_from(linesize).ok().filter(|&stride| stride >= row_bytes)?;
            if data.is_null() || rows == 0 || row_bytes == 0 {
                return None;
            }
            Some((stride, std::slice::from_raw_parts(data, stride * (rows - 1) + row_bytes)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing;

    struct Picture {
        pts_us: i64,
        width: u32,
        height: u32,
        session: u64,
        luma: Vec<u8>,
    }

    /// What the decoder gives for these packets, with rows closed up.
    fn pictures<'a>(decoder: &mut LumaDecoder, packets: impl IntoIterator<Item = &'a Packet>) -> Vec<Picture> {
        let mut pictures = Vec::new();
        let mut keep = |view: LumaView| {
            let rows = view.data.chunks(view.stride).flat_map(|row| &row[..view.width as usize]);
            let luma: Vec<u8> = rows.copied().collect();
            assert_eq!(luma.len(), (view.width * view.height) as usize);
            let LumaView { pts_us, width, height, session, .. } = view;
            pictures.push(Picture { pts_us, width, height, session, luma });
        };
        for packet in packets {
            decoder.decode(packet, &mut keep).expect("the packet decodes");
        }
        decoder.drain(&mut keep).expect("the decoder drains");
        pictures
    }

    fn closed_up(pictures: &[Picture]) -> Vec<u8> {
        pictures.iter().flat_map(|picture| picture.luma.iter().copied()).collect()
    }

    /// Every codec, container and pixel format: the planes are those of the ffmpeg program, bit for bit.
    #[test]
    fn planes_are_those_of_ffmpeg() {
        let folder = tempfile::tempdir().unwrap();
        let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "15", "-pix_fmt"];
        let x265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=15", "-pix_fmt"];
        let mjpeg = ["-c:v", "mjpeg", "-q:v", "3", "-pix_fmt"];
        // 322 pixels: rows have a stride of their own, and the coded size is cropped.
        for (name, encoder, format) in [
            ("plain.mp4", &x264[..], "yuv420p"),
            ("full.mp4", &x264[..], "yuvj420p"),
            ("422.mkv", &x264[..], "yuv422p"),
            ("transport.ts", &x264[..], "yuv420p"),
            ("gray.mkv", &x264[..], "gray"),
            ("h265.mp4", &x265[..], "yuv420p"),
            ("start_codes.ts", &x265[..], "yuv420p"),
            ("jpeg.mkv", &mjpeg[..], "yuvj422p"),
        ] {
            let clip = testing::clip(folder.path(), name, "322x182", 2, &[encoder, &[format]].concat());
            let (packets, expected) = (testing::packets(&clip, 1), testing::luma(&clip));
            let mut times: Vec<i64> = packets.iter().map(Packet::pts_us).collect();
            times.sort_unstable();
            for threads in [1, 2, 5] {
                let mut decoder = LumaDecoder::with_threads(threads);
                let pictures = pictures(&mut decoder, &packets);
                assert_eq!(pictures.iter().map(|picture| picture.pts_us).collect::<Vec<_>>(), times, "{name}");
                assert!(closed_up(&pictures) == expected, "{name}, {threads} threads: other planes than ffmpeg's");
                assert_eq!(decoder.counts(), DecodeCounts { pictures: 30, errors: 0, skipped: 0 }, "{name}");
            }
        }
    }

    #[test]
    fn ten_bits_are_shifted_down() {
        let folder = tempfile::tempdir().unwrap();
        let encode =
            ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le"];
        let clip = testing::clip(folder.path(), "ten.mp4", "322x182", 1, &encode);
        let pictures = pictures(&mut LumaDecoder::new(), &testing::packets(&clip, 1));
        let words = testing::luma(&clip);
        let expected: Vec<u8> =
            words.chunks_exact(2).map(|word| (u16::from_le_bytes([word[0], word[1]]) >> 2) as u8).collect();
        assert!(closed_up(&pictures) == expected);
    }

    /// A camera that tells its parameter sets in SDP only.
    #[test]
    fn parameter_sets_may_come_in_the_record_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (name, encode) in [
            ("h264.ts", &["-c:v", "libx264", "-preset", "ultrafast"][..]),
            ("h265.ts", &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"]),
        ] {
            let clip = testing::clip(folder.path(), name, "320x180", 1, encode);
            let mut packets = testing::packets(&clip, 1);
            let mut stream = StreamInfo::clone(&packets[0].stream);
            let codec = stream.video.codec;
            let sets = nal::ParameterSets::of_access_unit(codec, packets[0].data(), false);
            stream.video.config_record = sets.config_record(codec).expect("the keyframe has them all");
            let stream = Arc::new(stream);
            for packet in &mut packets {
                let slices = nal::units(packet.data(), false)
                    .filter(|unit| nal::UnitKind::of(codec, unit).is_some_and(|kind| kind.is_slice()));
                let bytes: Vec<u8> = slices.flat_map(|unit| [&[0, 0, 0, 1], unit].concat()).collect();
                packet.payload = ffmpeg::Packet::copy(&bytes);
                packet.stream = stream.clone();
            }
            let pictures = pictures(&mut LumaDecoder::new(), &packets);
            assert!(closed_up(&pictures) == testing::luma(&clip), "{name}");
        }
    }

    #[test]
    fn pictures_keep_the_packets_times_through_b_frames() {
        let folder = tempfile::tempdir().unwrap();
        let encode = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "3", "-g", "30"];
        let clip = testing::clip(folder.path(), "b.mp4", "320x180", 2, &encode);
        let packets = testing::packets(&clip, 1);
        assert!(packets.iter().any(|packet| packet.pts != packet.dts), "the clip has B-frames");
        let mut expected: Vec<i64> = packets.iter().map(Packet::pts_us).collect();
        expected.sort_unstable();
        let times: Vec<i64> = pictures(&mut LumaDecoder::new(), &packets).iter().map(|p| p.pts_us).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn another_size_and_another_session_follow_without_losing_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let encode = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"];
        let small = testing::clip(folder.path(), "small.mp4", "320x180", 1, &encode);
        let large = testing::clip(folder.path(), "large.mp4", "640x360", 1, &encode);
        let mut packets = testing::packets(&small, 1);
        packets.extend(testing::packets(&large, 1));
        packets.extend(testing::packets(&large, 2));
        let seen: Vec<(u64, u32, u32)> = pictures(&mut LumaDecoder::new(), &packets)
            .iter()
            .map(|picture| (picture.session, picture.width, picture.height))
            .collect();
        let expected = [vec![(1, 320, 180); 15], vec![(1, 640, 360); 15], vec![(2, 640, 360); 15]].concat();
        assert_eq!(seen, expected);
    }

    #[test]
    fn after_a_jump_it_goes_on_at_the_next_keyframe() {
        let folder = tempfile::tempdir().unwrap();
        let encode = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "15"];
        let clip = testing::clip(folder.path(), "jump.mp4", "320x180", 3, &encode);
        let packets = testing::packets(&clip, 1);
        let mut decoder = LumaDecoder::new();
        pictures(&mut decoder, &packets[..5]);
        decoder.flush();
        let pictures = pictures(&mut decoder, &packets[20..]);
        assert_eq!(pictures.first().map(|picture| picture.pts_us), Some(packets[30].pts_us()));
        assert_eq!((pictures.len(), decoder.counts().skipped), (15, 10));
        assert!(closed_up(&pictures) == testing::luma(&clip)[30 * 320 * 180..]);
    }

    #[test]
    fn damage_is_counted_and_the_next_keyframe_is_whole_again() {
        let folder = tempfile::tempdir().unwrap();
        let encode = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "15"];
        let clip = testing::clip(folder.path(), "damage.mp4", "320x180", 2, &encode);
        let mut packets = testing::packets(&clip, 1);
        for packet in &mut packets[2..8] {
            let bytes = packet.payload.data_mut().expect("the packet has bytes");
            for (n, byte) in bytes.iter_mut().enumerate().skip(4) {
                *byte = (n * 37) as u8;
            }
        }
        let mut decoder = LumaDecoder::new();
        let mut last = Vec::new();
        for packet in &packets {
            decoder.decode(packet, &mut |view| last = view.data.to_vec()).ok();
        }
        assert!(decoder.counts().errors > 0);
        assert!(decoder.counts().pictures >= 15, "{:?}", decoder.counts());
        let expected = testing::luma(&clip);
        assert!(last[..320] == expected[expected.len() - 320 * 180..][..320]);
    }

    #[test]
    fn a_stream_that_cannot_be_decoded_is_refused_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let clip = testing::clip(folder.path(), "x.mp4", "320x180", 1, &["-c:v", "libx264", "-preset", "ultrafast"]);
        let mut packets = testing::packets(&clip, 1);
        let mut stream = StreamInfo::clone(&packets[0].stream);
        stream.video.config_record.truncate(9);
        let stream = Arc::new(stream);
        let mut decoder = LumaDecoder::new();
        for packet in &mut packets {
            packet.stream = stream.clone();
            let error = decoder.decode(packet, &mut |_| panic!("a picture")).expect_err("no parameter sets");
            assert!(
                matches!(error, DecodeError::Unsupported { codec: "h264", .. } | DecodeError::Damaged { .. }),
                "{error}"
            );
        }
        assert_eq!(decoder.counts().errors, 15);
    }
}
