//! Metrics in the text format of Prometheus. Every name is there from the start, for each camera, even at 0.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{HttpResponse, web};

use super::AppState;
use super::doors::Who;
use crate::actors::registry::CameraEntry;
use crate::clock;
use crate::domain::camera::{CameraState, Counters};

/// Ticks a second of `/proc/self/stat`: the kernel's interface has 100 on every architecture we build for.
const USER_HZ: f64 = 100.0;

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "text format 0.0.4", content_type = "text/plain", body = String),
))]
pub async fn metrics(state: web::Data<AppState>, who: Who) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(render(&state, &who))
}

/// A counter of a camera: its metric's name, what it counts, where it is.
type Counter = (&'static str, &'static str, fn(&Counters) -> &AtomicU64);

const COUNTERS: [Counter; 12] = [
    ("tarsier_packets_total", "Packets read from the camera.", |c| &c.packets),
    ("tarsier_packets_dropped_total", "Packets that should have been recorded and left the ring unwritten.", |c| {
        &c.packets_dropped
    }),
    ("tarsier_packets_lost_total", "Packets that the network lost.", |c| &c.packets_lost),
    ("tarsier_frames_decoded_total", "Pictures decoded for detection.", |c| &c.frames_decoded),
    ("tarsier_frames_skipped_total", "Pictures that detection did not look at because it was behind.", |c| {
        &c.frames_skipped
    }),
    ("tarsier_motion_events_total", "Motion events.", |c| &c.motion_events),
    ("tarsier_confirm_pictures_total", "Pictures of events that a model looked at.", |c| &c.pictures_confirmed),
    ("tarsier_confirm_dropped_total", "Pictures of events that no model looked at: it was behind, or failed.", |c| {
        &c.pictures_unconfirmed
    }),
    ("tarsier_restarts_total", "Crashes of a camera's parts that were answered with a restart.", |c| &c.restarts),
    ("tarsier_reconnects_total", "Connections to the camera after the first.", |c| &c.reconnects),
    ("tarsier_recorded_bytes_total", "Bytes written to recordings.", |c| &c.recorded_bytes),
    ("tarsier_viewer_skips_total", "Times that a viewer was too slow and went on at a later keyframe.", |c| {
        &c.viewer_skips
    }),
];

fn render(state: &AppState, who: &Who) -> String {
    let cameras: Vec<(String, Arc<CameraEntry>)> =
        state.cameras(who).into_iter().map(|entry| (entry.status().name, entry)).collect();
    let mut out = String::new();
    family(&mut out, "tarsier_camera_up", "gauge", "1 while the camera's pictures arrive.", &cameras, |entry| {
        f64::from(u8::from(matches!(entry.status().state, CameraState::Running | CameraState::Degraded)))
    });
    for (name, help, counter) in COUNTERS {
        family(&mut out, name, "counter", help, &cameras, |entry| {
            counter(&entry.counters).load(Ordering::Relaxed) as f64
        });
    }
    let help = "Seconds that should have been recorded and were not.";
    family(&mut out, "tarsier_gap_seconds_total", "counter", help, &cameras, |entry| {
        entry.counters.gap_ms.load(Ordering::Relaxed) as f64 / 1000.0
    });
    let help = "Bytes of packets that are held in memory.";
    family(&mut out, "tarsier_ring_bytes", "gauge", help, &cameras, |entry| match entry.ring() {
        Some(ring) => ring.bytes() as f64,
        None => entry.counters.ring_bytes.load(Ordering::Relaxed) as f64,
    });
    family(&mut out, "tarsier_viewers", "gauge", "Who looks at live pictures now.", &cameras, |entry| {
        entry.counters.viewers.load(Ordering::Relaxed) as f64
    });
    process(&mut out, state, who);
    out
}

/// One metric with a line a camera.
fn family(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    cameras: &[(String, Arc<CameraEntry>)],
    value: impl Fn(&CameraEntry) -> f64,
) {
    head(out, name, kind, help);
    for (camera, entry) in cameras {
        let _ = writeln!(out, "{name}{{camera=\"{}\"}} {}", escaped(camera), value(entry));
    }
}

fn process(out: &mut String, state: &AppState, who: &Who) {
    let mut single = |name: &str, kind: &str, help: &str, value: f64| {
        head(out, name, kind, help);
        let _ = writeln!(out, "{name} {value}");
    };
    single(
        "tarsier_abandoned_threads",
        "gauge",
        "Threads that did not keep their deadline and were left behind.",
        state.registry.abandoned_threads() as f64,
    );
    single("tarsier_alarms", "gauge", "Alarms that are up.", state.alarms(who).len() as f64);
    let uptime = clock::monotonic().duration_since(state.started);
    single("tarsier_uptime_seconds", "gauge", "Seconds since the daemon began to serve.", uptime.as_secs_f64());
    single(
        "process_start_time_seconds",
        "gauge",
        "When the daemon began to serve, in seconds since 1970.",
        state.started_at.timestamp_millis() as f64 / 1000.0,
    );
    if let Some(seconds) = cpu_seconds() {
        single("process_cpu_seconds_total", "counter", "Processor time used, in seconds.", seconds);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kilobytes) = status_number(&status, "VmRSS:") {
        single("process_resident_memory_bytes", "gauge", "Memory in use.", kilobytes * 1024.0);
    }
    if let Some(threads) = status_number(&status, "Threads:") {
        single("process_threads", "gauge", "Threads.", threads);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        single("process_open_fds", "gauge", "Open file descriptors.", open.count() as f64);
    }
    head(out, "tarsier_alarm", "gauge", "1 for each alarm that is up, by its kind and its camera.");
    for alarm in state.alarms(who) {
        let (kind, camera) = (escaped(&alarm.kind), escaped(alarm.camera.as_deref().unwrap_or_default()));
        let _ = writeln!(out, "tarsier_alarm{{kind=\"{kind}\",camera=\"{camera}\"}} 1");
    }
    head(out, "tarsier_build_info", "gauge", "Always 1; the label says which build this is.");
    let _ = writeln!(out, "tarsier_build_info{{version=\"{}\"}} 1", escaped(env!("CARGO_PKG_VERSION")));
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// User and system time of the whole process.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may hold spaces and brackets; what counts comes after its last bracket.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / USER_HZ)
}

fn status_number(status: &str, key: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn proc_is_read() {
        assert!(cpu_seconds().is_some());
        assert_eq!(status_number("Name:\tx\nVmRSS:\t  123 kB\n", "VmRSS:"), Some(123.0));
    }
}
