//! What the integration tests stand on: cameras that are real RTSP servers, cables that can be cut, clips that
//! know their own frame numbers, and the real daemon in a scratch folder.
//!
//! Nothing in here knows how Tarsier works inside. A test that can't run fails.
//!
//! ```ignore
//! mod support;
//! use support::*;
//!
//! #[test]
//! fn a_motion_event_is_recorded_with_its_pre_alarm() {
//!     // 40 s at 15 fps, a keyframe every 2 s, still but for a box that moves from second 12 to second 16.
//!     let clip = Clip::spec().seconds(40.0).gop_seconds(2.0).motion(12.0, 16.0).make();
//!     let server = RtspServer::start(&[Mount::new("yard", &clip)]);
//!     let relay = Relay::to(server.port("yard"));
//!     let daemon = Daemon::builder()
//!         .camera("yard", &format!("source: {}\nrecord: {{ pre_alarm: 5s }}\n", server.url_through("yard", &relay)))
//!         .start();
//!     let recording = daemon.wait_for_recording("yard", secs(60), |r| r.complete);
//!     let frames = read_frames(&daemon.archive().join(&recording.path));
//!     let onset = clip.motion_frames()[0].start;
//!     assert!(frames.first().unwrap().number <= onset - 5 * 15);
//!     assert_unbroken(&frames, clip.frames);
//!     assert_eq!(server.stats("yard").connections, 1);
//!     relay.cut();                                    // and heal(), stall(), refuse(), throttle(), corrupt()
//!     daemon.wait_for_state("yard", "backoff", secs(20));
//!     assert_eq!(daemon.terminate(secs(5)), Some(0)); // or kill(), and daemon.restart()
//! }
//! ```
//!
//! * [`Clip`]: made with the ffmpeg command line, kept in `target/test-clips`.
//! * [`RtspServer`], [`Mount`], [`MjpegServer`]: cameras. One port a mount.
//! * [`NumberedCamera`]: a camera of which each picture can be told apart, at any rate.
//! * [`Ledger`]: what became of each of its pictures.
//! * [`Relay`]: the cable before one camera.
//! * [`read_frames`], [`vcl_units`]: what a recording holds, seen by ffmpeg.
//! * [`Daemon`], [`EventStream`]: the `tarsier run` process, its API and its output.
//! * [`Chromium`]: a headless browser; [`WebSocket`]: a viewer without one.
//! * [`write_colour_model`]: a model that knows red things from blue ones.
//! * [`SmallDisk`]: a disk that can be full or read-only.
//! * [`wait_for`], [`holds_for`]: the only ways to wait; there is no bare sleep.

#![allow(dead_code, unused_imports)]

mod chromium;
mod clips;
mod daemon;
mod disk_layer;
mod frames;
mod http_mjpeg;
mod index_rows;
mod ledger;
mod mounts;
mod numbered;
mod onnx;
mod power_cut;
mod relay;
mod rtsp;
mod units;
mod wait;
mod websocket;

pub use chromium::{Chromium, FRAME_NUMBER};
pub use clips::{AudioCodec, Clip, ClipSpec, Codec, concat};
pub use daemon::{
    Daemon, DaemonBuilder, EventStream, RecordingRow, SEED, ServerEvent, grep_all, recording_files, send_signal,
};
pub use disk_layer::SlowDisk;
pub use frames::{Frame, assert_unbroken, decodes_cleanly, duration_s, probe, read_frames};
pub use http_mjpeg::{MjpegServer, base64};
pub use index_rows::{differences, index_rows, lose_index};
pub use ledger::{Ledger, TOLERANCE, Verdict, count};
pub use mounts::{SmallDisk, check_ext4, in_own_mounts, snapshot};
pub use numbered::{NumberedCamera, numbers_in};
pub use onnx::{Layout, write_colour_model, write_model_with_names, write_strange_model};
pub use power_cut::{Deed, Log, Loss, Recorder, What};
pub use relay::Relay;
pub use rtsp::{Mount, MountStats, RtspServer};
pub use units::{assert_run_of, vcl_units};
pub use wait::{holds_for, secs, wait_for};
pub use websocket::WebSocket;
