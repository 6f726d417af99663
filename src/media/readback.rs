//! Reading a recording back: does libav find every packet in it, do its timestamps rise, can it be decoded?
//!
//! Does not belong here: what the index says of the file (`cli::recordings` compares).

use std::collections::BTreeMap;
use std::path::Path;

use ffmpeg_next::codec::decoder::{self, Check, Opened};
use ffmpeg_next::util::error::EAGAIN;
use ffmpeg_next::{Error, Packet, codec, format, frame, media};

/// What a file turned out to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadBack {
    /// Packets of all tracks.
    pub packets: u64,
    /// Pictures that were decoded.
    pub pictures: u64,
    pub duration_s: f64,
    /// What is wrong with it, in words.
    pub problems: Vec<String>,
}

#[derive(Default)]
struct Track {
    decoder: Option<Opened>,
    is_video: bool,
    /// The container holds its decode times; Matroska has none of pictures, and libav's guess is no finding.
    has_dts: bool,
    last_dts: Option<i64>,
    packets: u64,
    not_rising: u64,
    damaged: u64,
}

/// Reads the whole file, and decodes all of it if `decode` is set. What cannot be opened has one problem.
pub fn read_back(path: &Path, decode: bool) -> ReadBack {
    let mut read = ReadBack::default();
    if let Err(error) = try_read_back(path, decode, &mut read) {
        read.problems.push(error);
    }
    read
}

fn try_read_back(path: &Path, decode: bool, read: &mut ReadBack) -> Result<(), String> {
    ffmpeg_next::init().map_err(|error| format!("libav: {error}"))?;
    let mut input = format::input(path).map_err(|error| format!("cannot be opened: {error}"))?;
    read.duration_s = input.duration().max(0) as f64 / f64::from(ffmpeg_next::ffi::AV_TIME_BASE);
    let is_matroska = input.format().name().contains("matroska");
    let mut tracks = BTreeMap::new();
    for stream in input.streams() {
        let parameters = stream.parameters();
        let is_video = parameters.medium() == media::Type::Video;
        if !is_video && parameters.medium() != media::Type::Audio {
            continue;
        }
        let decoder = match decode {
            true => Some(open_decoder(parameters)?),
            false => None,
        };
        tracks.insert(
            stream.index(),
            Track { decoder, is_video, has_dts: !(is_video && is_matroska), ..Track::default() },
        );
    }
    if !tracks.values().any(|track| track.is_video) {
        return Err("has no video".to_owned());
    }
    let mut packet = Packet::empty();
    loop {
        match packet.read(&mut input) {
            Ok(()) => {}
            Err(Error::Eof) => break,
            Err(error) => {
                read.problems.push(format!("breaks off after {} packets: {error}", read.packets));
                break;
            }
        }
        let Some(track) = tracks.get_mut(&packet.stream()) else { continue };
        read.packets += 1;
        track.packets += 1;
        match packet.dts() {
            Some(dts) if track.last_dts.is_none_or(|last| last < dts) => track.last_dts = Some(dts),
            _ => track.not_rising += u64::from(track.has_dts),
        }
        if packet.is_corrupt() {
            track.damaged += 1;
        }
        if let Some(decoder) = &mut track.decoder {
            if decoder.send_packet(&packet).is_err() {
                track.damaged += 1;
            }
            take_pictures(track, &mut read.pictures);
        }
    }
    for track in tracks.values_mut() {
        if let Some(decoder) = &mut track.decoder {
            let _ = decoder.send_eof();
            take_pictures(track, &mut read.pictures);
        }
        let name = if track.is_video { "video" } else { "audio" };
        if track.packets == 0 && track.is_video {
            read.problems.push("has no picture".to_owned());
        }
        if track.not_rising > 0 {
            read.problems.push(format!("{} {name} timestamps do not rise", track.not_rising));
        }
        if track.damaged > 0 {
            read.problems.push(format!("{} {name} packets cannot be decoded", track.damaged));
        } else if track.is_video && track.decoder.is_some() && track.packets > 0 && read.pictures == 0 {
            read.problems.push("no picture can be decoded".to_owned());
        }
    }
    Ok(())
}

fn open_decoder(parameters: codec::Parameters) -> Result<Opened, String> {
    let id = parameters.id();
    let missing = || format!("its codec {id:?} cannot be decoded here");
    let codec = decoder::find(id).ok_or_else(missing)?;
    let mut decoder = codec::Context::from_parameters(parameters).map_err(|_| missing())?.decoder();
    // Every fault is an error: nothing is patched up.
    decoder.check(Check::EXPLODE);
    decoder.open_as(codec).map_err(|error| format!("{} ({error})", missing()))
}

fn take_pictures(track: &mut Track, pictures: &mut u64) {
    let Some(decoder) = &mut track.decoder else { return };
    let mut frame = frame::Video::empty();
    loop {
        match decoder.receive_frame(&mut frame) {
            Ok(()) => {
                if track.is_video {
                    *pictures += 1;
                }
                if frame.is_corrupt() || frame.has_decode_errors() {
                    track.damaged += 1;
                }
            }
            Err(Error::Other { errno: EAGAIN } | Error::Eof) => return,
            Err(_) => track.damaged += 1,
        }
    }
}
